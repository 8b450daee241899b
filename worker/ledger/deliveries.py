"""Statements of the delivery: claim due messages, settle answers, give back.

Every change of `state` is a compare-and-set: it names the state it leaves and the attempt it belongs to, so that
two workers can never both believe that a message is theirs.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Engine, text

from worker.ledger.due import CANNOT_WAIT, DUE
from worker.ledger.schema import State
from worker.messages.recipients import InvalidRecipients, Recipients

_TAKE = """
    update wecom.messages as message
    set state = 'sending', attempt = attempt + 1, claimed_at = wecom.clock(),
        lease_until = wecom.clock() + make_interval(secs => :lease_seconds)
    from due
    where message.id = due.id
    returning message.id, attempt, retries, priority, requested_at, send_at, expires_at, claimed_at, resend_until,
              touser, toparty, totag, body, files, campaign
"""

# One index range a priority, each read in the order of its due times: rows that are not due are never looked at.
_CLAIM = text(f"""
    with due as (
        select chosen.id
        from (values (0), (1), (2)) as rank (priority)
        cross join lateral (
            select id from wecom.messages
            where sender = :sender and priority = rank.priority and {DUE}
            order by send_at
            limit :most
            for update skip locked
        ) as chosen
        limit :most
    )
    {_TAKE}
""")

_CLAIM_IN_QUIET_WINDOW = text(f"""
    with urgent as (
        select id from wecom.messages where sender = :sender and priority = 0 and {DUE}
        order by send_at limit :most for update skip locked
    ), pressing as (
        select id from wecom.messages where sender = :sender and {CANNOT_WAIT} and {DUE}
        order by least(expires_at, resend_until) limit :most for update skip locked
    ), due as (
        select id from urgent union all select id from pressing limit :most
    )
    {_TAKE}
""")

# A recall that was asked for meanwhile is carried out here: what was sent is taken back, what certainly was not
# sent is cancelled, and what is doubtful goes on until WeCom names its msgid.
_SETTLE = text("""
    update wecom.messages as message
    set state = case
            when recall_requested_at is null then answer.state
            when answer.state = 'sent' and coalesce(answer.msgid, message.msgid) is not null then 'recalling'
            when answer.state = 'scheduled' and answer.resend_until is null then 'cancelled'
            else answer.state
        end,
        lease_until = null,
        send_at = coalesce(answer.send_at, message.send_at),
        retries = answer.retries,
        resend_until = answer.resend_until,
        errcode = answer.errcode,
        error = answer.error,
        msgid = coalesce(answer.msgid, message.msgid),
        response_code = coalesce(answer.response_code, message.response_code),
        sent_at = case when answer.state = 'sent' then wecom.clock() end,
        recall_error = case
            when recall_requested_at is not null and answer.state = 'sent'
                 and coalesce(answer.msgid, message.msgid) is null
            then 'WeCom named no msgid for it, so it cannot be recalled'
            else recall_error
        end
    from unnest(
        cast(:ids as uuid[]), cast(:attempts as int[]), cast(:states as text[]), cast(:send_ats as timestamptz[]),
        cast(:retries as int[]), cast(:resend_untils as timestamptz[]), cast(:errcodes as int[]),
        cast(:errors as text[]), cast(:msgids as text[]), cast(:response_codes as text[])
    ) as answer (id, attempt, state, send_at, retries, resend_until, errcode, error, msgid, response_code)
    where message.id = answer.id and message.sender = :sender
      and message.state = 'sending' and message.attempt = answer.attempt
    returning message.id, message.state
""")

_RECORD_ATTEMPTS = text("""
    insert into wecom.attempts (message, attempt, at, category, errcode, reason, msgid, http_status, milliseconds)
    select * from unnest(
        cast(:ids as uuid[]), cast(:attempts as int[]), cast(:ats as timestamptz[]), cast(:categories as text[]),
        cast(:errcodes as int[]), cast(:reasons as text[]), cast(:msgids as text[]), cast(:http_statuses as int[]),
        cast(:milliseconds as int[]))
""")

_RECORD_INVALID = text("""
    insert into wecom.invalid_recipients (message, kind, value)
    select * from unnest(cast(:ids as uuid[]), cast(:kinds as text[]), cast(:values as text[]))
    on conflict do nothing
""")

_RELEASE = text("""
    update wecom.messages as message
    set state = case when recall_requested_at is not null and resend_until is null then 'cancelled'
                     else 'scheduled' end,
        lease_until = null, error = coalesce(:reason, error)
    from unnest(cast(:ids as uuid[]), cast(:attempts as int[])) as claim (id, attempt)
    where message.id = claim.id and message.sender = :sender
      and message.state = 'sending' and message.attempt = claim.attempt
""")

_POSTPONE = text("""
    update wecom.messages as message
    set state = case when recall_requested_at is not null and resend_until is null then 'cancelled'
                     else 'scheduled' end,
        lease_until = null, send_at = claim.send_at, error = claim.reason
    from unnest(
        cast(:ids as uuid[]), cast(:attempts as int[]), cast(:send_ats as timestamptz[]), cast(:reasons as text[])
    ) as claim (id, attempt, send_at, reason)
    where message.id = claim.id and message.sender = :sender
      and message.state = 'sending' and message.attempt = claim.attempt
