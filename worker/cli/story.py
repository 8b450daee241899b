"""Tells what became of a message in plain words. Pure: the same message at the same time makes the same story."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson

from worker.cli.output import some_of
from worker.cli.times import when
from worker.cli.way_on import way_on
from worker.ledger import Attempt, CardUpdateState, CardUpdateStatus, MessageStatus, Priority, State
from worker.messages.recipients import Recipients
from worker.messages.sender import Sender
from worker.providers.wecom.errcodes import ERRCODES

PARTS_NAMED = 10
UUID7_TIME_SHIFT = 80
"""Bits of a message id behind its time in milliseconds (RFC 9562)."""
IN_WORDS = {
    State.SENDING: "a worker is sending it",
    State.SENT: "sent",
    State.RECALLING: "sent; a worker is taking it back",
    State.RECALLED: "sent and taken back",
    State.CANCELLED: "cancelled before it was sent",
}
"""The states about which there is nothing more to say."""


def facts(status: MessageStatus, sender: Sender, now: datetime) -> Iterator[tuple[str, str]]:
    """Name what there is to know about a message, the most important first."""
    yield "Message", str(status.id)
    yield "Sender", status.sender
    yield "State", standing(status, sender, now)
    yield "To", named(status.recipients)
    yield "Content", content(status)
    if status.priority not in {Priority.NORMAL, Priority.ASIDE}:
        yield "Priority", status.priority.name.lower()
    if status.expires_at is not None:
        yield "Expires", when(status.expires_at, now)
    if status.msgid is not None:
        yield "Msgid", status.msgid
    yield from _not_served(status)
    for warning in status.warnings:
        yield "Warning", warning
    if status.parts:
        others = some_of([str(part) for part in status.parts], PARTS_NAMED)
        yield "Other parts", f"{others} (the audience took {len(status.parts) + 1} calls)"


def events(status: MessageStatus, sender: Sender, now: datetime) -> list[tuple[str, str]]:
    """Tell what happened and what is to come, in the order of time."""
    happened = sorted(_happened(status), key=lambda event: event[0])
    told = [(when(time, now), words) for time, words in happened]
    if status.state is State.SCHEDULED and not sender.paused(now) and status.send_at > now:
        told.append((when(status.send_at, now), f"it will be sent{_why_then(status)}"))
    return told


def standing(status: MessageStatus, sender: Sender, now: datetime) -> str:
    """Say in one sentence where a message stands."""
    match status.state:
        case State.SCHEDULED if status.priority is Priority.ASIDE:
            return "waits: its campaign is paused; `wecom campaign resume` lets it go"
        case State.SCHEDULED:
            return _waiting(status, sender, now)
        case State.FAILED:
            return f"failed{_because(_answer(status.errcode, status.error))}"
        case State.EXPIRED:
            return f"not sent before it expired{_because(status.error)}"
        case State.UNCONFIRMED:
            return f"sent or not, nobody here knows{_because(status.error)}; look in WeCom before you send it again"
        case state:
            return IN_WORDS[state]


def named(recipients: Recipients) -> str:
    """Name the first few of an audience."""
    if recipients.everyone:
        return "everybody the app can reach (@all)"
    groups = (
        ("", recipients.users),
        ("department ", recipients.parties),
        ("tag ", recipients.tags),
    )
    return "; ".join(prefix + some_of(values) for prefix, values in groups if values)


def content(status: MessageStatus) -> str:
    """Return the words of a message, or the whole of it where it is more than words."""
    msgtype = status.body.get("msgtype", "")
    fields: dict[str, Any] = status.body.get(msgtype, {})
    words = fields.get("content")
    if isinstance(words, str) and len(fields) == 1:
        return words
    return f"{msgtype} {orjson.dumps(fields).decode()}"


def _waiting(status: MessageStatus, sender: Sender, now: datetime) -> str:
    if sender.paused(now):
        until = f"parked until {when(sender.paused_until, now)}" if sender.paused_until else "paused"
        return f"waits: its sender is {until} ({sender.paused_reason}); {way_on(sender)} lets it go on"
    if status.send_at > now:
        return f"waits until {when(status.send_at, now)}{_why_then(status)}"
    return "due; waits for a worker"


def _why_then(status: MessageStatus) -> str:
    if status.attempts or status.error:
        return f", as the last try did not succeed{_because(status.error)}" if status.attempts else f" ({status.error})"
    away = kept_away(status)
    return f", {away}, when WeCom delivers late" if away else ""


def kept_away(status: MessageStatus) -> str:
    """Say that a message was moved out of a quiet window when it was accepted; empty if it was not."""
    if status.send_at == status.requested_at:
        return ""
    # A window reaches at most ten minutes to either side of its minute.
    quarter_later = status.requested_at.astimezone(UTC) + timedelta(minutes=15)
    return f"kept away from minute {0 if quarter_later.minute < 30 else 30}"


def _accepted(status: MessageStatus) -> datetime:
    """Return when a message was stored: its id tells, by the producer's clock, which may be fast."""
    made = datetime.fromtimestamp((status.id.int >> UUID7_TIME_SHIFT) / 1000, UTC)
    return min(made, status.requested_at)


