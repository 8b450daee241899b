"""What a producer writes with: the ledger, in the caller's transaction or in one of its own, and the bell."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from worker.delivery.bell import Bell
from worker.delivery.capture import Capture
from worker.ledger import InDoubt, Ledger, LedgerError, Transaction, after_commit, borrowed, transact, unreachable
from worker.producer_servers import ProducerServers
from worker.settings import Settings, load_settings

Result = TypeVar("Result")


class ProducerLedger:
    """Settings and servers of a `Producer`, and how it writes."""

    capture: Capture | None = None
    """Takes what all producers are asked for, in place of the ledger; `worker.testing.captured` sets it."""

    def __init__(
        self,
        *,
        database_url: str | None = None,
        redis_url: str | None = None,
        broker_url: str | None = None,
        settings: Settings | None = None,
    ) -> None:
        self._own_servers = ProducerServers(
            settings or load_settings(database_url=database_url, redis_url=redis_url, broker_url=broker_url)
        )

    def close(self) -> None:
        """Close the connections; they are opened again if the producer is used again."""
        self._servers.close()

    @property
    def _servers(self) -> ProducerServers:
        """What this producer works with; that of an integration has one for each application."""
        return self._own_servers

    @property
    def _settings(self) -> Settings:
        return self._servers.settings

    @property
    def _ledger(self) -> Ledger:
        return self._servers.connections.ledger

    @property
    def _bell(self) -> Bell:
        return self._servers.connections.bell

    def _transact(
        self,
        step: Callable[[Connection], Result],
        callers: Transaction | None,
        in_doubt: InDoubt,
        *,
        look: Callable[[Connection], Result] | None = None,
        asked_before: bool = False,
    ) -> Result:
        """Carry a step out in the caller's transaction, or in one of our own; see `transact`."""
        with self._ledger_errors():
            if callers is None:
                return transact(self._ledger.engine, step, in_doubt, look=look, asked_before=asked_before)
            with borrowed(callers) as connection:
                return step(connection)

    def _ring(self, sender: str, callers: Transaction | None, times: int = 1) -> None:
        """Ring now, or once the caller has committed."""
        if callers is None:
            self._bell.ring(sender, times)
        else:
            after_commit(callers, sender, partial(self._bell.ring, sender, times))

    @contextmanager
    def _ledger_errors(self) -> Iterator[None]:
        if self.capture is not None:
            raise NotImplementedError(
                "captured() keeps what is sent in a list; this needs a ledger, see docs/testing.md"
            )
        try:
            yield
        except OperationalError as error:
            raise LedgerError(unreachable(error)) from None
        except PoolTimeoutError:
            raise LedgerError(
                f"all connections of this program to Postgres were in use for {self._settings.silence_seconds:g} s; "
                "nothing was stored, try again"
            ) from None
