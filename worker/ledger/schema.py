"""The tables of the ledger, in the Postgres schema `wecom`.

What the columns of `messages` mean over time is told in `docs/states.md`. Foreign keys to `messages` are left out
on purpose: retention drops whole ranges of messages by id, and each of the small tables is cleared by its own rule.
"""

from datetime import datetime
from enum import IntEnum, StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    LargeBinary,
    MetaData,
    SmallInteger,
    Text,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

SCHEMA = "wecom"


class State(StrEnum):
    """Where a message stands; `docs/states.md` draws the ways from one to the next."""

    SCHEDULED = "scheduled"
    SENDING = "sending"
    SENT = "sent"
    RECALLING = "recalling"
    RECALLED = "recalled"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    FAILED = "failed"
    UNCONFIRMED = "unconfirmed"


FINAL = frozenset({State.SENT, State.RECALLED, State.CANCELLED, State.EXPIRED, State.FAILED, State.UNCONFIRMED})
"""States no worker changes by itself any more."""


class Priority(IntEnum):
    """In which order a sender's due messages go; only urgent ones go in a quiet window.

    Messages of a paused campaign are `ASIDE`, where no claim looks; their campaign knows the priority they had.
    """

    URGENT = 0
    NORMAL = 1
    BULK = 2
    ASIDE = 3


class Base(DeclarativeBase):
    """Common ground of all tables."""

    metadata = MetaData(
        schema=SCHEMA,
        naming_convention={
            "pk": "%(table_name)s_pkey",
            "fk": "%(table_name)s_%(column_0_name)s_fkey",
            "ck": "%(table_name)s_%(constraint_name)s_check",
            "uq": "%(table_name)s_%(column_0_name)s_key",
        },
    )
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy's own interface
        str: Text,
        datetime: DateTime(timezone=True),
        UUID: Uuid,
        list[str]: ARRAY(Text),
        dict[str, Any]: JSONB,
        bytes: LargeBinary,
    }


class SenderRow(Base):
    """An identity that can send."""

    __tablename__ = "senders"

    name: Mapped[str] = mapped_column(primary_key=True)
    provider: Mapped[str]
    agentid: Mapped[int | None]
    credentials: Mapped[bytes] = mapped_column(comment="JSON, encrypted with WECOM_SECRET_KEYS")
    account_cap: Mapped[int | None]
    paused_reason: Mapped[str | None]
    paused_until: Mapped[datetime | None] = mapped_column(comment="empty while paused: until somebody resumes it")
    park_seconds: Mapped[int] = mapped_column(server_default="0")
    settings: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class ParkedCallsRow(Base):
    """Calls of one kind, recalls or card updates, that a sender does not make for a while."""

    __tablename__ = "parked_calls"

    sender: Mapped[str] = mapped_column(ForeignKey("senders.name", ondelete="CASCADE"), primary_key=True)
    calls: Mapped[str] = mapped_column(primary_key=True)
    reason: Mapped[str]
    until: Mapped[datetime]
    seconds: Mapped[int] = mapped_column(comment="how long they were parked last; the next time lasts twice as long")


class WorkerRow(Base):
    """A worker process and when it last showed that it lives."""

    __tablename__ = "workers"

    id: Mapped[str] = mapped_column(primary_key=True)
    machine: Mapped[str] = mapped_column(comment="its host name, for people")
    pid: Mapped[int]
    delivers: Mapped[bool] = mapped_column(comment="it answers wake-ups, so it may send")
    started_at: Mapped[datetime]
    seen_at: Mapped[datetime]
    ended_at: Mapped[datetime | None] = mapped_column(comment="in order")
    oldest_task_seconds: Mapped[int]


class StandingAsideRow(Base):
    """A fault that may be of one machine alone, and that a worker met for a sender."""

    __tablename__ = "standing_aside"

    sender: Mapped[str] = mapped_column(ForeignKey("senders.name", ondelete="CASCADE"), primary_key=True)
    worker: Mapped[str] = mapped_column(primary_key=True)
    machine: Mapped[str]
    pid: Mapped[int]
    fault: Mapped[str]
    reason: Mapped[str]
    since: Mapped[datetime]
    until: Mapped[datetime] = mapped_column(comment="then it tries again")
    seconds: Mapped[int] = mapped_column(comment="for how long; the next time twice as long")


