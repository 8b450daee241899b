"""Statements about campaigns: write them, count them, stop them, let them go on, take them back.

A paused campaign is one whose `paused_reason` is set: from that moment no claim takes its messages (`DUE` in
`worker/ledger/due.py`). So that claims need not look at them again and again, its waiting messages are then set
aside, some thousand at a time, by giving them the priority `ASIDE`, which no claim looks for. Messages of unknown fate
go on: they may have been sent already, and only a repetition in time can tell.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Engine, Row, TextClause, text

from worker.ledger.connection import LedgerError
from worker.ledger.recalls import TAKE_BACK
from worker.ledger.schema import Priority, State
from worker.ledger.transactions import InDoubt, transact

SETTLED = frozenset({State.SENT, State.FAILED, State.UNCONFIRMED, State.RECALLING, State.RECALLED})
"""States of messages that WeCom was asked to send, as far as it ever will be."""
UNDER_WAY = frozenset({State.SCHEDULED, State.SENDING, State.RECALLING})
ROWS_AT_ONCE = 5000
"""So many messages change in one transaction: nobody who waits for one of them waits long."""

_COLUMNS = """
    id, sender, name, content_hash, body, priority, messages, recipients, duplicates, requested_at, expires_at,
    paused_reason, cancelled_at, created_at
"""
FIND = text(f"select {_COLUMNS} from wecom.campaigns where name = :name and (:sender = '' or sender = :sender)")
_LIST = text(f"""
    select {_COLUMNS} from wecom.campaigns
    where :sender = '' or sender = :sender order by created_at desc, name limit :most
""")
_COUNT = text("""
    select state, count(*) as messages from wecom.messages where campaign = :campaign group by state
""")

_PAUSE = text("""
    update wecom.campaigns set paused_reason = :reason, aside = true, cancelled_at = coalesce(cancelled_at, case
        when :cancelled then wecom.clock() end)
    where id = :id
""")
# What failed before somebody said that it may go on does not stop the campaign a second time.
_FORGIVE = text("""
    update wecom.campaigns as campaign
    set forgiven_failed = counted.failed, forgiven_settled = counted.settled
    from (
        select count(*) filter (where state = 'failed') as failed, count(*) as settled
        from wecom.messages
        where campaign = :id and state in ('sent', 'failed', 'unconfirmed', 'recalling', 'recalled')
    ) as counted
    where campaign.id = :id
""")
_RESUME = text("update wecom.campaigns set paused_reason = null, cancelled_at = null where id = :id")

# The lock on the campaign keeps this from setting messages aside that somebody has just let go. It also has a second
# try wait for a first one whose COMMIT is in doubt, and not pass over the messages that one still holds.
_SET_ASIDE = text("""
    with paused as materialized (
        select id from wecom.campaigns where id = :id and paused_reason is not null for no key update
    ), waiting as (
        select message.id from wecom.messages as message
        where message.campaign = (select id from paused)
          and state = 'scheduled' and priority < 3 and resend_until is null
        limit :most
        for update skip locked
    )
    update wecom.messages as message set priority = 3 from waiting where message.id = waiting.id
""")
_CANCEL = text("""
    with cancelled as materialized (
        select id from wecom.campaigns where id = :id for no key update
    ), waiting as (
        select message.id from wecom.messages as message
        where message.campaign = (select id from cancelled) and state = 'scheduled' and resend_until is null
        limit :most
        for update skip locked
    )
    update wecom.messages as message set state = 'cancelled' from waiting where message.id = waiting.id
""")
_BRING_BACK = text("""
    with going as materialized (
        select id, priority from wecom.campaigns where id = :id and paused_reason is null for no key update
    ), waiting as (
        select message.id from wecom.messages as message
        where message.campaign = (select id from going) and state = 'scheduled' and priority = 3
        limit :most
        for update skip locked
    )
    update wecom.messages as message set priority = (select priority from going)
    from waiting where message.id = waiting.id
""")
_ALL_BACK = text("""
    update wecom.campaigns as campaign set aside = false
    where id = :id and paused_reason is null and not exists (
        select from wecom.messages where campaign = :id and state = 'scheduled' and priority = 3
    )
""")
_UNFINISHED = text("""
    select id, paused_reason is not null as paused, cancelled_at is not null as cancelled
    from wecom.campaigns where aside
""")

_RETRY = text("""
    with again as materialized (
        select id, priority from wecom.campaigns where id = :id for no key update
    ), failed as (
        select message.id from wecom.messages as message
        where message.campaign = (select id from again) and message.state = 'failed'
          and message.recall_requested_at is null
          and (message.expires_at is null or message.expires_at > wecom.clock())
        limit :most
        for update of message skip locked
    )
    update wecom.messages as message
    set state = 'scheduled', priority = (select priority from again), retries = 0, send_at = wecom.clock(),
        errcode = null, error = null
    from failed where message.id = failed.id
