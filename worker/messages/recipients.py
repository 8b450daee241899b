"""Who a message names: members, departments and tags, within what one API call can carry."""

import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from types import MappingProxyType

from worker.messages.content import InvalidMessage

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

BETWEEN_USERIDS = frozenset("|,;\uff0c\uff1b\u3001\uff5c")
"""What people write between userids, as in a spreadsheet; the last four are the Chinese forms."""

CHARACTERS_IN_WORDS = MappingProxyType(
    {" ": "blank", "\u3000": "full-width space", "\n": "line end", "\r": "line end", "\t": "tab"}
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
        InvalidMessage: nobody is named, an id cannot be one, or `@all` is meant but `everyone` is not said.
    """
    named = Recipients(
        without_duplicates(userid(user) for user in _several("users", users)),
        without_duplicates(_number("party", party) for party in _several("parties", parties)),
        without_duplicates(_number("tag", tag) for tag in _several("tags", tags)),
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


def _several(name: str, values: Iterable[int | str]) -> Iterable[int | str]:
    if isinstance(values, str | bytes):
        raise InvalidMessage(f"{name}: a list is needed, not one string; write {name}=[...]")
    if not isinstance(values, Iterable):
        raise InvalidMessage(f"{name}: a list is needed, not {type(values).__name__}; write {name}=[...]")
    return values


def userid(value: int | str) -> str:
    """Read one userid.

    Raises:
        InvalidMessage: no member can be called so.
    """
    named = value if isinstance(value, str) else str(value)
    if named.isascii() and named.isalnum() and len(named) <= LONGEST_USERID:
        return named
    size = len(named.encode(errors="replace"))
    if not 1 <= size <= LONGEST_USERID:
        raise InvalidMessage(f"users: a userid has 1 to {LONGEST_USERID} bytes, not {size}: {named[:LONGEST_USERID]!r}")
    for position, character in enumerate(named):
        if character in BETWEEN_USERIDS or character.isspace() or not character.isprintable():
            raise InvalidMessage(
                f"users: {named!r} holds {_described(character)} (U+{ord(character):04X}) at position {position}, "
                "which no userid has; give one userid per entry"
            )
    return named


def _described(character: str) -> str:
    """Name a character that cannot be seen, or not be told from another."""
    name = CHARACTERS_IN_WORDS.get(character) or unicodedata.name(character, "control character").lower()
    return f"{'an' if name[0] in 'aeio' else 'a'} {name}"


def _number(kind: str, value: int | str) -> str:
    number = str(value)
    if not (number.isascii() and number.isdigit()) or isinstance(value, bool):
        raise InvalidMessage(f"{kind}: {value!r} is no {kind} id; WeCom numbers them")
    return str(int(number))
