"""HTTP/1.1: requests with their bodies, and answers whose end is told by Content-Length, by chunks, or by closing."""

import re
from urllib.parse import urlsplit

from faults.conversation import Answered, Matches, Request, Sent

HEAD_END = b"\r\n\r\n"
_LENGTH = re.compile(rb"(?im)^content-length:\s*(\d+)")
_CHUNKED = re.compile(rb"(?im)^transfer-encoding:.*chunked")
_WITHOUT_BODY = frozenset({204, 304})


def call(method: str, path: str, *, body: str = "") -> Matches:
    """Match requests by method and path, and by a part of the body; the query does not matter."""
    kind = f"{method} {path}"
    return lambda request: request.kind == kind and body in request.text


def json_answer(content: bytes) -> bytes:
    """Return a whole answer with this JSON, after which the connection ends: for `Rule.answer`."""
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\nConnection: close"
    return head.encode() + HEAD_END + content


class HttpConversation:
    """Tells requests apart; each is passed on once it is whole.

    Args:
        absolute: requests name the host, as to a proxy; the server gets them without.
    """

    def __init__(self, *, absolute: bool = False) -> None:
        self._absolute = absolute
        self._from_client = bytearray()
        self._from_server = bytearray()
        self._exchange = 0
        self._answered = 0
        self._endless = False

    def client_sent(self, data: bytes) -> list[Sent]:
        """Return the whole requests."""
        self._from_client += data
        pieces = []
        while (end := _message_end(self._from_client)) is not None:
            pieces.append(self._request(bytes(self._from_client[:end])))
            del self._from_client[:end]
            self._exchange += 1
        return pieces

    def server_sent(self, data: bytes) -> list[Answered]:
        """Return the whole answers; the pieces of one that ends with the connection as they come."""
        self._from_server += data
        pieces: list[Answered] = []
        while self._from_server and not self._endless:
            head_end = self._from_server.find(HEAD_END)
            if head_end < 0:
                return pieces
            head = bytes(self._from_server[:head_end])
            status = int(head.split(None, 2)[1])
            if status < 200 or status in _WITHOUT_BODY:
                end: int | None = head_end + len(HEAD_END)
            elif _LENGTH.search(head) or _CHUNKED.search(head):
                end = _message_end(self._from_server)
            else:
                self._endless = True
                break
            if end is None:
                return pieces
            pieces.append(Answered(bytes(self._from_server[:end]), self._answered, last=status >= 200))
            del self._from_server[:end]
            self._answered += status >= 200
        if self._endless:
            pieces.append(Answered(bytes(self._from_server), self._answered))
            self._from_server.clear()
        return pieces

    def _request(self, whole: bytes) -> Sent:
        line, _, rest = whole.partition(b"\r\n")
        method, target, version = line.split(b" ", 2)
        address = urlsplit(target.decode("latin-1"))
        if self._absolute:
            query = f"?{address.query}" if address.query else ""
            origin = f"{address.path or '/'}{query}".encode("latin-1")
            whole = b"\r\n".join((b" ".join((method, origin, version)), rest))
        body = rest.partition(HEAD_END)[2].decode(errors="replace")
        return Sent(whole, self._exchange, Request(f"{method.decode()} {address.path or '/'}", body))


def _message_end(received: bytearray) -> int | None:
    """Return where the first request or answer ends, or None if it is not whole; without a length it has no body."""
    head_end = received.find(HEAD_END)
    if head_end < 0:
        return None
    head, body = bytes(received[:head_end]), head_end + len(HEAD_END)
    if _CHUNKED.search(head):
        return _end_of_chunks(received, body)
    length = _LENGTH.search(head)
    end = body + (int(length[1]) if length else 0)
    return end if len(received) >= end else None


def _end_of_chunks(received: bytearray, at: int) -> int | None:
    while (line_end := received.find(b"\r\n", at)) >= 0:
        size = int(received[at:line_end].split(b";")[0], 16)
        at = line_end + 2 + size + 2
        if len(received) < at:
            return None
        if not size:
            return at
    return None
