"""Whom the demo writes to, and what: three thousand texts, each for one member. Pure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from uuid import UUID

from worker.simulator.audience import INVALID_USER_PREFIX, UNLICENSED_USER_PREFIX

TEXTS = 3000
UNLUCKY_MEMBER = "member-0042"
"""Meets several faults in a row, so that there is a history worth reading."""


@dataclass(frozen=True, slots=True)
class Personal:
    """One personalised text."""

    users: tuple[str, ...]
    content: str


@dataclass(frozen=True, slots=True)
class Promise:
    """What the producer was given an id for."""

    id: UUID
    users: tuple[str, ...]
    content: str


def personal_texts(number: int = TEXTS) -> Iterator[Personal]:
    """Yield the texts of the fan-out.

    Of 3,000 texts 2,630 name one member, 150 a member who has left (a ghost) and 100 one without a licence, so that
    nobody can be served; 120 name a member and a ghost.
    """
    for place in range(1, number + 1):
        member = f"member-{place:04}"
        if place % 20 == 7:
            member = f"ghost-{place:04}"
        elif place % 30 == 11:
            member = f"unlicensed-{place:04}"
        users = (member, f"ghost-assistant-{place:04}") if place % 25 == 3 else (member,)
        yield Personal(users, f"Dear {member}, your payslip no. {place:04} is ready. 您的工资单已生成。")


def can_be_served(user: str) -> bool:
    """Whether the local WeCom shows this member anything; there a name says how its bearer fares."""
    return not user.startswith((INVALID_USER_PREFIX, UNLICENSED_USER_PREFIX))


def servable(users: Iterable[str]) -> list[str]:
    """Those of the users who can be served."""
    return [user for user in users if can_be_served(user)]