""")

_THAT_CAN_BE_TAKEN_BACK = text("""
    select id from wecom.messages
    where campaign = :id and state in ('scheduled', 'sending', 'sent') and recall_requested_at is null
""")
_TAKE_BACK = text(f"""
    with parts as (
        select id from wecom.messages where id = any (cast(:ids as uuid[])) order by id for update
    )
    {TAKE_BACK}
""")
_NOT_TAKEN_BACK = text("""
    select id, touser, recall_error from wecom.messages
    where campaign = :id and state = 'sent' and recall_error is not null
    order by id limit :most
""")

# Nothing is counted past what could still make the share too large.
_PAUSE_IF_TOO_MANY_FAILED = text("""
    update wecom.campaigns as campaign
    set aside = true, paused_reason = format('%s of %s messages failed; look at them, then let it go on',
                                             counted.failed, counted.settled)
    from wecom.campaigns as watched
    cross join lateral (
        select count(*) - watched.forgiven_failed as failed
        from wecom.messages where messages.campaign = watched.id and state = 'failed'
    ) as lost
    cross join lateral (
        select lost.failed, count(*) - watched.forgiven_settled as settled
        from (
            select from wecom.messages
            where messages.campaign = watched.id
              and state in ('sent', 'failed', 'unconfirmed', 'recalling', 'recalled')
            limit greatest(0, watched.forgiven_settled + :least + 1 + ceil(lost.failed / cast(:share as float)))
        ) as enough
    ) as counted
    where campaign.id = watched.id and watched.id = :id and watched.paused_reason is null
      and counted.failed > 0 and counted.settled >= :least and counted.failed >= :share * counted.settled
    returning campaign.name, campaign.paused_reason
