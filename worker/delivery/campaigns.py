"""Takes campaigns over from producers: streamed in one pass, checked row by row, and whole or not at all."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

import uuid_utils as uuids
import uuid_utils.compat as standard_uuids
from sqlalchemy import Connection

from worker.delivery.accept import FILES_KEPT, AcceptanceRules, due_time, end_time
from worker.delivery.campaign_bodies import Bodies
from worker.delivery.campaign_rows import Reading, Recipient
from worker.delivery.media_intake import take_over_files
from worker.delivery.repetitions import Repetitions
from worker.ledger import (
    Campaign,
    Ledger,
    MessageCopy,
    NewCampaign,
    Priority,
    State,
    StoredFile,
    array_of,
    begin_campaign,
    counted,
    finish_campaign,
    keep_files,
    moment_of,
)
from worker.messages import Content, InvalidMessage
from worker.messages.personalised import PersonalisedMessage
from worker.messages.recipients import MOST_USERS

LONGEST_NAME = 128
LINES_AT_ONCE = 200
"""Few enough that Postgres reads some while the next are made."""
MOST_DOUBTFUL = 10_000
"""So many recipients that may be named twice are put off before the ledger is asked."""


class CampaignConflict(InvalidMessage):
    """The sender has a campaign of this name with another content; nothing was stored."""


@dataclass(frozen=True, slots=True)
class CampaignRequest:
    """What a producer asks for; see `Producer.campaign`. With `late_is_now` a due time that has passed means now."""

    name: str
    sender: str
    message: Content | Mapping[str, Any]
    at: datetime | None = None
    expires: datetime | None = None
    urgent: bool = False
    late_is_now: bool = False


@dataclass(frozen=True, slots=True)
class CheckedCampaign:
    """A campaign whose message can be sent, with its templates and files read."""

    request: CampaignRequest
    message: PersonalisedMessage
    files: tuple[StoredFile, ...]

    def reading(self, recipients: Iterable[Recipient]) -> Reading:
        """Read the recipients of this campaign."""
        of_all = [self.message.body, self.request.sender, [file.reference for file in self.files]]
        return Reading(of_all, recipients)


def check_campaign(request: CampaignRequest, rules: AcceptanceRules) -> CheckedCampaign:
    """Check what can be checked without the ledger and the recipients, and read the files.

    Raises:
        InvalidMessage: the message cannot be sent, or the name cannot be one.
    """
    name = request.name
    if not isinstance(name, str) or not 1 <= len(name) <= LONGEST_NAME or not name.isprintable() or "/" in name:
        raise InvalidMessage(f"name: 1 to {LONGEST_NAME} printable characters without / are needed")
    message, files = request.message, list[StoredFile]()
    if isinstance(message, Content):
        message, files = take_over_files(message, rules.media_hosts)
    return CheckedCampaign(request, PersonalisedMessage(message), tuple(files))


def accept_campaign(
    ledger: Ledger,
    connection: Connection,
    campaign: CheckedCampaign,
    recipients: Iterable[Recipient],
    rules: AcceptanceRules,
) -> Campaign:
    """Write a campaign in the connection's transaction, or find the one that was written before.

    Raises:
        InvalidMessage: a recipient's message cannot be sent; the text names the row. What was written is to be rolled
            back.
        CampaignConflict: the sender has a campaign of this name with other content.
        UnknownSender: there is no such sender.
    """
    request = campaign.request
    now = ledger.senders.require(request.sender, connection)
    reading = campaign.reading(recipients)
    new = NewCampaign(
        id=standard_uuids.uuid7(),
        sender=request.sender,
        name=request.name,
        body=campaign.message.body,
        priority=Priority.URGENT if request.urgent else Priority.BULK,
        requested_at=request.at or now,
        expires_at=request.expires,
    )
    existing = begin_campaign(connection, new)
    if existing is not None:
        return _the_same(connection, existing, reading)
    requested_at = due_time(request.at, now, late_is_now=request.late_is_now)
    new = replace(new, requested_at=requested_at, expires_at=end_time(request.expires, requested_at))
    with MessageCopy(connection, new, [file.reference for file in campaign.files]) as copy:
        writing = Writing(campaign, new, copy, rules, now)
        writing.write(reading)
    keep_files(connection, campaign.files, requested_at + FILES_KEPT)
    totals = {"messages": writing.messages, "recipients": writing.recipients, "duplicates": writing.duplicates}
    finish_campaign(connection, new.id, reading.content_hash, **totals)
    return Campaign(
        id=new.id,
        sender=new.sender,
        name=new.name,
        priority=new.priority,
        **totals,
        requested_at=new.requested_at,
        expires_at=new.expires_at,
        paused_reason=None,
        cancelled_at=None,
        created_at=now,
        content_hash=reading.content_hash,
        body=new.body,
        counts={State.SCHEDULED: writing.messages},
        created=True,
    )


def rehearse(campaign: CheckedCampaign, recipients: Iterable[Recipient], rules: AcceptanceRules) -> "Rehearsal":
    """Make every message as `accept_campaign` would, to its last byte, and write nothing.

    Raises:
        InvalidMessage: a recipient's message cannot be sent; the text names the row.
    """
    reading, seen, first, rows = campaign.reading(recipients), set[str](), None, 0
    bodies = Bodies(campaign.message, rules.duplicate_check_seconds)
    for named, row in reading:
        rows += 1
        seen.add(named.lower())
        if campaign.message.varies or first is None:
            try:
                bodies.body(bodies.texts(row), rows)
            except InvalidMessage as error:
                raise reading.refusal(error) from None
        first = row if first is None else first
    if first is None:
        raise InvalidMessage("recipients: nobody is named")
    folded = -(-len(seen) // MOST_USERS)
    return Rehearsal(
        messages=len(seen) if campaign.message.varies else folded,
        recipients=len(seen),
        duplicates=rows - len(seen),
        first=campaign.message.content(first),
    )


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """What a campaign would amount to, and the message its first recipient would get."""

    messages: int
    recipients: int
    duplicates: int
    first: Content


def _the_same(connection: Connection, existing: Campaign, reading: Reading) -> Campaign:
    require_same_campaign(existing, reading)
    return counted(connection, existing)


def require_same_campaign(existing: Campaign, reading: Reading) -> None:
    """Check that a campaign asked for again has the content it had, reading all its recipients.

    Raises:
        CampaignConflict: it has not.
    """
    for _ in reading:
        pass
    if reading.content_hash != existing.content_hash:
        raise CampaignConflict(
            f"name: {existing.sender} has a campaign {existing.name!r} with other content; choose another name"
        )


class Writing:
    """Writes the messages of one campaign, each recipient once.

    Which userids were there is remembered in a fixed space that can only say "perhaps"; those recipients wait until the
    ledger has said whether they are named already.
    """

    def __init__(
        self, campaign: CheckedCampaign, new: NewCampaign, copy: MessageCopy, rules: AcceptanceRules, now: datetime
    ) -> None:
        self.messages = self.recipients = self.duplicates = 0
        self._varies = campaign.message.varies
        self._bodies = Bodies(campaign.message, rules.duplicate_check_seconds)
        self._new = new
        self._copy = copy
        self._rules = rules
        self._now = now
        self._staggered = not campaign.request.urgent and rules.quiet.window(new.requested_at) is not None
        self._send_at = moment_of(new.requested_at)
        self._lines: list[bytes] = []
        self._folded: list[str] = []

    def write(self, reading: Reading) -> None:
        """Write everybody.

        Raises:
            InvalidMessage: a message cannot be sent, or there is none.
        """
        repetitions, doubtful = Repetitions(), dict[str, tuple[str, list[str]]]()
        bodies, varies, texts = self._bodies, self._varies, None
        for named, row in reading:
            if varies or texts is None:
                try:
                    texts = bodies.texts(row)
                except InvalidMessage as error:
                    raise reading.refusal(error) from None
            spelling = named.lower()
            if not repetitions.perhaps(spelling):
                self._add(named, texts)
            elif spelling in doubtful:
                self.duplicates += 1
            else:
                doubtful[spelling] = (named, texts)
                if len(doubtful) == MOST_DOUBTFUL:
                    self._clear_up(doubtful)
        if texts is None:
            raise InvalidMessage("recipients: nobody is named")
        self._clear_up(doubtful)
        self._fold(texts)
        self._flush()

    def _add(self, named: str, texts: list[str]) -> None:
        self.recipients += 1
        if self._varies:
            self._add_line(array_of([named]), texts)
            return
        self._folded.append(named)
        if len(self._folded) == MOST_USERS:
            self._fold(texts)

    def _fold(self, texts: list[str]) -> None:
        if self._folded:
            self._add_line(array_of(self._folded), texts)
            self._folded.clear()

    def _add_line(self, users: bytes, texts: list[str]) -> None:
        message = uuids.uuid7()
        number = message.int
        body = self._bodies.body(texts, number)
        send_at = self._send_at
        if self._staggered:
            send_at = moment_of(
                self._rules.quiet.stagger(
                    self._new.requested_at, now=self._now, message=UUID(int=number), latest=self._new.expires_at
                )
            )
        self._lines.append(self._copy.line(str(message), send_at, users, body))
        self.messages += 1
        if len(self._lines) == LINES_AT_ONCE:
            self._flush()

    def _flush(self) -> None:
        if self._lines:
            self._copy.write(self._lines)
            self._lines.clear()

    def _clear_up(self, doubtful: dict[str, tuple[str, list[str]]]) -> None:
        """Write those of the doubtful who are not named yet."""
        if not doubtful:
            return
        waiting = {name.lower() for name in self._folded}
        self._flush()
        known = self._copy.named_already(list(doubtful)) | waiting
        for spelling, (named, texts) in doubtful.items():
            if spelling in known:
                self.duplicates += 1
            else:
                self._add(named, texts)
        doubtful.clear()
