"""Reads the recipients of a campaign from a CSV file, one row at a time."""

import codecs
import csv
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from worker.messages import InvalidMessage

USERID = "userid"
UTF_8 = "utf-8"
MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
LONGEST_VALUE = 131_072


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
    numbered = _Lines(path, encoding, advance)
    reader = csv.reader(numbered, strict=True)
    try:
        header = next((row for row in reader if row), None)
        if header is None:
            raise InvalidMessage(f"{path.name}: is empty; its first line must name the columns, {USERID} among them")
        names = _names(path, header)
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
        raise InvalidMessage(f"{path.name} line {reader.line_num}: no CSV ({error})") from None


class _Lines:
    """The lines of a file as text; each is decoded by itself, so that an error can name it."""

    def __init__(self, path: Path, encoding: str, advance: Callable[[int], object]) -> None:
        self._path = path
        self._encoding = encoding
        self._advance = advance

    def __iter__(self) -> Iterator[str]:
        with self._path.open("rb") as file:
            utf_16 = file.read(2) in MARKS
            file.seek(0)
            if utf_16 or self._encoding.replace("_", "-").lower().startswith("utf-16"):
                raise InvalidMessage(f"{self._path.name}: is UTF-16; save it as CSV UTF-8")
            for number, line in enumerate(file, start=1):
                self._advance(len(line))
                if number == 1:
                    line = line.removeprefix(codecs.BOM_UTF8)  # noqa: PLW2901 - a mark, not part of the first name
                try:
                    yield line.decode(self._encoding)
                except UnicodeDecodeError as error:
                    raise InvalidMessage(self._not_readable(number, error)) from None

    def _not_readable(self, number: int, error: UnicodeDecodeError) -> str:
        byte = f"byte 0x{error.object[error.start]:02x} at position {error.start + 1}"
        what = f"{self._path.name} line {number}: is not {self._encoding} ({byte})"
        if self._encoding == UTF_8:
            return f"{what}; Excel saves Chinese as GBK: give --encoding gbk, or save it as CSV UTF-8"
        return f"{what}; is it UTF-8? Then leave --encoding out"


def _names(path: Path, header: list[str]) -> list[str]:
    names = [name.strip() for name in header]
    names = [USERID if name.lower() == USERID else name for name in names]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InvalidMessage(f"{path.name} line 1: names the column {twice[0]!r} twice")
    if USERID not in names:
        nearest = get_close_matches(USERID, [name.lower() for name in names], n=1)
        meant = f" (is it {nearest[0]!r}?)" if nearest else ""
        raise InvalidMessage(
            f"{path.name} line 1: must name a column {USERID}{meant}; it names {', '.join(names)[:200]}, by commas"
        )
    return names
