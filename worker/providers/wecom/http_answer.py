"""Reads one HTTP answer, whatever bytes come: bounded in size, and sure of where it ends.

Where it is not sure, because the answer breaks a rule of RFC 9112 or something follows it, the connection must not be
used again: the next call would take what is left for its own answer.
"""

import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from worker.providers.wecom.departure import CallBroken

MOST_HEAD_BYTES = 65_536
MOST_BODY_BYTES = 1 << 20
"""Also after it was decompressed. WeCom's longest answers name 1000 members: some 70 KB."""
MOST_INTERIM = 10
"""So many 1xx answers may come before the final one."""
MOST_DIGITS = 8
FINAL, SWITCHING = 200, 101
WITHOUT_BODY = frozenset({204, 304})
GZIP_OR_ZLIB = zlib.MAX_WBITS | 32

Receive = Callable[[], bytes]
"""Returns the next bytes, or none at the end of the connection.

Raises:
    CallBroken: they did not come in time.
"""

_HEAD_END = re.compile(rb"\r?\n\r?\n")
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9][0-9])(?: [^\n]*)?")
_LENGTH = re.compile(rb"[0-9]{1,%d}" % MOST_DIGITS)
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,%d})[ \t]*(?:;[^\n]*)?" % MOST_DIGITS)


@dataclass(slots=True)
class HttpAnswer:
    """One answer, read to its end.

    Attributes:
        status: 200 to 999.
        content: the body, decompressed; None if it could not be read whole.
        fault: says why it could not, in a person's words.
        reusable: whether the connection is certainly at the beginning of the next answer.
    """

    status: int
    content: bytes | None
    fault: str = ""
    reusable: bool = False
    # What urllib3 reads and writes of an answer.
    headers: dict[str, str] = field(default_factory=dict)
    version_string: str = "HTTP/1.1"
    length_remaining: int = 0
    retries: Any = None
    _connection: Any = None
    _pool: Any = None

    def repeats(self, msgid: str) -> bool:
        """Whether an answer before on this connection had this msgid, so that this one is the same come twice.

        No two calls have the same msgid. A later call gets what is left of a doubled answer if it comes so late that
        the connection is in use again.
        """
        seen = self._connection.msgids
        if msgid in seen:
            return True
        seen.append(msgid)
        return False

    def give_back(self, *, reusable: bool) -> None:
        """Let the next call have the connection, or a new one instead."""
        if not reusable:
            self._connection.close()
        self._pool._put_conn(self._connection)  # noqa: SLF001 - what answers of urllib3 do


class _Odd(CallBroken):
    """The bytes are no answer, or one of which nobody knows where it ends."""


class _Head:
    """What counts of the lines before a body."""

    __slots__ = ("chunked", "encoding", "length", "lengths", "persistent", "status")

    def __init__(self, lines: list[bytes]) -> None:
        found = _STATUS_LINE.fullmatch(lines[0])
        if found is None:
            raise _Odd("what answered does not speak HTTP")
        self.status = int(found[2])
        self.persistent = found[1] == b"1"
        self.chunked: bytes = b""
        self.encoding = b""
        self.lengths: set[bytes] = set()
        for line in lines[1:]:
            name, _, value = line.partition(b":")
            self._note(name.strip().lower(), value.strip().lower())

    def _note(self, name: bytes, value: bytes) -> None:
        if name == b"content-length":
            self.lengths.add(value)
        elif name == b"transfer-encoding":
            self.chunked += value
        elif name == b"content-encoding":
            self.encoding += value
        elif name in (b"connection", b"proxy-connection") and b"close" in value:
            self.persistent = False


class _Incoming:
    """What has arrived and was not read yet."""

    __slots__ = ("_arrived", "_receive")

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._arrived = bytearray()

    @property
    def rest(self) -> int:
        """How many bytes are left."""
        return len(self._arrived)

    def more(self) -> bool:
        """Wait for more bytes; False at the end of the connection."""
        received = self._receive()
        self._arrived += received
        return bool(received)

    def until(self, end: re.Pattern[bytes], most: int) -> bytes:
        """Take everything before what the pattern matches, and pass over that."""
        searched = 0
        while (found := end.search(self._arrived, searched)) is None:
            searched = max(0, len(self._arrived) - 3)
            if len(self._arrived) > most:
                raise _Odd("the head of the answer is too long")
            if not self.more():
                raise CallBroken("the connection was closed before the answer was whole")
        if found.start() > most:
            raise _Odd("the head of the answer is too long")
        taken = bytes(self._arrived[: found.start()])
        del self._arrived[: found.end()]
        return taken

    def take(self, length: int) -> bytes:
        """Take so many bytes."""
        while len(self._arrived) < length:
            if not self.more():
                raise CallBroken("the connection was closed before the answer was whole")
        taken = bytes(self._arrived[:length])
        del self._arrived[:length]
        return taken


