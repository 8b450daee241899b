"""Connections on which nobody waits past a deadline: a server can fall silent without closing the connection."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen
from sqlalchemy import Engine, event

CONNECT_SECONDS = 5
SHORTEST_CONNECT_SECONDS = 2
"""libpq takes no shorter time-out."""

_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class _Bound:
    until: float
    at_least: float

    @property
    def seconds(self) -> float:
        """How long a wait that begins now may last."""
        return max(self.until - time.monotonic(), self.at_least)


_bound: ContextVar[_Bound | None] = ContextVar("wecom_ledger_bound", default=None)


@contextmanager
def waiting_until(moment: float, *, at_least: float = 0.0) -> Iterator[None]:
    """Have no connection that this thread uses wait past a moment of the monotonic clock.

    With `at_least` each wait may last so many seconds, also after that moment: then a server is given up that does not
    answer, and not one that has much to do. A connection that is given up is closed, and the statement raises an
    OperationalError.
    """
    token = _bound.set(_Bound(moment, at_least))
    try:
        yield
    finally:
        _bound.reset(token)


class BoundedConnection(psycopg.Connection[Any]):
    """Waits no longer than `waiting_until` allows."""

    def wait(self, gen: PQGen[_Answer], interval: float = 0.1, timeout: float | None = None) -> _Answer:
        """Wait for the server."""
        bound = _bound.get()
        if bound is None:
            return super().wait(gen, interval, timeout)
        seconds = bound.seconds
        began = time.monotonic()
        try:
            return super().wait(gen, interval, seconds)
        except psycopg.OperationalError:
            if time.monotonic() - began < seconds:
                raise
            self.close()  # its answer may still come, and would be taken for that of the next statement
            raise psycopg.OperationalError("the server does not answer") from None


def bound_waits(engine: Engine) -> None:
    """Make the connections of an engine ones that respect `waiting_until`, also while they are opened."""

    @event.listens_for(engine, "do_connect")
    def _connect(_: object, __: object, arguments: list[Any], named: dict[str, Any]) -> BoundedConnection:
        bound = _bound.get()
        if bound is not None:
            left = math.ceil(bound.until - time.monotonic())
            named["connect_timeout"] = max(SHORTEST_CONNECT_SECONDS, min(left, CONNECT_SECONDS))
        return BoundedConnection.connect(*arguments, **named)
