"""Statements that only read: what became of a message, and how many messages stand where."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Engine, func, or_, select, text

from worker.ledger.card_updates import CardUpdateStatus, card_updates_of
from worker.ledger.schema import AttemptRow, InvalidRecipientRow, MessageRow, Priority, State
from worker.ledger.waiting_for_files import reason_to_wait
from worker.messages import InvalidMessage, content_from_body
from worker.messages.recipients import InvalidRecipients, Recipients

_INVALID_FIELDS = {"user": "users", "party": "parties", "tag": "tags", "unlicensed": "unlicensed"}


# The member's messages are found first, by their index: reading all messages from the newest until enough are his would
# read millions for somebody who is written to rarely.
_OF_MEMBER = text("""
    with named as materialized (
        select message.id, message.sender, campaign.name as campaign, message.state, message.requested_at,
               message.send_at, message.sent_at, message.body, message.msgid, message.errcode, message.error,
               message.recalled_at
        from wecom.messages as message left join wecom.campaigns as campaign on campaign.id = message.campaign
        where wecom.lowered(message.touser) @> wecom.lowered(array[cast(:userid as text)])
    )
    select named.*, coalesce((
        select array_agg(kind order by kind) from wecom.invalid_recipients as invalid
        where invalid.message = named.id and invalid.kind in ('user', 'unlicensed')
          and lower(invalid.value) = lower(:userid)
    ), '{}') as not_served
    from (select * from named order by coalesce(sent_at, send_at) desc, id desc limit :most) as named
    order by coalesce(sent_at, send_at) desc, id desc
""")


@dataclass(frozen=True, slots=True)
class HistoryEntry:
    """One message to a member, and what WeCom answered.

    `not_served` says why this member did not get it although WeCom accepted it: `user`, no such member, or out of the
    app's range; `unlicensed`, without an interface licence.
    """

    id: UUID
    sender: str
    campaign: str | None
    state: State
    requested_at: datetime
    send_at: datetime
    sent_at: datetime | None
    body: Mapping[str, Any]
    msgid: str | None
    errcode: int | None
    error: str | None
    recalled_at: datetime | None
    not_served: tuple[str, ...]


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
            waits = row.state == State.SCHEDULED and row.files
            error = (reason_to_wait(connection, message, row.attempt) if waits else None) or row.error
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
            error=error,
            recall_requested_at=row.recall_requested_at,
            recalled_at=row.recalled_at,
            recall_error=row.recall_error,
            invalid=InvalidRecipients(**left_out),
            attempts=tuple(Attempt(*attempt) for attempt in attempts),
            parts=tuple(parts),
            card_updates=card_updates,
            warnings=_warnings(row.body),
        )

    def of_member(self, userid: str, most: int) -> list[HistoryEntry]:
        """Return the newest messages that name a member."""
        if "\0" in userid:
            return []
        with self._engine.connect() as connection:
            rows = connection.execute(_OF_MEMBER, {"userid": userid, "most": most}).mappings()
            return [
                HistoryEntry(**{**row, "state": State(row["state"]), "not_served": tuple(row["not_served"])})
                for row in rows
            ]

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
