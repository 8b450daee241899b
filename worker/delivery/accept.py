"""Takes messages over from producers: split, staggered, and written to the ledger before anybody is told."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
import uuid_utils.compat as uuids
from sqlalchemy import Connection

from worker.delivery.media_intake import take_over_files
from worker.delivery.requests import SendRequest, with_zone
from worker.delivery.stagger import QuietWindows
from worker.ledger import (
    KeyHolder,
    Ledger,
    NewMessage,
    Priority,
    StoredFile,
    StoredMessage,
    find_key,
    find_stored,
    hold_key,
    insert_messages,
    keep_files,
)
from worker.messages import Content, InvalidMessage
from worker.messages.content import sendable
from worker.messages.recipients import Recipients, audience, split
from worker.messages.refusals import described

CLOCK_TOLERANCE = timedelta(seconds=60)
"""A due time so little in the past means now: clocks differ and requests travel."""
LONGEST_KEY = 255
ID_VERSION = 7
INTERVALS = 3000
"""How many different duplicate check intervals tell messages of the same words apart."""
FILES_KEPT = timedelta(days=30)
"""How long after its due time a message can still find its files."""
ROWS_AT_ONCE = 1000
"""So many requests are written with one statement."""


class IdempotencyConflict(InvalidMessage):
    """The idempotency key, or the id, stands for another message already; nothing was stored."""


@dataclass(frozen=True, slots=True)
class AcceptanceRules:
    """The settings that accepting depends on; see `Settings`."""

    quiet: QuietWindows
    duplicate_check_seconds: int
    idempotency_seconds: int
    media_hosts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CheckedRequest:
    """A request that can be sent, with its audience divided and its files read.

    `id` is that of its first message: however often it is accepted, these are the rows it becomes.
    """

    request: SendRequest
    content: Content
    audience: tuple[Recipients, ...]
    files: tuple[StoredFile, ...]
    id: UUID

    @property
    def content_hash(self) -> bytes:
        """Tells whether two requests with the same key ask for the same."""
        named = [[part.users, part.parties, part.tags] for part in self.audience]
        return hashlib.sha256(orjson.dumps([self.content.body(), named], option=orjson.OPT_SORT_KEYS)).digest()


def check(request: SendRequest, rules: AcceptanceRules) -> CheckedRequest:
    """Check what can be checked without the ledger, and read the files: this may take the time of a download.

    Raises:
        InvalidMessage: the request cannot be sent.
    """
    if not isinstance(request.message, Content):
        raise InvalidMessage(
            f'message: a message like Text(content="...") is needed, not {type(request.message).__name__}'
        )
    if not isinstance(request.sender, str):
        raise InvalidMessage(f"sender: the name of a sender is needed, not {described(request.sender)}")
    for field, flag in (("everyone", request.everyone), ("urgent", request.urgent)):
        if not isinstance(flag, bool):
            raise InvalidMessage(f"{field}: True or False is needed, not {described(flag)}")
    for field, moment in (("at", request.at), ("expires", request.expires)):
        if moment is not None:
            with_zone(field, moment)
    recipients = audience(request.users, request.parties, request.tags, everyone=request.everyone)
    if recipients.everyone and not request.message.everyone_possible:
        raise InvalidMessage(
            f"everyone: a {request.message.msgtype} cannot be sent to @all (doc 90236); name departments"
        )
    if request.idempotency_key is not None:
        _check_key(request.idempotency_key)
    message_id = uuids.uuid7() if request.message_id is None else _chosen_id(request.message_id)
    content, files = take_over_files(request.message, rules.media_hosts)
    return CheckedRequest(request, content, tuple(split(recipients)), tuple(files), message_id)


def _check_key(key: object) -> None:
    if not isinstance(key, str):
        raise InvalidMessage(f"idempotency_key: 1 to {LONGEST_KEY} characters are needed, not {described(key)}")
    if not 1 <= len(key) <= LONGEST_KEY:
        raise InvalidMessage(f"idempotency_key: 1 to {LONGEST_KEY} characters are needed")
    try:
        sendable(key)
    except ValueError as error:
        raise InvalidMessage(f"idempotency_key: {error}") from None


def _chosen_id(value: object) -> UUID:
    if not isinstance(value, UUID) or value.version != ID_VERSION:
        raise InvalidMessage(
            f"message_id: {value} was not made here; it is for the id that PerhapsStored names, a UUID of version 7"
        )
    return value


def accept(
    ledger: Ledger, connection: Connection, requests: Sequence[CheckedRequest], rules: AcceptanceRules
) -> list[UUID]:
    """Write messages in the connection's transaction; see `Acceptance`."""
    return Acceptance(ledger, requests, rules).write(connection)


