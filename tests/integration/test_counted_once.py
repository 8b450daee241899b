"""A message counts once for WeCom's limits, however often it is tried and whatever is counted anew."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
from faults.addresses import proxied_redis_url, redis_upstream
from faults.conversation import Request
from faults.proxy import FaultProxy
from faults.redis import RedisConversation
from faults.rules import Action, Rule
from redis import Redis
from sqlalchemy import text

from worker import Producer, SendRequest, State, Text
from worker.delivery.deliver import deliver
from worker.delivery.office import Office, open_office
from worker.delivery.quota import Reservation
from worker.delivery.reap import reap
from worker.ledger import ClaimedMessage, Ledger
from worker.messages.recipients import Recipients
from worker.messages.sender import Sender
from worker.settings import Settings
from worker.simulator.control import SimulatorControl

BEIJING = ZoneInfo("Asia/Shanghai")
PERSON_TIMES = 200
FLUSHES = 20


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


@pytest.fixture
def _small(ledger: Ledger) -> None:
    """Give `hr` 200 person-times a day."""
    ledger.senders.limit("hr", account_cap=1, calls_per_minute=None, calls_at_once=None)


def to_each(number: int, name: str = "u") -> list[SendRequest]:
    return [SendRequest("hr", Text(content=f"{name} {n}"), users=[f"{name}{n}"]) for n in range(number)]


def to(user: str, number: int, what: str = "") -> list[SendRequest]:
    return [SendRequest("hr", Text(content=f"{user} {what}{n}"), users=[user]) for n in range(number)]


def seen(simulator: SimulatorControl) -> int:
    return sum(len(contents) for contents in simulator.served().values())


def deliver_all(office: Office) -> None:
    while deliver(office, "hr", lambda: None).claimed:
        pass


def today_at(hour: int, minute: int = 0, second: int = 0) -> datetime:
    """Return a time of tomorrow's day in Beijing: the clocks are only ever put forward."""
    tomorrow = datetime.now(BEIJING) + timedelta(days=1)
    return tomorrow.replace(hour=hour, minute=minute, second=second, microsecond=0).astimezone(UTC)


