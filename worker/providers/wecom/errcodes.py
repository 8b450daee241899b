"""What each WeCom errcode says about a call, what the worker does about it, and what a person can do.

The table is `errcodes.csv` beside this module, one row a code, read once when this module is imported. WeCom
gives the codes and their sense in doc 90313; the categories and the texts are this project's.
"""

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from importlib.resources import files
from io import StringIO
from types import MappingProxyType

from worker.providers.base import Category

TABLE_NAME = "errcodes.csv"
COLUMNS = ("code", "meaning", "category", "retry", "advice")

OFFICIAL_PAGE = "https://developer.work.weixin.qq.com/document/path/90313"
"""WeCom's own list of all codes."""
QUERY_PAGE = "https://open.work.weixin.qq.com/devtool/query?e={code}"
"""WeCom's own page about one code; its error messages point to it."""


class Retry(StrEnum):
    """What may make a repeated call succeed."""

    NO = "no"
    """Nothing the worker could do."""
    BACKOFF = "backoff"
    """Time: a longer wait after each try."""
    REFRESH_ONCE = "refresh_once"
    """A new token, once."""
    REUPLOAD_ONCE = "reupload_once"
    """A new upload of the file, once after each such answer."""
    WAIT = "wait"
    """The end of a limit's window, which WeCom does not name."""
    WAIT_NEXT_SUITE_TICKET = "wait_next_suite_ticket"
    """The next suite_ticket; WeCom pushes one every 10 minutes and none can be fetched (doc 90628)."""


BEHAVIOUR: Mapping[tuple[Category, Retry], str] = MappingProxyType(
    {
        (Category.TRANSIENT, Retry.BACKOFF): (
            "sends the same message again after about 1, 2 and 4 seconds; then the message fails."
        ),
        (Category.TOKEN, Retry.REFRESH_ONCE): (
            "drops the token it used, fetches a new one and sends the message again; when three new tokens in a row "
            "are refused, the sender is paused and its messages wait."
        ),
        (Category.TOKEN, Retry.WAIT_NEXT_SUITE_TICKET): (
            "pauses the sender; its messages wait until a suite_ticket has come and `wecom senders resume NAME`."
        ),
        (Category.RATE_LIMITED, Retry.WAIT): (
            "parks the sender for a minute (45033: 5 seconds), and twice as long each time it happens again, up to an "
            "hour; its messages wait, and this does not count as an attempt. If it answers a recall or a card update, "
            "only the sender's recalls or card updates wait."
        ),
        (Category.RECIPIENT, Retry.NO): (
            "fails the message at once and does not try again; after a recall the message stays sent."
        ),
        (Category.CONTENT, Retry.NO): (
            "fails the message at once and does not try again; after a recall the message stays sent."
        ),
        (Category.CONTENT, Retry.REUPLOAD_ONCE): (
            "uploads the file again and sends the message again, up to three times; then the message fails. Where an "
            "earlier try is of unknown fate, it is unconfirmed instead: with another upload it could arrive twice."
        ),
        (Category.CONFIG, Retry.NO): (
            "pauses the sender with the reason; its messages wait and do not fail, until `wecom senders resume NAME`."
        ),
    }
)
"""What the worker does, for every pair of category and retry the table may hold; each completes "the worker ..."."""

OF_AN_ADDRESS = frozenset({60020, 90308, 301042})
"""Codes that speak of the address a call came from, and not of the app."""
OF_AN_ADDRESS_BEHAVIOUR = (
    "While others get through, only the worker that meets it stands aside, and tries again after a minute, then ever "
    "more rarely, at least every 10 minutes."
)

UNLISTED_BEHAVIOUR = "tries once more after about a minute; if that is refused too, the message fails."


@dataclass(frozen=True, slots=True)
class Errcode:
    """One row of the table.

    Attributes:
        code: the errcode; never 0.
        meaning: what WeCom says with it, one line without a full stop.
        category: what may be done next, see `Category`.
        retry: what may make a repeated call succeed.
        advice: what a person should do, one line.
    """

    code: int
    meaning: str
    category: Category
    retry: Retry
    advice: str


class TableError(ValueError):
    """The table of errcodes cannot be read; the message names the line."""


def read_table(text: str) -> Mapping[int, Errcode]:
    """Read the table from the text of its CSV file.

    Codes must be whole numbers other than 0, each greater than the one before, so that a doubled code cannot
    hide. Category and retry must be a pair the worker knows a behaviour for (`BEHAVIOUR`).

    Raises:
        TableError: a row breaks one of these rules, or the first line does not name the columns.
    """
    rows = csv.reader(StringIO(text, newline=""), strict=True)
    try:
        return MappingProxyType({errcode.code: errcode for errcode in _errcodes(rows)})
    except (ValueError, csv.Error) as error:
        raise TableError(f"{TABLE_NAME}, line {max(rows.line_num, 1)}: {error}") from error