class Acceptance:
    """Requests on their way into the ledger; they can be written again, and are then stored once.

    All is judged by the time of the first try: what was accepted then is not too late when it is asked for again.
    """

    def __init__(self, ledger: Ledger, requests: Sequence[CheckedRequest], rules: AcceptanceRules) -> None:
        self._ledger = ledger
        self._requests = requests
        self._rules = rules
        self._began: dict[str, datetime] = {}

    def write(self, connection: Connection) -> list[UUID]:
        """Write messages in the connection's transaction; return the id of each request, in their order.

        An audience too large for one call becomes several messages; the id is that of the first, and the others
        are found through it.

        Raises:
            InvalidMessage: a request cannot be sent; what was written is to be rolled back.
            IdempotencyConflict: a key or an id stands for another message.
            UnknownSender: there is no such sender.
        """
        for sender in dict.fromkeys(one.request.sender for one in self._requests):
            now = self._ledger.senders.require(sender, connection)
            self._began.setdefault(sender, now)
        ids: list[UUID] = []
        for begin in range(0, len(self._requests), ROWS_AT_ONCE):
            ids += self._write(connection, self._requests[begin : begin + ROWS_AT_ONCE])
        return ids

    def _write(self, connection: Connection, requests: Sequence[CheckedRequest]) -> list[UUID]:
        ids: dict[int, UUID] = {}
        accepted: list[NewMessage] = []
        positions: list[int] = []
        chosen = [one.id for one in requests if one.request.message_id is not None]
        stored = find_stored(connection, chosen) if chosen else {}
        for position in _in_order_of_keys(requests):
            checked = requests[position]
            # Asking again is answered before anything else is judged: what was due then may be past now.
            if checked.id in stored:
                require_same_message(stored[checked.id], checked)
                ids[position] = checked.id
                continue
            holder = _holder(connection, checked, None, self._rules)
            if holder is None:
                messages = list(messages_of(checked, self._began[checked.request.sender], self._rules))
                holder = _holder(connection, checked, checked.id, self._rules)
                if holder in {None, checked.id}:
                    accepted += messages
                    positions.append(position)
                    keep_files(connection, checked.files, messages[0].send_at + FILES_KEPT)
            ids[position] = holder or checked.id
        if accepted and insert_messages(connection, accepted) < len(accepted):
            found = find_stored(connection, [requests[position].id for position in positions])
            for position in positions:
                require_same_message(found.get(requests[position].id, []), requests[position])
        return [ids[position] for position in range(len(requests))]


def _in_order_of_keys(requests: Sequence[CheckedRequest]) -> list[int]:
    """Return the positions of requests so that everybody takes keys in the same order, and nobody waits in a circle."""
    return sorted(
        range(len(requests)),
        key=lambda position: (requests[position].request.sender, requests[position].request.idempotency_key or ""),
    )


def _holder(
    connection: Connection, checked: CheckedRequest, message: UUID | None, rules: AcceptanceRules
) -> UUID | None:
    """Return the message a request's key stands for, None if it stands for none; with `message` it takes the key.

    Raises:
        IdempotencyConflict: the key stands for something else than is asked for.
    """
    sender, key = checked.request.sender, checked.request.idempotency_key
    if key is None:
        return None
    if message is None:
        holder = find_key(connection, sender, key)
        if holder is None:
            return None
    else:
        own = KeyHolder(message, checked.content_hash)
        holder = hold_key(connection, sender, key, own, rules.idempotency_seconds)
    require_same(holder, checked)
    return holder.message


def require_same(holder: KeyHolder, checked: CheckedRequest) -> None:
    """Check that a request asks for what its key stands for.

    Raises:
        IdempotencyConflict: it asks for something else.
    """
    if holder.content_hash != checked.content_hash:
        key = checked.request.idempotency_key
        raise IdempotencyConflict(
            f"idempotency_key: {key!r} was used for another message ({holder.message}); use a new key for new content"
        )


