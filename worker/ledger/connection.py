"""How the ledger is reached, and whether its tables are those this release knows."""

from collections.abc import Callable
from pathlib import Path

import orjson
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from psycopg import Connection as PsycopgConnection
from psycopg.errors import DeadlockDetected, InsufficientPrivilege, LockNotAvailable, SerializationFailure
from sqlalchemy import Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, InternalError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from worker.layout import located
from worker.ledger.schema import SCHEMA

MIGRATIONS = located("migrations")
MIGRATION_LOCK = 0x7765636F6D
"""Advisory lock number ("wecom" in ASCII): of several migrations at once one runs, the others then find it done."""
CONNECT_SECONDS = 5


PASSING_FAULTS = (OperationalError, InternalError, PoolTimeoutError)
"""What a Postgres that restarts, fails over or is locked answers; the same statement can succeed later."""


class LedgerError(Exception):
    """The ledger cannot be used; the text says why and what to do."""


def open_engine(database_url: str, connections: int = 8, *, lock_seconds: float = 0) -> Engine:
    """Prepare a pool of connections; none is opened yet. With `lock_seconds` no statement waits longer for a lock.

    `postgresql://` and `postgres://`, as other programs write it, are read as `postgresql+psycopg://`. Parameters
    of statements never appear in errors or logs: they are message texts and credentials.

    Raises:
        LedgerError: the URL cannot be read.
    """
    try:
        url = make_url(database_url)
        if url.drivername in {"postgresql", "postgres"}:
            url = url.set(drivername="postgresql+psycopg")
        engine = create_engine(
            url,
            pool_size=connections,
            max_overflow=connections,
            pool_pre_ping=True,
            hide_parameters=True,
            json_deserializer=orjson.loads,
            connect_args={"connect_timeout": CONNECT_SECONDS, "application_name": "wecom-worker"},
        )
    except (ArgumentError, ValueError, ModuleNotFoundError):
        raise LedgerError(
            "WECOM_DATABASE_URL cannot be read; write it as postgresql+psycopg://user:password@host:5432/database"
        ) from None
    if lock_seconds:

        @event.listens_for(engine, "connect")
        def _limit_waiting(connection: PsycopgConnection, _: object) -> None:
            connection.execute(f"set lock_timeout = '{lock_seconds}s'")
            connection.commit()

    return engine


def migrate(engine: Engine) -> None:
    """Bring the tables up to date; safe when several processes do it at once.

    Raises:
        LedgerError: the database cannot be reached, or its user may not make tables.
    """
    _run(engine, lambda config: command.upgrade(config, "head"))


def downgrade(engine: Engine, revision: str) -> None:
    """Take the tables back to an older revision, or to `base`: none at all, and no message either.

    Raises:
        LedgerError: the database cannot be reached, or its user may not change tables.
    """
    _run(engine, lambda config: command.downgrade(config, revision))


def _run(engine: Engine, change: Callable[[Config], None]) -> None:
    """Change the tables under a lock, in one transaction."""
    try:
        with engine.begin() as connection:
            connection.execute(text("select pg_advisory_xact_lock(:number)"), {"number": MIGRATION_LOCK})
            connection.execute(text(f"create schema if not exists {SCHEMA}"))
            change(_config(connection))
    except OperationalError as error:
        raise LedgerError(unreachable(error)) from None
    except ProgrammingError as error:
        if not isinstance(error.orig, InsufficientPrivilege):
            raise
        raise LedgerError(
            f"the database user may not make tables ({error.orig}); run `wecom migrate` once as the database's owner"
        ) from None


def require_migrated(engine: Engine, *, embedded_in: Path | None = None) -> None:
    """Check that the tables are there and not older than this release.

    Newer ones are fine: a migration works with the release before it.

    Args:
        engine: the database.
        embedded_in: the directory of the embedded database if it is one, which was perhaps made only now.

    Raises:
        LedgerError: `wecom migrate` is due, or the database cannot be reached.
    """
    try:
        with engine.connect() as connection:
            current = _current(connection)
    except OperationalError as error:
        raise LedgerError(unreachable(error)) from None
    known = {script.revision for script in _scripts().walk_revisions()}
    if current is None:
        raise LedgerError(_without_tables(embedded_in))
    if current in known and current != _scripts().get_current_head():
        raise LedgerError(f"the tables are those of an older release ({current}); run `wecom migrate`")


def _without_tables(embedded_in: Path | None) -> str:
    if embedded_in is None:
        return "the database has no tables of wecom-worker yet; run `wecom migrate`"
    return (
        f"the embedded database in {embedded_in} has no tables yet; is `wecom up` running in another directory? go "
        "there or set WECOM_HOME, or begin here with `wecom up`"
    )


def unreachable(error: OperationalError) -> str:
    """Say in one line why Postgres does not do as asked, without the address, which may hold a password."""
    if isinstance(error.orig, DeadlockDetected | LockNotAvailable | SerializationFailure):
        return "another program holds rows this one needs; nothing was stored, try again"
    first_line = str(error.orig).strip().splitlines()[0] if error.orig else "no answer"
    return f"Postgres cannot be reached ({first_line}); check WECOM_DATABASE_URL and that the server runs"


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def _scripts() -> ScriptDirectory:
    return ScriptDirectory(str(MIGRATIONS))


def _current(connection: Connection) -> str | None:
    context = MigrationContext.configure(connection, opts={"version_table_schema": SCHEMA})
    return context.get_current_revision()
