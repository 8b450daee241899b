"""HTTP/1.1 as bytes: requests read out of a buffer, answers written."""

from http import HTTPStatus
from typing import NamedTuple

from worker.simulator.answers import Answer

MOST_HEAD_BYTES = 65_536
MOST_BODY_BYTES = 16 * 1024 * 1024
_JSON = "application/json; charset=UTF-8"
_HEAD_END = b"\r\n\r\n"
_REQUEST_LINE_PARTS = 3


class Request(NamedTuple):
    """One request: path and query as text, the body as it came, and whether the connection goes on after it."""

    method: bytes
    path: str
    query: str
    body: bytes
    keep_alive: bool


class MalformedError(Exception):
    """The bytes are no request this server reads; `status` is what HTTP calls that."""

    def __init__(self, status: HTTPStatus) -> None:
        super().__init__(status.phrase)
        self.status = status


def read_request(buffer: bytes) -> tuple[Request, int] | None:
    """Read the first request in a buffer; returns it and how many bytes it took, or None while it is incomplete.

    Raises:
        MalformedError: 400, 411 (no chunked bodies here), 413 or 431.
    """
    head_end = buffer.find(_HEAD_END)
    if head_end < 0 or head_end > MOST_HEAD_BYTES:
        if len(buffer) > MOST_HEAD_BYTES:
            raise MalformedError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        return None
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
        return None
    connection = _header(headers, b"connection")
    keep_alive = connection != b"close" if parts[2] != b"HTTP/1.0" else connection == b"keep-alive"
    path, _, query = parts[1].decode("latin-1").partition("?")
    return Request(parts[0], path, query, buffer[body_start:body_end], keep_alive), body_end


def expects_continue(buffer: bytes) -> bool:
    """Whether the client of an incomplete request waits to be told to send the body."""
    head_end = buffer.find(_HEAD_END)
    return head_end >= 0 and b"\r\nexpect: 100-continue" in buffer[:head_end].lower()


def answer_bytes(answer: Answer, *, keep_alive: bool) -> bytes:
    """An API answer: HTTP 200 with errcode and errmsg repeated in headers, as WeCom has been seen to do."""
    return (
        b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nError-Code: %d\r\nError-Msg: %s\r\n%sContent-Length: %d\r\n\r\n%s"
        % (
            _JSON.encode(),
            answer.errcode,
            answer.errmsg.encode(),
            b"" if keep_alive else b"Connection: close\r\n",
            len(answer.content),
            answer.content,
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
    text = _header(headers, b"content-length")
    if not text:
        return 0
    if not text.isdigit() or headers.count(b"\r\ncontent-length:") > 1:
        raise MalformedError(HTTPStatus.BAD_REQUEST)
    length = int(text) if len(text) < 10 else MOST_BODY_BYTES + 1
    if length > MOST_BODY_BYTES:
        raise MalformedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    return length


def _header(headers: bytes, name: bytes) -> bytes:
    start = headers.find(b"\r\n" + name + b":")
    if start < 0:
        return b""
    start += len(name) + 3
    return headers[start : headers.find(b"\r\n", start)].strip()
