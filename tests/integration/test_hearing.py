"""What has not left its worker obeys within a second: judged by when WeCom was asked, not by what a worker believes."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest

from worker import Producer, SendRequest, State, Text
from worker.delivery.deliver import deliver
from worker.delivery.hearing import LOOK_SECONDS
from worker.delivery.office import Office, open_office
from worker.delivery.recall import carry_out_recalls
from worker.ledger import Ledger
from worker.messages.sender import Sender
from worker.providers.wecom.connection import Connection
from worker.settings import Settings
from worker.simulator.control import SimulatorControl

MESSAGES = 60
SLOW = {"connections": 2, "deliveries": 1, "lease_seconds": 60.0, "connect_timeout": 5.0, "read_timeout": 15.0}
OBEYED_WITHIN = 1.0
TRAVEL = 0.1
"""Seconds a request may be on its way on this machine, however busy it is."""


@pytest.fixture
def slow_office(ledger: Ledger, chosen: Settings, simulator: SimulatorControl) -> Iterator[Office]:
    """A worker that needs 12 s for 60 messages: two calls at once, each of 0.4 s."""
    assert ledger.senders.names() == ["hr"]
    simulator.change_settings(latency=0.4)
    office = open_office(chosen.model_copy(update=SLOW), lambda *_: None)
    yield office
    office.close()


@pytest.fixture
def requests() -> list[SendRequest]:
    """Sixty messages to sixty members."""
    return [SendRequest("hr", Text(content=f"{n}"), users=[f"u{n}"]) for n in range(MESSAGES)]


@contextmanager
def delivering(office: Office, simulator: SimulatorControl, eventually: Callable[..., None]) -> Iterator[None]:
    """Deliver in another thread; some messages have left already, and the chunk ends at the end of the block."""
    worker = threading.Thread(target=deliver, args=(office, "hr", lambda: None))
    worker.start()
    try:
        eventually(lambda: simulator.counters().deliveries >= 4)
        yield
    finally:
        worker.join()


def asked_after(simulator: SimulatorControl, moment: float) -> list[float]:
    return [delivery.at - moment for delivery in simulator.deliveries() if delivery.at > moment]


def assert_obeyed(simulator: SimulatorControl, ledger: Ledger, moment: float) -> None:
    assert max(asked_after(simulator, moment), default=0.0) <= OBEYED_WITHIN + TRAVEL
    sent = ledger.history.counts("hr")[State.SENT]
    assert 4 <= sent < MESSAGES
    assert sent == simulator.counters().deliveries


def test_a_sender_that_is_paused_is_obeyed(
    slow_office: Office,
    ledger: Ledger,
    producer: Producer,
    requests: list[SendRequest],
    simulator: SimulatorControl,
    eventually: Callable[..., None],
) -> None:
    producer.send_many(requests)
    with delivering(slow_office, simulator, eventually):
        ledger.senders.pause("hr", "by hand")
        paused = simulator.now()
    assert_obeyed(simulator, ledger, paused)
    assert {State.SENT, State.SCHEDULED} == ledger.history.counts("hr").keys()


def test_the_back_off_that_another_chunk_met_is_obeyed(
    slow_office: Office,
    ledger: Ledger,
    chosen: Settings,
    producer: Producer,
    requests: list[SendRequest],
    simulator: SimulatorControl,
    eventually: Callable[..., None],
) -> None:
    producer.send_many(requests)
    simulator.add_fault("errcode", endpoint="send", errcode=45009, match={"user": "unlucky"})
    other = open_office(chosen, lambda *_: None)
    with delivering(slow_office, simulator, eventually):
        producer.send("hr", Text(content="too many"), users=["unlucky"])
        deliver(other, "hr", lambda: None)
        parked = simulator.now()
    other.close()
    assert_obeyed(simulator, ledger, parked)


def test_a_campaign_that_is_paused_is_obeyed_and_other_messages_go_on(
    slow_office: Office,
    ledger: Ledger,
    producer: Producer,
    simulator: SimulatorControl,
    eventually: Callable[..., None],
) -> None:
    recipients = [{"userid": f"u{n}", "n": n} for n in range(MESSAGES)]
    producer.campaign("payday", sender="hr", message=Text(content="{{ n }}"), recipients=recipients)
    others = producer.send_many(SendRequest("hr", Text(content=f"other {n}"), users=[f"v{n}"]) for n in range(4))
    with ledger.engine.begin() as connection:  # behind the campaign in the same chunk
        connection.exec_driver_sql("update wecom.messages set priority = 2, send_at = now() where campaign is null")
    with delivering(slow_office, simulator, eventually):
        producer.pause_campaign("payday")
        paused = simulator.now()
    late = [
        delivery.at - paused
        for delivery in simulator.deliveries()
        if delivery.at > paused and not delivery.content.startswith("other")
    ]
    assert max(late, default=0.0) <= OBEYED_WITHIN + TRAVEL
    assert producer.campaign_status("payday").counts[State.SCHEDULED] > 0
    assert {producer.status(one).state for one in others} == {State.SENT}


def test_a_recall_is_obeyed_and_what_had_not_left_is_cancelled(
    slow_office: Office,
    ledger: Ledger,
    producer: Producer,
    requests: list[SendRequest],
    simulator: SimulatorControl,
    eventually: Callable[..., None],
) -> None:
    ids = producer.send_many(requests)
    with delivering(slow_office, simulator, eventually):
        for one in ids:
            producer.recall(one)
        recalled = simulator.now()
    assert max(asked_after(simulator, recalled), default=0.0) <= OBEYED_WITHIN + TRAVEL
    counts = ledger.history.counts("hr")
    assert counts[State.CANCELLED] == MESSAGES - simulator.counters().deliveries > 0
    assert counts[State.RECALLING] == simulator.counters().deliveries


def test_a_message_does_not_leave_after_it_expired(
    slow_office: Office,
    ledger: Ledger,
    producer: Producer,
    simulator: SimulatorControl,
    eventually: Callable[..., None],
) -> None:
    expires = datetime.now(UTC) + timedelta(seconds=3)
    producer.send_many(
        SendRequest("hr", Text(content=f"{n}"), users=[f"u{n}"], expires=expires) for n in range(MESSAGES)
    )
    with delivering(slow_office, simulator, eventually):
        pass
    assert max(asked_after(simulator, expires.timestamp()), default=0.0) <= OBEYED_WITHIN + TRAVEL
    ledger.reaper.reap(90)
    assert ledger.history.counts("hr")[State.EXPIRED] == MESSAGES - simulator.counters().deliveries > 0


def test_nothing_that_can_wait_leaves_once_a_quiet_window_has_begun(
    ledger: Ledger,
    chosen: Settings,
    producer: Producer,
    requests: list[SendRequest],
    simulator: SimulatorControl,
    set_clock: Callable[[datetime], None],
    eventually: Callable[..., None],
) -> None:
    simulator.change_settings(latency=0.4)
    begin = datetime(2031, 3, 5, 8, 59, tzinfo=UTC)
    set_clock(begin - timedelta(seconds=3))
    settings = chosen.model_copy(update=SLOW | {"quiet_before": 60, "quiet_after": 120})
    office = open_office(settings, lambda *_: None)
    producer.send_many(requests)
    urgent = SendRequest("hr", Text(content="urgent"), users=["boss"], urgent=True)
    with delivering(office, simulator, eventually):
        eventually(lambda: simulator.now() >= begin.timestamp() + 0.5)
        producer.send_many([urgent])
    deliver(office, "hr", lambda: None)
    office.close()
    late = [
        delivery.at - begin.timestamp()
        for delivery in simulator.deliveries()
        if delivery.at > begin.timestamp() and delivery.content != "urgent"
    ]
    assert max(late, default=0.0) <= OBEYED_WITHIN + TRAVEL
    assert simulator.served()["boss"] == ["urgent"]
    assert ledger.history.counts("hr")[State.SCHEDULED] > 0


def test_a_message_that_waits_for_a_new_token_is_asked_about_once_more(
    slow_office: Office,
    ledger: Ledger,
    producer: Producer,
    simulator: SimulatorControl,
    eventually: Callable[..., None],
) -> None:
    producer.send("hr", Text(content="first"), users=["a"])
    deliver(slow_office, "hr", lambda: None)
    simulator.add_fault("token_expired", endpoint="send", times=1)
    simulator.add_fault("latency", endpoint="gettoken", seconds=1.5)
    message = producer.send("hr", Text(content="second"), users=["a"])
    worker = threading.Thread(target=deliver, args=(slow_office, "hr", lambda: None))
    worker.start()
    eventually(lambda: simulator.counters().faults.get("token_expired"))
    ledger.senders.pause("hr", "by hand")
    worker.join()
    assert simulator.served() == {"a": ["first"]}
    assert producer.status(message).state is State.SCHEDULED


def test_while_the_ledger_cannot_be_asked_nothing_leaves(
    slow_office: Office,
    ledger: Ledger,
    producer: Producer,
    requests: list[SendRequest],
    simulator: SimulatorControl,
    postgres_accepts: Callable[..., None],
    eventually: Callable[..., None],
) -> None:
    producer.send_many(requests)
    with delivering(slow_office, simulator, eventually):
        postgres_accepts(connections=False)
        away = simulator.now()
        time.sleep(3)  # the time in which nothing may happen
        back = simulator.now()
        postgres_accepts(connections=True)
    assert [at for at in asked_after(simulator, away) if OBEYED_WITHIN + TRAVEL < at < back - away] == []
    assert ledger.history.counts("hr") == {State.SENT: MESSAGES}


def test_after_a_machine_slept_nothing_leaves_of_the_chunk_that_was_in_work(
    slow_office: Office,
    ledger: Ledger,
    producer: Producer,
    requests: list[SendRequest],
    simulator: SimulatorControl,
    monkeypatch: pytest.MonkeyPatch,
    eventually: Callable[..., None],
) -> None:
    producer.send_many(requests)
    slept = 0.0
    right = time.clock_gettime
    monkeypatch.setattr("time.clock_gettime", lambda clock: right(clock) + slept)
    with delivering(slow_office, simulator, eventually):
        slept = 3600.0
        awake = simulator.now()
    assert max(asked_after(simulator, awake), default=0.0) <= TRAVEL
    sent = simulator.counters().deliveries
    assert 4 <= sent < MESSAGES
    # What had left is answered; nobody knows how much of the hour the others' leases have lost.
    assert ledger.history.counts("hr")[State.SENT] == sent


def test_a_recall_that_waits_for_a_thread_is_not_made_once_its_sender_is_paused(
    slow_office: Office,
    ledger: Ledger,
    producer: Producer,
    simulator: SimulatorControl,
    eventually: Callable[..., None],
) -> None:
    simulator.add_app("ww-other", "other-secret", 77)
    ledger.senders.add(Sender("other", "wecom", 77, {"corpid": "ww-other", "corpsecret": "other-secret"}))
    message = producer.send("hr", Text(content="sent"), users=["a"])
    deliver(slow_office, "hr", lambda: None)
    simulator.add_fault("latency", endpoint="send", seconds=3)
    producer.send_many(SendRequest("other", Text(content=f"{n}"), users=[f"u{n}"]) for n in range(2))
    busy = threading.Thread(target=deliver, args=(slow_office, "other", lambda: None))
    busy.start()
    eventually(lambda: simulator.counters().deliveries == 3)
    producer.recall(message)
    recalling = threading.Thread(target=carry_out_recalls, args=(slow_office, "hr"))
    recalling.start()
    ledger.senders.pause("hr", "by hand")
    recalling.join()
    busy.join()
    assert producer.status(message).state is State.RECALLING
    assert simulator.counters().recalled == 0
    ledger.senders.resume("hr")
    carry_out_recalls(slow_office, "hr")
    assert producer.status(message).state is State.RECALLED


def test_a_recall_that_waits_for_a_new_token_is_not_made_once_its_sender_is_paused(
    slow_office: Office,
    ledger: Ledger,
    producer: Producer,
    simulator: SimulatorControl,
    eventually: Callable[..., None],
) -> None:
    message = producer.send("hr", Text(content="sent"), users=["a"])
    deliver(slow_office, "hr", lambda: None)
    producer.recall(message)
    simulator.add_fault("token_expired", endpoint="recall", times=1)
    simulator.add_fault("latency", endpoint="gettoken", seconds=1.5)
    recalling = threading.Thread(target=carry_out_recalls, args=(slow_office, "hr"))
    recalling.start()
    eventually(lambda: simulator.counters().faults.get("token_expired"))
    ledger.senders.pause("hr", "by hand")
    recalling.join()
    assert producer.status(message).state is State.RECALLING
    assert simulator.counters().recalled == 0


def test_a_recall_that_waits_for_its_connection_is_not_made_once_its_sender_is_paused(
    slow_office: Office,
    ledger: Ledger,
    producer: Producer,
    simulator: SimulatorControl,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    message = producer.send("hr", Text(content="sent"), users=["a"])
    deliver(slow_office, "hr", lambda: None)
    producer.recall(message)
    connect, connecting, go_on = Connection.connect, threading.Event(), threading.Event()

    def connect_slowly(connection: Connection) -> None:
        connecting.set()
        go_on.wait()
        connect(connection)

    monkeypatch.setattr(Connection, "is_connected", False)
    monkeypatch.setattr(Connection, "connect", connect_slowly)
    recalling = threading.Thread(target=carry_out_recalls, args=(slow_office, "hr"))
    recalling.start()
    connecting.wait()
    ledger.senders.pause("hr", "by hand")
    time.sleep(LOOK_SECONDS)  # what was committed so long ago is known
    go_on.set()
    recalling.join()
    assert producer.status(message).state is State.RECALLING
    assert simulator.counters().recalled == 0
