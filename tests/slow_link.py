"""A link of bounded speed in front of a server, for tests: each connection carries so many bytes a second upwards."""

import contextlib
import socket
import threading
import time
from types import TracebackType
from typing import Self

PIECE = 16 * 1024
BUFFER = 64 * 1024


class SlowLink:
    """Listens on loopback, on a port the system chooses, and carries what comes to a server.

    Args:
        upstream: host and port of the server.
        bytes_a_second: how fast a connection carries what the client sends; answers are not slowed down.
    """

    def __init__(self, upstream: tuple[str, int], bytes_a_second: float) -> None:
        self.bytes_a_second = bytes_a_second
        self.carried = 0
        """Bytes that went to the server, over all connections."""
        self._upstream = upstream
        self._listening = socket.socket()
        # Small buffers: what the client has handed over has left soon after, as on a slow link of its own machine.
        self._listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        self._listening.bind(("127.0.0.1", 0))
        self._listening.listen(64)
        self._sockets: list[socket.socket] = [self._listening]
        self._lock = threading.Lock()

    @property
    def base_url(self) -> str:
        """The server's address behind this link."""
        return "http://{}:{}".format(*self._listening.getsockname())

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, name="slow-link", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            for opened in self._sockets:
                with contextlib.suppress(OSError):
                    opened.shutdown(socket.SHUT_RDWR)
                opened.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                client, _ = self._listening.accept()
                server = socket.create_connection(self._upstream)
                with self._lock:
                    self._sockets += [client, server]
                for carry, source, target in ((self._slowly, client, server), (_at_once, server, client)):
                    threading.Thread(target=carry, args=(source, target), name="slow-link", daemon=True).start()

    def _slowly(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(PIECE):
                time.sleep(len(piece) / self.bytes_a_second)
                target.sendall(piece)
                with self._lock:
                    self.carried += len(piece)
        _end(target)


def _at_once(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(PIECE):
            target.sendall(piece)
    _end(target)


def _end(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