class ClockworkRow(Base):
    """A part of the clockwork, `dispatch` or `reap`, and when it last ran to its end."""

    __tablename__ = "clockwork"

    name: Mapped[str] = mapped_column(primary_key=True)
    ran_at: Mapped[datetime]


class TrialWriteRow(Base):
    """Nothing that lasts: `wecom doctor` sees here whether Postgres can write."""

    __tablename__ = "trial_writes"
    __table_args__ = {"comment": "`wecom doctor` writes here and rolls back"}  # noqa: RUF012 - SQLAlchemy's interface

    content: Mapped[bytes]
    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)


class SuiteRow(Base):
    """A third-party app of a service provider; its corps are senders."""

    __tablename__ = "suites"

    suite_id: Mapped[str] = mapped_column(primary_key=True)
    credentials: Mapped[bytes] = mapped_column(comment="JSON, encrypted with WECOM_SECRET_KEYS")
    ticket: Mapped[bytes | None] = mapped_column(comment="the newest suite_ticket, encrypted")
    ticket_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class CampaignRow(Base):
    """A named set of messages with one purpose."""

    __tablename__ = "campaigns"
    __table_args__ = (
        Index("campaigns_sender_name_key", "sender", "name", unique=True),
        Index("campaigns_paused", "id", postgresql_where=text("paused_reason is not null")),
        Index("campaigns_aside", "id", postgresql_where=text("aside")),
        Index("campaigns_created_at", "created_at"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    sender: Mapped[str] = mapped_column(ForeignKey("senders.name"))
    name: Mapped[str]
    content_hash: Mapped[bytes]
    body: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"), comment="with templates")
    priority: Mapped[int] = mapped_column(SmallInteger, server_default="2")
    messages: Mapped[int] = mapped_column(server_default="0")
    recipients: Mapped[int] = mapped_column(server_default="0")
    duplicates: Mapped[int] = mapped_column(server_default="0")
    requested_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime | None]
    paused_reason: Mapped[str | None]
    cancelled_at: Mapped[datetime | None]
    aside: Mapped[bool] = mapped_column(server_default=text("false"), comment="messages are set aside, or were")
    forgiven_failed: Mapped[int] = mapped_column(server_default="0")
    forgiven_settled: Mapped[int] = mapped_column(server_default="0")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class MessageRow(Base):
    """One API call: whom it names, what it says, when it is due, what became of it."""

    __tablename__ = "messages"
    __table_args__ = (
        CheckConstraint("state in ({})".format(", ".join(f"'{state}'" for state in State)), name="state"),
        CheckConstraint("priority between 0 and 3", name="priority"),
        Index(
            "messages_due",
            "sender",
            "priority",
            "send_at",
            postgresql_where=text("state = 'scheduled'"),
        ),
        Index("messages_by_due_time", "priority", "send_at", postgresql_where=text("state = 'scheduled'")),
        Index(
            "messages_leased",
            "lease_until",
            postgresql_where=text("state in ('sending', 'recalling')"),
        ),
        Index(
            "messages_recalling",
            "sender",
            "recall_requested_at",
            postgresql_where=text("state = 'recalling'"),
        ),
        Index(
            "messages_expiring",
            "expires_at",
            postgresql_where=text("state = 'scheduled' and expires_at is not null"),
        ),
        Index(
            "messages_doubtful",
            "resend_until",
            postgresql_where=text("state = 'scheduled' and resend_until is not null"),
        ),
        Index("messages_unconfirmed", "sender", "claimed_at", postgresql_where=text("state = 'unconfirmed'")),
        Index("messages_sent", "sender", "sent_at", postgresql_where=text("sent_at is not null")),
        Index(
            "messages_pressing",
            text("least(expires_at, resend_until)"),
            "sender",
            postgresql_where=text("state = 'scheduled' and (expires_at is not null or resend_until is not null)"),
        ),
        Index("messages_part_of", "part_of", postgresql_where=text("part_of is not null")),
        Index("messages_of_campaign", "campaign", "state", "priority", postgresql_where=text("campaign is not null")),
        Index(
            "messages_of_member",
            text("wecom.lowered(touser)"),
            postgresql_using="gin",
            postgresql_with={"fastupdate": "off"},
        ),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, comment="UUIDv7, made by the producer")
    part_of: Mapped[UUID | None] = mapped_column(comment="the first message of an audience that took several calls")
    sender: Mapped[str] = mapped_column(ForeignKey("senders.name"))
    campaign: Mapped[UUID | None]
    state: Mapped[str]
    priority: Mapped[int] = mapped_column(SmallInteger)

    requested_at: Mapped[datetime] = mapped_column(comment="when the producer asked for it to be sent")
    send_at: Mapped[datetime] = mapped_column(comment="when it may be sent, after staggering")
    expires_at: Mapped[datetime | None]

    claimed_at: Mapped[datetime | None]
    lease_until: Mapped[datetime | None]
    attempt: Mapped[int] = mapped_column(server_default="0", comment="claims so far; fences answers that come late")
    retries: Mapped[int] = mapped_column(SmallInteger, server_default="0", comment="failed tries that count")
    resend_until: Mapped[datetime | None] = mapped_column(
        comment="set once nobody knows whether it was sent: until then WeCom would recognise a repetition"
    )

    touser: Mapped[list[str]]
    toparty: Mapped[list[str]]
    totag: Mapped[list[str]]
    body: Mapped[dict[str, Any]] = mapped_column(comment="as WeCom reads it; files stand in it by reference")
    files: Mapped[list[str]] = mapped_column(server_default=text("'{}'"), comment="references of the files in body")
    media_ids: Mapped[list[str] | None] = mapped_column(
        comment="of files, as the last claim chose them; a repetition of unknown fate needs the same"
    )

    msgid: Mapped[str | None]
    response_code: Mapped[str | None]
    errcode: Mapped[int | None]
    error: Mapped[str | None]
    sent_at: Mapped[datetime | None]
    recall_requested_at: Mapped[datetime | None]
    recalled_at: Mapped[datetime | None]
    recall_error: Mapped[str | None]


class IdempotencyKeyRow(Base):
    """A producer's own name for a message, so that asking twice sends once."""

    __tablename__ = "idempotency_keys"
    __table_args__ = (Index("idempotency_keys_expires_at", "expires_at"),)

    sender: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    message: Mapped[UUID]
    content_hash: Mapped[bytes]
    expires_at: Mapped[datetime]


class AttemptRow(Base):
    """One attempt that was not a plain success."""

    __tablename__ = "attempts"
    __table_args__ = (Index("attempts_message", "message"),)

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    message: Mapped[UUID]
    attempt: Mapped[int]
    at: Mapped[datetime]
    category: Mapped[str]
    errcode: Mapped[int | None]
    reason: Mapped[str]
    msgid: Mapped[str | None]
    http_status: Mapped[int | None] = mapped_column(SmallInteger)
    milliseconds: Mapped[int]


class InvalidRecipientRow(Base):
    """A recipient WeCom did not serve although it accepted the message."""

    __tablename__ = "invalid_recipients"
    __table_args__ = (
        CheckConstraint("kind in ('user', 'party', 'tag', 'unlicensed')", name="kind"),
        Index("invalid_recipients_value", "value", "kind"),
    )

    message: Mapped[UUID] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[str] = mapped_column(primary_key=True)


class MediaFileRow(Base):
    """A file that messages show, kept until no message can need it any more."""

    __tablename__ = "media_files"
    __table_args__ = (Index("media_files_needed_until", "needed_until"),)

    reference: Mapped[str] = mapped_column(primary_key=True, comment="SHA-256 of kind, filename and content")
    kind: Mapped[str]
    filename: Mapped[str]
    content: Mapped[bytes]
    needed_until: Mapped[datetime]


class MediaRow(Base):
    """A file uploaded for a sender, usable until its media_id expires."""

    __tablename__ = "media"

    sender: Mapped[str] = mapped_column(ForeignKey("senders.name", ondelete="CASCADE"), primary_key=True)
    reference: Mapped[str] = mapped_column(primary_key=True)
    media_id: Mapped[str]
    expires_at: Mapped[datetime]


class UploadRow(Base):
    """A file that due messages of a sender wait for."""

    __tablename__ = "uploads"

    sender: Mapped[str] = mapped_column(ForeignKey("senders.name", ondelete="CASCADE"), primary_key=True)
    reference: Mapped[str] = mapped_column(primary_key=True)
    try_at: Mapped[datetime] = mapped_column(comment="when it may be tried next")
    lease_until: Mapped[datetime | None]
    attempt: Mapped[int] = mapped_column(server_default="0", comment="claims so far; fences what is stored late")
    pause_seconds: Mapped[int] = mapped_column(server_default="0", comment="after the last failure")
    reason: Mapped[str | None] = mapped_column(comment="of the last failure")
    wanted_until: Mapped[datetime] = mapped_column(comment="past it no message has asked for it for a while")


class UploadWaitRow(Base):
    """A message that was put off until a file is uploaded.

    There may be hundreds of thousands of one file, so no foreign key is checked for each; they go with their upload.
    """

    __tablename__ = "upload_waits"
    __table_args__ = (Index("upload_waits_upload", "sender", "reference"),)

    message: Mapped[UUID] = mapped_column(primary_key=True)
    reference: Mapped[str] = mapped_column(primary_key=True)
    sender: Mapped[str]
    attempt: Mapped[int] = mapped_column(comment="of the message when it was put off")


class CardUpdateRow(Base):
    """One update of a sent card; its response_code can be used once."""

    __tablename__ = "card_updates"
    __table_args__ = (
        CheckConstraint(
            "state in ('scheduled', 'updated', 'failed', 'unconfirmed')",
            name="state",
        ),
        Index("card_updates_message", "message"),
        Index("card_updates_waiting", "sender", "requested_at", postgresql_where=text("state = 'scheduled'")),
    )

    response_code: Mapped[str] = mapped_column(primary_key=True)
    message: Mapped[UUID]
    sender: Mapped[str] = mapped_column(ForeignKey("senders.name"))
    state: Mapped[str]
    body: Mapped[dict[str, Any]]
    requested_at: Mapped[datetime]
    usable_until: Mapped[datetime]
    lease_until: Mapped[datetime | None]
    attempt: Mapped[int] = mapped_column(server_default="0")
    updated_at: Mapped[datetime | None]
    error: Mapped[str | None]
    invalid_users: Mapped[list[str]] = mapped_column(server_default=text("'{}'"))


class RejectedRequestRow(Base):
    """A task from a program that knows only Celery, which could not be carried out; a person decides about it."""

    __tablename__ = "rejected_requests"
    __table_args__ = (
        # A broker may hand over the same request twice.
        Index("rejected_requests_task_id_arguments_key", "task_id", text("md5(arguments)"), unique=True),
        Index("rejected_requests_rejected_at", "rejected_at"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    task: Mapped[str]
    task_id: Mapped[str] = mapped_column(comment="chosen by the program, which may call several requests alike")
    arguments: Mapped[str] = mapped_column(comment="JSON, as text: jsonb could not hold every string that JSON can")
    reason: Mapped[str]
    rejected_at: Mapped[datetime] = mapped_column(comment="the last time")
    rejections: Mapped[int] = mapped_column(server_default="1", comment="how often; fences two that retry at once")


class ScheduleRow(Base):
    """A message or a campaign sent again and again."""

    __tablename__ = "schedules"

    name: Mapped[str] = mapped_column(primary_key=True)
    sender: Mapped[str] = mapped_column(ForeignKey("senders.name"))
    cron: Mapped[str]
    timezone: Mapped[str]
    body: Mapped[dict[str, Any]] = mapped_column(comment="with templates if it is a campaign")
    recipients: Mapped[dict[str, Any]] = mapped_column(comment="an object: of a message; a list: rows of a campaign")
    files: Mapped[list[str]] = mapped_column(server_default=text("'{}'"), comment="references of the files in body")
    urgent: Mapped[bool]
    late_within: Mapped[int | None] = mapped_column(comment="seconds; empty: however late")
    expires_after: Mapped[int | None] = mapped_column(comment="seconds after an occurrence")
    next_at: Mapped[datetime] = mapped_column(comment="the first occurrence nobody has decided about")
    paused_reason: Mapped[str | None]
    last_at: Mapped[datetime | None] = mapped_column(comment="the last occurrence that was sent")
    last_id: Mapped[UUID | None] = mapped_column(comment="its message or campaign")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
