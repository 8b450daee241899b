"""What the doctor reads in the ledger about messages: what is late, what failed, what waits for a person."""

from collections import defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta

from worker.cli.findings import Finding, fault, fine, warning
from worker.cli.times import relative
from worker.delivery.office import quiet_windows
from worker.delivery.stagger import HALF_HOUR
from worker.ledger import Ledger
from worker.providers.wecom.errcodes import ERRCODES
from worker.settings import Settings

TOLERATED_SECONDS = 60
"""A message may be so late without anybody being told; retries of dead workers take about so long."""
STUCK_SECONDS = 300
MANY_FAILURES = 0.05
"""From this share of the messages that WeCom answered on, failures are more than leavers among the recipients."""


def messages(ledger: Ledger, chosen: Settings) -> Iterator[Finding]:
    """Say what is late although nothing holds it back, what became of messages lately, what a person must decide."""
    yield from _late(ledger, chosen)
    yield from _unconfirmed(ledger)
    yield from _lately(ledger)
    if rejected := ledger.rejected.count():
        yield warning(
            "requests.rejected",
            "Requests",
            f"{rejected} of programs that know only Celery were rejected and wait for a decision",
            "`wecom rejected list` says why",
            requests=rejected,
        )


def _late(ledger: Ledger, chosen: Settings) -> Iterator[Finding]:
    now = ledger.due.now()
    held_until, in_a_window = _quiet(chosen, now)
    late = ledger.examination.late(TOLERATED_SECONDS, held_until, urgent_only=in_a_window)
    for one in late:
        words = f"the oldest that nothing holds back was due {relative(now - timedelta(seconds=one.seconds), now)}"
        facts = {"sender": one.sender, "seconds": int(one.seconds), "sent_lately": one.sent}
        if one.seconds > STUCK_SECONDS and not one.sent:
            yield fault(
                "messages.overdue",
                f"Messages of {one.sender}",
                f"{words}, and none was sent in the last 5 minutes",
                "see what is said of workers and the clockwork here, and read a worker's log",
                **facts,
            )
        else:
            yield warning(
                "messages.overdue",
                f"Messages of {one.sender}",
                f"{words}; {one.sent} were sent in the last 5 minutes",
                "nothing if it catches up; otherwise more workers, or a higher WECOM_DELIVERIES",
                **facts,
            )
    if not late:
        yield fine("messages.overdue", "Messages", "none is overdue that nothing holds back")


def _quiet(chosen: Settings, now: datetime) -> tuple[datetime | None, bool]:
    """Return when the last quiet window ended, and whether one is on."""
    quiet = quiet_windows(chosen)
    if quiet.window(now) is not None:
        return None, True
    last = quiet.next_window(now - timedelta(seconds=HALF_HOUR))
    return (last[1] if last is not None and last[1] <= now else None), False


def _unconfirmed(ledger: Ledger) -> Iterator[Finding]:
    found = ledger.examination.unconfirmed()
    for sender, number in found.items():
        yield warning(
            "messages.unconfirmed",
            f"Messages of {sender}",
            f"{number} are unconfirmed: sent or not, nobody here knows",
            f"`wecom unconfirmed list {sender}`; ask a recipient, then settle or resend each",
            sender=sender,
            messages=number,
        )
    if not found:
        yield fine("messages.unconfirmed", "Messages", "none is unconfirmed")


def _lately(ledger: Ledger) -> Iterator[Finding]:
    sent, waiting = ledger.examination.sent_in_the_last_hour(), ledger.examination.waiting()
    failed: dict[str, dict[int | None, int]] = defaultdict(dict)
    for failures in ledger.examination.failed_in_the_last_hour():
        failed[failures.sender][failures.errcode] = failures.messages
    yield fine(
        "messages.lately",
        "Messages",
        f"{sum(sent.values())} sent in the last hour, "
        f"{sum(sum(numbers.values()) for numbers in failed.values())} failed; now {waiting['due']} due, "
        f"{waiting['sending']} being sent, {waiting['recalling']} being recalled",
        sent=sent,
        failed={sender: {str(code): number for code, number in numbers.items()} for sender, numbers in failed.items()},
        **waiting,
    )
    for sender, numbers in failed.items():
        total = sum(numbers.values())
        if total < MANY_FAILURES * (total + sent.get(sender, 0)):
            continue
        worst = next(iter(numbers))
        listed = ", ".join(
            f"{number} with {'no errcode' if code is None else code}" for code, number in numbers.items()
        )
        known = ERRCODES.get(worst or 0)
        yield warning(
            "messages.failed",
            f"Messages of {sender}",
            f"{total} failed in the last hour, {sent.get(sender, 0)} were sent: {listed}",
            known.advice if known else "`wecom history` or `wecom campaign status` say which and why",
            sender=sender,
            failed={str(code): number for code, number in numbers.items()},
        )
