"""HTTP/1.1 as bytes: requests read out of a buffer, answers written."""

import re
from http import HTTPStatus
from typing import NamedTuple

from worker.simulator.answers import Answer

MOST_HEAD_BYTES = 65_536
MOST_BODY_BYTES = 32 * 1024 * 1024
_JSON = "application/json; charset=UTF-8"
_JSON_BYTES = _JSON.encode()
_ACCEPTED_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nError-Code: 0\r\nError-Msg: ok\r\nContent-Length: " % _JSON_BYTES
)
_HEAD_END = b"\r\n\r\n"
_CONTENT_TYPE = re.compile(rb"\r\ncontent-type:([^\r\n]*)", re.IGNORECASE)
_REQUEST_LINE_PARTS = 3


class Request(NamedTuple):
    """One request: path and query as text, body and head as they came, and whether the connection goes on after it."""

    method: bytes
    path: str
    query: str
    body: bytes
    keep_alive: bool
    head: bytes

    @property
    def content_type(self) -> str:
        """Of the body, as it came."""
        found = _CONTENT_TYPE.search(self.head)
        return found[1].strip().decode("latin-1") if found else ""


class MalformedError(Exception):
    """The bytes are no request this server reads; `status` is what HTTP calls that."""

    def __init__(self, status: HTTPStatus) -> None:
        super().__init__(status.phrase)
        self.status = status


def read_request(buffer: bytes) -> tuple[Request | None, int]:
    """Read the first request in a buffer.

    Returns:
        The request and how many bytes it took; None while it is incomplete, and how many bytes must be there before
        it is worth another look.

    Raises:
        MalformedError: 400, 411 (no chunked bodies here), 413 or 431.
    """
    head_end = buffer.find(_HEAD_END)
    if head_end < 0 or head_end > MOST_HEAD_BYTES:
        if len(buffer) > MOST_HEAD_BYTES:
            raise MalformedError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        return None, len(buffer) + 1
    line_end = buffer.find(b"\r\n")
    parts = buffer[:line_end].split(b" ")
    if len(parts) != _REQUEST_LINE_PARTS or not parts[2].startswith(b"HTTP/1.") or not parts[1].startswith(b"/"):
        raise MalformedError(HTTPStatus.BAD_REQUEST)
    headers = buffer[line_end : head_end + 2].lower()
    if b"\r\ntransfer-encoding:" in headers:
        raise MalformedError(HTTPStatus.LENGTH_REQUIRED)
    body_start = head_end + len(_HEAD_END)
    body_end = body_start + _content_length(headers)
    if len(buffer) < body_end:
        return None, body_end
    connection = _header(headers, b"\r\nconnection:")
    keep_alive = connection != b"close" if parts[2] != b"HTTP/1.0" else connection == b"keep-alive"
    path, _, query = parts[1].decode("latin-1").partition("?")
    body, head = buffer[body_start:body_end], buffer[line_end:body_start]
    return Request(parts[0], path, query, body, keep_alive, head), body_end


def expects_continue(buffer: bytes) -> bool:
    """Whether the client of an incomplete request waits to be told to send the body."""
    head_end = buffer.find(_HEAD_END)
    return head_end >= 0 and b"\r\nexpect: 100-continue" in buffer[:head_end].lower()


def answer_bytes(answer: Answer, *, keep_alive: bool) -> bytes:
    """An API answer: HTTP 200 with errcode and errmsg repeated in headers, as WeCom has been seen to do."""
    content = answer.content
    if answer.errcode == 0 and keep_alive:
        return b"%s%d\r\n\r\n%s" % (_ACCEPTED_HEAD, len(content), content)
    return (
        b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nError-Code: %d\r\nError-Msg: %s\r\n%sContent-Length: %d\r\n\r\n%s"
        % (
            _JSON_BYTES,
            answer.errcode,
            answer.errmsg.encode(),
            b"" if keep_alive else b"Connection: close\r\n",
            len(content),
            content,
        )
    )


def response_bytes(status: int, content: bytes, *, content_type: str = _JSON, keep_alive: bool = True) -> bytes:
    """Any other answer."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Unknown"
    connection = "" if keep_alive else "Connection: close\r\n"
    head = f"HTTP/1.1 {status} {phrase}\r\nContent-Type: {content_type}\r\n{connection}Content-Length: {len(content)}"
    return head.encode() + _HEAD_END + content


def page_bytes(status: int, *, keep_alive: bool) -> bytes:
    """An HTML page, as a gateway in front of WeCom would show."""
    content = b"<html><head><title>%d</title></head><body><center><h1>%d</h1></center></body></html>" % (status, status)
    return response_bytes(status, content, content_type="text/html", keep_alive=keep_alive)


def _content_length(headers: bytes) -> int:
    text = _header(headers, b"\r\ncontent-length:")
    if not text:
        return 0
    if not text.isdigit() or headers.count(b"\r\ncontent-length:") > 1:
        raise MalformedError(HTTPStatus.BAD_REQUEST)
    length = int(text) if len(text) < 10 else MOST_BODY_BYTES + 1
    if length > MOST_BODY_BYTES:
        raise MalformedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    return length


def _header(headers: bytes, line: bytes) -> bytes:
    start = headers.find(line)
    if start < 0:
        return b""
    start += len(line)
    return headers[start : headers.find(b"\r\n", start)].strip()
