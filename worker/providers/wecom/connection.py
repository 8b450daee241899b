"""One connection to WeCom: how a request leaves, how long everything may take, and how the answer is read.

urllib3 keeps the connections and speaks TLS; what counts for a message's fate is done here. Every wait on the network
has an end: all waits of connecting together have the connect time-out, and from the first byte of a request to the last
of its answer `Departure.seconds`. Only the look-up of a name cannot be cut short. It comes before anything leaves, and
what it takes is missing from the time to connect.
"""

import socket
import struct
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import NewConnectionError
from urllib3.util import wait_for_write

from worker.elapsed import elapsed
from worker.providers.wecom.departure import CallBroken, Departure
from worker.providers.wecom.http_answer import FINAL, HttpAnswer, read_answer, read_tunnel

RECEIVE_BYTES = 16_384
PIECE_BYTES = 16_384
"""What can be stopped is written in such pieces: each fits into the system's buffer once that has room."""
WRITE_AT_ONCE = 65_536
"""Bytes, at most, that are copied to be written together with the head: one system call, one packet."""
ASK_SECONDS = 0.25
"""How often a request that can be stopped asks whether it shall go on."""
SLACK_SECONDS = 0.1
"""A time-out that differs less from what is left is not set anew: that is a system call for each wait."""
IDLE_SECONDS = 50
"""A connection that was idle for longer is not used again. WeCom and devices on the way forget idle connections, often
without a word, and a request over a forgotten one ends in a time-out and an unknown fate. A minute is the shortest time
commonly configured."""
MSGIDS_REMEMBERED = 100
"""An answer that comes twice comes soon after itself."""
CUT_OFF = struct.pack("ii", 1, 0)
"""SO_LINGER: what the system has not sent yet is thrown away when the connection is closed."""

NO_ANSWER = "no answer before the read time-out"
BROKEN = "the connection broke before the answer"
NOT_CONNECTED = "no connection before the connect time-out"
STOPPED = "the worker stops"


