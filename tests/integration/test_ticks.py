"""Beat's ticks: they need no clock that two machines agree on, and do not pile up while nobody takes them."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from redis import Redis
from wrong_clock import WRONG_CLOCK

from worker import Producer, State, Text
from worker.ledger import Ledger
from worker.processes import BEAT, WORKER, CeleryProcess
from worker.simulator.control import SimulatorControl
from worker.ticks import MOST_WAITING

pytestmark = pytest.mark.long


@pytest.mark.parametrize("seconds", [-60, 60, 86_400])
def test_what_is_due_is_sent_whatever_time_beats_machine_believes_it_is(
    seconds: int,
    producer: Producer,
    ledger: Ledger,
    simulator: SimulatorControl,
    redis_url: str,
    start: Callable[..., CeleryProcess],
    eventually: Callable[..., None],
    tmp_path: Path,
) -> None:
    (tmp_path / "sitecustomize.py").write_text(WRONG_CLOCK.format(seconds=seconds))
    start(BEAT, PYTHONPATH=str(tmp_path))
    with Redis.from_url(redis_url) as redis:
        eventually(lambda: redis.llen("wecom.housekeeping"))
    start(WORKER)
    producer.send("hr", Text(content="now"), users=["a"])
    eventually(lambda: ledger.history.counts("hr") == {State.SENT: 1})
    # Nobody rings for what is due later: without the dispatcher it stays.
    producer.send("hr", Text(content="later"), users=["a"], at=datetime.now(UTC) + timedelta(seconds=3))
    eventually(lambda: ledger.history.counts("hr") == {State.SENT: 2}, 30)
    assert simulator.served() == {"a": ["now", "later"]}


def test_without_a_worker_a_few_ticks_wait_of_each_kind_and_no_more(
    redis_url: str,
    ledger: Ledger,
    start: Callable[..., CeleryProcess],
    eventually: Callable[..., None],
) -> None:
    assert ledger.senders.names() == ["hr"]

    def asked() -> int:
        return int(redis.info("commandstats").get("cmdstat_llen", {"calls": 0})["calls"])

    with Redis.from_url(redis_url) as redis:
        before = asked()
        start(BEAT, WECOM_DISPATCH_SECONDS="0.01", WECOM_REAP_SECONDS="0.1")
        start(BEAT, WECOM_DISPATCH_SECONDS="0.01", WECOM_REAP_SECONDS="0.1")
        eventually(lambda: asked() > before + 500)
        waiting = [json.loads(entry)["headers"] for entry in redis.lrange("wecom.housekeeping", 0, -1)]
    assert {headers["task"] for headers in waiting} == set(MOST_WAITING)
    assert len(waiting) <= max(MOST_WAITING.values()) + 1  # two beats may ask at once
    assert not any(headers["expires"] or headers["eta"] for headers in waiting)