_LINE_END = re.compile(rb"\r?\n")


def read_answer(receive: Receive) -> HttpAnswer:
    """Read one answer; interim ones (1xx) are passed over.

    Raises:
        CallBroken: not even the head of a final answer came; whatever is wrong after that is told by `fault`.
    """
    incoming = _Incoming(receive)
    head, interim = _final_head(incoming)
    try:
        content = _decompressed(_body(incoming, head), head.encoding)
    except CallBroken as broken:
        return HttpAnswer(head.status, None, fault=str(broken))
    framed = bool(head.chunked) != bool(head.lengths) or head.status in WITHOUT_BODY
    return HttpAnswer(head.status, content, reusable=framed and head.persistent and not interim and not incoming.rest)


def read_tunnel(receive: Receive) -> int:
    """Read a proxy's answer to CONNECT and return its status; nothing may follow it before we speak.

    Raises:
        CallBroken: it is no answer, or something followed it.
    """
    incoming = _Incoming(receive)
    head, _ = _final_head(incoming)
    if head.status < FINAL + 100 and incoming.rest:
        raise _Odd("the proxy speaks before it is spoken to")
    return head.status


def _final_head(incoming: _Incoming) -> tuple[_Head, bool]:
    """Return the first head that is not interim, and whether there were any that are."""
    for passed_over in range(MOST_INTERIM + 1):
        head = _Head(incoming.until(_HEAD_END, MOST_HEAD_BYTES).replace(b"\r\n", b"\n").split(b"\n"))
        if head.status >= FINAL:
            return head, passed_over > 0
        if head.status == SWITCHING:
            raise _Odd("what answered wants to speak another protocol")
    raise _Odd("one interim answer followed the other")


def _body(incoming: _Incoming, head: _Head) -> bytes:
    if head.status in WITHOUT_BODY:
        return b""
    if head.chunked:
        if head.chunked != b"chunked":
            raise _Odd("the answer has an encoding that nobody asked for")
        return _chunks(incoming)
    if not head.lengths:
        while incoming.rest <= MOST_BODY_BYTES and incoming.more():
            pass
        return incoming.take(_bounded(incoming.rest))
    length, *others = head.lengths
    if others or _LENGTH.fullmatch(length) is None:
        raise _Odd("the answer does not say how long it is")
    return incoming.take(_bounded(int(length)))


def _chunks(incoming: _Incoming) -> bytes:
    content = bytearray()
    while True:
        found = _CHUNK_SIZE.fullmatch(incoming.until(_LINE_END, MOST_HEAD_BYTES))
        if found is None:
            raise _Odd("the answer does not say how long it is")
        size = int(found[1], 16)
        if size == 0:
            break
        _bounded(len(content) + size)
        content += incoming.take(size)
        if incoming.until(_LINE_END, MOST_HEAD_BYTES):
            raise _Odd("the answer does not say how long it is")
    trailers = 0
    while line := incoming.until(_LINE_END, MOST_HEAD_BYTES):
        trailers += len(line)
        if trailers > MOST_HEAD_BYTES:
            raise _Odd("the answer does not end")
    return bytes(content)


def _bounded(length: int) -> int:
    if length > MOST_BODY_BYTES:
        raise _Odd(f"the answer has more than {MOST_BODY_BYTES} bytes")
    return length


def _decompressed(content: bytes, encoding: bytes) -> bytes:
    """Undo gzip or deflate, which nobody asked for: something on the way compresses nevertheless."""
    if encoding in (b"", b"identity"):
        return content
    if encoding not in (b"gzip", b"x-gzip", b"deflate"):
        raise _Odd("the answer has an encoding that nobody asked for")
    decompressor = zlib.decompressobj(GZIP_OR_ZLIB)
    try:
        decompressed = decompressor.decompress(content, MOST_BODY_BYTES + 1)
    except zlib.error:
        raise _Odd("the answer cannot be decompressed") from None
    _bounded(len(decompressed))
    if not decompressor.eof:
        raise CallBroken("the answer was cut off")
    return decompressed
