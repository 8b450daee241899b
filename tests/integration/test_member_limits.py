"""A member is never sent more than WeCom shows it, however long a message waited in its worker."""

import random
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from worker import Producer, SendRequest, State, Text
from worker.delivery import chunk
from worker.delivery.deliver import deliver
from worker.delivery.office import Office, open_office
from worker.delivery.quota import counters
from worker.ledger import Ledger
from worker.messages.sender import Sender
from worker.settings import Settings
from worker.simulator.control import SimulatorControl

DEFAULTS = ("connect_timeout", "read_timeout", "lease_seconds", "connections", "deliveries", "chunk")


@pytest.fixture
def open_offices(ledger: Ledger, chosen: Settings) -> Iterator[Callable[..., Office]]:
    """Open offices of several workers, with other settings."""
    assert ledger.senders.names() == ["hr"]
    offices: list[Office] = []

    def open_one(**changes: object) -> Office:
        offices.append(open_office(chosen.model_copy(update=changes), lambda *_: None))
        return offices[-1]

    yield open_one
    for office in offices:
        office.close()


def to(user: str, number: int, sender: str = "hr") -> list[SendRequest]:
    return [SendRequest(sender, Text(content=f"{user} {n}"), users=[user]) for n in range(number)]


@pytest.mark.parametrize(
    "settings",
    [{}, {"connections": 16}, {"connections": 4, "chunk": 60}],
    ids=["with default settings", "on sixteen connections", "on four connections"],
)
def test_messages_that_waited_behind_others_count_from_when_they_arrive(
    open_offices: Callable[..., Office],
    ledger: Ledger,
    producer: Producer,
    simulator: SimulatorControl,
    set_clock: Callable[[datetime], None],
    settings: dict[str, int],
) -> None:
    defaults = {name: Settings.model_fields[name].default for name in DEFAULTS}
    office = open_offices(**defaults | settings)
    simulator.change_settings(latency=0.43 if not settings else 0.1)
    others = 170 if not settings else 30
    producer.send_many([request for n in range(others) for request in to(f"other{n}", 1)] + to("a", 30))
    office.providers["wecom"].open(ledger.senders.open("hr")[0])  # has the token, so that counting comes right after
    began = datetime.now(UTC)
    deliver(office, "hr", lambda: None)
    assert len(simulator.served()["a"]) == 30

    producer.send_many(SendRequest("hr", Text(content=f"again {n}"), users=["a"]) for n in range(30))
    set_clock(began + timedelta(seconds=60.6))
    deliver(office, "hr", lambda: None)
    assert simulator.counters().dropped == 0

    for minute in range(1, 5):
        set_clock(began + timedelta(minutes=minute, seconds=10))
        deliver(office, "hr", lambda: None)
    assert ledger.history.counts("hr") == {State.SENT: others + 60}
    assert len(simulator.served()["a"]) == 60
    assert simulator.counters().dropped == 0


