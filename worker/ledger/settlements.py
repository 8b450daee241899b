"""Statements that store what became of claimed messages, all of a batch or each by itself."""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Engine, text

from worker.ledger.bounds import first_names, name_or_none, number_or_none, shortened, small_number_or_none
from worker.ledger.connection import is_passing
from worker.ledger.schema import State
from worker.messages.recipients import InvalidRecipients

log = logging.getLogger(__name__)

LONGEST_FAULT = 300
"""Bytes of what Postgres says about a value it does not take."""

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

_ATTEMPTS = """
    unnest(
        cast(:ids as uuid[]), cast(:attempts as int[]), cast(:ats as timestamptz[]), cast(:categories as text[]),
        cast(:errcodes as int[]), cast(:reasons as text[]), cast(:msgids as text[]), cast(:http_statuses as int[]),
        cast(:milliseconds as int[])
    ) as answer (message, attempt, at, category, errcode, reason, msgid, http_status, milliseconds)
"""
_RECORD_ATTEMPTS = text(f"""
    insert into wecom.attempts (message, attempt, at, category, errcode, reason, msgid, http_status, milliseconds)
    select * from {_ATTEMPTS}
""")

# An answer that finds its message settled is either late or stored already, by a COMMIT whose answer was lost. Only
# the reaper takes a message from its worker, and it notes that under the same attempt; what was stored already is
# noted with the moment of this answer, or is a plain success and not noted at all.
_RECORD_LATE_ATTEMPTS = text(f"""
    insert into wecom.attempts (message, attempt, at, category, errcode, reason, msgid, http_status, milliseconds)
    select * from {_ATTEMPTS}
    where exists (
        select from wecom.attempts as taken
        where taken.message = answer.message and taken.attempt = answer.attempt
          and (taken.at, taken.category) <> (answer.at, answer.category)
    ) and not exists (
        select from wecom.attempts as stored
        where stored.message = answer.message and stored.attempt = answer.attempt
          and (stored.at, stored.category) = (answer.at, answer.category)
    )
""")

_RECORD_INVALID = text("""
    insert into wecom.invalid_recipients (message, kind, value)
    select * from unnest(cast(:ids as uuid[]), cast(:kinds as text[]), cast(:values as text[]))
    on conflict do nothing
""")


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


def settle(engine: Engine, sender: str, settlements: Sequence[Settlement]) -> int:
    """Store what became of claimed messages; return how many messages now wait for recall.

    All of them go in one transaction, or one by one if Postgres refuses something about them; what it does not
    take even then is stored without what the provider said, with a reason that tells so. To settle once more what
    was settled changes nothing. An answer whose lease was taken over by somebody else changes nothing but is
    kept among the attempts.

    Raises:
        Exception: a passing fault (`is_passing`), or one that has nothing to do with what is stored.
    """
    bounded = [_bounded(settlement) for settlement in settlements]
    try:
        return _settle(engine, sender, bounded)
    except Exception as error:
        if is_passing(error):
            raise
        log.warning("%d answers for %s are stored one by one: %s", len(bounded), sender, _in_one_line(error))
    recalling, fault = 0, None
    for settlement in bounded:
        try:
            recalling += _settle_alone(engine, sender, settlement)
        except Exception as error:
            if is_passing(error):
                raise
            fault = error
    if fault is not None:
        raise fault
    return recalling


def _settle(engine: Engine, sender: str, settlements: Sequence[Settlement]) -> int:
    with engine.begin() as connection:
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
        noted = [one for one in settlements if one.state is not State.SENT and one.message in states]
        if noted:
            connection.execute(_RECORD_ATTEMPTS, _attempts(noted))
        late = [one for one in settlements if one.message not in states]
        if late:
            connection.execute(_RECORD_LATE_ATTEMPTS, _attempts(late))
        invalid = _invalid(one for one in settlements if one.message in states)
        if invalid["ids"]:
            connection.execute(_RECORD_INVALID, invalid)
    return sum(state == State.RECALLING for state in states.values())


def _settle_alone(engine: Engine, sender: str, settlement: Settlement) -> int:
    try:
        return _settle(engine, sender, [settlement])
    except Exception as error:
        if is_passing(error):
            raise
        reason = f"stored without all that WeCom said about it: {_in_one_line(error)}"
    log.error("the answer to %s is %s", settlement.message, reason)
    bare = replace(settlement, reason=reason, response_code=None, invalid=InvalidRecipients())
    try:
        return _settle(engine, sender, [bare])
    except Exception as error:
        if is_passing(error):
            raise
    return _settle(engine, sender, [replace(bare, msgid=None)])


def _bounded(settlement: Settlement) -> Settlement:
    """Return a settlement with values that the ledger can hold; its reason tells what could not be kept."""
    changed: dict[str, Any] = {}
    for name, bounded in _BOUNDS:
        value = getattr(settlement, name)
        kept = bounded(value)
        if kept is not value and kept != value:
            changed[name] = kept
    reason = settlement.reason
    if changed:
        lost = f"the ledger cannot hold all that came back as {', '.join(changed)}"
        reason = f"{lost}; {reason}" if reason else lost
    reason = shortened(reason)
    return replace(settlement, reason=reason, **changed) if reason != settlement.reason else settlement


def _first_invalid(invalid: InvalidRecipients) -> InvalidRecipients:
    if not invalid:
        return invalid
    return InvalidRecipients(*map(first_names, (invalid.users, invalid.parties, invalid.tags, invalid.unlicensed)))


_BOUNDS: tuple[tuple[str, Callable[[Any], Any]], ...] = (
    ("errcode", number_or_none),
    ("http_status", small_number_or_none),
    ("msgid", name_or_none),
    ("response_code", name_or_none),
    ("invalid", _first_invalid),
)


def _in_one_line(error: Exception) -> str:
    """Say what Postgres found; its further lines could hold values of the statement."""
    first, *_ = str(getattr(error, "orig", None) or error).splitlines() or [""]
    return shortened(f"{type(error).__name__}: {first}", LONGEST_FAULT)


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
