"""A file that stands where the wire has a media_id, until somebody has uploaded it."""

import re
from dataclasses import dataclass, field
from os import PathLike, fspath
from pathlib import PurePath, PurePosixPath
from typing import Any, BinaryIO, Literal
from urllib.parse import unquote, urlsplit

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from worker.messages.limits import sendable
from worker.messages.refusals import InvalidMessage

Kind = Literal["image", "voice", "video", "file"]

LONGEST_NAME = 255
"""Bytes of a file's name, as many as file systems take; WeCom documents no limit."""
LONGEST_MEDIA_ID = 256
"""Bytes; no limit of WeCom's, whose media_ids are some 50 letters, digits, `-` and `_` (doc 90253)."""


@dataclass(frozen=True, slots=True)
class MediaFile:
    """A file to be uploaded; exactly one of path, data and url says where it is.

    Nothing is read here, and the file is not looked at before it is uploaded; `check_media` then judges it. Of
    which kind it is follows from where it is used.

    Attributes:
        path: a file of the machine that reads it.
        data: its bytes, or a binary stream at the place to read from.
        url: an https address.
        filename: what recipients see; without it the last part of the path or address.

    Raises:
        InvalidMessage: none or several are given, the address is not https, or the name, also one that the path or
            address ends in, cannot be one.
    """

    path: str | PathLike[str] | None = None
    data: bytes | BinaryIO | None = field(default=None, repr=False)
    url: str | None = None
    filename: str | None = None

    def __post_init__(self) -> None:
        """Refuse what can be no file."""
        if sum(given is not None for given in (self.path, self.data, self.url)) != 1:
            raise InvalidMessage("media: exactly one of path, data and url is needed")
        if self.path is not None and not _is_path(self.path):
            raise InvalidMessage("media.path: a path is needed, as a string without NUL or a pathlib.Path")
        if self.data is not None and not (isinstance(self.data, bytes) or hasattr(self.data, "read")):
            raise InvalidMessage("media.data: bytes or a binary stream are needed")
        if self.url is not None and not (isinstance(self.url, str) and self.url.startswith("https://")):
            raise InvalidMessage("media.url: must begin with https://")
        if self.filename is not None:
            _check_name(self.filename, "media.filename")
        elif self.name is not None:
            source = "media.path" if self.path is not None else "media.url"
            _check_name(self.name, f"{source}: its last part is no name for the file, give filename")

    @property
    def name(self) -> str | None:
        """The file's name as far as it is known: as given, or from the path or address."""
        if self.filename is not None:
            return self.filename
        if self.path is not None:
            return PurePath(fspath(self.path)).name or None
        if self.url is not None:
            return PurePosixPath(unquote(_path_of_url(self.url))).name or None
        return None


def _is_path(path: object) -> bool:
    given = fspath(path) if isinstance(path, str | PathLike) else None
    return isinstance(given, str) and "\0" not in given


def _path_of_url(url: str) -> str:
    try:
        return urlsplit(url).path
    except ValueError as error:
        raise InvalidMessage(f"media.url: is no address ({error})") from None


def _check_name(name: object, what: str) -> None:
    """Check what recipients will see as the name of a file.

    Raises:
        InvalidMessage: it cannot be one; the text begins with `what`.
    """
    if not isinstance(name, str) or not name.strip() or any(sign in name for sign in "/\\\n\t"):
        raise InvalidMessage(f"{what}: a name without slashes, tabs and line ends is needed")
    size = len(name.encode(errors="replace"))
    if size > LONGEST_NAME:
        raise InvalidMessage(f"{what}: {size} bytes of UTF-8, at most {LONGEST_NAME} for a name")
    try:
        sendable(name)
    except ValueError as error:
        raise InvalidMessage(f"{what}: {error}") from None


@dataclass(frozen=True, slots=True)
class MediaOf:
    """Marks a field as a media_id of this kind: in Python a string or a `MediaFile`, on the wire a string."""

    kind: Kind

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:  # noqa: ANN401 - pydantic's protocol
        """Check by ourselves: pydantic would also make a MediaFile of an object on the wire, and read any path."""
        return core_schema.no_info_plain_validator_function(
            media_id_or_file, serialization=core_schema.plain_serializer_function_ser_schema(_uploaded)
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """On the wire only the media_id is known."""
        return {"type": "string", "minLength": 1, "maxLength": LONGEST_MEDIA_ID, "pattern": r"^\S+$"}


def media_id_or_file(value: object) -> str | MediaFile:
    """Return what may stand where the wire has a media_id.

    Raises:
        ValueError: it is neither a MediaFile nor a string that WeCom can be sent.
    """
    if isinstance(value, MediaFile):
        return value
    if not isinstance(value, str):
        raise ValueError("must be a media_id or a MediaFile")  # noqa: TRY004 - pydantic reports ValueErrors alone
    if not value or value.isspace():
        raise ValueError("is empty")
    if re.search(r"\s", sendable(value)):
        raise ValueError("is no media_id, it holds blanks or line ends")
    if len(value.encode()) > LONGEST_MEDIA_ID:
        raise ValueError(f"{len(value.encode())} bytes of UTF-8, at most {LONGEST_MEDIA_ID} for a media_id")
    return value


def _uploaded(value: str | MediaFile) -> str:
    if isinstance(value, MediaFile):
        raise TypeError("not uploaded yet")
    return value
