"""Takes over the files of a message: read, checked, and named by what they are."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from worker.delivery.media import REFERENCE
from worker.delivery.media_fetch import fetch
from worker.ledger import StoredFile
from worker.messages import Content, InvalidMessage, MediaFile, check_media

PNG = b"\x89PNG"


def take_over_files(message: Content, allowed_hosts: Iterable[str]) -> tuple[Content, list[StoredFile]]:
    """Return a message whose files stand by reference, and the files.

    Raises:
        InvalidMessage: a file cannot be read, or WeCom would not take it.
    """
    files = [_stored(kind, file, allowed_hosts) for kind, file in message.media_files()]
    if not files:
        return message, []
    return message.with_media_ids([f"{REFERENCE}{file.reference}" for file in files]), files


def _stored(kind: str, file: MediaFile, allowed_hosts: Iterable[str]) -> StoredFile:
    content = _read(file, allowed_hosts)
    filename = file.name or _default_name(kind, content)
    check_media(kind, filename, content)
    # The name is part of what members see, so the same bytes under another name are another file.
    digest = hashlib.sha256(b"\0".join((kind.encode(), filename.encode(), content))).hexdigest()
    return StoredFile(digest, kind, filename, content)


def _default_name(kind: str, content: bytes) -> str:
    """Name a file that nobody named, by what it is."""
    if kind == "image":
        return "image.png" if content.startswith(PNG) else "image.jpg"
    return {"voice": "voice.amr", "video": "video.mp4"}.get(kind, "file")


def _read(file: MediaFile, allowed_hosts: Iterable[str]) -> bytes:
    if file.path is not None:
        try:
            return Path(file.path).read_bytes()
        except OSError as error:
            raise InvalidMessage(f"path: {Path(file.path)} cannot be read ({error.strerror})") from None
    if file.url is not None:
        return fetch(file.url, allowed_hosts)
    return file.data if isinstance(file.data, bytes) else _bytes_of(file.data)


def _bytes_of(stream: BinaryIO | None) -> bytes:
    """Read a stream from where it stands to its end."""
    try:
        content = stream.read() if stream is not None else b""
    except (OSError, ValueError) as error:  # a closed one is a ValueError
        raise InvalidMessage(f"media.data: the stream cannot be read ({error})") from None
    if not isinstance(content, bytes | bytearray):
        raise InvalidMessage("media.data: the stream gives no bytes; open the file in binary mode, 'rb'")
    return bytes(content)
