"""Takes messages over from producers: split, staggered, and written to the ledger before anybody is told."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Self
from uuid import UUID

import orjson
import uuid_utils.compat as uuids
from sqlalchemy import Connection

from worker.delivery.stagger import QuietWindows
from worker.ledger import KeyHolder, Ledger, NewMessage, Priority, hold_key, insert_messages
from worker.messages import Content, InvalidMessage, content_from_body
from worker.messages.recipients import Recipients, audience, split

CLOCK_TOLERANCE = timedelta(seconds=60)
"""A due time so little in the past means now: clocks differ and requests travel."""
LONGEST_KEY = 255


class IdempotencyConflict(InvalidMessage):
    """The idempotency key stands for another message already; nothing was stored."""


@dataclass(frozen=True, slots=True)
class SendRequest:
    """What a producer asks for.

    Attributes:
        sender: the short name of a sender.
        message: what to send.
        users: userids of members.
        parties: ids of departments.
        tags: ids of tags.
        everyone: reach every member the app can see (`@all`).
        at: when to send, with a time zone; None means now. It is moved out of the quiet windows.
        expires: when sending has no use any more.
        urgent: go before everything else, in quiet windows too.
        idempotency_key: asking again with the same key and message sends nothing and returns the first id.
    """

    sender: str
    message: Content
    users: Iterable[str] = ()
    parties: Iterable[int | str] = ()
    tags: Iterable[int | str] = ()
    everyone: bool = False
    at: datetime | None = None
    expires: datetime | None = None
    urgent: bool = False
    idempotency_key: str | None = None

    @classmethod
    def from_json(
        cls,
        sender: str,
        message: Mapping[str, Any],
        *,
        at: str | None = None,
        expires: str | None = None,
        **others: Any,  # noqa: ANN401 - judged by the constructor and by accept
    ) -> Self:
        """Read a request as programs send it that know only Celery: WeCom's own form, times as ISO 8601.

        Raises:
            InvalidMessage: something in it cannot be sent.
        """
        if not isinstance(message, Mapping):
            raise InvalidMessage('message: an object is needed, like {"msgtype": "text", "text": {"content": "..."}}')
        return cls(
            sender, content_from_body(message), at=read_time("at", at), expires=read_time("expires", expires), **others
        )


@dataclass(frozen=True, slots=True)
class AcceptanceRules:
    """The settings that accepting depends on; see `Settings`."""

    quiet: QuietWindows
    duplicate_check_seconds: int
    idempotency_seconds: int


def accept(
    ledger: Ledger, connection: Connection, requests: Sequence[SendRequest], rules: AcceptanceRules
) -> list[UUID]:
    """Write messages in the connection's transaction; return the id of each request, in their order.

    An audience too large for one call becomes several messages; the id is that of the first, and the others
    are found through it.

    Raises:
        InvalidMessage: a request cannot be sent; nothing is written.
        IdempotencyConflict: a key stands for another message.
        UnknownSender: there is no such sender.
    """
    clocks = {sender: ledger.senders.require(sender, connection) for sender in {one.sender for one in requests}}
    ids: list[UUID] = []
    accepted: list[NewMessage] = []
    for request in requests:
        messages = list(_messages(request, clocks[request.sender], rules))
        held_by = messages[0].id
        if request.idempotency_key is not None:
            held_by = _held_by(connection, request, messages, rules)
        if held_by == messages[0].id:
            accepted += messages
        ids.append(held_by)
    if accepted:
        insert_messages(connection, accepted)
    return ids


def read_time(field: str, value: str | None) -> datetime | None:
    """Read an ISO 8601 time with a time zone.

    Raises:
        InvalidMessage: it is no time, or has no zone.
    """
    if value is None:
        return None
    try:
        return with_zone(field, datetime.fromisoformat(value))
    except (ValueError, TypeError) as error:
        if isinstance(error, InvalidMessage):
            raise
        raise InvalidMessage(f"{field}: {value!r} is no ISO 8601 time like 2026-11-20T09:00:00+08:00") from None


def with_zone(field: str, value: datetime) -> datetime:
    """Return the time if it says in which zone it is.

    Raises:
        InvalidMessage: it does not.
    """
    if value.tzinfo is None:
        raise InvalidMessage(
            f"{field}: {value.isoformat()} has no time zone; write {value.isoformat()}+08:00 or use aware datetimes"
        )
    return value


def _messages(request: SendRequest, now: datetime, rules: AcceptanceRules) -> Iterable[NewMessage]:
    recipients = audience(request.users, request.parties, request.tags, everyone=request.everyone)
    requested_at = _requested_at(request, now)
    expires_at = _expires_at(request, requested_at)
    body = request.message.body()
    first: UUID | None = None
    for part in split(recipients):
        message_id = uuids.uuid7()
        yield NewMessage(
            id=message_id,
            part_of=first,
            sender=request.sender,
            recipients=part,
            body=body | _duplicate_check(message_id, rules.duplicate_check_seconds),
            priority=Priority.URGENT if request.urgent else Priority.NORMAL,
            requested_at=requested_at,
            send_at=requested_at
            if request.urgent
            else rules.quiet.stagger(requested_at, now=now, message=message_id, latest=expires_at),
            expires_at=expires_at,
        )
        first = first or message_id


def _duplicate_check(message: UUID, seconds: int) -> dict[str, int]:
    """Ask WeCom to suppress repetitions of this message, but not another message that says the same.

    WeCom compares requests (doc 90236), so two alarms of the same words would be taken for one. The interval
    differs from message to message, and with it the request.
    """
    return {"enable_duplicate_check": 1, "duplicate_check_interval": seconds + message.int % seconds}


def _requested_at(request: SendRequest, now: datetime) -> datetime:
    if request.at is None:
        return now
    at = with_zone("at", request.at)
    if at < now - CLOCK_TOLERANCE:
        raise InvalidMessage(
            f"at: {at.isoformat()} has passed (it is {now.isoformat(timespec='seconds')}); leave it out to send now"
        )
    return max(at, now)


def _expires_at(request: SendRequest, requested_at: datetime) -> datetime | None:
    if request.expires is None:
        return None
    expires = with_zone("expires", request.expires)
    if expires <= requested_at:
        sending = requested_at.isoformat(timespec="seconds")
        raise InvalidMessage(f"expires: {expires.isoformat()} is not after the time of sending, {sending}")
    return expires


def _held_by(
    connection: Connection, request: SendRequest, messages: Sequence[NewMessage], rules: AcceptanceRules
) -> UUID:
    key = request.idempotency_key
    if not isinstance(key, str) or not 1 <= len(key) <= LONGEST_KEY:
        raise InvalidMessage(f"idempotency_key: 1 to {LONGEST_KEY} characters are needed")
    own = KeyHolder(messages[0].id, _content_hash(request.message, [message.recipients for message in messages]))
    holder = hold_key(connection, request.sender, key, own, rules.idempotency_seconds)
    if holder.content_hash != own.content_hash:
        raise IdempotencyConflict(
            f"idempotency_key: {key!r} was used for another message ({holder.message}); use a new key for new content"
        )
    return holder.message


def _content_hash(content: Content, recipients: Sequence[Recipients]) -> bytes:
    named = [[one.users, one.parties, one.tags] for one in recipients]
    return hashlib.sha256(orjson.dumps([content.body(), named], option=orjson.OPT_SORT_KEYS)).digest()
