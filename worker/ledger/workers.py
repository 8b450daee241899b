"""Statements about worker processes: which live, and when the clockwork last went. The database's clock decides."""

import os
import socket
from dataclasses import dataclass, field
from datetime import datetime
from typing import Self
from uuid import uuid4

from sqlalchemy import Engine, text

SIGN_SECONDS = 10.0
"""How often a worker shows that it lives."""
LIVES_SECONDS = 35
"""How long it counts as living after that: it may miss a sign or two while Postgres or its machine is busy."""
COMES_BACK_SECONDS = 120
"""How long it may take until one that ended is there again, by another name: nobody is to judge by a restart."""
KEPT_SECONDS = 3600
"""How long one that is gone without a word is remembered, so that somebody can see it."""

DISPATCH, REAP = "dispatch", "reap"
"""The parts of the clockwork: what has to run again and again."""

LIVES = f"worker.ended_at is null and worker.seen_at > wecom.clock() - interval '{LIVES_SECONDS} s'"
"""That `worker` lives."""
LIVES_OR_COMES_BACK = f"worker.seen_at > wecom.clock() - interval '{COMES_BACK_SECONDS} s'"
"""That `worker` lives, or may be about to be started again."""

_SIGN = text("""
    insert into wecom.workers as worker (id, machine, pid, delivers, started_at, seen_at, oldest_task_seconds)
    values (:id, :machine, :pid, :delivers, wecom.clock(), wecom.clock(), :oldest_task_seconds)
    on conflict (id) do update set seen_at = excluded.seen_at, oldest_task_seconds = excluded.oldest_task_seconds
""")
_LEAVE = text("update wecom.workers set ended_at = wecom.clock() where id = :id")
_ALL = text(f"""
    select id, machine, pid, delivers, started_at, seen_at, oldest_task_seconds, {LIVES} as lives
    from wecom.workers as worker where ended_at is null order by machine, pid
""")
_FORGET = text("delete from wecom.workers where seen_at < wecom.clock() - make_interval(secs => :seconds)")
_TICK = text("""
    insert into wecom.clockwork (name, ran_at) values (:name, wecom.clock())
    on conflict (name) do update set ran_at = excluded.ran_at
""")
_SECONDS_SINCE = text("select extract(epoch from wecom.clock() - ran_at) from wecom.clockwork where name = :name")


@dataclass(frozen=True, slots=True)
class WorkerProcess:
    """One worker process, by a name that no other one ever has.

    A process is the smallest thing with an address, a cable and a key of its own. A host name is none: containers have
    a new one at each start, several processes on one machine may have different settings.

    Attributes:
        id: the name.
        machine: the host name, for people.
        pid: the process id there.
    """

    id: str
    machine: str
    pid: int

    @classmethod
    def this(cls) -> Self:
        """Name this process."""
        machine, pid = socket.gethostname(), os.getpid()
        return cls(f"{machine}:{pid}:{uuid4().hex[:12]}", machine, pid)


@dataclass(frozen=True, slots=True)
class LifeSign:
    """What a worker process showed last.

    Attributes:
        worker: which.
        lives: whether that is recent enough.
        delivers: whether it answers wake-ups.
        started_at: when it began.
        seen_at: when it showed that.
        oldest_task_seconds: for how long it had been at the oldest task it had under way; 0 if at none.
    """

    worker: WorkerProcess
    lives: bool
    delivers: bool
    started_at: datetime
    seen_at: datetime
    oldest_task_seconds: int = field(default=0)


class Workers:
    """The worker processes of a ledger."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def sign(self, worker: WorkerProcess, *, delivers: bool = True, oldest_task_seconds: int = 0) -> None:
        """Show that a worker lives, and for how long it has been at its oldest task."""
        row = {"id": worker.id, "machine": worker.machine, "pid": worker.pid}
        with self._engine.begin() as connection:
            connection.execute(_SIGN, row | {"delivers": delivers, "oldest_task_seconds": oldest_task_seconds})

    def leave(self, worker: WorkerProcess) -> None:
        """Note that a worker ends in order."""
        with self._engine.begin() as connection:
            connection.execute(_LEAVE, {"id": worker.id})

    def all(self) -> list[LifeSign]:
        """Return all workers that live, and those that fell silent lately, by machine."""
        with self._engine.connect() as connection:
            return [
                LifeSign(
                    WorkerProcess(row.id, row.machine, row.pid),
                    row.lives,
                    row.delivers,
                    row.started_at,
                    row.seen_at,
                    row.oldest_task_seconds,
                )
                for row in connection.execute(_ALL)
            ]

    def forget_the_gone(self) -> None:
        """Forget workers that ended or fell silent long ago."""
        with self._engine.begin() as connection:
            connection.execute(_FORGET, {"seconds": KEPT_SECONDS})

    def note_tick(self, name: str) -> None:
        """Note that a part of the clockwork has run to its end."""
        with self._engine.begin() as connection:
            connection.execute(_TICK, {"name": name})

    def seconds_since_tick(self, name: str) -> float | None:
        """Return how long ago a part of the clockwork ran last; None if it never did."""
        with self._engine.connect() as connection:
            seconds = connection.scalar(_SECONDS_SINCE, {"name": name})
        return None if seconds is None else float(seconds)
