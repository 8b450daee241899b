"""Whatever lies in the broker, no worker ends by it: it is kept as a rejected request, or dropped with a line."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from broker_entries import HELLO, MALFORMED, entry
from broker_strategies import redis_entries
from celery import Celery
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as trials
from redis import Redis

from worker import State
from worker.ledger import Ledger
from worker.processes import BEAT, WORKER, CeleryProcess
from worker.servers import broker_form

CASES = 150
"""Enough that a few of each kind come up; all go to one worker, which takes them in some seconds."""
QUEUES = ("wecom", "wecom.deliver", "wecom.housekeeping")


@pytest.fixture
def app(redis_url: str) -> Iterator[Celery]:
    """A Celery app that knows nothing of this package."""
    with Celery("elsewhere", broker=broker_form(redis_url), set_as_current=False) as app:
        yield app


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    """The Redis of this test."""
    with Redis.from_url(redis_url) as redis:
        yield redis


def test_what_is_no_task_is_kept_and_ends_no_worker(
    redis: Redis,
    app: Celery,
    ledger: Ledger,
    start: Callable[..., CeleryProcess],
    eventually: Callable[..., None],
    tmp_path: Path,
) -> None:
    worker = start(WORKER)
    start(BEAT)
    for number, case in enumerate(MALFORMED.values(), 1):
        redis.lpush("wecom", case)
        eventually(lambda number=number: ledger.rejected.count() == number or not worker.running(), 20)
        assert worker.running(), list(MALFORMED)[number - 1]
    app.send_task("wecom.send", kwargs=HELLO, queue="wecom")
    eventually(lambda: ledger.history.counts("hr") == {State.SENT: 1})
    eventually(lambda: redis.hlen("unacked") == 0)
    assert "hello" not in (tmp_path / "worker-0.log").read_text()


def test_a_right_task_whose_envelope_names_another_queue_is_carried_out(
    redis: Redis, ledger: Ledger, start: Callable[..., CeleryProcess], eventually: Callable[..., None]
) -> None:
    start(WORKER)
    start(BEAT)
    elsewhere = {"delivery_tag": "t", "delivery_info": {"exchange": "celery", "routing_key": "celery"}, "priority": "9"}
    redis.lpush("wecom", entry(properties=elsewhere))
    redis.lpush("wecom", entry(headers={"task": "wecom.send", "id": "2", "timelimit": 5, "shadow": [], "stamps": 5}))
    first = {"task": "wecom.send", "id": "of protocol 1", "args": [], "kwargs": HELLO, "retries": [], "utc": "no"}
    redis.lpush("wecom", entry(body=json.dumps(first), headers={}))
    eventually(lambda: ledger.history.counts("hr") == {State.SENT: 3})
    assert ledger.rejected.count() == 0


@pytest.mark.parametrize("queue", ["wecom.deliver", "wecom.housekeeping"])
def test_what_is_no_bell_and_no_tick_is_dropped_with_a_line(
    queue: str,
    redis: Redis,
    app: Celery,
    ledger: Ledger,
    start: Callable[..., CeleryProcess],
    eventually: Callable[..., None],
    tmp_path: Path,
) -> None:
    start(WORKER)
    start(BEAT)
    redis.lpush(queue, b"garbage of somebody", entry(headers={"task": "wecom.reap.v2", "id": "newer"}))
    app.send_task("wecom.send", kwargs=HELLO, queue="wecom")
    eventually(lambda: ledger.history.counts("hr") == {State.SENT: 1} and not redis.llen(queue))
    eventually(lambda: (tmp_path / "worker-0.log").read_text().count("is no task and is dropped") == 2)
    assert "garbage" not in (tmp_path / "worker-0.log").read_text()
    assert ledger.rejected.count() == 0


def test_no_entry_of_any_queue_ends_a_worker(
    redis: Redis, app: Celery, ledger: Ledger, start: Callable[..., CeleryProcess], eventually: Callable[..., None]
) -> None:
    worker = start(WORKER)
    start(BEAT)

    @trials(
        max_examples=CASES,
        phases=[Phase.explicit, Phase.reuse, Phase.generate],  # to make a case smaller would need a worker for each
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(case=redis_entries())
    def put(case: bytes) -> None:
        for queue in QUEUES:
            redis.lpush(queue, case)

    put()
    app.send_task("wecom.send", kwargs=HELLO, queue="wecom")
    eventually(lambda: ledger.history.counts("hr") == {State.SENT: 1} or not worker.running(), 120)
    eventually(lambda: not any(redis.llen(queue) for queue in QUEUES) or not worker.running())
    eventually(lambda: not redis.hlen("unacked") or not worker.running())
    assert worker.running()
    assert ledger.rejected.count() > 0