def _happened(status: MessageStatus) -> Iterator[tuple[datetime, str]]:
    yield _accepted(status), "accepted and stored"
    yield status.requested_at, "due"
    for attempt in status.attempts:
        yield attempt.at, _attempted(attempt, explained=attempt is _last_with(status, attempt.errcode))
    if status.sent_at is not None:
        yield status.sent_at, "WeCom accepted it"
    if status.recall_requested_at is not None:
        yield status.recall_requested_at, f"it was asked to be taken back{_because(status.recall_error)}"
    if status.recalled_at is not None:
        yield status.recalled_at, "WeCom took it back"
    for update in status.card_updates:
        yield update.requested_at, "its card was asked to be updated"
        yield update.updated_at or update.requested_at, _updated(update)


def _updated(update: CardUpdateStatus) -> str:
    match update.state:
        case CardUpdateState.UPDATED:
            unseen = f" (not for {some_of(update.invalid_users, PARTS_NAMED)})" if update.invalid_users else ""
            return f"the card was updated{unseen}"
        case CardUpdateState.FAILED:
            return f"the card was not updated{_because(update.error)}"
        case CardUpdateState.UNCONFIRMED:
            return f"the card may have been updated; the answer was lost{_because(update.error)}"
        case CardUpdateState.SCHEDULED:
            return f"a worker will update the card{_because(update.error)}"


def _attempted(attempt: Attempt, *, explained: bool) -> str:
    words = f"try {attempt.attempt}, {attempt.milliseconds} ms, {attempt.category}"
    words += _because(_answer(attempt.errcode, attempt.reason))
    errcode = ERRCODES.get(attempt.errcode or 0)
    return f"{words}\n{errcode.meaning}. {errcode.advice}" if errcode is not None and explained else words


def _last_with(status: MessageStatus, errcode: int | None) -> Attempt:
    """Return the last of the attempts with the same answer; advice is given once."""
    return next(attempt for attempt in reversed(status.attempts) if attempt.errcode == errcode)


def _not_served(status: MessageStatus) -> Iterator[tuple[str, str]]:
    invalid = status.invalid
    groups = (
        ("Not served", "no such member, or out of the app's range", invalid.users),
        ("Not served", "no such department, or out of the app's range", invalid.parties),
        ("Not served", "no such tag, or out of the app's range", invalid.tags),
        ("Not served", "without an interface licence", invalid.unlicensed),
    )
    for name, reason, values in groups:
        if values:
            yield name, f"{some_of(values, PARTS_NAMED)} ({reason})"


def _answer(errcode: int | None, reason: str | None) -> str | None:
    return f"{errcode} {reason}".strip() if errcode else reason


def _because(reason: str | None) -> str:
    return f": {reason}" if reason else ""
