"""Statements about files: the bytes messages show, and the media_ids under which WeCom knows them.

`uploads.py` has those about the way from the one to the other.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Connection, Engine, text

SPARE_SECONDS = 4 * 3600
"""A media_id is not used so shortly before its end: repetitions of a message of unknown fate need the same one.

WeCom's duplicate check covers 4 hours at most (doc 90236), and nothing is repeated past it.
"""
USABLE = "media.sender = :sender and media.expires_at > wecom.clock() + make_interval(secs => :spare_seconds)"

# A file that several messages show is kept once, as long as the last of them can need it.
_KEEP_FILE = text("""
    insert into wecom.media_files as kept (reference, kind, filename, content, needed_until)
    values (:reference, :kind, :filename, :content, :needed_until)
    on conflict (reference) do update set needed_until = greatest(kept.needed_until, excluded.needed_until)
""")
_READ_FILE = text("select reference, kind, filename, content from wecom.media_files where reference = :reference")
_DROP_FILES = text("""
    delete from wecom.media_files as kept
    where needed_until <= wecom.clock()
      and not exists (select from wecom.schedules where kept.reference = any (schedules.files))
""")

KEEP = text("""
    insert into wecom.media (sender, reference, media_id, expires_at)
    values (:sender, :reference, :media_id, wecom.clock() + make_interval(secs => :life))
    on conflict (sender, reference) do update set media_id = excluded.media_id, expires_at = excluded.expires_at
""")
_FORGET = text("""
    delete from wecom.media where sender = :sender and reference = :reference and media_id = :media_id
""")
_DROP = text("delete from wecom.media where expires_at <= wecom.clock()")


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file as it is uploaded; `filename` is what the members see."""

    reference: str
    kind: str
    filename: str
    content: bytes = field(repr=False)


class Media:
    """The files of a ledger and where they were uploaded."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def read(self, reference: str) -> StoredFile | None:
        """Return a file, or None if it is not kept any more."""
        with self._engine.connect() as connection:
            row = connection.execute(_READ_FILE, {"reference": reference}).one_or_none()
        return StoredFile(row.reference, row.kind, row.filename, bytes(row.content)) if row else None

    def forget(self, sender: str, reference: str, media_id: str) -> None:
        """Forget a media_id that WeCom refused, unless it has been replaced already."""
        with self._engine.begin() as connection:
            connection.execute(_FORGET, {"sender": sender, "reference": reference, "media_id": media_id})

    def drop_what_nobody_needs(self) -> None:
        """Delete files that no message can show any more, and media_ids past their life."""
        with self._engine.begin() as connection:
            connection.execute(_DROP_FILES)
            connection.execute(_DROP)


def keep_files(connection: Connection, files: Sequence[StoredFile], needed_until: datetime) -> None:
    """Store files in a producer's transaction; what is there already is only kept longer."""
    for file in files:
        connection.execute(
            _KEEP_FILE,
            {
                "reference": file.reference,
                "kind": file.kind,
                "filename": file.filename,
                "content": file.content,
                "needed_until": needed_until,
            },
        )