@pytest.mark.usefixtures("_small")
def test_chunks_that_are_claimed_while_another_counts_anew_are_counted_once(
    open_offices: Callable[..., Office],
    producer: Producer,
    simulator: SimulatorControl,
    monkeypatch: pytest.MonkeyPatch,
    set_clock: Callable[[datetime], None],
) -> None:
    set_clock(today_at(12))
    producer.send_many(to_each(160))
    office = open_offices(chunk=40)
    genuine, all_claimed = office.quota.reserve, threading.Barrier(4)

    def reserve(sender: Sender, claimed: list[ClaimedMessage], now: datetime) -> Reservation:
        all_claimed.wait(20)
        return genuine(sender, claimed, now)

    monkeypatch.setattr(office.quota, "reserve", reserve)
    threads = [threading.Thread(target=deliver, args=(office, "hr", lambda: None)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen(simulator) == 160

    monkeypatch.setattr(office.quota, "reserve", genuine)
    producer.send_many(to_each(60, "v"))
    deliver_all(office)
    assert seen(simulator) == PERSON_TIMES


@pytest.mark.usefixtures("_small")
def test_chunks_that_are_claimed_while_another_counts_anew_keep_within_the_day_together(
    open_offices: Callable[..., Office],
    producer: Producer,
    ledger: Ledger,
    simulator: SimulatorControl,
    monkeypatch: pytest.MonkeyPatch,
    set_clock: Callable[[datetime], None],
) -> None:
    noon = today_at(12)
    set_clock(noon)
    producer.send_many(to_each(400))
    office = open_offices(chunk=100)
    genuine, all_claimed = office.quota.reserve, threading.Barrier(4)

    def reserve(sender: Sender, claimed: list[ClaimedMessage], now: datetime) -> Reservation:
        all_claimed.wait(20)
        return genuine(sender, claimed, now)

    monkeypatch.setattr(office.quota, "reserve", reserve)
    threads = [threading.Thread(target=deliver, args=(office, "hr", lambda: None)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    monkeypatch.setattr(office.quota, "reserve", genuine)
    assert seen(simulator) <= PERSON_TIMES
    for minute in range(1, 4):
        set_clock(noon + timedelta(minutes=minute))
        deliver_all(office)
    assert seen(simulator) == PERSON_TIMES
    with ledger.engine.connect() as connection:
        due = connection.execute(text("select min(send_at) from wecom.messages where state = 'scheduled'")).scalar_one()
    assert due >= today_at(0) + timedelta(days=1)


@pytest.mark.usefixtures("_small")
def test_what_a_dead_worker_had_admitted_is_repeated_in_time_and_not_counted_again(
    office: Office,
    ledger: Ledger,
    producer: Producer,
    simulator: SimulatorControl,
    set_clock: Callable[[datetime], None],
) -> None:
    noon = today_at(12)
    set_clock(noon)
    producer.send_many(to_each(150))
    while claimed := ledger.deliveries.claim("hr", 50, 7, None):
        sender, now = ledger.senders.open("hr")
        assert len(office.quota.reserve(sender, claimed, now).admitted) == 50
    set_clock(noon + timedelta(seconds=20))
    assert reap(office).reopened == 150
    deliver_all(office)
    assert seen(simulator) == 150
    assert ledger.history.counts("hr") == {State.SENT: 150}
    producer.send_many(to_each(60, "v"))
    deliver_all(office)
    assert seen(simulator) == PERSON_TIMES


def test_repetitions_to_a_member_take_the_place_of_their_first_tries(
    office: Office,
    ledger: Ledger,
    producer: Producer,
    simulator: SimulatorControl,
    set_clock: Callable[[datetime], None],
) -> None:
    noon = today_at(12)
    set_clock(noon)
    simulator.add_fault("reset_after", endpoint="send")
    producer.send_many(to("a", 30))
    deliver_all(office)
    assert len(simulator.served()["a"]) == 30
    simulator.clear_faults()
    set_clock(noon + timedelta(seconds=30))
    producer.send_many(to("a", 5, "more "))
    deliver_all(office)
    assert ledger.history.counts("hr") == {State.SENT: 30, State.SCHEDULED: 5}
    assert simulator.counters().dropped == 0
    assert len(simulator.served()["a"]) == 30


@pytest.mark.usefixtures("_small")
def test_what_leaves_after_midnight_counts_for_the_new_day_before_it_is_answered(
    open_offices: Callable[..., Office],
    producer: Producer,
    simulator: SimulatorControl,
    set_clock: Callable[[datetime], None],
) -> None:
    """The local WeCom has no limit of its own here, and tells what it saw on each day."""
    night = today_at(23, 59, 59)
    slow, quick = (
        open_offices(connections=4, deliveries=1, chunk=40),
        open_offices(connections=40, deliveries=1, chunk=300),
    )
    set_clock(night)
    simulator.change_settings(latency=0.4)
    producer.send_many(to_each(40, "late"))
    chunk = threading.Thread(target=deliver, args=(slow, "hr", lambda: None))
    chunk.start()
    try:
        while simulator.now() < night.timestamp() + 1.2:
            assert chunk.is_alive() or seen(simulator), "the chunk ended before midnight"
        producer.send_many(to_each(300, "early"))
        deliver_all(quick)
    finally:
        chunk.join()
    simulator.change_settings(latency=0)
    for seconds in (20, 40, 60):
        set_clock(night + timedelta(seconds=seconds))
        deliver_all(quick)
    days = Counter(datetime.fromtimestamp(one.at, BEIJING).day for one in simulator.deliveries() if one.served)
    last, new = night.astimezone(BEIJING).day, (night + timedelta(hours=1)).astimezone(BEIJING).day
    assert days[last] + days[new] < 340
    # What arrived right before midnight and was answered after it counts for the new day.
    assert PERSON_TIMES - days[last] <= days[new] <= PERSON_TIMES


def test_a_flush_at_any_moment_of_counting_anew_lets_nobody_have_more_than_thirty_a_minute(
    ledger: Ledger, chosen: Settings, producer: Producer, simulator: SimulatorControl, redis_url: str
) -> None:
    assert ledger.senders.names() == ["hr"]
    with FaultProxy(redis_upstream(redis_url), RedisConversation) as proxy, Redis.from_url(redis_url) as direct:
        settings = chosen.model_copy(update={"redis_url": type(chosen.redis_url)(proxied_redis_url(redis_url, proxy))})
        office = open_office(settings, lambda *_: None)
        try:
            for number in range(FLUSHES):
                producer.send_many(to(f"m{number}", 30))
                deliver_all(office)
                direct.flushall()
                passed = iter(range(10_000))

                def flush(_: Request, passed: Iterator[int] = passed, number: int = number) -> bool:
                    if next(passed) == number:
                        direct.flushall()
                    return False

                proxy.rules.add(Rule(flush, Action.PASS))
                producer.send_many(to(f"m{number}", 10, "more "))
                for _ in range(3):
                    deliver(office, "hr", lambda: None)
                proxy.rules.clear()
                with ledger.engine.begin() as connection:
                    connection.execute(text("delete from wecom.messages"))  # each number has its member alone to count
        finally:
            office.close()
    assert {user: len(contents) for user, contents in simulator.served().items()} == {
        f"m{number}": 30 for number in range(FLUSHES)
    }
    assert simulator.counters().dropped == 0


def test_the_calls_of_the_last_minute_survive_a_flush(
    office: Office, ledger: Ledger, producer: Producer, simulator: SimulatorControl
) -> None:
    ledger.senders.limit("hr", account_cap=None, calls_per_minute=20, calls_at_once=None)
    simulator.add_fault("errcode", endpoint="send", errcode=45002, times=8)
    producer.send_many(to_each(40))
    deliver_all(office)
    office.redis.flushall()
    producer.send_many(to_each(20, "v"))
    deliver_all(office)
    assert ledger.history.counts("hr") == {State.SENT: 12, State.FAILED: 8, State.SCHEDULED: 40}
    assert seen(simulator) == 12


@pytest.mark.usefixtures("_small")
def test_what_was_given_back_while_redis_was_away_counts_once_when_it_is_claimed_again(
    office: Office,
    ledger: Ledger,
    producer: Producer,
    simulator: SimulatorControl,
    set_clock: Callable[[datetime], None],
) -> None:
    set_clock(today_at(12))
    producer.send_many(to_each(150))
    while claimed := ledger.deliveries.claim("hr", 50, 7, None):
        sender, now = ledger.senders.open("hr")
        office.quota.reserve(sender, claimed, now)
        ledger.deliveries.release("hr", claimed)
        if claimed[0].attempt == 2:
            break
    deliver_all(office)
    assert seen(simulator) == 150


@pytest.mark.usefixtures("_small")
def test_what_is_settled_while_it_is_counted_anew_does_not_stay_counted(
    office: Office,
    ledger: Ledger,
    producer: Producer,
    simulator: SimulatorControl,
    monkeypatch: pytest.MonkeyPatch,
    set_clock: Callable[[datetime], None],
) -> None:
    set_clock(today_at(12))
    producer.send_many(to_each(150))
    claimed = ledger.deliveries.claim("hr", 150, 7, None)
    store = office.quota._anew._store  # noqa: SLF001 - what happens before it stores anything

    def cancelled_first(*arguments: object) -> object:
        for one in claimed:
            producer.recall(one.id)
        ledger.deliveries.release("hr", claimed)
        return store(*arguments)

    monkeypatch.setattr(office.quota._anew, "_store", cancelled_first)  # noqa: SLF001
    producer.send_many(to_each(100, "v"))
    deliver_all(office)
    assert seen(simulator) <= PERSON_TIMES
    producer.send_many(to_each(100, "w"))
    deliver_all(office)
    assert seen(simulator) == PERSON_TIMES


@pytest.mark.usefixtures("_small")
def test_messages_wait_for_tomorrow_only_if_nothing_under_way_can_make_room_today(
    office: Office, ledger: Ledger, simulator: SimulatorControl, set_clock: Callable[[datetime], None]
) -> None:
    assert simulator.counters().deliveries == 0
    noon = today_at(12)
    set_clock(noon)
    sender, now = ledger.senders.open("hr")
    first = office.quota.reserve(sender, [_message(now, f"u{n}") for n in range(PERSON_TIMES)], now)
    assert len(first.admitted) == PERSON_TIMES
    more = office.quota.reserve(sender, [_message(now, f"v{n}") for n in range(PERSON_TIMES + 1)], now)
    waits = [(one.send_at - now).total_seconds() for one in more.postponed]
    assert max(waits[:PERSON_TIMES]) < 60
    assert waits[PERSON_TIMES] > 3600


def _message(now: datetime, user: str) -> ClaimedMessage:

    return ClaimedMessage(uuid4(), 1, 0, 1, now, now, None, now, None, Recipients((user,)), {})
