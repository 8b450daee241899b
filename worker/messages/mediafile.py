"""A file that stands where the wire has a media_id, until somebody has uploaded it."""

from dataclasses import dataclass, field
from os import PathLike, fspath
from pathlib import PurePath
from typing import Any, BinaryIO, Literal
from urllib.parse import unquote, urlsplit

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from worker.messages.limits import sendable
from worker.messages.refusals import InvalidMessage

Kind = Literal["image", "voice", "video", "file"]


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
        InvalidMessage: none or several are given, the address is not https, or the name cannot be one.
    """

    path: str | PathLike[str] | None = None
    data: bytes | BinaryIO | None = field(default=None, repr=False)
    url: str | None = None
    filename: str | None = None

    def __post_init__(self) -> None:
        """Refuse what can be no file."""
        if sum(given is not None for given in (self.path, self.data, self.url)) != 1:
            raise InvalidMessage("media: exactly one of path, data and url is needed")
        if self.path is not None and not isinstance(self.path, str | PathLike):
            raise InvalidMessage("media.path: a path is needed")
        if self.data is not None and not (isinstance(self.data, bytes) or hasattr(self.data, "read")):
            raise InvalidMessage("media.data: bytes or a binary stream are needed")
        if self.url is not None and not (isinstance(self.url, str) and self.url.startswith("https://")):
            raise InvalidMessage("media.url: must begin with https://")
        if self.filename is not None:
            _check_name(self.filename)

    @property
    def name(self) -> str | None:
        """The file's name as far as it is known: as given, or from the path or address."""
        if self.filename is not None:
            return self.filename
        if self.path is not None:
            return PurePath(fspath(self.path)).name or None
        if self.url is not None:
            return PurePath(unquote(urlsplit(self.url).path)).name or None
        return None


def _check_name(name: object) -> None:
    if not isinstance(name, str) or not name.strip() or any(sign in name for sign in "/\\\n\t"):
        raise InvalidMessage("media.filename: a name without slashes, tabs and line ends is needed")
    try:
        sendable(name)
    except ValueError as error:
        raise InvalidMessage(f"media.filename: {error}") from None


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
        return {"type": "string", "minLength": 1}


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
    return sendable(value)


def _uploaded(value: str | MediaFile) -> str:
    if isinstance(value, MediaFile):
        raise TypeError("not uploaded yet")
    return value
