"""Connections on which nobody waits in vain: a server can fall silent without closing the connection.

Where packets are dropped, the operating system gives a connection up (`silence_parameters`). Something on the way may
go on acknowledging them, or the server's machine while Postgres is stopped; then only the client can notice. So every
wait ends here. A statement may work for hours, though. So where nothing has come for a while, the server is asked on
another connection whether it works on the statement, and only a connection of which it does not know is given up.
"""

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, NoReturn, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.conninfo import make_conninfo
from sqlalchemy import Engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection

CONNECT_SECONDS = 5
SHORTEST_CONNECT_SECONDS = 2
"""libpq takes no shorter time-out."""
PING_SECONDS = 5.0
"""How long a connection of the pool may take to show that it works before it is used."""
SILENCE_SECONDS = 15.0
"""How long a silent server is waited for, unless a setting says otherwise."""
LAST_CHANCE_SECONDS = 1.0
"""How long an answer may still be on its way once the server says that it is not at work on it."""
UNSEEN_SECONDS = 300.0
"""How long is waited for an answer at most where the server answers, and cannot say whether it is at work on it."""

_AT_WORK = """
    select pg_backend_pid(), activity.state, activity.wait_event
    from (values (1)) as one (row) left join pg_stat_activity as activity on activity.pid = %s
"""

_SAID_BY_THE_SERVER = ":  "
"""What libpq writes behind the severity in a message of the server, in any language, and in none of its own."""

_Answer = TypeVar("_Answer")


class ServerSilentError(psycopg.OperationalError):
    """Nothing came from the server for too long, and the connection was closed."""


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
    """Have no connection that this thread uses wait past a moment of the monotonic clock, whatever the server does.

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
    """Waits no longer than `waiting_until` allows, and for a silent server no longer than `silence_seconds`."""

    silence_seconds = SILENCE_SECONDS

    def wait(self, gen: PQGen[_Answer], interval: float = 0.1, timeout: float | None = None) -> _Answer:
        """Wait for the server; psycopg waits nowhere else, except while it connects."""
        return super().wait(self._watched(gen), interval, timeout)

    def _watched(self, gen: PQGen[_Answer]) -> PQGen[_Answer]:
        """Do as a generator of psycopg does, which is told every tenth of a second that nothing has come yet."""
        bound, began = _bound.get(), time.monotonic()
        allowed = 2 * self.silence_seconds / 3 if bound is None else bound.seconds
        until, last_chance = began + allowed, False
        try:
            wanted = next(gen)
            while True:
                ready = yield wanted
                wanted = gen.send(ready)
                now = time.monotonic()
                if bound is None and ready:
                    until, last_chance = now + allowed, False  # what comes slowly comes
                elif now >= until:
                    if bound is not None or last_chance:
                        self._give_up()
                    last_chance = not self._is_worked_on(now - began)
                    until = time.monotonic() + (LAST_CHANCE_SECONDS if last_chance else allowed)
        except StopIteration as end:
            answer: _Answer = end.value
            return answer

    def _give_up(self) -> NoReturn:
        self.close()  # its answer may still come, and would be taken for that of the next statement
        raise ServerSilentError("the server does not answer")

    def _is_worked_on(self, waited: float) -> bool:
        """Ask the server on another connection whether it is at work on what this one waits for.

        A server that answers and cannot say is believed for `UNSEEN_SECONDS`: behind a pooler nobody knows which of
        its processes works for us, and a server that has too many connections refuses the question.
        """
        try:
            asked, pid, state, waits_for = self._ask()
        except psycopg.Error as error:
            if _SAID_BY_THE_SERVER not in str(error):
                self._give_up()
            return waited < UNSEEN_SECONDS
        if state == "active":
            return waits_for != "ClientRead"  # it waits for us, and we for it: what was between us is lost
        behind_a_pooler = state is None and asked != pid
        return (behind_a_pooler or state == "disabled") and waited < UNSEEN_SECONDS

    def _ask(self) -> tuple[int, int, str | None, str | None]:
        """Return the process that libpq and Postgres say we asked, and the state of the one that we wait for."""
        seconds, known = self.silence_seconds / 3, self.info
        host, address = self.pgconn.host.decode(), self.pgconn.hostaddr.decode()
        conninfo = make_conninfo(
            known.dsn,
            host=host,
            hostaddr=None if host.startswith("/") else address,
            port=self.pgconn.port.decode(),
            password=known.password,
            connect_timeout=max(SHORTEST_CONNECT_SECONDS, math.ceil(seconds)),
        )
        with waiting_until(time.monotonic() + seconds, at_least=LAST_CHANCE_SECONDS):
            asking = BoundedConnection.connect(conninfo, autocommit=True)
            try:
                pid, state, waits_for = asking.execute(_AT_WORK, [known.backend_pid]).fetchall()[0]
                return asking.info.backend_pid, pid, state, waits_for
            finally:
                asking.close()


def bound_waits(engine: Engine, silence_seconds: float) -> None:
    """Make the connections of an engine ones that give up, also while they are opened and when the pool tries them."""

    @event.listens_for(engine, "do_connect")
    def _connect(_: object, __: object, arguments: list[Any], named: dict[str, Any]) -> BoundedConnection:
        bound = _bound.get()
        if bound is not None:
            left = min(math.ceil(bound.until - time.monotonic()), int(named["connect_timeout"]))
            named["connect_timeout"] = max(SHORTEST_CONNECT_SECONDS, left)
        connection = BoundedConnection.connect(*arguments, **named)
        connection.silence_seconds = silence_seconds
        return connection

    ping = engine.dialect.do_ping

    def ping_soon(connection: DBAPIConnection) -> bool:
        with waiting_until(time.monotonic() + min(PING_SECONDS, silence_seconds)):
            return ping(connection)

    engine.dialect.do_ping = ping_soon  # type: ignore[assignment,method-assign] # SQLAlchemy has no event for it


def silence_parameters(silence_seconds: float) -> Mapping[str, int]:
    """Return parameters of libpq by which connections are opened in time, and given up whose packets are dropped."""
    return {
        "connect_timeout": max(SHORTEST_CONNECT_SECONDS, min(CONNECT_SECONDS, math.ceil(silence_seconds))),
        "keepalives_idle": max(1, round(silence_seconds / 3)),
        "keepalives_interval": max(1, round(silence_seconds / 5)),
        "keepalives_count": 3,
        "tcp_user_timeout": round(silence_seconds * 1000),
    }
