"""Who holds up a migration: seen from a second connection, as the first one waits."""

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError

LOOK_SECONDS = 0.1
"""Shorter than a lock is waited for, so that its holder is seen."""
TELL_AFTER_SECONDS = 2.0
TELL_AGAIN_SECONDS = 60.0

# Another role's session shows neither its state nor its age to a user without pg_read_all_stats.
_HOLDER = text("""
    select format('process %s of Postgres (%s)', pid, concat_ws(', ',
               nullif(application_name, ''), host(client_addr), state,
               'in a transaction for ' || round(extract(epoch from clock_timestamp() - xact_start)) || ' s'))
    from pg_stat_activity
    where pid = any(pg_blocking_pids(:process))
    order by xact_start nulls last limit 1
""")


class MigrationWatch:
    """Tells who has been in the way of a migration for a while.

    Attributes:
        last_holder: who was in the way last; empty if nobody was.
    """

    def __init__(self, engine: Engine, process: int, say: Callable[[str], None]) -> None:
        """Prepare to watch a process of Postgres, the one that migrates."""
        self.last_holder = ""
        self._engine = engine
        self._process = process
        self._say = say
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="migration-watch", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        try:
            with self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                self._look(connection)
        except SQLAlchemyError:
            return  # whatever it is, the migration meets it too, or can do without words

    def _look(self, connection: Connection) -> None:
        held_since: float | None = None
        tell_at = 0.0
        while not self._ended.wait(LOOK_SECONDS):
            holder = connection.scalar(_HOLDER, {"process": self._process})
            now = time.monotonic()
            if holder is None:
                held_since = None
                continue
            self.last_holder = holder
            held_since = now if held_since is None else held_since
            if now - held_since > TELL_AFTER_SECONDS and now > tell_at:
                self._say(f"Waiting for {holder}; those who write are not held up.")
                tell_at = now + TELL_AGAIN_SECONDS