class Connection(HTTPConnection):
    """A connection that knows the fact and keeps the time; see the module."""

    msgids: deque[str]
    """Of the latest answers that came over this connection."""

    _used_at = 0.0
    _until = 0.0
    _time_out = -1.0
    _departure: Departure | None = None

    @property
    def is_connected(self) -> bool:
        """Whether the connection stands, as far as this side can know, and was used not long ago."""
        return super().is_connected and elapsed() - self._used_at < IDLE_SECONDS

    def connect(self) -> None:
        """Open the connection, with the proxy's tunnel and TLS where there are any.

        Raises:
            OSError, HTTPError, CallBroken: there is none.
        """
        self.msgids = deque(maxlen=MSGIDS_REMEMBERED)
        self._departure = None
        self._until = time.monotonic() + float(self.timeout or 0)
        super().connect()
        self._time_out = -1.0
        self._used_at = elapsed()
        if time.monotonic() > self._until:
            raise CallBroken(NOT_CONNECTED)

    def request(  # type: ignore[override]
        self, method: str, url: str, body: Departure, headers: Mapping[str, str], **_: object
    ) -> None:
        """Let a request leave, if it still may.

        Raises:
            CallBroken: it could not be written.
            Exception: whatever `before_leaving` raised.
        """
        departure = body
        if self.sock is None:
            self.connect()
        pieces = [_head(method, url, headers), *(departure.body or ())]
        if departure.keep_going is None and sum(map(len, pieces)) <= WRITE_AT_ONCE:
            pieces = [b"".join(pieces)]
        departure.leave()
        self._departure, self._until = departure, departure.until
        try:
            self._write(pieces)
        except ConnectionError:
            pass  # Who refuses a long request answers before its end and hangs up: the answer may still be there.
        except CallBroken:
            self._cut_off()
            raise

    def getresponse(self) -> HttpAnswer:  # type: ignore[override]
        """Read the answer; the connection is closed unless it is certain that the next one begins after it.

        Raises:
            CallBroken: there was none in time.
        """
        try:
            answer = read_answer(self._receive)
        except CallBroken:
            self._cut_off()
            raise
        self._used_at = elapsed()
        if not answer.reusable:
            self.close()
        return answer

    def _new_conn(self) -> socket.socket:
        """Connect to the first address that answers; each has its share of the time."""
        found = socket.getaddrinfo(self._dns_host, self.port, type=socket.SOCK_STREAM)
        for number, (family, kind, protocol, _, address) in enumerate(found):
            left = self._until - time.monotonic()
            if left <= 0:
                raise CallBroken(NOT_CONNECTED)
            connecting = socket.socket(family, kind, protocol)
            try:
                for option in self.socket_options or ():
                    connecting.setsockopt(*option)
                connecting.settimeout(left / (len(found) - number))
                connecting.connect(address)
                connecting.settimeout(max(SLACK_SECONDS, self._until - time.monotonic()))
            except OSError:
                connecting.close()
                continue
            return connecting
        raise NewConnectionError(self, "no address answers")

    def _tunnel(self) -> None:
        """Ask the proxy for a tunnel."""
        tunnel: Any = self
        host = f"[{tunnel._tunnel_host}]" if ":" in tunnel._tunnel_host else tunnel._tunnel_host  # noqa: SLF001
        target = f"{host}:{tunnel._tunnel_port}"  # noqa: SLF001
        headers = {**tunnel._tunnel_headers, "Host": target}  # noqa: SLF001
        self._time_out = -1.0
        try:
            self._write([_head("CONNECT", target, headers)])
            status = read_tunnel(self._receive)
        except (OSError, CallBroken):
            raise CallBroken("the proxy did not connect us to WeCom") from None
        if not FINAL <= status < FINAL + 100:
            raise CallBroken(f"the proxy did not connect us to WeCom: HTTP {status}")
        self.sock.settimeout(max(SLACK_SECONDS, self._until - time.monotonic()))

    def _receive(self) -> bytes:
        while True:
            self._wait_no_longer(ASK_SECONDS if self._asks else None)
            try:
                return self.sock.recv(RECEIVE_BYTES)
            except TimeoutError:
                continue
            except OSError:
                raise CallBroken(BROKEN) from None

    def _write(self, pieces: Sequence[bytes]) -> None:
        for piece in pieces:
            rest = memoryview(piece)
            while rest:
                self._wait_no_longer(None)
                if not self._asks:
                    now = rest
                elif wait_for_write(self.sock, ASK_SECONDS):
                    now = rest[:PIECE_BYTES]
                else:
                    continue
                try:
                    rest = rest[self.sock.send(now) :]
                except ConnectionError:
                    raise
                except OSError:
                    raise CallBroken("the request could not be written whole") from None

    @property
    def _asks(self) -> bool:
        return self._departure is not None and self._departure.keep_going is not None

    def _wait_no_longer(self, most: float | None) -> None:
        """Set the time-out of the next wait to what is left of the time."""
        left = self._until - time.monotonic()
        if left <= 0:
            raise CallBroken(NO_ANSWER if self._departure else NOT_CONNECTED)
        if self._departure is not None and self._departure.stopped:
            raise CallBroken(STOPPED)
        if most is not None:
            left = min(left, most)
        if abs(self._time_out - left) > SLACK_SECONDS:
            self.sock.settimeout(left)
            self._time_out = left

    def _cut_off(self) -> None:
        """Let nothing more of the request leave: the system would go on trying for minutes."""
        with suppress(OSError, AttributeError):
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, CUT_OFF)


class SecureConnection(Connection, HTTPSConnection):
    """The same with TLS."""


def _head(method: str, target: str, headers: Mapping[str, str]) -> bytes:
    lines = [f"{method} {target} HTTP/1.1\r\n", *(f"{name}: {value}\r\n" for name, value in headers.items()), "\r\n"]
    return "".join(lines).encode("latin-1")
