"""A server for tests that notes every request, byte for byte, and answers with whatever bytes a test hands it."""

import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self


@dataclass
class Asked:
    """One request as it arrived.

    Attributes:
        number: counts the requests of the server, from 0.
        connection: counts its connections, from 0.
        wire: what the answer is written to.
        stopping: is set when the server stops; what waits, waits for this.
    """

    number: int
    connection: int
    head: bytes
    body: bytes
    wire: socket.socket
    stopping: threading.Event

    @property
    def line(self) -> str:
        """The request line."""
        return self.head.partition(b"\r\n")[0].decode()


def ok(content: bytes = b'{"errcode":0}', *headers: str) -> bytes:
    """Return a whole answer."""
    lines = ["HTTP/1.1 200 OK", *headers, f"Content-Length: {len(content)}"]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


@dataclass
class RawServer:
    """Serves one connection a thread; `answer` writes to the wire what it likes, and returns False to hang up.

    With a context it speaks TLS. A handshake that fails ends the connection. `instead` has the bare connection, before
    anything is read of it.
    """

    answer: Callable[[Asked], object] = lambda _: False
    context: ssl.SSLContext | None = None
    instead: Callable[[socket.socket], object] | None = None
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0

    def __enter__(self) -> Self:
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=100)
        self._accepting = threading.Thread(target=self._accept)
        self._accepting.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stopping.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join()
        self._listener.close()
        for wire in self._open:
            with suppress(OSError):
                wire.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()

    @property
    def port(self) -> int:
        """The port, chosen by the system."""
        return int(self._listener.getsockname()[1])

    @property
    def address(self) -> str:
        """The address as a base URL."""
        return f"{'https' if self.context else 'http'}://127.0.0.1:{self.port}"

    def _accept(self) -> None:
        while True:
            try:
                wire, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(wire)
            thread = threading.Thread(target=self._serve, args=(wire, self.connections))
            self.connections += 1
            self._threads.append(thread)
            thread.start()

    def _serve(self, wire: socket.socket, connection: int) -> None:
        with suppress(OSError), wire:
            if self.instead is not None:
                self.instead(wire)
            elif self.context is None:
                self._converse(wire, connection)
            else:
                with self.context.wrap_socket(wire, server_side=True) as secured:
                    self._open.append(secured)
                    self._converse(secured, connection)

    def _converse(self, wire: socket.socket, connection: int) -> None:
        while (request := read_request(wire)) is not None:
            with self._lock:
                asked = Asked(len(self.asked), connection, *request, wire, self._stopping)
                self.asked.append(asked)
            if self.answer(asked) is False:
                return


def read_request(wire: socket.socket) -> tuple[bytes, bytes] | None:
    """Read one request, or return None where the other side has hung up before its end."""
    received = b""
    while b"\r\n\r\n" not in received:
        more = wire.recv(65_536)
        if not more:
            return None
        received += more
    head, _, body = received.partition(b"\r\n\r\n")
    length = 0
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    pieces, missing = [body], length - len(body)
    while missing > 0:
        more = wire.recv(1 << 20)
        if not more:
            return None
        pieces.append(more)
        missing -= len(more)
    return head, b"".join(pieces)
