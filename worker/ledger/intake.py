"""Statements that put messages into the ledger, in the producer's own transaction if it has one."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, text
from sqlalchemy.dialects.postgresql import insert

from worker.ledger.schema import MessageRow, Priority, State
from worker.messages.recipients import Recipients

# The first to use a key keeps it until it expires; whoever comes later reads what the first one stored.
_CLAIM_KEY = text("""
    insert into wecom.idempotency_keys as held (sender, key, message, content_hash, expires_at)
    values (:sender, :key, :message, :content_hash, wecom.clock() + make_interval(secs => :seconds))
    on conflict (sender, key) do update
    set message = excluded.message, content_hash = excluded.content_hash, expires_at = excluded.expires_at
    where held.expires_at <= wecom.clock()
""")
_READ_KEY = text("select message, content_hash from wecom.idempotency_keys where sender = :sender and key = :key")
_FIND_KEY = text("""
    select message, content_hash from wecom.idempotency_keys
    where sender = :sender and key = :key and expires_at > wecom.clock()
""")
_FIND_STORED = text("""
    select coalesce(part_of, id) as first, sender, touser, toparty, totag, body
    from wecom.messages
    where id = any (cast(:ids as uuid[])) or part_of = any (cast(:ids as uuid[]))
    order by id
""")
# An insert of an id that another transaction has written, and not yet committed, waits for its end.
_INSERT = (
    insert(MessageRow)
    .on_conflict_do_nothing(index_elements=[MessageRow.id])
    .execution_options(preserve_rowcount=True)  # of many rows SQLAlchemy does not tell it otherwise
)


@dataclass(frozen=True, slots=True)
class NewMessage:
    """One row to be: see the columns of `MessageRow`."""

    id: UUID
    sender: str
    recipients: Recipients
    body: Mapping[str, Any]
    priority: Priority
    requested_at: datetime
    send_at: datetime
    expires_at: datetime | None = None
    part_of: UUID | None = None
    files: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """What one row of a stored message says, and to whom."""

    sender: str
    recipients: Recipients
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class KeyHolder:
    """The message that an idempotency key stands for."""

    message: UUID
    content_hash: bytes


def insert_messages(connection: Connection, messages: Sequence[NewMessage]) -> int:
    """Write messages as `scheduled`, but those whose ids are there already; return how many were written.

    They exist once the connection's transaction commits.
    """
    return connection.execute(
        _INSERT,
        [
            {
                "id": message.id,
                "part_of": message.part_of,
                "sender": message.sender,
                "state": State.SCHEDULED,
                "priority": message.priority,
                "requested_at": message.requested_at,
                "send_at": message.send_at,
                "expires_at": message.expires_at,
                "touser": list(message.recipients.users),
                "toparty": list(message.recipients.parties),
                "totag": list(message.recipients.tags),
                "body": message.body,
                "files": list(message.files),
            }
            for message in messages
        ],
    ).rowcount


def find_stored(connection: Connection, ids: Collection[UUID]) -> dict[UUID, list[StoredMessage]]:
    """Return what is stored under these ids, each with the parts of its audience."""
    stored = dict[UUID, list[StoredMessage]]()
    for row in connection.execute(_FIND_STORED, {"ids": list(ids)}):
        recipients = Recipients(tuple(row.touser), tuple(row.toparty), tuple(row.totag))
        stored.setdefault(row.first, []).append(StoredMessage(row.sender, recipients, row.body))
    return stored


def find_key(connection: Connection, sender: str, key: str) -> KeyHolder | None:
    """Return the message an idempotency key stands for, or None if it is free."""
    row = connection.execute(_FIND_KEY, {"sender": sender, "key": key}).one_or_none()
    return KeyHolder(row.message, bytes(row.content_hash)) if row else None


def hold_key(connection: Connection, sender: str, key: str, holder: KeyHolder, seconds: int) -> KeyHolder:
    """Take an idempotency key for a message, or return who holds it; a race with another producer has one winner."""
    taken = connection.execute(
        _CLAIM_KEY,
        {
            "sender": sender,
            "key": key,
            "message": holder.message,
            "content_hash": holder.content_hash,
            "seconds": seconds,
        },
    )
    if taken.rowcount:
        return holder
    row = connection.execute(_READ_KEY, {"sender": sender, "key": key}).one()
    return KeyHolder(row.message, bytes(row.content_hash))
