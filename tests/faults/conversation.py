"""What passes between a client and a server, told apart into requests and their answers.

Each protocol has a class of its own that does as `Conversation` says. An exchange is what one answer answers: a
statement of Postgres up to its ReadyForQuery, a command of Redis, a request of HTTP. Exchanges of one connection are
counted from 0, and a server answers them in order.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Request:
    """What a client asks for.

    Attributes:
        kind: `COMMIT`, `EVALSHA`, `basic.publish`, `POST /cgi-bin/message/send`, `CONNECT`, or `bytes`.
        text: the whole statement, the command's arguments, or the body.
    """

    kind: str
    text: str


Matches = Callable[[Request], bool]


@dataclass(frozen=True, slots=True)
class Sent:
    """A piece of what the client sent.

    Attributes:
        data: what is passed on to the server.
        exchange: what it belongs to.
        request: what it asks for, where it is that piece which makes the server act.
        reply: what the proxy answers in place of the server.
    """

    data: bytes
    exchange: int
    request: Request | None = None
    reply: bytes = b""


@dataclass(frozen=True, slots=True)
class Answered:
    """A piece of what the server sent.

    Attributes:
        data: what is passed back to the client.
        exchange: what it answers; None for what nobody asked for, such as a published message or a heartbeat.
        last: whether the answer is complete with it.
    """

    data: bytes
    exchange: int | None
    last: bool = False


class Conversation(Protocol):
    """Tells apart what passes on one connection; pieces that are not whole are kept until they are."""

    def client_sent(self, data: bytes) -> list[Sent]:
        """Take bytes of the client, and return the pieces that are whole now."""
        ...

    def server_sent(self, data: bytes) -> list[Answered]:
        """Take bytes of the server, and return the pieces that are whole now."""
        ...


class Opaque:
    """Bytes nobody looks into, such as TLS; each read is a request of its own, each read of the server an answer."""

    def __init__(self) -> None:
        self._exchange = 0

    def client_sent(self, data: bytes) -> list[Sent]:
        """Return what was read as one request."""
        sent = Sent(data, self._exchange, Request("bytes", f"{len(data)} bytes"))
        self._exchange += 1
        return [sent]

    def server_sent(self, data: bytes) -> list[Answered]:
        """Return what was read as the answer to what the client sent last."""
        return [Answered(data, max(0, self._exchange - 1), last=True)]
