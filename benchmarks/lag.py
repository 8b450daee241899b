"""How long a single send waits while a backlog of bulk messages is being sent: from due to the wire.

Due is what the ledger says, on the wire is what the simulator says; both read the clock of this machine.
"""

import time
from statistics import quantiles
from uuid import UUID

from sqlalchemy import text

from benchmarks.measuring import texts
from benchmarks.stage import SENDER, Stage, stage
from worker import State, Text

ROUNDS = 3
BULK = 2
APART_SECONDS = 0.05


def measure(*, quick: bool = False) -> dict[str, float]:
    """Return `interactive_p99_s`, `interactive_p50_s`, and how many single sends that is about."""
    backlog = 5_000 if quick else 100_000
    lags: list[float] = []
    with stage() as running, running.worker():
        for turn in range(1 if quick else ROUNDS):
            lags += _lags(running, f"round{turn}", backlog)
    percentiles = quantiles(lags, n=100, method="inclusive")
    return {"interactive_p50_s": percentiles[49], "interactive_p99_s": percentiles[98], "single_sends": len(lags)}


def _lags(running: Stage, mark: str, backlog: int) -> list[float]:
    """Send single texts while a backlog lasts; return the seconds each of them waited."""
    running.store(texts(f"bulk-{mark}", backlog))
    with running.ledger.engine.begin() as connection:
        connection.execute(text("update wecom.messages set priority = :bulk where state = 'scheduled'"), {"bulk": BULK})
    seen = running.simulator.counters().deliveries
    running.let_go()
    singles: dict[str, UUID] = {}
    while running.ledger.history.counts(SENDER).get(State.SCHEDULED, 0) > backlog // 20:
        member = f"single-{mark}-{len(singles)}"
        singles[member] = running.producer.send(SENDER, Text(content=f"Your code is {len(singles)}"), users=[member])
        time.sleep(APART_SECONDS)
    running.wait_until_sent()
    wired = {
        delivery.served[0]: delivery.at
        for delivery in running.simulator.iterate_deliveries(seen)
        if delivery.served[0].startswith("single-")
    }
    return [wired[member] - running.producer.status(message).send_at.timestamp() for member, message in singles.items()]
