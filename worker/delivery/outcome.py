"""What one answer means for the message and its sender. Pure; the errcode table gives the category.

Three kinds of answers matter most: sent (WeCom said so), not sent (provably), and unknown. Only the first two
can be acted upon freely; the unknown is repeated only while WeCom's duplicate check still covers it.
"""

from dataclasses import dataclass

from worker.providers.base import Answer, Category

QUICK_RETRIES = 3
"""Tries after an errcode -1, at most (doc 90313)."""
UNLISTED_RETRIES = 1
UNLISTED_SECONDS = 60
UNREACHABLE_SECONDS = 5
SHORTEST_DOUBT = 5
LONGEST_DOUBT = 30
"""Seconds between two tries to clear up an unknown fate: as long as the doubt has lasted, within these bounds."""
PARK_SECONDS = 60
"""45009 does not say which window was broken; the shortest is a minute (doc 90312)."""
PARK_SECONDS_BY_ERRCODE = {45033: 5}
"""Too many calls at once, unlike too many calls, passes quickly."""
LONGEST_PARK = 3600
OUR_OWN_FAULT = Answer(Category.UNCERTAIN, reason="a fault in wecom-worker; its log has the details")
"""What a call is taken for that failed in our own code: it may have left before."""


@dataclass(frozen=True, slots=True)
class Sent:
    """WeCom accepted the message."""


@dataclass(frozen=True, slots=True)
class Retry:
    """Not sent; another try after so many seconds may succeed. Only tries that WeCom answered are counted."""

    seconds: float
    counted: bool = True


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


def decide(answer: Answer, retries: int = 0, share: float = 0.5, doubtful_seconds: float = 0) -> Outcome:
    """Judge one answer.

    Args:
        answer: what came back.
        retries: how many counted tries of this message there have been.
        share: between 0 and 1, fixed for a message; keeps the retries of many apart.
        doubtful_seconds: for how long the message's fate has been unknown.
    """
    match answer.category:
        case Category.ACCEPTED:
            return Sent()
        case Category.TRANSIENT if retries < QUICK_RETRIES:
            return Retry(2**retries * (0.5 + share))
        case Category.UNLISTED if retries < UNLISTED_RETRIES:
            return Retry(UNLISTED_SECONDS * (0.5 + share))
        case Category.UNREACHABLE:
            return Retry(UNREACHABLE_SECONDS * (0.5 + share), counted=False)
        case Category.UNCERTAIN:
            return Unknown(min(max(doubtful_seconds, SHORTEST_DOUBT), LONGEST_DOUBT) * (0.5 + share))
        case Category.RATE_LIMITED:
            return PauseSender(PARK_SECONDS_BY_ERRCODE.get(answer.errcode or 0, PARK_SECONDS))
        case Category.TOKEN | Category.CONFIG:
            return PauseSender(None)
        case _:
            return Reject()


def next_parking(first: int, last: int, longest: int = LONGEST_PARK) -> int:
    """Return how many seconds to park a sender for: the first time `first`, then twice as long as last time."""
    return min(max(first, 2 * last), longest)