def _errcodes(rows: Iterator[list[str]]) -> Iterator[Errcode]:
    """Turn the lines of the table into errcodes, or raise ValueError with what is wrong in the last one read."""
    if tuple(next(rows, ())) != COLUMNS:
        raise ValueError(f"the columns must be {','.join(COLUMNS)}")
    previous: int | None = None
    for row in rows:
        errcode = _errcode(row)
        if previous is not None and errcode.code <= previous:
            raise ValueError(f"code {errcode.code} must not stand after {previous}")
        previous = errcode.code
        yield errcode


def _errcode(row: list[str]) -> Errcode:
    """Turn one row into an errcode, or raise ValueError with the reason."""
    if len(row) != len(COLUMNS):
        raise ValueError(f"{len(row)} fields instead of {len(COLUMNS)}")
    code, meaning, category, retry, advice = row
    errcode = Errcode(int(code), meaning, Category(category), Retry(retry), advice)
    if errcode.code == 0:
        raise ValueError("0 is success and has no place among the errcodes")
    if (errcode.category, errcode.retry) not in BEHAVIOUR:
        raise ValueError(f"no behaviour is known for {category} with {retry}")
    for name, text in (("meaning", meaning), ("advice", advice)):
        if not text or text != text.strip() or len(text.splitlines()) != 1:
            raise ValueError(f"{name} must be one line of text")
    return errcode


ERRCODES: Mapping[int, Errcode] = read_table(files(__package__).joinpath(TABLE_NAME).read_text(encoding="utf-8"))
"""Every code that calls for sending, recalling, uploading and fetching tokens are known to answer, by code."""


CONCERNS_ONE_TYPE: Mapping[int, str] = MappingProxyType({48002: "miniprogram_notice"})
"""Codes of the configuration that say something about one message type only, when they answer that type.

48002 answers a mini program notice of an app that is no mini program (doc 90313, the code's own help). The app's other
messages are not concerned: the notice fails. Any other type that meets 48002 is one that every app may send, so the app
may send nothing at all: its sender is paused.
"""


def category_of(code: int | None, message_type: str | None = None) -> Category:
    """Say what an answer's errcode means for the call, which was perhaps to send a message of some type.

    0 and a missing errcode both mean success (doc 90664). A code the table does not hold is unlisted.
    """
    if not code:
        return Category.ACCEPTED
    if message_type is not None and CONCERNS_ONE_TYPE.get(code) == message_type:
        return Category.CONTENT
    errcode = ERRCODES.get(code)
    return errcode.category if errcode else Category.UNLISTED


def refuses_address(code: int | None) -> bool:
    """Say whether a code refuses the address that a call came from, so that another machine may be let in."""
    return code in OF_AN_ADDRESS


def behaviour_of(errcode: Errcode) -> str:
    """Say what the worker does about a code; completes "the worker ..."."""
    behaviour = BEHAVIOUR[errcode.category, errcode.retry]
    if refuses_address(errcode.code):
        return f"{behaviour} {OF_AN_ADDRESS_BEHAVIOUR}"
    one_type = CONCERNS_ONE_TYPE.get(errcode.code)
    if one_type is None:
        return behaviour
    return f"{behaviour} If it answers a {one_type}, it {BEHAVIOUR[category_of(errcode.code, one_type), Retry.NO]}"


def needs_another_upload(code: int) -> bool:
    """Say whether a code means that WeCom does not have a file any more."""
    return code in ERRCODES and ERRCODES[code].retry is Retry.REUPLOAD_ONCE


def explain(code: int) -> str:
    """Explain a code to a person, on several lines without a last line break.

    The lines are the code with its meaning, the category, what the worker does, what the person should do and
    the page of WeCom that says more; for a code the table does not hold, that page answers for one code.
    """
    if code == 0:
        return "0: WeCom accepted the call"
    errcode = ERRCODES.get(code)
    if errcode is None:
        return "\n".join(
            (
                f"{code}: not in this program's table",
                f"Category: {Category.UNLISTED}",
                f"What the worker does: it {UNLISTED_BEHAVIOUR}",
                "What to do: look the code up on WeCom's page below and correct what it names.",
                f"Ask WeCom: {QUERY_PAGE.format(code=code)}",
            )
        )
    return "\n".join(
        (
            f"{code}: {errcode.meaning}",
            f"Category: {errcode.category}",
            f"What the worker does: it {behaviour_of(errcode)}",
            f"What to do: {errcode.advice}",
            f"Official page: {OFFICIAL_PAGE}",
        )
    )
