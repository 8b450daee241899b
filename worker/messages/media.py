"""Images, voice, video and files (doc 90236), and what may be uploaded for them (doc 90253)."""

from os import PathLike
from pathlib import PurePath
from types import MappingProxyType
from typing import Annotated, BinaryIO, ClassVar, Self

from pydantic import model_validator

from worker.messages.content import Content
from worker.messages.limits import Characters, Flag, Size
from worker.messages.mediafile import Kind, MediaFile, MediaOf
from worker.messages.part import constructor
from worker.messages.refusals import InvalidMessage, fault

__all__ = ["File", "Image", "Kind", "MediaFile", "Video", "Voice", "check_media", "media_warnings"]

MEBIBYTE = 1024 * 1024
MOST_BYTES = MappingProxyType(
    {"image": 10 * MEBIBYTE, "voice": 2 * MEBIBYTE, "video": 10 * MEBIBYTE, "file": 20 * MEBIBYTE}
)
"""Doc 90253; older pages allow images of 2 MB only, so larger ones get a warning."""
LEAST_BYTES = 6
LARGE_IMAGE = 2 * MEBIBYTE
LONGEST_VOICE = 60
"""Seconds (doc 90253)."""
SAFE_FORMATS = frozenset(
    ("txt", "pdf", "doc", "docx", "ppt", "pptx", "xls", "xlsx", "xml", "jpg", "jpeg", "png", "bmp", "gif")
)
"""Files of other formats cannot be sent with `safe` 1 (doc 90236)."""

AMR = b"#!AMR"
AMR_NARROW_BAND = b"#!AMR\n"
AMR_FRAME_BYTES = (13, 14, 16, 18, 20, 21, 27, 32, 6, 1, 1, 1, 1, 1, 1, 1)
"""Of a narrow-band frame with its header, by the type in the header's bits 3 to 6."""
AMR_FRAMES_A_SECOND = 50

Path = str | PathLike[str]
Data = bytes | BinaryIO


def _media(
    media_id: str | MediaFile | None, path: Path | None, data: Data | None, url: str | None, filename: str | None
) -> dict[str, str | MediaFile]:
    if path is None and data is None and url is None and filename is None:
        return {} if media_id is None else {"media_id": media_id}
    if media_id is not None:
        raise InvalidMessage("media_id: give it alone, without path, data, url and filename")
    return {"media_id": MediaFile(path, data, url, filename)}


class ShowsFile(Content):
    """A message that shows one file: by its media_id, or by path, data or url of a `MediaFile` to be uploaded."""

    @constructor
    def __init__(
        self,
        *,
        media_id: str | MediaFile | None = None,
        path: Path | None = None,
        data: Data | None = None,
        url: str | None = None,
        filename: str | None = None,
        **options: object,
    ) -> None:
        super().__init__(**_media(media_id, path, data, url, filename), **options)


class Image(ShowsFile):
    """A picture, JPG or PNG, at most 10 MiB (docs 90236, 90253).

    `Image(path="a.png")`, `Image(data=..., filename="a.png")` and `Image(url="https://...")` stand for
    `Image(media_id=MediaFile(...))`; so with the other kinds of media.

    Attributes:
        media_id: from media/upload, valid for 3 days; or a `MediaFile` to be uploaded.
        safe: 1 forbids forwarding and shows a watermark; 0 if not given.
    """

    msgtype: ClassVar[str] = "image"

    media_id: Annotated[str | MediaFile, MediaOf("image")]
    safe: Flag | None = None


class Voice(ShowsFile):
    """A voice recording, AMR, at most 2 MiB and 60 seconds (docs 90236, 90253); it has no option `safe`.

    Attributes:
        media_id: from media/upload, valid for 3 days; or a `MediaFile` to be uploaded.
    """

    msgtype: ClassVar[str] = "voice"

    media_id: Annotated[str | MediaFile, MediaOf("voice")]


