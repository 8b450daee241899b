"""For the tests of programs that send: what would be stored for delivery is kept in a list instead.

from worker.testing import captured

with captured() as outbox:
    my_program.welcome("zhangsan")
assert outbox[0].message == Text(content="Welcome!")

Under pytest the fixture `wecom_outbox` is the same list.
"""

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import uuid_utils.compat as uuids

from worker.delivery.accept import (
    AcceptanceRules,
    CheckedRequest,
    due_time,
    end_time,
    messages_of,
    require_same,
    require_same_message,
)
from worker.delivery.campaign_rows import Reading, Recipient
from worker.delivery.campaigns import CheckedCampaign, require_same_campaign
from worker.ledger import (
    Campaign,
    KeyHolder,
    MessageStatus,
    NewMessage,
    Priority,
    RecallStatus,
    State,
    StoredMessage,
    UnknownCampaign,
)
from worker.messages import Content, InvalidMessage
from worker.messages.recipients import MOST_USERS, InvalidRecipients
from worker.producer import Producer

__all__ = ["CapturedCampaign", "CapturedMessage", "Outbox", "captured"]


@dataclass(slots=True)
class CapturedMessage:
    """One message a producer was asked to send; the arguments are those of `Producer.send`.

    Attributes:
        id: what `send` returned.
        sender: the short name of the sender.
        message: what is to be sent; compare it, or look at its fields.
        users: userids, each once, in the order asked for.
        parties: ids of departments.
        tags: ids of tags.
        everyone: whether it is for `@all`.
        at: when it is to be sent; None means now.
        expires: when sending has no use any more.
        urgent: whether it goes before everything else.
        idempotency_key: the key it was sent with.
        key_holder: what the key stands for.
        calls: the calls to WeCom it would take, more than one for a large audience.
        recalled: whether `recall` was called for it.
    """

    id: UUID
    sender: str
    message: Content
    users: tuple[str, ...]
    parties: tuple[int, ...]
    tags: tuple[int, ...]
    everyone: bool
    at: datetime | None
    expires: datetime | None
    urgent: bool
    idempotency_key: str | None
    key_holder: KeyHolder = field(repr=False)
    calls: tuple[NewMessage, ...] = field(repr=False)
    recalled: bool = False

    @property
    def state(self) -> State:
        """Where it stands: nothing is ever sent from here."""
        return State.CANCELLED if self.recalled else State.SCHEDULED


@dataclass(slots=True)
class CapturedCampaign:
    """One campaign a producer was asked to send; the arguments are those of `Producer.campaign`.

    Attributes:
        name: the name of the campaign.
        sender: the short name of the sender.
        message: what is to be sent, with its templates.
        messages: what each recipient would get, with the templates filled in, by userid.
        at: when it is to be sent; None means now.
        expires: when sending has no use any more.
        urgent: whether it goes before everything else.
        progress: what `campaign` and `campaign_status` return.
    """

    name: str
    sender: str
    message: Content | Mapping[str, Any]
    messages: Mapping[str, Content]
    at: datetime | None
    expires: datetime | None
    urgent: bool
    progress: Campaign

    @property
    def recalled(self) -> bool:
        """Whether it was taken back."""
        return self.progress.cancelled_at is not None


