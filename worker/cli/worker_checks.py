"""What the doctor reads in the ledger about workers and the clockwork: who lives, and what ran when."""

from collections.abc import Iterator

from worker.broker import given_again_after
from worker.cli.findings import Finding, fault, fine, warning
from worker.cli.output import some_of
from worker.cli.times import when
from worker.ledger import DISPATCH, REAP, Ledger, LifeSign
from worker.settings import Settings

LEAST_SILENCE = {DISPATCH: 30, REAP: 120}
MISSED_RUNS = 15
"""A part of the clockwork has stopped after so many seconds, and after so many runs that it should have made."""
START = "start `wecom up` or `celery -A worker worker`"
WHAT_STOPS = {
    DISPATCH: "messages that are due later, and retries, wait",
    REAP: "what dead workers held is not sent again, and nothing expires",
}


def workers(ledger: Ledger, chosen: Settings) -> Iterator[Finding]:
    """Say who lives, who fell silent, who hangs, and whether the clockwork goes."""
    signs = ledger.workers.all()
    living = [sign for sign in signs if sign.lives]
    yield _living([sign for sign in living if sign.delivers])
    now = ledger.due.now()
    for sign in signs:
        if not sign.lives:
            yield warning(
                "worker.silent",
                f"Worker {_named(sign)}",
                f"fell silent {when(sign.seen_at, now)}: killed, or cut off from Postgres",
                "start it again if it is missing; what it held is sent again after its lease",
                machine=sign.worker.machine,
                pid=sign.worker.pid,
                seen_at=sign.seen_at,
            )
    stuck = given_again_after(chosen) + chosen.lease_seconds
    for sign in living:
        if sign.oldest_task_seconds > stuck:
            yield fault(
                "worker.hangs",
                f"Worker {_named(sign)}",
                f"has been at one task for {sign.oldest_task_seconds} s, so it hangs",
                "restart it; nothing is lost by that",
                machine=sign.worker.machine,
                pid=sign.worker.pid,
            )
    for name, period in ((DISPATCH, chosen.dispatch_seconds), (REAP, chosen.reap_seconds)):
        working_for = max(((now - sign.started_at).total_seconds() for sign in living), default=None)
        yield _clockwork(ledger, name, period, working_for)


def _living(delivering: list[LifeSign]) -> Finding:
    if not delivering:
        return fault("workers", "Workers", "none lives, so nothing is sent", START, living=0)
    named = some_of([_named(sign) for sign in delivering])
    return fine("workers", "Workers", f"{len(delivering)} live: {named}", living=len(delivering))


def _clockwork(ledger: Ledger, name: str, period: float, working_for: float | None) -> Finding:
    """Judge a part of the clockwork; `working_for` is for how many seconds there has been a worker to run it."""
    check, subject = f"clockwork.{name}", f"Clockwork ({name})"
    seconds = ledger.workers.seconds_since_tick(name)
    ran = "never ran" if seconds is None else f"ran {seconds:.0f} s ago"
    if working_for is None:
        return warning(check, subject, f"{ran}; it needs a worker", seconds=seconds)
    missed = working_for if seconds is None else min(seconds, working_for)
    if missed > max(LEAST_SILENCE[name], MISSED_RUNS * period):
        return fault(
            check,
            subject,
            f"{ran}: {WHAT_STOPS[name]}",
            "start `celery -A worker beat`, and see that a worker answers the queue wecom.housekeeping",
            seconds=seconds,
        )
    return fine(check, subject, ran, seconds=seconds)


def _named(sign: LifeSign) -> str:
    return f"{sign.worker.machine} (process {sign.worker.pid})"
