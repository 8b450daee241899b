"""Reads the recipients of a campaign from a CSV file, one row at a time."""

import codecs
import csv
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any, BinaryIO

from worker.messages import InvalidMessage

USERID = "userid"
UTF_8 = "utf-8"
UTF_16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
"""How the files of Excel itself begin, new and old."""
LONGEST_LINE = 4 * 2**20
"""Bytes; more than anybody writes into a line, and little enough to hold."""
IN_WORDS = {
    "unexpected end of data": "a quotation mark that begins a value has no end",
    "field larger": "a value is longer than 131072 characters; perhaps a quotation mark has no end",
    "expected after": 'behind the quotation mark that ends a value comes a comma; within a value write it as ""',
}
"""What Python's CSV reader complains about, for people."""


class FileRow(dict[str, Any]):
    """A recipient's values, and where they stand in their file."""

    def __init__(self, values: dict[str, str], place: str) -> None:
        super().__init__(values)
        self.place = place


def rows_of(path: Path, encoding: str = UTF_8, advance: Callable[[int], object] = lambda _: None) -> Iterator[FileRow]:
    """Yield every row of a CSV file whose first line names the columns, `userid` among them.

    Args:
        path: the file.
        encoding: of the file; a byte order mark is no part of the first name.
        advance: is told how many bytes were read.

    Raises:
        InvalidMessage: the file cannot be read; the text names the line.
    """
    check_encoding(encoding)
    reader = csv.reader(_Lines(path, encoding, advance), strict=True)
    begin = 1
    try:
        header = next((row for row in reader if row), None)
        if header is None:
            raise InvalidMessage(f"{path.name}: is empty; its first line must name the columns, {USERID} among them")
        names = _names(f"{path.name} line {reader.line_num}", header)
        begin = reader.line_num + 1
        for row in reader:
            place, begin = f"{path.name} line {begin}", reader.line_num + 1
            if not any(value.strip() for value in row):
                continue
            if len(row) != len(names):
                raise InvalidMessage(f"{place}: {len(row)} values, but the first line names {len(names)} columns")
            values = dict(zip(names, row, strict=True))
            values[USERID] = values[USERID].strip()
            yield FileRow(values, place)
    except csv.Error as error:
        words = next((words for part, words in IN_WORDS.items() if part in str(error)), str(error))
        raise InvalidMessage(f"{path.name} line {begin}: no CSV; {words}") from None
    except OSError as error:
        raise InvalidMessage(f"{path.name}: cannot be read ({error.strerror})") from None


def check_encoding(encoding: str) -> None:
    """Check that a name is that of an encoding of texts.

    Raises:
        InvalidMessage: it is not.
    """
    try:
        b"userid".decode(encoding)
    except UnicodeError:
        return  # a text encoding, in which these bytes are no text
    except (LookupError, ValueError):
        raise InvalidMessage(f"encoding: {encoding[:40]!r} is no encoding of texts; try {UTF_8} or gbk") from None


class _Lines:
    """The lines of a file as text; each is decoded by itself, so that an error can name it."""

    def __init__(self, path: Path, encoding: str, advance: Callable[[int], object]) -> None:
        self._path = path
        self._encoding = encoding
        self._advance = advance

    def __iter__(self) -> Iterator[str]:
        with self._path.open("rb") as file:
            self._require_text(file.read(4))
            file.seek(0)
            for number, line in enumerate(_lines_of(file, self._path.name), start=1):
                self._advance(len(line))
                if number == 1:
                    line = line.removeprefix(codecs.BOM_UTF8)  # noqa: PLW2901 - a mark, not part of the first name
                if b"\0" in line:
                    raise InvalidMessage(
                        f"{self._path.name} line {number}: holds a NUL character, no text does; save it as CSV UTF-8"
                    )
                try:
                    yield line.decode(self._encoding)
                except UnicodeError as error:
                    raise InvalidMessage(self._not_readable(number, error)) from None

    def _require_text(self, begin: bytes) -> None:
        if begin.startswith(UTF_16_MARKS) or self._encoding.replace("_", "-").lower().startswith("utf-16"):
            raise InvalidMessage(f"{self._path.name}: is UTF-16; save it as CSV UTF-8")
        if begin in WORKBOOKS:
            raise InvalidMessage(f"{self._path.name}: is a workbook of Excel; save it as CSV UTF-8")

    def _not_readable(self, number: int, error: UnicodeError) -> str:
        byte = str(error)
        if isinstance(error, UnicodeDecodeError):
            byte = f"byte 0x{error.object[error.start]:02x} at position {error.start + 1}"
        what = f"{self._path.name} line {number}: is not {self._encoding} ({byte})"
        if self._encoding == UTF_8:
            return f"{what}; Excel saves Chinese as GBK: give --encoding gbk, or save it as CSV UTF-8"
        return f"{what}; is it UTF-8? Then leave --encoding out"


def _lines_of(file: BinaryIO, name: str) -> Iterator[bytes]:
    """Yield the lines of a file, which end as on Windows, on Linux, or with CR alone as on old Macs.

    Raises:
        InvalidMessage: a line is so long that this is no CSV.
    """
    number, rest = 0, b""
    while piece := file.readline(LONGEST_LINE):
        lines = (rest + piece).splitlines(keepends=True)
        # What ends with CR may go on with LF in the next piece.
        rest = b"" if lines[-1].endswith(b"\n") else lines.pop()
        yield from lines
        number += len(lines)
        if len(rest) >= LONGEST_LINE:
            raise InvalidMessage(f"{name} line {number + 1}: is longer than {LONGEST_LINE // 2**20} MiB; is it CSV?")
    if rest:
        yield rest


def _names(place: str, header: list[str]) -> list[str]:
    names = [name.strip() for name in header]
    names = [USERID if name.lower() == USERID else name for name in names]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice == [""]:
        raise InvalidMessage(f"{place}: several columns have no name; name each, or remove the empty ones")
    if twice:
        raise InvalidMessage(f"{place}: names the column {twice[-1]!r} twice")
    if USERID not in names:
        nearest = get_close_matches(USERID, [name.lower() for name in names], n=1)
        meant = f" (is it {nearest[0]!r}?)" if nearest else ""
        raise InvalidMessage(
            f"{place}: must name a column {USERID}{meant}; it names {', '.join(names)[:200]}, by commas"
        )
    return names