class Outbox(list[CapturedMessage | CapturedCampaign]):
    """What producers were asked to send, in that order; empty it with `clear()`.

    Attributes:
        messages: the messages in it.
        campaigns: the campaigns in it.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()

    @property
    def messages(self) -> list[CapturedMessage]:
        """The messages in it, without the campaigns."""
        return [one for one in self if isinstance(one, CapturedMessage)]

    @property
    def campaigns(self) -> list[CapturedCampaign]:
        """The campaigns in it."""
        return [one for one in self if isinstance(one, CapturedCampaign)]

    def accept(self, requests: Sequence[CheckedRequest], rules: AcceptanceRules) -> list[UUID]:
        """Keep requests, all or none, and return their ids; see `Producer.send_many` for the errors."""
        ids: list[UUID] = []
        with self._lock:
            now, kept = datetime.now(UTC), list[CapturedMessage]()
            for checked in requests:
                holder = self._stored_again(checked, kept) or self._key_holder(checked, kept)
                if holder is None:
                    holder = _captured(checked, tuple(messages_of(checked, now, rules)))
                    kept.append(holder)
                else:
                    require_same(holder.key_holder, checked)
                ids.append(holder.id)
            self.extend(kept)
        return ids

    def accept_campaign(self, campaign: CheckedCampaign, recipients: Iterable[Recipient]) -> Campaign:
        """Keep a campaign, or find the one that was kept before; see `Producer.campaign` for the errors."""
        request = campaign.request
        with self._lock:
            reading = campaign.reading(recipients)
            existing = self._campaigns_named(request.name, request.sender)
            if existing:
                require_same_campaign(existing[0].progress, reading)
                return existing[0].progress
            now = datetime.now(UTC)
            requested_at = due_time(request.at, now)
            expires_at = end_time(request.expires, requested_at)
            messages = _filled_in(campaign, reading)
            calls = len(messages) if campaign.message.varies else -(-len(messages) // MOST_USERS)
            progress = Campaign(
                id=uuids.uuid7(),
                sender=request.sender,
                name=request.name,
                priority=Priority.URGENT if request.urgent else Priority.BULK,
                messages=calls,
                recipients=len(messages),
                duplicates=reading.rows - len(messages),
                requested_at=requested_at,
                expires_at=expires_at,
                paused_reason=None,
                cancelled_at=None,
                created_at=now,
                content_hash=reading.content_hash,
                body=campaign.message.body,
                counts={State.SCHEDULED: calls},
            )
            self.append(
                CapturedCampaign(
                    request.name,
                    request.sender,
                    request.message,
                    messages,
                    request.at,
                    request.expires,
                    request.urgent,
                    progress,
                )
            )
        return replace(progress, created=True)

    def status(self, message: UUID) -> MessageStatus | None:
        """Return what is known about a captured message: it is `scheduled`, or `cancelled` once it was recalled."""
        one = self._message(message)
        if one is None:
            return None
        first, *others = one.calls
        return MessageStatus(
            id=first.id,
            sender=first.sender,
            state=one.state,
            priority=first.priority,
            requested_at=first.requested_at,
            send_at=first.send_at,
            expires_at=first.expires_at,
            sent_at=None,
            recipients=first.recipients,
            body=first.body,
            msgid=None,
            errcode=None,
            error=None,
            recall_requested_at=None,
            recalled_at=None,
            recall_error=None,
            invalid=InvalidRecipients(),
            attempts=(),
            parts=tuple(call.id for call in others),
            warnings=one.message.warnings(),
        )

    def recall(self, message: UUID) -> list[RecallStatus]:
        """Note that a message was taken back."""
        one = self._message(message)
        if one is None:
            return []
        one.recalled = True
        return [RecallStatus(call.id, call.sender, one.state, None) for call in one.calls]

    def find_campaign(self, name: str, sender: str | None) -> Campaign:
        """Return the progress of a captured campaign.

        Raises:
            UnknownCampaign: there is none of that name, or several senders have one.
        """
        return self._campaign(name, sender).progress

    def recall_campaign(self, name: str, sender: str | None) -> Campaign:
        """Note that a campaign was taken back.

        Raises:
            UnknownCampaign: there is none of that name, or several senders have one.
        """
        one = self._campaign(name, sender)
        one.progress = replace(
            one.progress, cancelled_at=datetime.now(UTC), counts={State.CANCELLED: one.progress.messages}
        )
        return one.progress

    def _stored_again(self, checked: CheckedRequest, kept: Sequence[CapturedMessage]) -> CapturedMessage | None:
        """Return the message that has the id a request asks for, also among those about to be captured."""
        there = next((one for one in (*self.messages, *kept) if one.id == checked.id), None)
        if there is not None:
            stored = [StoredMessage(call.sender, call.recipients, call.body) for call in there.calls]
            require_same_message(stored, checked)
        return there

    def _key_holder(self, checked: CheckedRequest, kept: Sequence[CapturedMessage]) -> CapturedMessage | None:
        """Return the message that a request's key stands for, also among those about to be captured."""
        sender, key = checked.request.sender, checked.request.idempotency_key
        if key is None:
            return None
        held = (one for one in (*self.messages, *kept) if (one.sender, one.idempotency_key) == (sender, key))
        return next(held, None)

    def _message(self, message: UUID) -> CapturedMessage | None:
        return next((one for one in self.messages if one.id == message), None)

    def _campaigns_named(self, name: str, sender: str | None) -> list[CapturedCampaign]:
        return [one for one in self.campaigns if one.name == name and sender in {None, one.sender}]

    def _campaign(self, name: str, sender: str | None) -> CapturedCampaign:
        named = self._campaigns_named(name, sender)
        if len(named) != 1:
            how_many = "several senders have" if named else "the outbox holds no"
            raise UnknownCampaign(f"{how_many} campaign {name!r}")
        return named[0]


@contextmanager
def captured() -> Iterator[Outbox]:
    """Keep what every `Producer` of this process is asked to send, as long as the block lasts; nothing is stored.

    Everything is checked as for real, with the same errors, except whether the sender exists: no server is asked.
    """
    before, outbox = Producer.capture, Outbox()
    Producer.capture = outbox
    try:
        yield outbox
    finally:
        Producer.capture = before


def _captured(checked: CheckedRequest, calls: tuple[NewMessage, ...]) -> CapturedMessage:
    request, named = checked.request, [call.recipients for call in calls]
    everyone = named[0].everyone
    return CapturedMessage(
        id=calls[0].id,
        sender=request.sender,
        message=request.message,
        users=() if everyone else tuple(user for part in named for user in part.users),
        parties=tuple(int(party) for part in named for party in part.parties),
        tags=tuple(int(tag) for part in named for tag in part.tags),
        everyone=everyone,
        at=request.at,
        expires=request.expires,
        urgent=request.urgent,
        idempotency_key=request.idempotency_key,
        key_holder=KeyHolder(calls[0].id, checked.content_hash),
        calls=calls,
    )


def _filled_in(campaign: CheckedCampaign, reading: Reading) -> dict[str, Content]:
    """Return what each recipient would get; who is named twice gets what stands in the first row."""
    messages, seen = dict[str, Content](), set[str]()
    for named, row in reading:
        try:
            campaign.message.texts(row)
            content = campaign.message.content(row)
        except InvalidMessage as error:
            raise reading.refusal(error) from None
        if named.lower() not in seen:
            seen.add(named.lower())
            messages[named] = content
    if not messages:
        raise InvalidMessage("recipients: nobody is named")
    return messages
