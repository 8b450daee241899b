"""Statements about calls of one kind that wait, because WeCom counts each of its interfaces by itself (doc 90312).

Messages wait by the pause of their sender; recalls, card updates and uploads wait here, and messages go on.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import Connection, Engine, text

from worker.ledger.bounds import shortened

# A parking is not renewed by the other calls that were under way.
_PARK = text("""
    insert into wecom.parked_calls as parked (sender, calls, reason, until, seconds)
    values (:sender, :calls, :reason, wecom.clock() + make_interval(secs => :seconds), :seconds)
    on conflict (sender, calls) do update
    set reason = excluded.reason, until = excluded.until, seconds = excluded.seconds
    where parked.until <= wecom.clock()
""")
LAST_PARKED = "select seconds from wecom.parked_calls where sender = :sender and calls = :calls"
"""For how many seconds calls of one kind were parked last."""
# A call that was under way when another met the limit says nothing about it.
_END = text("""
    delete from wecom.parked_calls where sender = :sender and calls = :calls and until <= wecom.clock()
""")
_END_ALL = text("delete from wecom.parked_calls where sender = :sender")
_WAITING = text("""
    select sender, calls, reason, until from wecom.parked_calls where until > wecom.clock() order by sender, calls
""")


class Calls(StrEnum):
    """Kinds of calls that wait by themselves; the words are those a person reads."""

    RECALLS = "recalls"
    CARD_UPDATES = "card updates"
    UPLOADS = "uploads"


@dataclass(frozen=True, slots=True)
class Parking:
    """Calls of one kind that a sender does not make until then."""

    sender: str
    calls: Calls
    reason: str
    until: datetime


class ParkedCalls:
    """The calls of all senders that wait."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def waiting(self) -> list[Parking]:
        """Return what waits now, by sender."""
        with self._engine.connect() as connection:
            rows = connection.execute(_WAITING)
            return [Parking(row.sender, Calls(row.calls), row.reason, row.until) for row in rows]

    def last(self, sender: str, calls: Calls) -> int:
        """Return for how many seconds these calls were parked last; 0 once one of them has succeeded."""
        with self._engine.connect() as connection:
            return int(connection.scalar(text(LAST_PARKED), {"sender": sender, "calls": calls.value}) or 0)

    def park(self, sender: str, calls: Calls, reason: str, seconds: int) -> None:
        """Have these calls wait for a while, unless they wait already."""
        with self._engine.begin() as connection:
            park(connection, sender, calls, reason, seconds)


def park(connection: Connection, sender: str, calls: Calls, reason: str, seconds: int) -> None:
    """Have calls of one kind wait for a while, unless they wait already."""
    row = {"sender": sender, "calls": calls.value, "reason": shortened(reason), "seconds": seconds}
    connection.execute(_PARK, row)


def end_parking(connection: Connection, sender: str, calls: Calls) -> None:
    """Forget how long these calls were parked, now that one of them has succeeded."""
    connection.execute(_END, {"sender": sender, "calls": calls.value})


def end_every_parking(connection: Connection, sender: str) -> None:
    """Let all calls of a sender go on, as a person wishes."""
    connection.execute(_END_ALL, {"sender": sender})


def not_parked(calls: Calls, sender: str) -> str:
    """Return the condition that these calls of a sender, an expression of SQL, need not wait."""
    return f"""not exists (
        select from wecom.parked_calls as parked
        where parked.sender = {sender} and parked.calls = '{calls}' and parked.until > wecom.clock()
    )"""
