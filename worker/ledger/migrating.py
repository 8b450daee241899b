"""How the tables are brought up to date while workers and producers go on.

Each revision is a transaction of its own, and what takes long in it is done beside the writes; see
`worker/ledger/gentle_changes.py`, of which revisions are made. A revision that cannot have its locks in a moment is
tried again from where it stands. One that was interrupted, at whatever point, goes on when the migration is run again.
"""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from alembic import command
from alembic.config import Config
from psycopg.errors import DeadlockDetected, InsufficientPrivilege, LockNotAvailable
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import OperationalError, PendingRollbackError, ProgrammingError

from worker.ledger.connection import LedgerError, unreachable
from worker.ledger.migration_watch import MigrationWatch
from worker.ledger.revisions import MIGRATIONS, Age, standing_on
from worker.ledger.schema import SCHEMA

MIGRATION_LOCK = 0x7765636F6D
"""Advisory lock number ("wecom" in ASCII): of several migrations at once one runs, the others then find it done."""
LOOK_AGAIN_SECONDS = 0.2
"""So often a migration asks whether the one before it has ended."""
PAUSE_SECONDS = (0.5, 1.5)
"""Between two tries of a revision, at random: whoever was held up by the first can finish meanwhile."""
PATIENCE_SECONDS = 600.0
"""So long a revision is tried that cannot have its locks."""

_TRY_LOCK = text("select pg_try_advisory_lock(:number)")
_SCHEMA_EXISTS = text("select to_regnamespace(:schema) is not null")
# A role may be given limits, which are meant for programs that serve people.
_LIMITS = ("statement_timeout", "idle_in_transaction_session_timeout", "idle_session_timeout")


def say_nothing(_: str) -> None:
    """Tell nobody."""


def migrate(
    engine: Engine,
    revision: str | None = None,
    *,
    say: Callable[[str], None] = say_nothing,
    patience: float = PATIENCE_SECONDS,
) -> None:
    """Bring the tables up to date, or up to a revision; safe while they are used, and when several do it at once.

    Args:
        engine: the database.
        revision: where to stop; the newest if it is not given.
        say: is told in sentences what is done and what is waited for.
        patience: seconds for which a revision is tried again that cannot have its locks.

    Raises:
        LedgerError: there is no such revision, or the tables are past it; the database cannot be reached; its user may
            not make tables; another transaction has held the tables for too long. What is done stays done.
    """
    with _alone(engine, say) as (connection, watch):
        with connection.begin():
            found = standing_on(connection)
        target = found.newest if revision is None else revision
        if target not in found.known:
            raise LedgerError(f"there is no revision {target!r}; this release has {', '.join(found.known)}")
        if found.age is Age.NEWER:
            if revision is None:
                return
            raise LedgerError(f"the tables are those of a newer release ({found.revision}), which has more revisions")
        if found.revision is not None and found.known.index(target) < found.known.index(found.revision):
            raise LedgerError(
                f"the tables are past {target}, at {found.revision}; there is no way back, which would delete what is "
                "in them, and no need: the release before works with these tables"
            )
        if missing := found.missing(target):
            with connection.begin():
                if not connection.scalar(_SCHEMA_EXISTS, {"schema": SCHEMA}):
                    connection.execute(text(f"create schema {SCHEMA}"))
            say(f"To do: {', '.join(missing)}")
            _try_patiently(connection, target, _Tries(say, watch, patience))


def downgrade(engine: Engine, revision: str) -> None:
    """Take the tables back to an older revision, or to `base`: none at all, and no message either.

    For tests and whoever develops a revision: nothing else may use the tables meanwhile.

    Raises:
        LedgerError: the database cannot be reached, or its user may not change tables.
    """
    with _alone(engine, say_nothing) as (connection, _):
        command.downgrade(_config(connection, say_nothing), revision)


class _Tries:
    """How long a revision has been tried; the one after it begins anew."""

    def __init__(self, say: Callable[[str], None], watch: MigrationWatch, patience: float) -> None:
        self._say = say
        self._watch = watch
        self._patience = patience
        self._began = time.monotonic()

    def done(self, words: str) -> None:
        """Note that a revision is done."""
        self._began = time.monotonic()
        self._say(words)

    def pause(self, error: OperationalError) -> None:
        """Wait before the next try.

        Raises:
            LedgerError: there have been enough.
        """
        if time.monotonic() - self._began > self._patience:
            holder = self._watch.last_holder or "another transaction"
            raise LedgerError(
                f"the tables could not be changed for {self._patience:.0f} s, because {holder} holds them; end it, "
                "then run `wecom migrate` again: it goes on from where it stands"
            ) from error
        time.sleep(random.uniform(*PAUSE_SECONDS))  # noqa: S311 - no secret


def _try_patiently(connection: Connection, revision: str, tries: _Tries) -> None:
    while True:
        try:
            command.upgrade(_config(connection, tries.done), revision)
        except OperationalError as error:
            if not isinstance(error.orig, LockNotAvailable | DeadlockDetected):
                raise
            connection.rollback()
            tries.pause(error)
        else:
            return


@contextmanager
def _alone(engine: Engine, say: Callable[[str], None]) -> Iterator[tuple[Connection, MigrationWatch]]:
    """Yield a connection on which alone the tables are changed, once no other migration runs.

    The lock belongs to the session and not to a transaction, as indexes are built outside of one. It ends with the
    connection, and with it ends the migration: neither outlives the other.
    """
    try:
        with _session(engine) as connection:
            with connection.begin():
                for limit in _LIMITS:
                    connection.execute(text(f"set {limit} = 0"))
                process: int = connection.scalars(text("select pg_backend_pid()")).one()
            _wait_for_turn(connection, say)
            with MigrationWatch(engine, process, say) as watch:
                yield connection, watch
    except (OperationalError, PendingRollbackError) as error:
        raise LedgerError(unreachable(_cause(error))) from None
    except ProgrammingError as error:
        if not isinstance(error.orig, InsufficientPrivilege):
            raise
        raise LedgerError(
            f"the database user may not make tables ({error.orig}); run `wecom migrate` once as the database's owner"
        ) from None


def _cause(error: BaseException) -> OperationalError:
    """Return what broke a connection: as Alembic leaves a block without transactions, it stumbles over that again."""
    while error.__context__ is not None and not isinstance(error, OperationalError):
        error = error.__context__
    if isinstance(error, OperationalError):
        return error
    raise error


@contextmanager
def _session(engine: Engine) -> Iterator[Connection]:
    """Yield a connection that is closed at the end: what is set for it does not go back to the pool."""
    with engine.connect() as connection:
        try:
            yield connection
        finally:
            if not connection.closed:
                connection.invalidate()


def _wait_for_turn(connection: Connection, say: Callable[[str], None]) -> None:
    """Take the lock, or wait until it is free.

    One who waited for it inside of a statement would hold a snapshot, and whoever builds an index would wait for that.
    """
    said = False
    while True:
        with connection.begin():
            if connection.scalar(_TRY_LOCK, {"number": MIGRATION_LOCK}):
                return
        if not said:
            say("Another migration is under way; this one waits for its end.")
            said = True
        time.sleep(LOOK_AGAIN_SECONDS)


def _config(connection: Connection, done: Callable[[str], None]) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    config.attributes["done"] = done
    return config