@pytest.mark.parametrize("seed", range(3))
def test_no_window_sees_too_many_whatever_latencies_connections_senders_and_workers(
    open_offices: Callable[..., Office],
    ledger: Ledger,
    producer: Producer,
    simulator: SimulatorControl,
    monkeypatch: pytest.MonkeyPatch,
    seed: int,
) -> None:
    """The minute has two seconds here, and five messages a member."""
    chance = random.Random(seed)
    monkeypatch.setattr(counters, "PER_MINUTE", 5)
    monkeypatch.setattr(counters, "MINUTE", 2000)
    monkeypatch.setattr(chunk, "SLACK_SECONDS", 0.5)
    simulator.change_settings(member_per_minute=1000, latency=0.05, latency_jitter=chance.choice([0.2, 0.9]))
    for fault in ("reset_before", "reset_after", "hang_after"):
        simulator.add_fault(fault, endpoint="send", probability=0.02)
    simulator.add_app(corpid="ww-simulator", secret="second-secret", agentid=1000009)
    ledger.senders.add(Sender("sales", "wecom", 1000009, {"corpid": "ww-simulator", "corpsecret": "second-secret"}))
    requests = [request for sender in ("hr", "sales") for user in "abc" for request in to(user, 12, sender)]
    chance.shuffle(requests)
    producer.send_many(requests)
    offices = [
        open_offices(
            connections=chance.choice([1, 3, 8]), deliveries=chance.choice([1, 2]), chunk=chance.choice([7, 40])
        )
        for _ in range(3)
    ]
    finished = threading.Event()

    def work(office: Office, sender: str) -> None:
        while not finished.is_set():
            if not deliver(office, sender, lambda: None).claimed:
                finished.wait(0.05)

    workers = [threading.Thread(target=work, args=(office, name)) for office in offices for name in ("hr", "sales")]
    for worker in workers:
        worker.start()
    try:
        _until_all_are_served(simulator, len(requests), finished)
    finally:
        finished.set()
        for worker in workers:
            worker.join()

    arrivals = defaultdict(list)
    for delivery in simulator.deliveries():
        for user in delivery.served:
            arrivals[delivery.agentid, user].append(delivery.at)
    assert len(arrivals) == 6
    for times in arrivals.values():
        times.sort()
        assert len(times) == 12
        assert min(later - earlier for earlier, later in zip(times, times[5:], strict=False)) >= 2.0


def _until_all_are_served(simulator: SimulatorControl, number: int, finished: threading.Event) -> None:
    for _ in range(600):
        if sum(len(contents) for contents in simulator.served().values()) >= number:
            return
        finished.wait(0.1)
    raise AssertionError("not all messages were served within a minute")


def test_two_senders_of_one_app_share_its_limits(
    office: Office, ledger: Ledger, producer: Producer, simulator: SimulatorControl
) -> None:
    ledger.senders.add(Sender("again", "wecom", 1000002, {"corpid": "ww-simulator", "corpsecret": "simulator-secret"}))
    for sender in ("hr", "again"):
        producer.send_many(to("a", 20, sender))
        deliver(office, sender, lambda: None)
    assert len(simulator.served()["a"]) == 30
    office.redis.flushall()
    producer.send_many(to("a", 10, "hr"))
    deliver(office, "hr", lambda: None)
    assert simulator.counters().dropped == 0
    assert len(simulator.served()["a"]) == 30


def test_repetitions_of_unknown_fate_count_when_redis_was_flushed_before_they_go(
    office: Office, ledger: Ledger, producer: Producer, simulator: SimulatorControl
) -> None:
    simulator.add_fault("reset_after", endpoint="send")
    producer.send_many(to("a", 30))
    deliver(office, "hr", lambda: None)
    simulator.clear_faults()
    producer.send_many(SendRequest("hr", Text(content=f"urgent {n}"), users=["a"], urgent=True) for n in range(20))
    with ledger.engine.begin() as connection:
        connection.exec_driver_sql("update wecom.messages set send_at = now() where state = 'scheduled'")
    office.redis.flushall()
    for _ in range(3):
        deliver(office, "hr", lambda: None)
    assert simulator.counters().dropped == 0
    assert len(simulator.served()["a"]) == 30


def test_what_is_admitted_already_counts_when_redis_is_flushed_amid_a_chunk(
    office: Office, producer: Producer, simulator: SimulatorControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counters, "COUNTED_AT_ONCE", 5)
    genuine, calls = office.quota._reserve, []  # noqa: SLF001 - the flush comes between two of its calls

    def reserve(keys: list[str], arguments: list[int]) -> object:
        calls.append(keys)
        if len(calls) == 5:
            office.redis.flushall()
        return genuine(keys, arguments)

    monkeypatch.setattr(office.quota, "_reserve", reserve)
    producer.send_many(to("a", 60))
    deliver(office, "hr", lambda: None)
    assert len(calls) > 5
    assert simulator.counters().dropped == 0
    assert len(simulator.served()["a"]) <= 30