class Video(ShowsFile):
    """A video, MP4, at most 10 MiB (docs 90236, 90253).

    Attributes:
        media_id: from media/upload, valid for 3 days; or a `MediaFile` to be uploaded.
        title: at most 128 bytes of UTF-8.
        description: at most 512 bytes of UTF-8.
        safe: 1 forbids forwarding and shows a watermark; 0 if not given.
    """

    msgtype: ClassVar[str] = "video"

    media_id: Annotated[str | MediaFile, MediaOf("video")]
    title: Annotated[Characters, Size(128, "bytes")] | None = None
    description: Annotated[Characters, Size(512, "bytes")] | None = None
    safe: Flag | None = None


class File(ShowsFile):
    """A file, at most 20 MiB (docs 90236, 90253).

    Attributes:
        media_id: from media/upload, valid for 3 days; or a `MediaFile` to be uploaded.
        safe: 1 forbids forwarding and shows a watermark, for txt, pdf, doc, docx, ppt, pptx, xls, xlsx, xml, jpg,
            jpeg, png, bmp and gif alone; 0 if not given.
    """

    msgtype: ClassVar[str] = "file"

    media_id: Annotated[str | MediaFile, MediaOf("file")]
    safe: Flag | None = None

    @model_validator(mode="after")
    def _safe_format(self) -> Self:
        name = self.media_id.name if isinstance(self.media_id, MediaFile) else None
        if self.safe and name is not None and _extension(name) not in SAFE_FORMATS:
            raise fault("safe", f"1 is possible only for {', '.join(sorted(SAFE_FORMATS))} files")
        return self


def check_media(kind: str, filename: str, data: bytes) -> None:
    """Refuse what WeCom would not take as an upload of this kind: by its size, its format and its length.

    Every upload has more than 5 bytes; an image is JPG or PNG of at most 10 MiB, voice AMR of at most 2 MiB and 60
    seconds, a video MP4 of at most 10 MiB, a file anything of at most 20 MiB (doc 90253). The format is judged by
    the bytes, not by the name.

    Raises:
        InvalidMessage: naming the file, the limit and what was given.
    """
    if kind not in MOST_BYTES:
        raise InvalidMessage(f"{filename}: {kind!r} is no kind of media; use one of: {', '.join(MOST_BYTES)}")
    if not LEAST_BYTES <= len(data) <= MOST_BYTES[kind]:
        bound = f"at least {LEAST_BYTES}" if len(data) < LEAST_BYTES else f"at most {MOST_BYTES[kind]}"
        raise InvalidMessage(f"{filename}: {len(data)} bytes, {bound} for kind {kind}")
    if kind == "image" and not data.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")):
        raise InvalidMessage(f"{filename}: neither JPG nor PNG, an image must be one of them")
    if kind == "video" and data[4:8] != b"ftyp":
        raise InvalidMessage(f"{filename}: not MP4, a video must be")
    if kind == "voice":
        _check_voice(filename, data)


def media_warnings(kind: str, filename: str, data: bytes) -> tuple[str, ...]:
    """Say what WeCom may refuse where its pages disagree: images of more than 2 MiB."""
    if kind == "image" and len(data) > LARGE_IMAGE:
        return (f"{filename}: {len(data)} bytes, suggested at most {LARGE_IMAGE} for an image",)
    return ()


def _check_voice(filename: str, data: bytes) -> None:
    if not data.startswith(AMR):
        raise InvalidMessage(f"{filename}: not AMR, voice must be")
    frames = _frames(data)
    if frames > LONGEST_VOICE * AMR_FRAMES_A_SECOND:
        raise InvalidMessage(
            f"{filename}: {frames / AMR_FRAMES_A_SECOND:g} seconds, at most {LONGEST_VOICE} for kind voice"
        )


def _frames(data: bytes) -> int:
    """How many frames a recording has; 0 if it is not narrow-band, where this cannot be told as easily."""
    if not data.startswith(AMR_NARROW_BAND):
        return 0
    position, frames = len(AMR_NARROW_BAND), 0
    while position < len(data):
        position += AMR_FRAME_BYTES[data[position] >> 3 & 15]
        frames += 1
    return frames


def _extension(name: str) -> str:
    return PurePath(name).suffix.removeprefix(".").lower()