def require_same_message(stored: Sequence[StoredMessage], checked: CheckedRequest) -> None:
    """Check that a request asks for what is stored under its id, all parts of its audience included.

    Raises:
        IdempotencyConflict: it asks for something else.
    """
    sender, body = checked.request.sender, checked.content.body()
    asked = [(sender, part, body) for part in checked.audience]
    there = [(one.sender, one.recipients, one.body) for one in stored]
    # The interval may come from a setting that was changed meanwhile.
    same = len(asked) == len(there) and all(
        (sender, part) == (stored_sender, recipients)
        and with_duplicate_check(body, stored_body.get("duplicate_check_interval", 0)) == stored_body
        for (sender, part, body), (stored_sender, recipients, stored_body) in zip(asked, there, strict=True)
    )
    if not same:
        raise IdempotencyConflict(
            f"message_id: {checked.id} stands for another message; leave it out to send a new one"
        )


def part_id(first: UUID, number: int) -> UUID:
    """Return the id of a part of an audience: the same whenever it is asked for, and sorted behind the first's."""
    return UUID(int=first.int + number)


def messages_of(checked: CheckedRequest, now: datetime, rules: AcceptanceRules) -> Iterable[NewMessage]:
    """Yield the rows a request becomes, one for each call to WeCom.

    Raises:
        InvalidMessage: it is due or expires in the past.
    """
    request = checked.request
    requested_at = due_time(request.at, now, late_is_now=request.late_is_now)
    expires_at = end_time(request.expires, requested_at)
    body = checked.content.body()
    for number, part in enumerate(checked.audience):
        message_id = part_id(checked.id, number) if number else checked.id
        send_at = requested_at
        if not request.urgent:
            send_at = rules.quiet.stagger(requested_at, now=now, message=message_id, latest=expires_at)
        yield NewMessage(
            id=message_id,
            part_of=checked.id if number else None,
            sender=request.sender,
            recipients=part,
            body=with_duplicate_check(body, interval_of(message_id.int, rules.duplicate_check_seconds)),
            priority=Priority.URGENT if request.urgent else Priority.NORMAL,
            requested_at=requested_at,
            send_at=send_at,
            expires_at=expires_at,
            files=tuple(file.reference for file in checked.files),
        )


def with_duplicate_check(body: Mapping[str, Any], interval: int) -> dict[str, Any]:
    """Ask WeCom to suppress repetitions of this message, but not another message that says the same.

    WeCom compares requests (doc 90236), so two alarms of the same words would be taken for one. The interval
    differs from message to message, and with it the request. What the producer says about it in the message wins;
    without a check, a message of unknown fate is not repeated. `interval_of` gives the interval.
    """
    if body.get("enable_duplicate_check") == 0:
        return {name: value for name, value in body.items() if name != "duplicate_check_interval"}
    return {"duplicate_check_interval": interval, **body, "enable_duplicate_check": 1}


def interval_of(message: int, seconds: int) -> int:
    """Return the duplicate check interval of the message with this id, a number."""
    return seconds + message % INTERVALS


def due_time(asked: datetime | None, now: datetime, *, late_is_now: bool = False) -> datetime:
    """Return when a message is to be sent, before staggering.

    Raises:
        InvalidMessage: the time has passed, or is in no zone.
    """
    if asked is None:
        return now
    at = with_zone("at", asked)
    if at < now - CLOCK_TOLERANCE and not late_is_now:
        present = now.isoformat(timespec="seconds")
        raise InvalidMessage(f"at: {at.isoformat()} has passed (it is {present}); leave it out to send now")
    return max(at, now)


def end_time(asked: datetime | None, requested_at: datetime) -> datetime | None:
    """Return when sending has no use any more.

    Raises:
        InvalidMessage: that is before it is to be sent, or in no zone.
    """
    if asked is None:
        return None
    expires = with_zone("expires", asked)
    if expires <= requested_at:
        sending = requested_at.isoformat(timespec="seconds")
        raise InvalidMessage(f"expires: {expires.isoformat()} is not after the time of sending, {sending}")
    return expires
