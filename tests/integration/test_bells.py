"""Bells tell workers that something is due; losing or doubling them does no harm."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest
from redis import Redis
from sqlalchemy import text

from worker import Producer, SendRequest, State, Text
from worker.delivery import bell as bell_module
from worker.delivery.bell import Bell
from worker.delivery.dispatch import dispatch
from worker.delivery.office import Office
from worker.delivery.reap import reap
from worker.delivery.serve import serve
from worker.ledger import Ledger
from worker.messages.sender import Sender
from worker.processes import WORKER, CeleryProcess
from worker.redis_connection import open_redis
from worker.simulator.control import SimulatorControl

Bells = list[tuple[str, int]]


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    """The Redis of this test."""
    with open_redis(redis_url) as redis:
        yield redis


@pytest.fixture
def bell(redis: Redis, bells: Bells) -> Bell:
    """A bell with three slots a sender."""
    return Bell(redis, lambda sender, slot: bells.append((sender, slot)), slots=3)


def test_ten_thousand_sends_ring_once_as_long_as_a_bell_counts_as_rung(
    bell: Bell, bells: Bells, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bell_module, "RUNG_MILLISECONDS", 600_000)  # this machine may be slow
    for _ in range(10_000):
        bell.ring("hr")
    assert bells == [("hr", 0)]


def test_a_sender_is_rung_for_at_most_as_often_as_it_has_slots(bell: Bell, bells: Bells) -> None:
    bell.ring("hr", times=10)
    bell.ring("hr", times=10)
    bell.ring("sales")
    assert bells == [("hr", 0), ("hr", 1), ("hr", 2), ("sales", 0)]


def test_a_slot_at_work_is_not_rung_and_a_free_one_is(bell: Bell, bells: Bells) -> None:
    with bell.answered("hr", 0):
        bell.ring("hr")
        assert bells == [("hr", 1)]
    bell.ring("hr", times=3)
    assert bells == [("hr", 1), ("hr", 0), ("hr", 2)]


def test_a_doubled_bell_finds_the_slot_taken(bell: Bell) -> None:
    with bell.answered("hr", 0) as first, bell.answered("hr", 0) as second:
        assert first is not None
        assert second is None


def test_a_sign_of_life_keeps_the_slot(bell: Bell, redis: Redis) -> None:
    with bell.answered("hr", 0) as still_working:
        assert still_working is not None
        redis.pexpire("wecom:bell:hr:0:working", 500)
        still_working()
        assert redis.pttl("wecom:bell:hr:0:working") > 5000


def test_without_redis_nobody_fails_and_work_is_done(bells: Bells) -> None:
    bell = Bell(open_redis("unix:///nowhere/redis.sock"), lambda *news: bells.append(news), slots=3)
    bell.ring("hr")
    with bell.answered("hr", 0) as still_working:
        assert still_working is not None
        still_working()
    assert bells == []


def test_a_broker_that_is_away_fails_no_producer(redis: Redis, caplog: pytest.LogCaptureFixture) -> None:
    def away(sender: str, slot: int) -> None:
        raise ConnectionError(sender, slot)

    with caplog.at_level("WARNING"):
        Bell(redis, away, slots=3).ring("hr")
    assert "the broker cannot be reached (ConnectionError); the message is stored" in caplog.text


def test_the_dispatcher_rings_for_what_is_due_and_for_as_many_chunks_as_there_are(
    office: Office, bells: Bells, producer: Producer, ledger: Ledger
) -> None:
    ledger.senders.add(Sender("sales", "wecom", 1000002, {"corpid": "ww-simulator", "corpsecret": "simulator-secret"}))
    producer.send("hr", Text(content="later"), users=["a"], at=datetime.now(UTC) + timedelta(hours=1))
    office.redis.flushdb()
    assert dispatch(office) == 0

    producer.send_many(SendRequest("hr", Text(content="now"), users=[f"u{n}"]) for n in range(401))
    producer.send("sales", Text(content="now"), users=["a"])
    office.redis.flushdb()
    assert dispatch(office) == 2
    assert sorted(bells) == [("hr", 0), ("hr", 1), ("hr", 2), ("sales", 0)]


def test_the_dispatcher_leaves_paused_senders_alone(
    office: Office, bells: Bells, producer: Producer, ledger: Ledger
) -> None:
    producer.send("hr", Text(content="now"), users=["a"])
    ledger.senders.pause("hr", "by hand")
    office.redis.flushdb()
    assert dispatch(office) == 0
    ledger.senders.resume("hr")
    assert dispatch(office) == 1
    assert bells == [("hr", 0)]


def test_serving_goes_on_until_nothing_is_due(
    office: Office, producer: Producer, ledger: Ledger, simulator: SimulatorControl
) -> None:
    producer.send_many(SendRequest("hr", Text(content="now"), users=[f"u{n}"]) for n in range(450))
    assert serve(office, "hr", 0) == 450
    assert ledger.history.counts("hr") == {State.SENT: 450}
    assert len(simulator.served()) == 450


def test_a_sender_with_much_to_send_goes_to_the_back_of_the_queue(
    office: Office, bells: Bells, producer: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.delivery.serve.TURN_SECONDS", 0.000001)
    producer.send_many(SendRequest("hr", Text(content="now"), users=[f"u{n}"]) for n in range(450))
    office.redis.flushdb()
    assert serve(office, "hr", 0) in {0, 200}
    assert bells == [("hr", 0)]


def test_what_a_dead_worker_held_is_reopened_after_its_lease(
    office: Office, producer: Producer, ledger: Ledger, simulator: SimulatorControl
) -> None:
    message_id = producer.send("hr", Text(content="hi"), users=["a"])
    ledger.deliveries.claim("hr", 10, 60, None)
    assert reap(office).reopened == 0
    with ledger.engine.begin() as connection:
        connection.execute(text("update wecom.messages set lease_until = now()"))
    assert reap(office).reopened == 1
    assert reap(office).reopened == 0
    serve(office, "hr", 0)
    status = producer.status(message_id)
    assert (status.state, [attempt.category for attempt in status.attempts]) == (State.SENT, ["uncertain"])
    assert len(simulator.deliveries()) == 1


def test_what_a_dead_worker_held_too_long_ago_waits_for_a_person(
    office: Office, producer: Producer, ledger: Ledger, simulator: SimulatorControl
) -> None:
    message_id = producer.send("hr", Text(content="hi"), users=["a"])
    ledger.deliveries.claim("hr", 10, 60, None)
    with ledger.engine.begin() as connection:
        connection.execute(
            text("update wecom.messages set lease_until = now(), claimed_at = now() - interval '2 hours'")
        )
    assert reap(office).unconfirmed == 1
    assert producer.status(message_id).state is State.UNCONFIRMED
    assert simulator.deliveries() == []


def test_two_workers_never_claim_the_same_message(producer: Producer, ledger: Ledger) -> None:
    producer.send_many(SendRequest("hr", Text(content="hi"), users=[f"u{n}"]) for n in range(100))
    with ledger.engine.begin() as holding:
        locked = holding.execute(text("select id from wecom.messages limit 40 for update")).scalars().all()
        others = ledger.deliveries.claim("hr", 100, 60, None)
    assert len(others) == 60
    assert {message.id for message in others}.isdisjoint(locked)


def test_a_stopping_worker_claims_nothing_more(office: Office, producer: Producer) -> None:
    producer.send("hr", Text(content="hi"), users=["a"])
    office.stopping.set()
    assert serve(office, "hr", 0) == 0


def test_a_worker_whose_idle_connection_to_redis_is_reset_goes_on(
    producer: Producer,
    redis_url: str,
    simulator: SimulatorControl,
    start: Callable[..., CeleryProcess],
    eventually: Callable[..., None],
) -> None:
    start(WORKER, WECOM_REMOTE_CONTROL="true")  # which listens all the time
    producer.send("hr", Text(content="before"), users=["zhangsan"])
    eventually(simulator.served)
    with Redis.from_url(redis_url) as redis:
        assert redis.client_kill_filter(_type="pubsub") > 0
    producer.send("hr", Text(content="after"), users=["zhangsan"])
    eventually(lambda: simulator.served() == {"zhangsan": ["before", "after"]})
