"""WeCom's limits are kept exactly, whatever happens to Redis."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis, RedisError
from sqlalchemy import text

from worker import Producer, SendRequest, State, Text
from worker.delivery.deliver import deliver
from worker.delivery.office import Office
from worker.delivery.quota import Fate, Quota, Reservation
from worker.delivery.quota.counters import MINUTE, PER_HOUR, PER_MINUTE
from worker.delivery.settlement import SLACK_SECONDS
from worker.delivery.stagger import QuietWindows
from worker.ledger import ClaimedMessage, Ledger, Priority, SentLately
from worker.messages.recipients import Recipients
from worker.messages.sender import Sender
from worker.redis_connection import open_redis
from worker.simulator.control import SimulatorControl

NOON = datetime(2031, 3, 5, 4, 10, tzinfo=UTC)
HR = Sender("hr", "wecom", 1)
NEVER_QUIET = QuietWindows(0, 0)


def message(*users: str, at: datetime = NOON) -> ClaimedMessage:
    recipients = Recipients(users)
    return ClaimedMessage(uuid4(), 1, 0, Priority.NORMAL, at, at, None, at, None, recipients, {})


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    """The Redis of this test."""
    with open_redis(redis_url) as redis:
        yield redis


@pytest.fixture
def quota(redis: Redis, ledger: Ledger) -> Quota:
    """Limits without quiet windows."""
    return Quota(redis, ledger.usage, NEVER_QUIET, 7)


def answered(quota: Quota, reservation: Reservation, at: datetime) -> None:
    quota.correct(HR, reservation, [Fate(one, at, called=True) for one in reservation.admitted], at)


def admitted(quota: Quota, messages: list[ClaimedMessage], now: datetime, sender: Sender = HR) -> int:
    return len(quota.reserve(sender, messages, now).admitted)


def test_thirty_messages_go_to_a_member_in_a_minute_and_the_rest_waits_with_its_reason(quota: Quota) -> None:
    reservation = quota.reserve(HR, [message("ZhangSan") for _ in range(95)], NOON)
    assert len(reservation.admitted) == 30
    assert "zhangsan was sent 30 messages within a minute" in reservation.postponed[0].reason
    waits = [round((one.send_at - NOON).total_seconds() / (MINUTE / 1000)) for one in reservation.postponed]
    assert waits == [1] * 30 + [2] * 30 + [3] * 5
    answered(quota, reservation, NOON)
    assert admitted(quota, [message("zhangsan")], NOON + timedelta(milliseconds=MINUTE - 1)) == 0
    assert admitted(quota, [message("zhangsan")], NOON + timedelta(milliseconds=MINUTE)) == 1


def test_a_thousand_messages_go_to_a_member_in_an_hour(quota: Quota) -> None:
    sent = 0
    for minute in range(45):
        now = NOON + timedelta(milliseconds=minute * MINUTE)
        reservation = quota.reserve(HR, [message("a", at=now) for _ in range(30)], now)
        answered(quota, reservation, now)
        sent += len(reservation.admitted)
    assert sent == PER_HOUR


def test_what_is_on_its_way_counts_however_long_ago_it_was_admitted(quota: Quota) -> None:
    reservation = quota.reserve(HR, [message("a") for _ in range(30)], NOON)
    assert admitted(quota, [message("a")], NOON + timedelta(seconds=90)) == 0
    answered(quota, reservation, NOON + timedelta(seconds=50))
    assert admitted(quota, [message("a")], NOON + timedelta(seconds=110)) == 0
    assert admitted(quota, [message("a")], NOON + timedelta(seconds=50, milliseconds=MINUTE)) == 1


def test_what_a_dead_worker_left_is_forgotten_once_it_cannot_arrive_any_more(quota: Quota) -> None:
    quota.reserve(HR, [message("a") for _ in range(30)], NOON)
    lease = timedelta(seconds=7 + SLACK_SECONDS)
    assert admitted(quota, [message("a")], NOON + lease + timedelta(milliseconds=MINUTE - 1)) == 0
    assert admitted(quota, [message("a")], NOON + lease + timedelta(milliseconds=MINUTE)) == 1


def test_a_message_to_several_members_waits_for_all_of_them(quota: Quota) -> None:
    quota.reserve(HR, [message("a") for _ in range(30)], NOON)
    assert admitted(quota, [message("a", "b"), message("b")], NOON) == 1


def test_limits_are_those_of_a_sender(quota: Quota) -> None:
    quota.reserve(HR, [message("a") for _ in range(30)], NOON)
    assert admitted(quota, [message("a")], NOON, Sender("sales", "wecom", 2)) == 1


def test_the_person_times_of_a_day_end_with_the_day_in_beijing(quota: Quota) -> None:
    small = Sender("hr", "wecom", 1, account_cap=1)
    users = [f"u{n}" for n in range(150)]
    reservation = quota.reserve(small, [message(*users), message(*users), message(*users[:50])], NOON)
    assert len(reservation.admitted) == 2
    answered(quota, reservation, NOON)
    [waiting] = quota.reserve(small, [message("x")], NOON).postponed
    assert waiting.send_at == datetime(2031, 3, 5, 16, 0, tzinfo=UTC)
    assert "200 person-times" in waiting.reason
    assert admitted(quota, [message("x")], waiting.send_at, small) == 1


def test_a_sender_may_have_a_limit_of_calls_a_minute(quota: Quota) -> None:
    slow = Sender("hr", "wecom", 1, calls_per_minute=7)
    reservation = quota.reserve(slow, [message(f"u{n}") for n in range(10)], NOON)
    assert len(reservation.admitted) == 7
    quota.correct(slow, reservation, [Fate(one, NOON, called=True) for one in reservation.admitted], NOON)
    assert admitted(quota, [message("x")], NOON + timedelta(milliseconds=MINUTE), slow) == 1


def test_what_was_not_sent_is_given_back(quota: Quota) -> None:
    small = Sender("hr", "wecom", 1, account_cap=1)
    messages = [message("a") for _ in range(30)]
    reservation = quota.reserve(small, messages, NOON)
    quota.correct(small, reservation, [Fate(one, None, called=False) for one in messages[:10]], NOON)
    assert admitted(quota, [message("a") for _ in range(30)], NOON, small) == 10
    assert admitted(quota, [message(*(f"u{n}" for n in range(170)))], NOON, small) == 1


def test_what_was_refused_counts_as_a_call_and_not_as_a_message(quota: Quota) -> None:
    slow = Sender("hr", "wecom", 1, calls_per_minute=30)
    messages = [message("a") for _ in range(30)]
    reservation = quota.reserve(slow, messages, NOON)
    quota.correct(slow, reservation, [Fate(one, None, called=True) for one in messages], NOON)
    assert admitted(quota, [message("a")], NOON + timedelta(seconds=1), slow) == 0
    assert admitted(quota, [message("a") for _ in range(40)], NOON + timedelta(milliseconds=MINUTE), slow) == 30


def test_person_times_are_given_back_to_the_day_from_which_they_were_taken(quota: Quota, redis: Redis) -> None:
    small = Sender("hr", "wecom", 1, account_cap=1)
    evening = datetime(2031, 3, 5, 15, 59, 59, tzinfo=UTC)
    night = evening + timedelta(seconds=2)
    unsent = [message(*(f"u{n}" for n in range(99)), at=evening)]
    reservation = quota.reserve(small, unsent, evening)
    quota.correct(small, reservation, [Fate(unsent[0], None, called=False)], night)
    assert {name: int(redis.get(name) or 0) for name in redis.scan_iter("wecom:day:*")} == {
        b"wecom:day:hr:2031-03-05": 0,
        b"wecom:day:hr:2031-03-06": 0,
    }
    assert admitted(quota, [message(f"v{n}") for n in range(300)], night, small) == 200


def test_what_was_answered_after_midnight_counts_for_the_new_day(quota: Quota) -> None:
    small = Sender("hr", "wecom", 1, account_cap=1)
    evening = datetime(2031, 3, 5, 15, 59, 59, tzinfo=UTC)
    night = evening + timedelta(seconds=2)
    sent = [message(*(f"u{n}" for n in range(150)), at=evening)]
    reservation = quota.reserve(small, sent, evening)
    quota.correct(small, reservation, [Fate(sent[0], night, called=True)], night)
    assert admitted(quota, [message(f"v{n}") for n in range(60)], night, small) == 50


def test_a_recently_addressed_member_takes_less_than_two_hundred_bytes(quota: Quota, redis: Redis) -> None:
    quota.reserve(HR, [message("someone")], NOON)
    before = redis.info("memory")["used_memory"]
    for begin in range(0, 20_000, 2000):
        messages = [message(f"zhang.san.{n:06}") for n in range(begin, begin + 2000)]
        answered(quota, quota.reserve(HR, messages, NOON), NOON)
    assert (redis.info("memory")["used_memory"] - before) / 20_000 < 200


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    chunks=st.lists(
        st.tuples(
            st.integers(0, 40_000),
            st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=3, unique=True), min_size=1, max_size=25),
        ),
        max_size=25,
    ),
    per_day=st.sampled_from([0, 1, 2]),
)
def test_the_counters_decide_as_a_plain_list_of_times_would(
    quota: Quota, redis: Redis, chunks: list[tuple[int, list[list[str]]]], per_day: int
) -> None:
    redis.flushdb()
    sender = Sender("hr", "wecom", 1, account_cap=per_day or None)
    times: dict[str, list[int]] = defaultdict(list)
    now, persons = 0, 0
    for wait, audiences in chunks:
        now += wait
        moment = NOON + timedelta(milliseconds=now)
        messages = [message(*users, at=moment) for users in audiences]
        reservation = quota.reserve(sender, messages, moment)
        answered(quota, reservation, moment)
        expected = []
        for one in messages:
            users = one.recipients.users
            fits = all(sum(now - at < MINUTE for at in times[user]) < PER_MINUTE for user in users)
            if fits and not (per_day and persons + len(users) > per_day * 200):
                expected.append(one)
                persons += len(users)
                for user in users:
                    times[user].append(now)
        assert reservation.admitted == expected
        assert len(reservation.admitted) + len(reservation.postponed) == len(messages)
        assert all(one.send_at > NOON + timedelta(milliseconds=now) for one in reservation.postponed)


def test_after_a_flush_the_counters_are_counted_anew_from_the_ledger(
    office: Office, ledger: Ledger, producer: Producer, simulator: SimulatorControl
) -> None:
    producer.send_many(SendRequest("hr", Text(content=f"{n}"), users=["ZhangSan", "lisi"]) for n in range(25))
    deliver(office, "hr", lambda: None)
    office.redis.flushall()
    producer.send_many(SendRequest("hr", Text(content=f"more {n}"), users=["zhangsan"]) for n in range(25))
    deliver(office, "hr", lambda: None)
    assert ledger.history.counts("hr") == {State.SENT: 30, State.SCHEDULED: 20}
    assert len(simulator.served()["zhangsan"]) == 30
    assert simulator.counters().dropped == 0


def test_after_a_flush_messages_of_unknown_fate_are_counted_too(
    office: Office, producer: Producer, simulator: SimulatorControl
) -> None:
    simulator.add_fault("reset_after", endpoint="send")
    producer.send_many(SendRequest("hr", Text(content=f"{n}"), users=["a"]) for n in range(25))
    deliver(office, "hr", lambda: None)
    simulator.clear_faults()
    office.redis.flushall()
    producer.send_many(SendRequest("hr", Text(content=f"more {n}"), users=["a"]) for n in range(25))
    deliver(office, "hr", lambda: None)
    assert len(simulator.served()["a"]) == 30
    assert simulator.counters().dropped == 0


def test_the_person_times_of_the_day_survive_a_flush(office: Office, ledger: Ledger, producer: Producer) -> None:
    with ledger.engine.begin() as connection:
        connection.execute(text("update wecom.senders set account_cap = 1"))
    producer.send("hr", Text(content="many"), users=[f"u{n}" for n in range(150)])
    deliver(office, "hr", lambda: None)
    office.redis.flushall()
    producer.send("hr", Text(content="too many"), users=[f"v{n}" for n in range(51)])
    producer.send("hr", Text(content="just enough"), users=[f"w{n}" for n in range(50)])
    deliver(office, "hr", lambda: None)
    assert ledger.history.counts("hr") == {State.SENT: 2, State.SCHEDULED: 1}


def test_what_waits_for_a_limit_goes_out_when_it_fits_and_nothing_is_dropped(
    office: Office,
    ledger: Ledger,
    producer: Producer,
    simulator: SimulatorControl,
    set_clock: Callable[[datetime], None],
) -> None:
    ids = producer.send_many(SendRequest("hr", Text(content=f"{n}"), users=["a"]) for n in range(70))
    start = datetime.now(UTC)
    for minute in range(4):
        set_clock(start + timedelta(seconds=62 * minute))
        deliver(office, "hr", lambda: None)
    assert ledger.history.counts("hr") == {State.SENT: 70}
    assert sorted(simulator.served()["a"], key=int) == [str(n) for n in range(70)]
    assert {producer.status(one).attempts for one in ids} == {()}


def test_without_redis_nothing_is_sent_rather_than_sent_uncounted(
    office: Office, ledger: Ledger, producer: Producer, simulator: SimulatorControl
) -> None:
    producer.send("hr", Text(content="hi"), users=["a"])
    office.redis.connection_pool.connection_kwargs["path"] = "/nowhere/redis.sock"
    office.redis.connection_pool.disconnect()
    deliver(office, "hr", lambda: None)
    assert ledger.history.counts("hr") == {State.SCHEDULED: 1}
    assert simulator.served() == {}


def test_messages_that_failed_are_given_back(
    office: Office, ledger: Ledger, producer: Producer, simulator: SimulatorControl
) -> None:
    simulator.add_fault("errcode", endpoint="send", errcode=45002, times=20)
    producer.send_many(SendRequest("hr", Text(content=f"{n}"), users=["a"]) for n in range(20))
    deliver(office, "hr", lambda: None)
    producer.send_many(SendRequest("hr", Text(content=f"{n}"), users=["a"]) for n in range(40))
    deliver(office, "hr", lambda: None)
    assert ledger.history.counts("hr") == {State.FAILED: 20, State.SENT: 30, State.SCHEDULED: 10}


def test_a_worker_that_dies_while_it_counts_anew_holds_up_the_others_for_seconds_only(
    quota: Quota, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.delivery.quota.anew.REBUILD_LOCK_SECONDS", 0.3)
    redis.lock("wecom:quota:hr:lock", timeout=0.3, thread_local=False).acquire()
    assert admitted(quota, [message("a")], NOON) == 1


def test_whoever_lost_the_lock_while_counting_anew_writes_nothing(
    quota: Quota, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(*_: object) -> Iterator[tuple[str, list[int]]]:
        yield "a", [1]
        redis.delete("wecom:quota:hr:lock")

    monkeypatch.setattr(SentLately, "by_member", slow)
    with pytest.raises(RedisError):
        quota.reserve(HR, [message("a")], NOON)
    assert redis.keys("wecom:to:*") == []
