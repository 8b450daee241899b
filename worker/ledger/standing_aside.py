"""Statements about workers that alone cannot send for a sender, and stand aside while the others do."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import Connection, Engine, text

from worker.ledger.bounds import shortened
from worker.ledger.workers import KEPT_SECONDS, LIVES, LIVES_OR_COMES_BACK, WorkerProcess

LATELY_SECONDS = 120
"""How long after it should have tried again a worker still counts as one that cannot send."""

_LATELY = f"met.until > wecom.clock() - interval '{LATELY_SECONDS} s'"

# Of several workers that meet a fault at once, the last one must see what the others have noted. Whoever inserts
# messages of the sender does not wait for this lock.
_ONE_AT_A_TIME = text("select from wecom.senders where name = :sender for no key update")

# A fault that other calls under way meet as well renews nothing.
_NOTE = text(f"""
    insert into wecom.standing_aside as met (sender, worker, machine, pid, fault, reason, since, until, seconds)
    values (:sender, :worker, :machine, :pid, :fault, :reason, wecom.clock(),
            wecom.clock() + make_interval(secs => :first), :first)
    on conflict (sender, worker) do update set
        fault = excluded.fault,
        reason = excluded.reason,
        since = case when met.fault = excluded.fault and {_LATELY} then met.since else excluded.since end,
        seconds = case when met.fault = excluded.fault and {_LATELY}
                       then least(greatest(:first, 2 * met.seconds), :longest) else :first end,
        until = wecom.clock() + make_interval(secs => case
            when met.fault = excluded.fault and {_LATELY}
            then least(greatest(:first, 2 * met.seconds), :longest) else :first end)
    where met.until <= wecom.clock() or met.fault <> excluded.fault
""")

_OTHERS_MAY_SEND = text(f"""
    select exists (
        select from wecom.workers as worker
        where worker.id <> :worker and worker.delivers and {LIVES_OR_COMES_BACK} and not exists (
            select from wecom.standing_aside as met
            where met.sender = :sender and met.worker = worker.id and met.fault = :fault and {_LATELY}
        )
    )
""")

# The pause or the parking of the sender takes over; once it ends, everybody tries.
_ALL_TRY_THEN = text("""
    update wecom.standing_aside set until = wecom.clock()
    where sender = :sender and fault = :fault and until > wecom.clock()
""")

_STANDS = text("select until > wecom.clock() from wecom.standing_aside where sender = :sender and worker = :worker")
_PASSED = text("delete from wecom.standing_aside where sender = :sender and worker = :worker")
_END_ALL = text("delete from wecom.standing_aside where sender = :sender")
_FORGET = text("delete from wecom.standing_aside where until < wecom.clock() - make_interval(secs => :seconds)")

# One that may try again, and has not yet, still sends nothing; but a sender that is stopped is stopped for all. Workers
# that are gone stand nowhere any more.
_NOW = text(f"""
    select met.sender, met.worker, met.machine, met.pid, met.reason, met.since, met.until
    from wecom.standing_aside as met join wecom.senders as sender on sender.name = met.sender
    where (met.until > wecom.clock()
           or ({_LATELY} and (sender.paused_reason is null or sender.paused_until <= wecom.clock())))
      and not exists (select from wecom.workers as worker where worker.id = met.worker and not ({LIVES}))
    order by met.sender, met.machine, met.pid
""")


class Fault(StrEnum):
    """What may be the matter with one machine alone."""

    REFUSED = "address refused"
    UNREACHABLE = "unreachable"
    KEY = "unreadable key"


@dataclass(frozen=True, slots=True)
class StandingAside:
    """A worker that leaves a sender to the others: why, since when, and until when at least."""

    sender: str
    worker: WorkerProcess
    reason: str
    since: datetime
    until: datetime


class Asides:
    """Who stands aside for which sender."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def meet(self, sender: str, worker: WorkerProcess, fault: Fault, reason: str, *, first: int, longest: int) -> bool:
        """Note that a worker cannot send for a sender; return whether another one that lives may be able to.

        The worker stands aside for `first` seconds, and twice as long each time it meets the same again, up to
        `longest`. If every worker that lives, or ended a moment ago and may be started again, has met the same lately,
        nobody stands aside: the sender is to be stopped.
        """
        row = {
            "sender": sender,
            "worker": worker.id,
            "machine": worker.machine,
            "pid": worker.pid,
            "fault": fault.value,
            "reason": shortened(reason),
            "first": first,
            "longest": longest,
        }
        with self._engine.begin() as connection:
            connection.execute(_ONE_AT_A_TIME, {"sender": sender})
            connection.execute(_NOTE, row)
            asked = {"sender": sender, "worker": worker.id, "fault": fault.value}
            others: bool = connection.execute(_OTHERS_MAY_SEND, asked).scalar_one()
            if not others:
                connection.execute(_ALL_TRY_THEN, {"sender": sender, "fault": fault.value})
        return others

    def stands(self, sender: str, worker: WorkerProcess) -> bool | None:
        """Return whether a worker stands aside; None if it has nothing against it any more, by a person's word."""
        with self._engine.connect() as connection:
            stands: bool | None = connection.scalar(_STANDS, {"sender": sender, "worker": worker.id})
        return stands

    def passed(self, sender: str, worker: WorkerProcess) -> None:
        """Note that a worker can send again."""
        with self._engine.begin() as connection:
            connection.execute(_PASSED, {"sender": sender, "worker": worker.id})

    def now(self) -> list[StandingAside]:
        """Return who stands aside, by sender and machine."""
        with self._engine.connect() as connection:
            return [
                StandingAside(
                    row.sender, WorkerProcess(row.worker, row.machine, row.pid), row.reason, row.since, row.until
                )
                for row in connection.execute(_NOW)
            ]

    def forget_the_old(self) -> None:
        """Forget what was met long ago."""
        with self._engine.begin() as connection:
            connection.execute(_FORGET, {"seconds": KEPT_SECONDS})


def end_standing_aside(connection: Connection, sender: str) -> None:
    """Let every worker try again, as a person wishes."""
    connection.execute(_END_ALL, {"sender": sender})
