"""How the ledger is reached, and what its errors mean."""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any
from uuid import UUID

import orjson
import psycopg
from psycopg.errors import DeadlockDetected, LockNotAvailable, SerializationFailure
from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from worker.ledger.bounded import SILENCE_SECONDS, bound_waits, silence_parameters
from worker.ledger.forks import safe_to_fork

PASSING_CLASSES = frozenset(
    {
        "08",  # connection exceptions
        "28",  # refused at the door: a password or a rule that is being changed
        "3D",  # no such database: it is being restored
        "40",  # rolled back: serialization, deadlock, completion unknown
        "53",  # out of disk, of memory, of connections
        "57",  # cancelled, shut down, crashed, starting up
        "58",  # an error of the operating system
        "72",  # the snapshot is too old
    }
)
"""Classes of SQLSTATE (appendix A of the manual of Postgres) that speak of the server, not of the statement."""
PASSING_STATES = frozenset(
    {
        "25006",  # read-only: after a fail-over the old address still leads to a standby
        "25P03",  # the transaction was idle for too long
        "25P04",  # the transaction took too long
        "26000",  # no such prepared statement: a pooler handed over another connection
        "42P05",  # the prepared statement exists already: the same
        "55006",  # an object is in use
        "55P03",  # a lock was not to be had in time
        "XX000",  # a fault within Postgres, or what a pooler says when it has no server
    }
)
"""The same of classes that otherwise speak of the statement or its values."""


VANISHED_CLIENTS: Mapping[str, str] = MappingProxyType(
    {
        "tcp_keepalives_idle": "15",
        "tcp_keepalives_interval": "5",
        "tcp_keepalives_count": "3",
        "tcp_user_timeout": "30s",
    }
)
"""By these Postgres itself ends the session of a client that vanished, within half a minute. By default the rows that
such a session has locked stay so for two hours, and whoever wants one waits."""


class LedgerError(Exception):
    """The ledger cannot be used; the text says why and what to do."""


class PerhapsStored(LedgerError):  # noqa: N818 - it says what is the matter
    """Postgres was asked to commit, and nobody knows whether it did; docs/asking-again.md tells what to do.

    Attributes:
        ids: what this is about, in the order asked for: the messages, or the campaign. `Producer.send` with
            `message_id` finds or stores exactly that message.
    """

    def __init__(self, words: str, ids: Iterable[UUID] = ()) -> None:
        super().__init__(words)
        self.ids = tuple(ids)


class ClaimInDoubtError(Exception):
    """Rows were claimed, and the answer to the COMMIT was lost: they are this worker's, or nobody's.

    Attributes:
        claimed: what the claim would have returned; none of it may be worked on, all of it is to be given back.
    """

    def __init__(self, claimed: Sequence[Any]) -> None:
        super().__init__(f"whether {len(claimed)} rows were claimed is not known")
        self.claimed = claimed


def commit_claim(connection: Connection, claimed: Sequence[Any]) -> None:
    """Commit the transaction that claimed these rows.

    Raises:
        ClaimInDoubtError: the COMMIT met a passing fault, so that it may have been carried out.
    """
    try:
        connection.commit()
    except Exception as error:
        if claimed and is_passing(error):
            raise ClaimInDoubtError(claimed) from error
        raise


def is_passing(error: BaseException) -> bool:
    """Whether the same statement can succeed later: Postgres restarts, fails over, is full, locked or cut off.

    Judged by the SQLSTATE. An error without one comes from the connection and passes; a value that the driver refuses,
    one that is too long for an index, a missing table do not.
    """
    if isinstance(error, PoolTimeoutError | PerhapsStored):
        return True
    cause = error.orig if isinstance(error, DBAPIError) else error
    state = cause.sqlstate if isinstance(cause, psycopg.Error) else None
    if state is None:
        return isinstance(error, OperationalError | InterfaceError | psycopg.OperationalError | psycopg.InterfaceError)
    return state[:2] in PASSING_CLASSES or state in PASSING_STATES


def fault_in_one_line(error: BaseException) -> str:
    """Say what kind of passing fault this is, without what differs from one statement to the next."""
    if isinstance(error, PoolTimeoutError):
        return "all connections of this process are in use"
    if isinstance(error, PerhapsStored | ClaimInDoubtError):
        return "the answer to a COMMIT was lost"
    cause = error.orig if isinstance(error, DBAPIError) else error
    first_line = str(cause).strip().partition("\n")[0]
    return first_line or type(cause).__name__


def open_engine(
    database_url: str,
    connections: int = 8,
    *,
    lock_seconds: float = 0,
    silence_seconds: float = SILENCE_SECONDS,
) -> Engine:
    """Prepare a pool of connections; none is opened yet. With `lock_seconds` no statement waits longer for a lock.

    `postgresql://` and `postgres://`, as other programs write it, are read as `postgresql+psycopg://`. Parameters
    of statements never appear in errors or logs: they are message texts and credentials. What the URL says of
    libpq's parameters stands. A process that is forked opens connections of its own.

    Raises:
        LedgerError: the URL cannot be read.
    """
    try:
        url = make_url(database_url)
        if url.drivername in {"postgresql", "postgres"}:
            url = url.set(drivername="postgresql+psycopg")
        parameters = {"application_name": "wecom-worker", **silence_parameters(silence_seconds)}
        engine = create_engine(
            url,
            pool_size=connections,
            max_overflow=connections,
            pool_timeout=silence_seconds,
            pool_pre_ping=True,
            hide_parameters=True,
            json_deserializer=orjson.loads,
            connect_args={name: value for name, value in parameters.items() if name not in url.query},
        )
    except (ArgumentError, ValueError, ModuleNotFoundError):
        raise LedgerError(
            "WECOM_DATABASE_URL cannot be read; write it as postgresql+psycopg://user:password@host:5432/database"
        ) from None
    bound_waits(engine, silence_seconds)
    safe_to_fork(engine)
    setup = _session_setup(str(url.query.get("options", "")), lock_seconds)

    @event.listens_for(engine, "connect")
    def _set_up(connection: psycopg.Connection[Any], _: object) -> None:
        connection.autocommit = True  # one round trip
        connection.execute(setup.encode())
        connection.autocommit = False

    return engine


def _session_setup(options: str, lock_seconds: float) -> str:
    """Return what each session of Postgres is told; what the options of the URL say stands."""
    chosen = dict(VANISHED_CLIENTS)
    if lock_seconds:
        chosen["lock_timeout"] = f"{lock_seconds}s"
    return "; ".join(f"set {name} = '{value}'" for name, value in chosen.items() if name not in options) or "select"


def unreachable(error: OperationalError) -> str:
    """Say in one line why Postgres does not do as asked, without the address, which may hold a password."""
    if isinstance(error.orig, DeadlockDetected | LockNotAvailable | SerializationFailure):
        return "another program holds rows this one needs; nothing was stored, try again"
    first_line = str(error.orig).strip().splitlines()[0] if error.orig else "no answer"
    return f"Postgres cannot be reached ({first_line}); check WECOM_DATABASE_URL and that the server runs"
