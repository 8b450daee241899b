"""The fan-out: three thousand personalised texts through a local WeCom that misbehaves in every way we know."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from worker.delivery.requests import SendRequest
from worker.demo.audience import TEXTS, UNLUCKY_MEMBER, Promise, personal_texts
from worker.demo.stage import SENDER, Stage, StageError
from worker.demo.telling import Narrator, clock_time, in_short, states_in_words
from worker.ledger import FINAL, State
from worker.messages import Text
from worker.simulator.control import FaultOptions, SimulatorControl

LONGEST_SECONDS = 60
LOOK_SECONDS = 0.1
LINE_SECONDS = 2
"""How often the progress is told where there is no terminal."""

FAULTS: tuple[tuple[str, FaultOptions], ...] = (
    ("reset_after", {"endpoint": "send", "times": 1, "match": {"user": UNLUCKY_MEMBER}}),
    ("errcode", {"endpoint": "send", "errcode": -1, "times": 1, "match": {"user": UNLUCKY_MEMBER}}),
    ("token_expired", {"endpoint": "send", "times": 1, "after": 1200}),
    ("errcode", {"endpoint": "send", "errcode": -1, "times": 30, "probability": 0.03}),
    ("http", {"endpoint": "send", "status": 502, "times": 15, "probability": 0.02}),
    ("reset_after", {"endpoint": "send", "times": 14, "probability": 0.02}),
    ("errcode", {"endpoint": "send", "errcode": 45009, "times": 1, "after": 1800}),
)
"""Bounded, so that the demo ends; in the order in which a call that fits several of them meets them."""


def fan_out(stage: Stage, narrator: Narrator) -> tuple[list[Promise], float]:
    """Hand over all texts, follow them to their end, and return them with the seconds that took."""
    inject_faults(stage.simulator)
    before = _settled(stage.ledger.history.counts(SENDER))
    started = time.monotonic()
    texts = list(personal_texts(TEXTS))
    requests = (SendRequest(SENDER, Text(content=text.content), users=text.users) for text in texts)
    ids = stage.producer.send_many(requests)
    narrator.say(f"{len(ids):,} texts accepted and stored in {time.monotonic() - started:.1f} s")
    with _progress(narrator, len(ids)) as show:
        _follow(stage, narrator, show, before, len(ids))
    promises = [Promise(one, text.users, text.content) for one, text in zip(ids, texts, strict=True)]
    return promises, time.monotonic() - started


def inject_faults(simulator: SimulatorControl) -> None:
    """Order every fault of the plan."""
    for kind, options in FAULTS:
        simulator.add_fault(kind, **options)


def _follow(
    stage: Stage, narrator: Narrator, show: Callable[[dict[State, int], int], None], before: int, texts: int
) -> None:
    """Show the progress until every text has its end; resume the sender where WeCom's limit parked it."""
    until = time.monotonic() + LONGEST_SECONDS
    while True:
        counts = stage.ledger.history.counts(SENDER)
        settled = _settled(counts) - before
        show(counts, settled)
        if settled == texts:
            return
        stage.require_alive()
        if time.monotonic() > until:
            raise StageError(f"after {LONGEST_SECONDS} s not every text has its end: {states_in_words(counts)}")
        _resume_if_parked(stage, narrator, counts)
        time.sleep(LOOK_SECONDS)


def _resume_if_parked(stage: Stage, narrator: Narrator, counts: dict[State, int]) -> None:
    """Do what an operator does who knows that the limit is gone; otherwise it would go on by itself in a minute."""
    sender = stage.ledger.senders.find(SENDER)
    if not sender.paused_reason or counts.get(State.SENDING):
        return
    until = f"parked until {clock_time(sender.paused_until)}" if sender.paused_until else "paused"
    narrator.say(
        f"WeCom said {in_short(sender.paused_reason)!r}: {SENDER} is {until}, and {counts.get(State.SCHEDULED, 0):,} "
        f"texts wait. We lift that at once, as an operator would with `wecom senders resume {SENDER}`"
    )
    stage.ledger.senders.resume(SENDER)


def _settled(counts: dict[State, int]) -> int:
    return sum(number for state, number in counts.items() if state in FINAL)


@contextmanager
def _progress(narrator: Narrator, texts: int) -> Iterator[Callable[[dict[State, int], int], None]]:
    """Yield what shows the progress: a bar at a terminal, a line every few seconds elsewhere."""
    if not narrator.console.is_terminal:
        told_at = time.monotonic()

        def tell(counts: dict[State, int], settled: int) -> None:
            nonlocal told_at
            if settled == texts or time.monotonic() - told_at >= LINE_SECONDS:
                told_at = time.monotonic()
                narrator.say(f"{settled:,} of {texts:,} have their end; in all {states_in_words(counts)}")

        yield tell
        return
    columns = (TextColumn("  "), BarColumn(40), MofNCompleteColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=narrator.console) as progress:
        task = progress.add_task("", total=texts)
        yield lambda counts, settled: progress.update(
            task, completed=settled, description=f"{counts.get(State.SENDING, 0)} on their way"
        )
