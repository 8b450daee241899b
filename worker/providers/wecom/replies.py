"""What an HTTP answer says about a call: WeCom's JSON, read strictly and within bounds.

Everything that goes on from here, into the ledger, logs and terminals, is printable and of bounded length.
"""

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from worker.messages.recipients import InvalidRecipients
from worker.providers.base import Answer, Category
from worker.providers.wecom.errcodes import category_of, refuses_address

log = logging.getLogger(__name__)

LONGEST_REASON = 500
LONGEST_NAME = 1024
"""Characters of a msgid, response_code, media_id or address; those seen have up to some 200."""
LONGEST_ID_BYTES = 64
"""Of a userid (doc 90195); the ids of departments and tags are numbers."""
MOST_USERS, MOST_PARTIES, MOST_TAGS = 1000, 100, 100
"""One call can name no more (doc 90236), so no more can be invalid."""
LARGEST_NUMBER = 2**31 - 1
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
PLAIN_SUCCESS = "ok"
WRONG_JSON = "wrong json format"
"""WeCom adds this to errmsg where it could read only part of a request (doc 90313)."""
OK = 200
NOT_PASSED_ON = frozenset(
    {301, 302, 307, 308, 400, 401, 403, 404, 405, 407, 410, 411, 413, 414, 415, 417, 421, 425, 426, 428, 429, 431, 451}
)
"""HTTP statuses that refuse a request instead of carrying it out, by their definition (RFC 9110, 6585, 7725, 8470).

WeCom's API itself always answers with JSON, so without JSON they come from a proxy, a gateway or a wrong address, which
passed nothing on. Not among them: 303, which follows a request that was carried out; 408 and 499 (nginx), which
something on the way can say after it has passed the request on; and everything nobody has defined.
"""

_SECRET = re.compile(
    r"""(?ix) ( (?:access_token|corpsecret|suite_ticket|permanent_code|secret) ["']? \s* [=:] \s* ["']? ) [^\s&"',}]+"""
)
_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,10}")


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back from one call: the answer, and the payload of calls that fetch something."""

    answer: Answer
    payload: Mapping[str, Any]


def read_reply(status: int, content: bytes | None, fault: str, milliseconds: int) -> Reply:
    """Read what came back; `fault` says why there is no content."""
    payload = None if content is None else _json_object(content)
    errcode = 0 if payload is None else whole_number(payload.get("errcode", 0))
    if payload is None or errcode is None or (status != OK and "errcode" not in payload):
        return Reply(_unreadable(status, fault, milliseconds), {})
    errmsg = payload.get("errmsg")
    reason = "" if errcode == 0 or not isinstance(errmsg, str) else redacted(errmsg)
    if isinstance(errmsg, str) and errmsg != PLAIN_SUCCESS and WRONG_JSON in errmsg:
        log.warning("WeCom could read only part of a request: %s", redacted(errmsg))
    invalid, left_out = _invalid(payload)
    if left_out:
        reason = f"{reason} ({left_out} more invalid recipients, too many or too long, are not kept)".strip()
        log.warning("WeCom named invalid recipients that cannot be kept, too many or too long: %s", left_out)
    msgid, response_code = name_in(payload, "msgid"), name_in(payload, "response_code")
    for field, name in (("msgid", msgid), ("response_code", response_code)):
        if name is None and payload.get(field):
            reason = f"{reason} (its {field} cannot be used)".strip()
    return Reply(
        Answer(
            category=category_of(errcode),
            errcode=errcode,
            reason=reason,
            msgid=msgid,
            response_code=response_code,
            invalid=invalid,
            http_status=status,
            milliseconds=milliseconds,
            address_refused=refuses_address(errcode),
        ),
        payload,
    )


def whole_number(value: object) -> int | None:
    """Read a whole number of 32 bits, also one that a server wrote as a text; None for anything else."""
    if isinstance(value, str) and _WHOLE_NUMBER.fullmatch(value):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or abs(value) > LARGEST_NUMBER:
        return None
    return value


def name_in(payload: Mapping[str, Any], field: str) -> str | None:
    """Read what names something (a msgid, a media_id ...); None if there is none that could be used as it is.

    A shortened or corrected name would name something else.
    """
    value = payload.get(field)
    if isinstance(value, str) and 0 < len(value) <= LONGEST_NAME and value.isprintable():
        return value
    if value not in (None, ""):
        log.warning("WeCom answered with a %s that cannot be used: %.40r", field, type(value).__name__)
    return None


def redacted(text: str) -> str:
    """Return a text from outside as one line of bounded length without anything that looks like a secret."""
    text = text[: 20 * LONGEST_REASON]
    return _SECRET.sub(r"\1***", _printable(" ".join(text.split())))[:LONGEST_REASON]


def _json_object(content: bytes) -> dict[str, Any] | None:
    try:
        payload = orjson.loads(content.removeprefix(BYTE_ORDER_MARK))
    except orjson.JSONDecodeError:
        return None
    return payload if isinstance(payload, dict) else None


def _unreadable(status: int, fault: str, milliseconds: int) -> Answer:
    """Judge an answer that is not WeCom's."""
    if status in NOT_PASSED_ON:
        return Answer(
            Category.UNREACHABLE,
            reason=f"HTTP {status} from something that is not WeCom's API; check WECOM_API_BASE_URL and the proxy",
            http_status=status,
            milliseconds=milliseconds,
        )
    return Answer(
        Category.UNCERTAIN,
        reason=f"HTTP {status} without a readable answer" + (f": {fault}" if fault else ""),
        http_status=status,
        milliseconds=milliseconds,
    )


def _invalid(payload: Mapping[str, Any]) -> tuple[InvalidRecipients, int]:
    """Return the recipients that were not served, and how many more the answer names than can be kept."""
    users, more_users = _ids(payload.get("invaliduser"), MOST_USERS)
    parties, more_parties = _ids(payload.get("invalidparty"), MOST_PARTIES)
    tags, more_tags = _ids(payload.get("invalidtag"), MOST_TAGS)
    unlicensed, more_unlicensed = _ids(payload.get("unlicenseduser"), MOST_USERS)
    if not (users or parties or tags or unlicensed):
        return _NOBODY, more_users + more_parties + more_tags + more_unlicensed
    return (
        InvalidRecipients(users=users, parties=parties, tags=tags, unlicensed=unlicensed),
        more_users + more_parties + more_tags + more_unlicensed,
    )


_NOBODY = InvalidRecipients()


def _ids(value: object, most: int) -> tuple[tuple[str, ...], int]:
    """Read a list of recipients, which WeCom writes joined by `|`, as an array, empty, or not at all."""
    if not value:
        return (), 0
    named = value.split("|") if isinstance(value, str) else value if isinstance(value, list) else [value]
    kept: list[str] = []
    left_out = 0
    for one in named:
        text = one.strip() if isinstance(one, str) else str(one) if type(one) is int else None
        if text == "":
            continue
        if text is None or len(kept) == most or not text.isprintable() or len(text.encode()) > LONGEST_ID_BYTES:
            left_out += 1
        else:
            kept.append(text)
    return tuple(kept), left_out


def _printable(text: str) -> str:
    """Return a text without what the ledger or a terminal could not take."""
    return text if text.isprintable() else "".join(character for character in text if character.isprintable())
