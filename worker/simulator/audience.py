"""Who a message reaches: recipient lists read as WeCom reads them, and who is invalid, told by the name."""

import re
from typing import NamedTuple

from worker.simulator.answers import WRONG_JSON, RefusedError

EVERYONE = "@all"
MOST_USERS, MOST_PARTIES, MOST_TAGS = 1000, 100, 100
"""One call names at most so many (doc 90236)."""

INVALID_USER_PREFIX = "ghost"
UNLICENSED_USER_PREFIX = "unlicensed"
FIRST_INVALID_GROUP = 9000
"""In the simulator a name says how its bearer fares: `ghost7`, `unlicensed-li`, department or tag 9000 and above."""

NOBODY_REJECTED = {"invaliduser": "", "invalidparty": "", "invalidtag": "", "unlicenseduser": ""}
"""The lists of an answer where there is nothing to say (doc 90236)."""

_USERID = re.compile(r"[a-z0-9][a-z0-9_.@-]{0,63}")
_MOST_GROUP_DIGITS = 10


class Audience(NamedTuple):
    """Members who can be served, groups (`@all`, `party:2`, `tag:7`), and the lists of those who cannot."""

    users: list[str]
    groups: list[str]
    rejected: dict[str, str]


def audience_of(message: dict[str, object]) -> Audience:
    """Read touser, toparty and totag (doc 90236); userids come out in lower case, each once.

    Raises:
        RefusedError: 82001 nobody named, 40032, 82002, 82003 too many named, 40058 a list that is no string, 81013
            nobody who can be served (docs 90236, 90313).
    """
    touser, toparty, totag = (_list(message, name) for name in ("touser", "toparty", "totag"))
    if touser == EVERYONE:
        return Audience([], [EVERYONE], NOBODY_REJECTED)  # toparty and totag are ignored then (doc 90236)
    if not (touser or toparty or totag):
        raise RefusedError(82001)
    names = _split(touser.lower(), MOST_USERS, 40032)
    parties, tags = _split(toparty, MOST_PARTIES, 82002), _split(totag, MOST_TAGS, 82003)
    users: list[str] = []
    invalid: list[str] = []
    unlicensed: list[str] = []
    for name in names:
        if not is_valid_user(name):
            invalid.append(name)
        elif name.startswith(UNLICENSED_USER_PREFIX):
            unlicensed.append(name)
        else:
            users.append(name)
    if users and not (invalid or unlicensed or parties or tags):
        return Audience(users, [], NOBODY_REJECTED)  # most messages are so
    groups = [f"party:{party}" for party in parties if _is_group(party)]
    groups += [f"tag:{tag}" for tag in tags if _is_group(tag)]
    rejected = {
        "invaliduser": "|".join(invalid),
        "invalidparty": "|".join(party for party in parties if not _is_group(party)),
        "invalidtag": "|".join(tag for tag in tags if not _is_group(tag)),
        "unlicenseduser": "|".join(unlicensed),
    }
    if not users and not groups:
        raise RefusedError(81013, **{name: names for name, names in rejected.items() if names})
    return Audience(users, groups, rejected)


def is_valid_user(userid: str) -> bool:
    """Whether there is such a member; the userid is in lower case."""
    return not userid.startswith(INVALID_USER_PREFIX) and _USERID.fullmatch(userid) is not None


def _list(message: dict[str, object], name: str) -> str:
    value = message.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise RefusedError(40058, warning=WRONG_JSON)
    return value


def _split(joined: str, most: int, errcode: int) -> list[str]:
    """Split at the pipes only: that blanks round them are trimmed is documented nowhere."""
    if not joined:
        return []
    names = joined.split("|")
    if len(names) > most:
        raise RefusedError(errcode)
    return [name for name in dict.fromkeys(names) if name]


def _is_group(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _MOST_GROUP_DIGITS and int(text) < FIRST_INVALID_GROUP