""")


@dataclass(frozen=True, slots=True)
class ClaimedMessage:
    """A message this worker alone may send until its lease ends."""

    id: UUID
    attempt: int
    retries: int
    priority: int
    requested_at: datetime
    send_at: datetime
    expires_at: datetime | None
    claimed_at: datetime
    resend_until: datetime | None
    recipients: Recipients
    body: Mapping[str, Any] = field(repr=False)
    files: tuple[str, ...] = ()
    campaign: UUID | None = None


@dataclass(frozen=True, slots=True)
class Postponement:
    """A claimed message that has to wait for a limit, until when, and why."""

    message: ClaimedMessage
    send_at: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class Settlement:
    """What becomes of a claimed message, and what is noted about the attempt."""

    message: UUID
    attempt: int
    state: State
    at: datetime
    category: str
    retries: int
    send_at: datetime | None = None
    resend_until: datetime | None = None
    errcode: int | None = None
    reason: str = ""
    msgid: str | None = None
    response_code: str | None = None
    invalid: InvalidRecipients = field(default_factory=InvalidRecipients)
    http_status: int | None = None
    milliseconds: int = 0


class Deliveries:
    """The hot path; every statement names its sender."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def claim(self, sender: str, most: int, lease_seconds: float, quiet_until: datetime | None) -> list[ClaimedMessage]:
        """Take up to `most` due messages, the most urgent and longest due first.

        `quiet_until` is the end of the quiet window that is on, with the time over which waiting messages are
        spread, or None outside of one.
        """
        parameters = {"sender": sender, "most": most, "lease_seconds": lease_seconds}
        with self._engine.begin() as connection:
            if quiet_until is None:
                rows = connection.execute(_CLAIM, parameters).all()
            else:
                rows = connection.execute(_CLAIM_IN_QUIET_WINDOW, parameters | {"quiet_until": quiet_until}).all()
        claimed = [
            ClaimedMessage(
                id=row.id,
                attempt=row.attempt,
                retries=row.retries,
                priority=row.priority,
                requested_at=row.requested_at,
                send_at=row.send_at,
                expires_at=row.expires_at,
                claimed_at=row.claimed_at,
                resend_until=row.resend_until,
                recipients=Recipients(tuple(row.touser), tuple(row.toparty), tuple(row.totag)),
                body=row.body,
                files=tuple(row.files),
                campaign=row.campaign,
            )
            for row in rows
        ]
        claimed.sort(key=lambda message: (message.priority, message.send_at, message.id))
        return claimed

    def settle(self, sender: str, settlements: Sequence[Settlement]) -> int:
        """Store what became of claimed messages, in one transaction; return how many messages now wait for recall.

        An answer whose lease was taken over by somebody else changes nothing but is kept among the attempts.
        """
        with self._engine.begin() as connection:
            rows = connection.execute(
                _SETTLE,
                {
                    "sender": sender,
                    "ids": [settlement.message for settlement in settlements],
                    "attempts": [settlement.attempt for settlement in settlements],
                    "states": [settlement.state.value for settlement in settlements],
                    "send_ats": [settlement.send_at for settlement in settlements],
                    "retries": [settlement.retries for settlement in settlements],
                    "resend_untils": [settlement.resend_until for settlement in settlements],
                    "errcodes": [settlement.errcode for settlement in settlements],
                    "errors": [settlement.reason or None for settlement in settlements],
                    "msgids": [settlement.msgid for settlement in settlements],
                    "response_codes": [settlement.response_code for settlement in settlements],
                },
            ).all()
            states = {row.id: row.state for row in rows}
            noted = [one for one in settlements if one.state is not State.SENT or one.message not in states]
            if noted:
                connection.execute(_RECORD_ATTEMPTS, _attempts(noted))
            invalid = _invalid(one for one in settlements if one.message in states)
            if invalid["ids"]:
                connection.execute(_RECORD_INVALID, invalid)
        return sum(state == State.RECALLING for state in states.values())

    def release(self, sender: str, claimed: Sequence[ClaimedMessage], reason: str | None = None) -> None:
        """Give back messages that were claimed but not sent; nothing is counted against them."""
        if not claimed:
            return
        parameters = {
            "sender": sender,
            "ids": [message.id for message in claimed],
            "attempts": [message.attempt for message in claimed],
            "reason": reason,
        }
        with self._engine.begin() as connection:
            connection.execute(_RELEASE, parameters)

    def postpone(self, sender: str, postponed: Sequence[Postponement]) -> None:
        """Give back claimed messages that would pass a limit of WeCom's; each waits until it fits."""
        if not postponed:
            return
        parameters = {
            "sender": sender,
            "ids": [one.message.id for one in postponed],
            "attempts": [one.message.attempt for one in postponed],
            "send_ats": [one.send_at for one in postponed],
            "reasons": [one.reason for one in postponed],
        }
        with self._engine.begin() as connection:
            connection.execute(_POSTPONE, parameters)


def _attempts(settlements: Sequence[Settlement]) -> dict[str, list[Any]]:
    return {
        "ids": [settlement.message for settlement in settlements],
        "attempts": [settlement.attempt for settlement in settlements],
        "ats": [settlement.at for settlement in settlements],
        "categories": [settlement.category for settlement in settlements],
        "errcodes": [settlement.errcode for settlement in settlements],
        "reasons": [settlement.reason for settlement in settlements],
        "msgids": [settlement.msgid for settlement in settlements],
        "http_statuses": [settlement.http_status for settlement in settlements],
        "milliseconds": [settlement.milliseconds for settlement in settlements],
    }


def _invalid(settlements: Iterable[Settlement]) -> dict[str, list[Any]]:
    rows = [
        (settlement.message, kind, value)
        for settlement in settlements
        if settlement.invalid
        for kind, values in (
            ("user", settlement.invalid.users),
            ("party", settlement.invalid.parties),
            ("tag", settlement.invalid.tags),
            ("unlicensed", settlement.invalid.unlicensed),
        )
        for value in values
    ]
    return {
        "ids": [message for message, _, _ in rows],
        "kinds": [kind for _, kind, _ in rows],
        "values": [value for _, _, value in rows],
    }
