"""Turns an answer into what the ledger stores about the message. Pure."""

from datetime import datetime, timedelta

from worker.delivery.outcome import Outcome, PauseSender, Reject, Retry, Sent, Unknown
from worker.delivery.stagger import QuietWindows
from worker.ledger import ClaimedMessage, Priority, Settlement, State
from worker.providers.base import Answer, Category

SLACK_SECONDS = 30
"""How much later than its lease allows a request may arrive at worst: name lookups and several addresses take time."""
DETERMINED_BY_THE_REQUEST = frozenset({Category.RECIPIENT, Category.CONTENT})
"""Refusals that the same request would have met before as well."""
TASK_ID_TAKEN = 42014
"""But a card's task_id is refused when it is used, perhaps by the first try of the same card."""


def settlement(
    message: ClaimedMessage,
    answer: Answer,
    outcome: Outcome,
    *,
    now: datetime,
    lease_seconds: float,
    quiet: QuietWindows,
) -> Settlement:
    """Say what becomes of a claimed message after an answer.

    Args:
        message: as it was claimed.
        answer: what came back, kept among the attempts if it is not a plain success.
        outcome: what `decide` made of the answer.
        now: by the database's clock.
        lease_seconds: how long after a claim a message may still be sent.
        quiet: new due times keep out of the quiet windows as well.
    """
    state, send_at, retries, resend_until = State.SCHEDULED, None, message.retries, message.resend_until
    match outcome:
        case Sent():
            state, resend_until = State.SENT, None
        case Reject() if message.resend_until is not None and not _concerns_all_tries(answer):
            # Only this try is known to be in vain; the first one may have arrived.
            state = State.UNCONFIRMED
        case Reject():
            state, resend_until = State.FAILED, None
        case PauseSender():
            pass
        case Retry(seconds, counted):
            retries += counted
            send_at = _due(message, now + timedelta(seconds=seconds), message.resend_until, now, quiet)
        case Unknown(seconds):
            resend_until = message.resend_until or last_resend(message, lease_seconds)
            send_at = _due(message, now + timedelta(seconds=seconds), resend_until, now, quiet)
            if send_at >= resend_until:
                state, send_at = State.UNCONFIRMED, None
    return Settlement(
        message=message.id,
        attempt=message.attempt,
        state=state,
        at=now,
        category=answer.category,
        retries=retries,
        send_at=send_at,
        resend_until=resend_until,
        errcode=answer.errcode,
        reason=answer.reason,
        msgid=answer.msgid,
        response_code=answer.response_code,
        invalid=answer.invalid,
        http_status=answer.http_status,
        milliseconds=answer.milliseconds,
    )


def last_resend(message: ClaimedMessage, lease_seconds: float) -> datetime:
    """Return until when a claim may repeat a message of unknown fate.

    What is claimed at that moment leaves within its lease, still inside WeCom's duplicate check, which counts from
    the first request that arrived. A body that asks for no check may not be repeated at all.
    """
    covered = message.body.get("duplicate_check_interval", 0) if message.body.get("enable_duplicate_check") else 0
    return message.claimed_at + timedelta(seconds=covered - lease_seconds - SLACK_SECONDS)


def doubtful_seconds(message: ClaimedMessage, now: datetime, lease_seconds: float) -> float:
    """Return for how long the fate of a message has been unknown."""
    if message.resend_until is None:
        return 0.0
    covered = (last_resend(message, lease_seconds) - message.claimed_at).total_seconds()
    return max(0.0, covered - (message.resend_until - now).total_seconds())


def _concerns_all_tries(answer: Answer) -> bool:
    # A file that WeCom has forgotten by now may have been there when the first try arrived.
    return answer.category in DETERMINED_BY_THE_REQUEST and answer.errcode != TASK_ID_TAKEN and not answer.file_gone


def _due(
    message: ClaimedMessage, at: datetime, resend_until: datetime | None, now: datetime, quiet: QuietWindows
) -> datetime:
    if message.priority == Priority.URGENT:
        return at
    latest = min((moment for moment in (message.expires_at, resend_until) if moment is not None), default=None)
    return quiet.stagger(at, now=now, message=message.id, latest=latest)
