"""Takes over the files of a message: read, checked, and named by what they are."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from worker.delivery.media import REFERENCE
from worker.delivery.media_fetch import fetch
from worker.ledger import StoredFile
from worker.messages import Content, InvalidMessage, MediaFile, check_media


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
    filename, content = _read(file, allowed_hosts)
    check_media(kind, filename, content)
    # The name is part of what members see, so the same bytes under another name are another file.
    digest = hashlib.sha256(b"\0".join((kind.encode(), filename.encode(), content))).hexdigest()
    return StoredFile(digest, kind, filename, content)


def _read(file: MediaFile, allowed_hosts: Iterable[str]) -> tuple[str, bytes]:
    if file.path is not None:
        path = Path(file.path)
        try:
            return file.filename or path.name, path.read_bytes()
        except OSError as error:
            raise InvalidMessage(f"path: {path} cannot be read ({error.strerror})") from None
    if file.url is not None:
        name, content = fetch(file.url, allowed_hosts)
        return file.filename or name, content
    data = file.data.read() if file.data is not None and not isinstance(file.data, bytes) else file.data
    return file.filename or "file", data or b""
