"""What a file must be to be taken as an image, voice, video or file (docs 90253, 90256, 90313)."""

from typing import NamedTuple

from worker.simulator.answers import RefusedError

MEGABYTE = 1024 * 1024
LEAST_BYTES = 6
"""More than 5 bytes (doc 90253)."""
LEAST_PERMANENT_IMAGE, MOST_PERMANENT_IMAGE = 5, 2 * MEGABYTE
"""Of uploadimg: 5 B to 2 MB (doc 90256)."""
MOST_VOICE_SECONDS = 60

_FRAMES_PER_SECOND = 50
_RESERVED = 0
_NARROW_BAND = (13, 14, 16, 18, 20, 21, 27, 32, 6, _RESERVED, _RESERVED, _RESERVED, _RESERVED, _RESERVED, _RESERVED, 1)
_WIDE_BAND = (18, 24, 33, 37, 41, 47, 51, 59, 61, 6, _RESERVED, _RESERVED, _RESERVED, _RESERVED, 1, 1)
"""Bytes of an AMR frame by its type (RFC 4867, 5.3)."""

_PICTURE_NAMES = (".jpg", ".jpeg", ".png")
_PICTURE_HEADS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")
_OTHER_PICTURE_HEADS = (b"GIF8", b"BM", b"RIFF", b"II*\0", b"MM\0*", b"<svg")

SAFE_EXTENSIONS = (
    ".txt",
    ".pdf",
    ".doc",
    ".docx",
    ".ppt",
    ".pptx",
    ".xls",
    ".xlsx",
    ".xml",
    *_PICTURE_NAMES,
    ".bmp",
    ".gif",
)
"""Of files that can be sent with safe 1 (doc 90236)."""


class _Limit(NamedTuple):
    """The most bytes of a kind, and the errcode past them."""

    most: int
    errcode: int


LIMITS = {
    "image": _Limit(10 * MEGABYTE, 40009),
    "voice": _Limit(2 * MEGABYTE, 45001),
    "video": _Limit(10 * MEGABYTE, 40011),
    "file": _Limit(20 * MEGABYTE, 45001),
}
"""Doc 90253; which of 45001, 40009 and 40011 a file too large earns is not documented: the one of its kind, if any."""


def check_media(kind: str, filename: str, content: bytes) -> None:
    """Check a file for media/upload.

    Raises:
        RefusedError: 44001 empty, 40006 not more than 5 bytes, 40009, 40011 or 45001 too large, 40004 another format,
            40123 a picture by its name that is none, 45007 a voice longer than 60 s.
    """
    if not content:
        raise RefusedError(44001)
    if len(content) < LEAST_BYTES:
        raise RefusedError(40006)
    limit = LIMITS[kind]
    if len(content) > limit.most:
        raise RefusedError(limit.errcode)
    if kind == "image":
        _check_picture(filename, content)
    elif kind == "voice":
        _check_voice(content)
    elif kind == "video" and content[4:8] != b"ftyp":
        raise RefusedError(40004)


def check_permanent_image(filename: str, content: bytes) -> None:
    """Check a picture for media/uploadimg.

    Raises:
        RefusedError: 44001 empty, 40006 less than 5 bytes, 40009 more than 2 MB, 40004 or 40123 no JPG or PNG.
    """
    if not content:
        raise RefusedError(44001)
    if len(content) < LEAST_PERMANENT_IMAGE:
        raise RefusedError(40006)
    if len(content) > MOST_PERMANENT_IMAGE:
        raise RefusedError(40009)
    _check_picture(filename, content)


def _check_picture(filename: str, content: bytes) -> None:
    if content.startswith(_PICTURE_HEADS):
        return
    damaged = filename.lower().endswith(_PICTURE_NAMES) and not content.startswith(_OTHER_PICTURE_HEADS)
    raise RefusedError(40123 if damaged else 40004)


def _check_voice(content: bytes) -> None:
    if content.startswith(b"#!AMR\n"):
        position, lengths = 6, _NARROW_BAND
    elif content.startswith(b"#!AMR-WB\n"):
        position, lengths = 9, _WIDE_BAND
    else:
        raise RefusedError(40004)
    frames = 0
    while position < len(content) and (length := lengths[content[position] >> 3 & 15]) != _RESERVED:
        frames += 1
        position += length
        if frames > MOST_VOICE_SECONDS * _FRAMES_PER_SECOND:
            raise RefusedError(45007)
