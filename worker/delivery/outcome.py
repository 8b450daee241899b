"""What one answer means for the message and its sender. Pure; the errcode table gives the category.

Three kinds of answers matter most: sent (WeCom said so), not sent (provably), and unknown. Only the first two
can be acted upon freely; the unknown is repeated only while WeCom's duplicate check still covers it.
"""

from dataclasses import dataclass

from worker.providers.base import Answer, Category

QUICK_RETRIES = 3
"""Tries after an errcode -1, at most (doc 90313)."""
UNLISTED_RETRIES = 1
LONGEST_BACKOFF = 300
PARK_SECONDS = 60
"""45009 does not say which window was broken; the shortest is a minute (doc 90312)."""
PARK_SECONDS_BY_ERRCODE = {45033: 5}
"""Too many calls at once, unlike too many calls, passes quickly."""
LONGEST_PARK = 3600
UNREACHABLE_PARK_SECONDS = 5

OF_ONE_MESSAGE = frozenset({43012, 60204, 60206, 60207, 90206, 90208})
"""Config faults that a single message type runs into; the sender's other messages can go on."""


@dataclass(frozen=True, slots=True)
class Sent:
    """WeCom accepted the message."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Not sent; another try after so many seconds may succeed."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Reject:
    """Not sent, and no further try can help."""


@dataclass(frozen=True, slots=True)
class PauseSender:
    """Not sent, nor would any other message of this sender be.

    Attributes:
        seconds: for how long the sender is parked the first time; None stops it until a person resumes it.
    """

    seconds: int | None


@dataclass(frozen=True, slots=True)
class Unknown:
    """Sent or not, nobody here knows; the identical request may go out again after so many seconds."""

    seconds: float


Outcome = Sent | Retry | Reject | PauseSender | Unknown


def decide(answer: Answer, retries: int = 0, share: float = 0) -> Outcome:
    """Judge one answer.

    Args:
        answer: what came back.
        retries: how many tries of this message have failed and counted before.
        share: between 0 and 1, fixed for a message; keeps the retries of many apart.
    """
    match answer.category:
        case Category.ACCEPTED:
            return Sent()
        case Category.TRANSIENT if retries < QUICK_RETRIES:
            return Retry(2**retries * (0.5 + share))
        case Category.UNLISTED if retries < UNLISTED_RETRIES:
            return Retry(PARK_SECONDS * (0.5 + share))
        case Category.UNREACHABLE:
            return Retry(min(2 ** min(retries, 16), LONGEST_BACKOFF) * (0.5 + share))
        case Category.UNCERTAIN:
            return Unknown(min(5 * 3 ** min(retries, 16), LONGEST_BACKOFF) * (0.5 + share))
        case Category.RATE_LIMITED:
            return PauseSender(PARK_SECONDS_BY_ERRCODE.get(answer.errcode or 0, PARK_SECONDS))
        case Category.TOKEN | Category.CONFIG if answer.errcode not in OF_ONE_MESSAGE:
            return PauseSender(None)
        case _:
            return Reject()


def next_parking(first: int, last: int) -> int:
    """Return how many seconds to park a sender for: the first time `first`, then twice as long as last time."""
    return min(max(first, 2 * last), LONGEST_PARK)
