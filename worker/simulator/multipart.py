"""multipart/form-data (RFC 7578) out of one body, strictly: what is ambiguous is refused."""

import re
from typing import NamedTuple

MOST_PARTS = 16
MOST_PART_HEAD_BYTES = 8192

_BOUNDARY = re.compile(r';\s*boundary=(?:"([^"\r\n]{1,70})"|([^\s;"]{1,70}))', re.IGNORECASE)
_PARAMETER = re.compile(r';\s*([\w*-]+)\s*=\s*(?:"((?:\\.|[^"\\])*)"|([^\s;"]*))')
_PERCENT = {"%22": '"', "%0D": "\r", "%0A": "\n"}
"""How browsers and urllib3 write these three in a file name (WHATWG HTML, multipart/form-data)."""


class MultipartError(ValueError):
    """The body is not multipart/form-data, or not whole."""


class FormPart(NamedTuple):
    """One part: the parameters of its Content-Disposition by name in lower case, its content type and its bytes."""

    parameters: dict[str, str]
    content_type: str
    content: bytes

    @property
    def name(self) -> str:
        """The name of the form's field."""
        return self.parameters.get("name", "")

    @property
    def filename(self) -> str:
        """The file's name; `filename*` (RFC 5987) does not count, RFC 7578 forbids it."""
        return self.parameters.get("filename", "")


def form_parts(content_type: str, body: bytes) -> list[FormPart]:
    """Divide a body into its parts.

    Raises:
        MultipartError: another content type, no boundary, a part without a proper head, no end.
    """
    found = _BOUNDARY.search(content_type)
    if found is None or content_type.partition(";")[0].strip().lower() != "multipart/form-data":
        raise MultipartError("the content type is not multipart/form-data with a boundary")
    delimiter = b"\r\n--" + (found[1] or found[2]).encode()
    if not body.startswith(delimiter[2:]):
        raise MultipartError("the body does not begin with the boundary")
    parts: list[FormPart] = []
    position = len(delimiter) - 2
    while not body.startswith(b"--", position):
        if not body.startswith(b"\r\n", position) or len(parts) == MOST_PARTS:
            raise MultipartError("after a boundary comes a part or the end")
        end = body.find(delimiter, position)
        if end < 0:
            raise MultipartError("the last part has no end")
        parts.append(_part(body, position + 2, end))
        position = end + len(delimiter)
    if body[position + 2 : position + 5] not in (b"", b"\r\n"):
        raise MultipartError("something follows the last boundary")
    return parts


def _part(body: bytes, start: int, end: int) -> FormPart:
    head_end = body.find(b"\r\n\r\n", start, min(end, start + MOST_PART_HEAD_BYTES))
    if head_end < 0:
        raise MultipartError("a part has no head")
    try:
        lines = body[start:head_end].decode().split("\r\n")
    except UnicodeDecodeError:
        raise MultipartError("the head of a part is not UTF-8") from None
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    disposition = headers.get("content-disposition", "")
    if disposition.partition(";")[0].strip().lower() != "form-data":
        raise MultipartError("a part is not form-data")
    parameters: dict[str, str] = {}
    for found in _PARAMETER.finditer(disposition):
        name = found[1].lower()
        if name in parameters:
            raise MultipartError(f"a part says {name} twice")
        parameters[name] = _plain(found[2]) if found[2] is not None else found[3]
    return FormPart(parameters, headers.get("content-type", ""), body[head_end + 4 : end])


def _plain(quoted: str) -> str:
    text = re.sub(r'\\(["\\])', r"\1", quoted)
    return re.sub("%22|%0D|%0A", lambda found: _PERCENT[found[0].upper()], text, flags=re.IGNORECASE)
