"""Transactions of our own, which end well although connections break.

Before COMMIT is handed over, a broken connection means that nothing was stored. Afterwards nobody knows: Postgres may
have carried it out, may be about to, or never heard of it. So the same is asked for again on a fresh connection, with
the same ids: a row that is there stays as it is, and an insert waits for the end of a transaction that holds its key.
What Postgres itself knows of a transaction (`pg_xact_status`) would be no answer: after a failover to a replica nobody
knows of what the replica did not get.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID

import psycopg
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, OperationalError

from worker.ledger.bounded import ServerSilentError, waiting_until
from worker.ledger.connection import PerhapsStored

ANSWER_SECONDS = 5.0
"""How long the answer to a COMMIT is waited for on its own connection, and any answer while asking again."""
DOUBT_SECONDS = 15.0
"""How long the ledger is asked again before a producer is told that nobody knows."""
LONGEST_PAUSE_SECONDS = 1.0
IDS_NAMED = 3

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class InDoubt:
    """What a producer is told if nobody could find out: what to do then, and the ids it is about."""

    what_to_do: str
    ids: Sequence[UUID] = ()

    def told(self, cause: str) -> PerhapsStored:
        """Return the error."""
        named = ", ".join(str(one) for one in self.ids[:IDS_NAMED])
        more = f" and {len(self.ids) - IDS_NAMED} more" if len(self.ids) > IDS_NAMED else ""
        about = f" ({named}{more})" if named else ""
        return PerhapsStored(
            f"perhaps stored{about}: Postgres was asked to commit, its answer was lost, and for {DOUBT_SECONDS:.0f} s "
            f"it could not be asked again ({cause}); {self.what_to_do}",
            self.ids,
        )


class _CommitUnansweredError(Exception):
    """COMMIT was handed over, and the connection broke before its answer."""

    def __init__(self, cause: DBAPIError, handed_over: float) -> None:
        super().__init__()
        self.cause = cause
        self.handed_over = handed_over


def transact(
    engine: Engine,
    step: Callable[[Connection], Result],
    in_doubt: InDoubt,
    *,
    look: Callable[[Connection], Result] | None = None,
    asked_before: bool = False,
) -> Result:
    """Carry a step out in a transaction of our own, commit it, and return what the step returned.

    Args:
        engine: where.
        step: writes, and what it writes twice it has written once: it is repeated, on a fresh connection, when one
            broke under it and when the answer to COMMIT was lost.
        in_doubt: what is said when COMMIT was handed over and nobody could find out what became of it.
        look: finds out whether what `step` wrote is there, for a step that cannot be repeated; it waits for the end of
            the transaction in doubt, and raises LedgerError if nothing was stored.
        asked_before: whether COMMIT was handed over once, before this call: so much is in doubt from the start.

    Raises:
        PerhapsStored: COMMIT was handed over, and the ledger could not be asked for what became of it.
        DBAPIError: nothing was stored.
        Exception: what the step raises; nothing was stored.
    """
    if asked_before:
        return _again(engine, step, in_doubt, handed_over=time.monotonic())
    try:
        with engine.connect() as connection:
            return _committed(connection, step)
    except _CommitUnansweredError as unanswered:
        return _again(engine, look or step, in_doubt, handed_over=unanswered.handed_over)
    except DBAPIError as error:
        if look is not None or not error.connection_invalidated:
            raise
        silent = isinstance(error.orig, ServerSilentError)  # it was waited for long enough; perhaps only the connection
        return _again(engine, step, in_doubt, handed_over=None, seconds=ANSWER_SECONDS if silent else None)


def _again(
    engine: Engine,
    step: Callable[[Connection], Result],
    in_doubt: InDoubt,
    *,
    handed_over: float | None,
    seconds: float | None = None,
) -> Result:
    """Carry a step out whose connection broke, once the ledger can be reached again.

    `handed_over` is when its COMMIT was, by the monotonic clock; None if it was not. It is tried for `seconds`, by
    default `DOUBT_SECONDS`.
    """
    until, pause = (handed_over or time.monotonic()) + (DOUBT_SECONDS if seconds is None else seconds), 0.0
    while True:
        try:
            with waiting_until(until, at_least=ANSWER_SECONDS), _fresh_connection(engine) as connection:
                return _committed(connection, step)
        except _CommitUnansweredError as unanswered:
            cause = unanswered.cause
            if handed_over is None:
                handed_over = unanswered.handed_over
                until = handed_over + DOUBT_SECONDS
        except DBAPIError as error:
            # A server that starts, is a replica still, or lets somebody wait for a lock, answers otherwise later.
            if handed_over is None and not isinstance(error, OperationalError):
                raise
            cause = error
        pause = min(2 * pause + 0.05, LONGEST_PAUSE_SECONDS)
        if time.monotonic() + pause >= until:
            break
        time.sleep(pause)
    if handed_over is None:
        raise cause
    first_line = str(cause.orig).strip().splitlines()[:1]
    raise in_doubt.told(first_line[0] if first_line else "no answer") from None


def _committed(connection: Connection, step: Callable[[Connection], Result]) -> Result:
    """Carry out and commit; what fails is rolled back when the connection is closed.

    Raises:
        _CommitUnansweredError: nobody knows whether it was committed.
    """
    result = step(connection)
    handed_over = time.monotonic()
    try:
        with waiting_until(handed_over + ANSWER_SECONDS):
            connection.commit()
    except DBAPIError as error:
        # A server that refuses a COMMIT says so on a connection that goes on.
        if error.connection_invalidated:
            raise _CommitUnansweredError(error, handed_over) from None
        raise
    return result


@contextmanager
def _fresh_connection(engine: Engine) -> Iterator[Connection]:
    """Open a connection beside the pool, whose others may be as broken, or all in use."""
    pool = engine.pool.recreate()
    try:
        try:
            opened = pool.connect()
        except psycopg.Error as error:
            raise OperationalError(None, None, error, hide_parameters=True) from None
        with Connection(engine, opened) as connection:
            yield connection
    finally:
        pool.dispose()
