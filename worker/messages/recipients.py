"""Who a message names: members, departments and tags, within what one API call can carry."""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from types import MappingProxyType

from worker.messages.limits import USERID_EXPRESSION
from worker.messages.refusals import InvalidMessage, described

EVERYONE = "@all"
"""What WeCom reads as every member in the app's range (doc 90236)."""

MOST_USERS = 1000
MOST_PARTIES = 100
MOST_TAGS = 100
"""One message/send call names at most so many members, departments and tags (doc 90236)."""


@dataclass(frozen=True, slots=True)
class Recipients:
    """Members (userids), departments (partyids) and tags (tagids) of one message."""

    users: tuple[str, ...] = ()
    parties: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Whether anybody is named at all."""
        return bool(self.users or self.parties or self.tags)

    @property
    def everyone(self) -> bool:
        """Whether this is `@all`."""
        return self.users == (EVERYONE,)


@dataclass(frozen=True, slots=True)
class InvalidRecipients:
    """Those WeCom said it did not serve, while serving the others (doc 90236).

    `unlicensed` members can be seen by the app but have no interface licence. WeCom answers userids in lower
    case, so they are compared without case.
    """

    users: tuple[str, ...] = ()
    parties: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    unlicensed: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        """Whether anybody was left out."""
        return bool(self.users or self.parties or self.tags or self.unlicensed)


def split(recipients: Recipients) -> Iterator[Recipients]:
    """Divide an audience into as few calls as the limits of one call allow.

    Nobody is named twice and nobody is left out; each part is within 1000 users, 100 parties and 100 tags.
    """
    users, parties, tags = iter(recipients.users), iter(recipients.parties), iter(recipients.tags)
    while part := Recipients(
        tuple(islice(users, MOST_USERS)), tuple(islice(parties, MOST_PARTIES)), tuple(islice(tags, MOST_TAGS))
    ):
        yield part


def without_duplicates(values: Iterable[str]) -> tuple[str, ...]:
    """Drop repeated ids, keeping the first spelling and the order; WeCom compares userids without case."""
    first_spelling: dict[str, str] = {}
    for value in values:
        first_spelling.setdefault(value.lower(), value)
    return tuple(first_spelling.values())


def joined(values: Sequence[str]) -> str:
    """Write a recipient list as WeCom reads it: joined by `|`, without blanks (doc 90236)."""
    return "|".join(values)


LONGEST_USERID = 64
"""Bytes; doc 90313 on 40003."""

MOST_USERID = 10**LONGEST_USERID - 1
USERID = re.compile(USERID_EXPRESSION)

MOST_PARTY = 2**32 - 1
"""Departments have 32-bit numbers, of which the root is 1 (doc 90205)."""
MOST_TAG = 2**63 - 1
"""Tags have whole numbers from 0 (doc 90210); no limit of WeCom's, larger ones cannot be written on the wire."""

BETWEEN_USERIDS = frozenset("|,;\uff0c\uff1b\u3001\uff5c")
"""What people write between userids, as in a spreadsheet; the last four are the Chinese forms."""

CHARACTERS_IN_WORDS = MappingProxyType(
    {
        " ": "blank",
        "\u3000": "full-width space",
        "\n": "line end",
        "\r": "line end",
        "\t": "tab",
        "/": "slash",
        "\\": "backslash",
    }
)
"""Where Unicode's own name is missing or strange."""


def audience(
    users: Iterable[str] = (),
    parties: Iterable[int | str] = (),
    tags: Iterable[int | str] = (),
    *,
    everyone: bool = False,
) -> Recipients:
    """Read whom a producer wants to reach.

    Raises:
        InvalidMessage: nobody is named, an id cannot be one, or `@all` is meant but `everyone` is not said; the text
            names the place in the list, like `users[3]`.
    """
    named = Recipients(
        without_duplicates(userid(user, where) for where, user in _several("users", users)),
        without_duplicates(_number(party, where, 1, MOST_PARTY) for where, party in _several("parties", parties)),
        without_duplicates(_number(tag, where, 0, MOST_TAG) for where, tag in _several("tags", tags)),
    )
    if EVERYONE in named.users and not everyone:
        raise InvalidMessage("users: @all reaches every member; say everyone=True (--everyone) if that is meant")
    if everyone:
        if named and not named.everyone:
            raise InvalidMessage(
                "everyone: WeCom ignores other recipients beside @all (doc 90236); name one or the other"
            )
        return Recipients(users=(EVERYONE,))
    if not named:
        raise InvalidMessage("recipients: nobody is named; give users, parties or tags")
    return named


