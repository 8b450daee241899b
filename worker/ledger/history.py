"""Statements that only read: what became of a message, and how many messages stand where."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Engine, func, or_, select

from worker.ledger.card_updates import CardUpdateStatus, card_updates_of
from worker.ledger.schema import AttemptRow, InvalidRecipientRow, MessageRow, Priority, State
from worker.messages import InvalidMessage, content_from_body
from worker.messages.recipients import InvalidRecipients, Recipients

_INVALID_FIELDS = {"user": "users", "party": "parties", "tag": "tags", "unlicensed": "unlicensed"}


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt that was not a plain success."""

    attempt: int
    at: datetime
    category: str
    errcode: int | None
    reason: str
    milliseconds: int


@dataclass(frozen=True, slots=True)
class MessageStatus:
    """Everything the ledger knows about one message.

    `parts` are the other calls of a divided audience; `warnings` say what WeCom may show cut off.
    """

    id: UUID
    sender: str
    state: State
    priority: Priority
    requested_at: datetime
    send_at: datetime
    expires_at: datetime | None
    sent_at: datetime | None
    recipients: Recipients
    body: Mapping[str, Any]
    msgid: str | None
    errcode: int | None
    error: str | None
    recall_requested_at: datetime | None
    recalled_at: datetime | None
    recall_error: str | None
    invalid: InvalidRecipients
    attempts: tuple[Attempt, ...]
    parts: tuple[UUID, ...]
    card_updates: tuple[CardUpdateStatus, ...] = ()
    warnings: tuple[str, ...] = ()


class History:
    """What the ledger can tell."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def status(self, message: UUID) -> MessageStatus | None:
        """Return what is known about a message, or None if there is no such message."""
        with self._engine.connect() as connection:
            row = connection.execute(select(MessageRow.__table__).where(MessageRow.id == message)).one_or_none()
            if row is None:
                return None
            attempts = connection.execute(
                select(
                    AttemptRow.attempt,
                    AttemptRow.at,
                    AttemptRow.category,
                    AttemptRow.errcode,
                    AttemptRow.reason,
                    AttemptRow.milliseconds,
                )
                .where(AttemptRow.message == message)
                .order_by(AttemptRow.attempt, AttemptRow.id)
            ).all()
            invalid = connection.execute(
                select(InvalidRecipientRow.kind, InvalidRecipientRow.value)
                .where(InvalidRecipientRow.message == message)
                .order_by(InvalidRecipientRow.kind, InvalidRecipientRow.value)
            ).all()
            card_updates = card_updates_of(connection, message)
            whole = row.part_of or row.id
            parts = connection.scalars(
                select(MessageRow.id)
                .where(or_(MessageRow.id == whole, MessageRow.part_of == whole), MessageRow.id != message)
                .order_by(MessageRow.id)
            ).all()
        left_out: dict[str, tuple[str, ...]] = {
            field: tuple(value for kind, value in invalid if kind == stored)
            for stored, field in _INVALID_FIELDS.items()
        }
        return MessageStatus(
            id=row.id,
            sender=row.sender,
            state=State(row.state),
            priority=Priority(row.priority),
            requested_at=row.requested_at,
            send_at=row.send_at,
            expires_at=row.expires_at,
            sent_at=row.sent_at,
            recipients=Recipients(tuple(row.touser), tuple(row.toparty), tuple(row.totag)),
            body=row.body,
            msgid=row.msgid,
            errcode=row.errcode,
            error=row.error,
            recall_requested_at=row.recall_requested_at,
            recalled_at=row.recalled_at,
            recall_error=row.recall_error,
            invalid=InvalidRecipients(**left_out),
            attempts=tuple(Attempt(*attempt) for attempt in attempts),
            parts=tuple(parts),
            card_updates=card_updates,
            warnings=_warnings(row.body),
        )

    def counts(self, sender: str) -> dict[State, int]:
        """Return how many messages of a sender stand in each state; states without any are left out."""
        counted = select(MessageRow.state, func.count()).where(MessageRow.sender == sender).group_by(MessageRow.state)
        with self._engine.connect() as connection:
            return {State(state): number for state, number in connection.execute(counted)}


def _warnings(body: Mapping[str, Any]) -> tuple[str, ...]:
    try:
        return content_from_body(body).warnings()
    except InvalidMessage:  # stored by a release with other limits
        return ()