""")


class UnknownCampaign(LedgerError):  # noqa: N818 - what a producer reads
    """No campaign has this name, or several senders have one."""


@dataclass(frozen=True, slots=True)
class Campaign:
    """A named set of messages with one purpose.

    Attributes:
        messages: how many calls to WeCom it takes.
        recipients: how many members it names.
        duplicates: how many recipients were left out because they were named before.
        paused_reason: why nothing of it is sent, or None.
        counts: how many of its messages stand in each state; states without any are left out.
        created: whether this very call made it.
    """

    id: UUID
    sender: str
    name: str
    priority: Priority
    messages: int
    recipients: int
    duplicates: int
    requested_at: datetime
    expires_at: datetime | None
    paused_reason: str | None
    cancelled_at: datetime | None
    created_at: datetime
    content_hash: bytes = field(repr=False)
    body: Mapping[str, Any] = field(repr=False)
    counts: Mapping[State, int] = field(default_factory=dict)
    created: bool = False

    @property
    def finished(self) -> int:
        """How many messages have come to an end."""
        return sum(number for state, number in self.counts.items() if state not in UNDER_WAY)


@dataclass(frozen=True, slots=True)
class NotTakenBack:
    """A sent message that could not be recalled, and why."""

    id: UUID
    users: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class UnfinishedChange:
    """A campaign some of whose messages are still to be set aside, cancelled, or brought back."""

    id: UUID
    paused: bool
    cancelled: bool


def counted(connection: Connection, campaign: Campaign) -> Campaign:
    """Return a campaign with the numbers of its messages by state."""
    rows = connection.execute(_COUNT, {"campaign": campaign.id})
    return replace(campaign, counts={State(row.state): row.messages for row in rows})


class Campaigns:
    """Campaigns as a whole; changes of many messages are made some thousand a transaction and can be repeated."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def find(self, name: str, sender: str | None = None) -> Campaign:
        """Return a campaign with its progress.

        Raises:
            UnknownCampaign: there is none of that name, or several senders have one.
        """
        with self._engine.connect() as connection:
            rows = [] if "\0" in name else connection.execute(FIND, {"name": name, "sender": sender or ""}).all()
            if len(rows) > 1:
                several = ", ".join(sorted(f"{row.sender}/{row.name}" for row in rows))
                raise UnknownCampaign(f"several senders have a campaign {name!r}; say which: {several}")
            if not rows:
                whose = f" of {sender}" if sender else ""
                raise UnknownCampaign(f"no campaign{whose} is named {name!r}; `wecom campaign list` names them")
            return counted(connection, campaign_of(rows[0]))

    def newest(self, sender: str | None = None, most: int = 100) -> list[Campaign]:
        """Return the newest campaigns with their progress."""
        with self._engine.connect() as connection:
            rows = connection.execute(_LIST, {"sender": sender or "", "most": most}).all()
            return [counted(connection, campaign_of(row)) for row in rows]

    def pause(self, campaign: UUID, reason: str) -> None:
        """Keep a campaign's messages from being sent; those being sent just now still are."""
        self._stop(campaign, reason, cancelled=False)
        self._all(_SET_ASIDE, campaign)

    def resume(self, campaign: UUID) -> None:
        """Let a campaign go on."""
        self._change(campaign, [_FORGIVE, _RESUME])
        self._bring_back(campaign)

    def cancel(self, campaign: UUID) -> None:
        """Cancel what is not sent yet."""
        self._stop(campaign, "cancelled", cancelled=True)
        self._all(_CANCEL, campaign)

    def retry(self, campaign: UUID) -> None:
        """Have failed messages sent again."""
        self._all(_RETRY, campaign)
        self._change(campaign, [_FORGIVE])

    def take_back(self, campaign: UUID) -> None:
        """Cancel what is not sent yet, and have workers recall what is.

        What is being sent just now is recalled once WeCom has named its msgid. Whatever state a message goes over
        to meanwhile, its recall is asked for: the list is read once, each message then changes by its own state.
        """
        self._stop(campaign, "recalled", cancelled=False)
        for ids in self._messages_to_take_back(campaign):
            self._change(campaign, [_TAKE_BACK], ids=ids)

    def not_taken_back(self, campaign: UUID, most: int) -> list[NotTakenBack]:
        """Return the first sent messages whose recall WeCom refused or came too late for."""
        with self._engine.connect() as connection:
            rows = connection.execute(_NOT_TAKEN_BACK, {"id": campaign, "most": most})
            return [NotTakenBack(row.id, tuple(row.touser), row.recall_error) for row in rows]

    def pause_if_too_many_failed(self, campaign: UUID, share: float, least: int) -> str | None:
        """Pause a campaign of whose settled messages, `least` or more, at least this share failed; return why."""
        with self._engine.begin() as connection:
            row = connection.execute(
                _PAUSE_IF_TOO_MANY_FAILED, {"id": campaign, "share": share, "least": least}
            ).one_or_none()
        return row.paused_reason if row else None

    def finish_changes(self) -> None:
        """Go on where somebody stopped in the middle of pausing, cancelling or resuming."""
        with self._engine.connect() as connection:
            unfinished = [UnfinishedChange(*row) for row in connection.execute(_UNFINISHED)]
        for change in unfinished:
            if change.cancelled:
                self._all(_CANCEL, change.id)
            elif change.paused:
                self._all(_SET_ASIDE, change.id)
            else:
                self._bring_back(change.id)

    def _stop(self, campaign: UUID, reason: str, *, cancelled: bool) -> None:
        self._change(campaign, [_PAUSE], reason=reason, cancelled=cancelled)

    def _bring_back(self, campaign: UUID) -> None:
        self._all(_BRING_BACK, campaign)
        self._change(campaign, [_ALL_BACK])

    def _messages_to_take_back(self, campaign: UUID) -> Iterator[list[UUID]]:
        with self._engine.connect().execution_options(yield_per=ROWS_AT_ONCE) as connection:
            for ids in connection.execute(_THAT_CAN_BE_TAKEN_BACK, {"id": campaign}).scalars().partitions():
                yield list(ids)

    def _all(self, statement: TextClause, campaign: UUID) -> None:
        while self._change(campaign, [statement], most=ROWS_AT_ONCE):
            pass

    def _change(self, campaign: UUID, statements: Iterable[TextClause], **parameters: object) -> int:
        """Carry out statements that change nothing the second time; return how many rows the last one changed."""

        def change(connection: Connection) -> int:
            changed = 0
            for statement in statements:
                changed = connection.execute(statement, {"id": campaign, **parameters}).rowcount
            return changed

        return transact(self._engine, change, InDoubt("do it again: what is done already stays as it is", [campaign]))


def campaign_of(row: Row[Any]) -> Campaign:
    """Read a row with the columns of `FIND`."""
    return Campaign(
        id=row.id,
        sender=row.sender,
        name=row.name,
        priority=Priority(row.priority),
        messages=row.messages,
        recipients=row.recipients,
        duplicates=row.duplicates,
        requested_at=row.requested_at,
        expires_at=row.expires_at,
        paused_reason=row.paused_reason,
        cancelled_at=row.cancelled_at,
        created_at=row.created_at,
        content_hash=bytes(row.content_hash),
        body=row.body,
    )