def _several(name: str, values: Iterable[int | str]) -> Iterator[tuple[str, int | str]]:
    """Yield each id with its place."""
    if isinstance(values, str | bytes):
        raise InvalidMessage(f"{name}: a list is needed, not one string; write {name}=[...]")
    if not isinstance(values, Iterable) or isinstance(values, Mapping):
        raise InvalidMessage(f"{name}: a list is needed, not {type(values).__name__}; write {name}=[...]")
    for position, value in enumerate(values):
        yield f"{name}[{position}]", value


def userid(value: object, where: str) -> str:
    """Read one userid, a text or a whole number; `@all` in any spelling becomes `@all`.

    A member's has 1 to 64 bytes, letters, digits and `_ - @ .`, the first of them a letter or digit (doc 90195, and
    90313 on 40003); the ids that third-party apps are given, `wo...`, are written so too.

    Args:
        value: what a producer gave.
        where: what to call it in a refusal.

    Raises:
        InvalidMessage: no member can be called so.
    """
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_USERID:
        value = str(value)
    if not isinstance(value, str):
        if isinstance(value, int) and not isinstance(value, bool):
            raise InvalidMessage(f"{where}: a number below 0 or of more than {LONGEST_USERID} digits is no userid")
        raise InvalidMessage(f"{where}: a userid must be a string or a whole number, not {described(value)}")
    found = USERID.fullmatch(value)
    if found is not None and len(value) <= LONGEST_USERID:
        return found[0]
    if value.lower() == EVERYONE:
        return EVERYONE
    raise InvalidMessage(f"{where}: {_why_no_userid(value)}")


def _why_no_userid(value: str) -> str:
    size = len(value.encode(errors="replace"))
    if not 1 <= size <= LONGEST_USERID:
        return f"a userid has 1 to {LONGEST_USERID} bytes, not {size}: {value[:LONGEST_USERID]!r}"
    wrong = next((position for position, character in enumerate(value) if not USERID.fullmatch(f"a{character}")), 0)
    character = value[wrong]
    words = f"{value!r} holds {_named(character)} (U+{ord(character):04X}) at position {wrong}"
    if character in BETWEEN_USERIDS or character.isspace():
        return f"{words}, which no userid has; give one userid per entry"
    if USERID.fullmatch(f"a{character}"):
        return f"{value!r} begins with {character}; a userid begins with a letter or digit (doc 90195)"
    return f"{words}, which no userid has; they are made of letters, digits and _ - @ . alone (doc 90195)"


def _named(character: str) -> str:
    """Name a character that cannot be seen, or not be told from another."""
    name = CHARACTERS_IN_WORDS.get(character) or unicodedata.name(character, "control character").lower()
    return f"{'an' if name[0] in 'aeio' else 'a'} {name}"


def _number(value: object, where: str, least: int, most: int) -> str:
    """Read the id of a department or tag.

    Raises:
        InvalidMessage: it is none.
    """
    kind = "department" if where.startswith("parties") else "tag"
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise InvalidMessage(f"{where}: a {kind} id must be a whole number, not {described(value)}")
    if isinstance(value, str):
        if not (value.isascii() and value.isdigit()):
            raise InvalidMessage(f"{where}: {value[:LONGEST_USERID]!r} is no {kind} id; WeCom numbers them")
        value = int(value) if len(value) <= LONGEST_USERID else most + 1
    if not least <= value <= most:
        raise InvalidMessage(f"{where}: is no {kind} id; WeCom numbers them from {least} to {most}")
    return str(value)
