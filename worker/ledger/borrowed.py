"""The transaction of a caller, so that its rows and its messages are stored together or not at all.

Whatever the caller has, there is a psycopg connection beneath it. Our statements run on that connection, through
cursors of our own, and nothing of it is ours: neither its transaction, which only the caller ends, nor how it reads
and writes values, which Django and others have set to their own liking.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import orjson
import psycopg
from psycopg.adapt import AdaptersMap
from psycopg.errors import InsufficientPrivilege, InvalidSchemaName, UndefinedTable
from psycopg.pq import TransactionStatus
from psycopg.rows import TupleRow, tuple_row
from psycopg.types.json import set_json_loads
from sqlalchemy import Connection, create_engine, event
from sqlalchemy.exc import InvalidRequestError, ProgrammingError
from sqlalchemy.orm import Session, scoped_session
from sqlalchemy.pool import NullPool

from worker.ledger.connection import LedgerError

Transaction: TypeAlias = Connection | Session | scoped_session[Session] | psycopg.Connection[Any]
"""What a caller can hand over to have its messages stored in its own transaction."""

_ADAPTERS = AdaptersMap(psycopg.adapters)
set_json_loads(orjson.loads, _ADAPTERS)

# Never connects: it lends its dialect and its cache of compiled statements.
_ENGINE = create_engine("postgresql+psycopg://", poolclass=NullPool, hide_parameters=True)

_RINGS = "wecom.rings"


class _Cursor(psycopg.Cursor[TupleRow]):
    """Reads and writes values our way on a connection that does it another way."""

    __slots__ = ()

    @property
    def adapters(self) -> AdaptersMap:
        return _ADAPTERS


class _Borrowed:
    """As much of a connection as SQLAlchemy needs; to end the transaction or the connection is up to its owner."""

    def __init__(self, owned: psycopg.Connection[Any]) -> None:
        self._owned = owned

    @property
    def closed(self) -> bool:
        return self._owned.closed

    @property
    def broken(self) -> bool:
        return self._owned.broken

    def cursor(self) -> _Cursor:
        return _Cursor(self._owned, row_factory=tuple_row)

    def rollback(self) -> None:
        """Leave it to the owner."""

    def close(self) -> None:
        """Leave it to the owner."""


@contextmanager
def borrowed(transaction: Transaction) -> Iterator[Connection]:
    """Yield a connection whose statements belong to the caller's transaction, all or none, and never end it.

    Raises:
        LedgerError: there is no transaction that could be joined, or its database has no tables of ours.
    """
    owned = _usable(_driver_connection(transaction))
    pool = NullPool(lambda: _Borrowed(owned), dialect=_ENGINE.dialect, reset_on_return=None)  # type: ignore[arg-type]
    try:
        # A savepoint of our own: what is refused leaves nothing behind, and the caller's transaction can go on.
        with Connection(_ENGINE, pool.connect()) as connection, connection.begin_nested():
            yield connection
    except ProgrammingError as error:
        if isinstance(error.orig, InvalidSchemaName | UndefinedTable):
            raise LedgerError(
                "connection: its database has no tables of wecom-worker; hand over a connection to the database in "
                "WECOM_DATABASE_URL, or run `wecom migrate` there"
            ) from None
        if isinstance(error.orig, InsufficientPrivilege):
            refusal = str(error.orig).strip().splitlines()[0]
            raise LedgerError(f"connection: its database user may not do this ({refusal}); grant it") from None
        raise


def after_commit(transaction: Transaction, sender: str, ring: Callable[[], object]) -> None:
    """Have the bell of a sender rung once a Session has committed.

    SQLAlchemy tells of the commit of a Connection before it happens, and psycopg tells nothing: there the dispatcher
    finds what is due, within a second.
    """
    session = transaction() if isinstance(transaction, scoped_session) else transaction
    if not isinstance(session, Session):
        return
    session.info.setdefault(_RINGS, {})[sender] = ring
    event.listen(session, "after_commit", _ring)  # once a session, however often it is asked for


def _ring(session: Session) -> None:
    """Ring for all; what was rolled back rings with the next commit, and a needless bell does no harm."""
    if session.in_nested_transaction():  # only a savepoint was released
        return
    for ring in session.info.pop(_RINGS, {}).values():
        ring()


def _driver_connection(transaction: Transaction) -> object:
    """Return what SQLAlchemy talks through, with a transaction begun as far as SQLAlchemy knows."""
    try:
        if isinstance(transaction, Session | scoped_session):
            return transaction.connection().connection.driver_connection
        if isinstance(transaction, Connection):
            if not transaction.in_transaction():
                transaction.begin()  # as its first statement would have; otherwise its commit would commit nothing
            return transaction.connection.driver_connection
    except InvalidRequestError as error:  # closed, failed and not rolled back, not bound to a database
        raise LedgerError(f"connection: {error.args[0]}") from None
    return transaction


def _usable(connection: object) -> psycopg.Connection[Any]:
    if not isinstance(connection, psycopg.Connection):
        kind = type(connection)
        raise LedgerError(
            f"connection: a {kind.__module__}.{kind.__qualname__} cannot be used; hand over a SQLAlchemy Session or "
            "Connection on Postgres with the driver psycopg (postgresql+psycopg://), or a psycopg 3 connection; "
            "asynchronous ones cannot be used"
        )
    status = connection.info.transaction_status
    if connection.closed:
        raise LedgerError("connection: it is closed")
    if status == TransactionStatus.INERROR:
        raise LedgerError("connection: its transaction has failed; roll it back first")
    if status == TransactionStatus.IDLE and connection.autocommit:
        raise LedgerError(
            "connection: it commits every statement by itself, so there is no transaction to take part in; open one "
            "around both, with `with connection.transaction():`"
        )
    return connection
