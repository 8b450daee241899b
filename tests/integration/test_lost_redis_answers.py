"""A call to Redis whose answer is lost counts once: nothing is counted, taken or rung twice."""

import time
from collections.abc import Iterator

import pytest
from faults.addresses import proxied_redis_url, redis_upstream
from faults.proxy import FaultProxy
from faults.redis import RedisConversation, any_script, command
from faults.rules import Action, Rule
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from worker import Producer, SendRequest, State, Text
from worker.delivery.bell import Bell
from worker.delivery.deliver import deliver
from worker.delivery.office import Office, open_office
from worker.ledger import Ledger
from worker.redis_connection import OwnLock, Script, open_redis
from worker.settings import Settings
from worker.simulator.control import SimulatorControl

REFUSED = 15


@pytest.fixture
def proxy(redis_url: str) -> Iterator[FaultProxy]:
    """A Redis whose answers can be lost."""
    with FaultProxy(redis_upstream(redis_url), RedisConversation) as proxy:
        yield proxy


@pytest.fixture
def redis(proxy: FaultProxy, redis_url: str) -> Iterator[Redis]:
    """The way to Redis through the proxy."""
    with open_redis(proxied_redis_url(redis_url, proxy)) as redis:
        yield redis


@pytest.fixture
def proxied_office(ledger: Ledger, chosen: Settings, proxy: FaultProxy, redis_url: str) -> Iterator[Office]:
    """A worker that reaches Redis through the proxy."""
    assert ledger.senders.names() == ["hr"]
    settings = chosen.model_copy(update={"redis_url": type(chosen.redis_url)(proxied_redis_url(redis_url, proxy))})
    office = open_office(settings, lambda *_: None)
    yield office
    office.close()


@pytest.mark.parametrize("action", [Action.LOSE_ANSWER, Action.CUT], ids=["the answer is lost", "the call is lost"])
@pytest.mark.parametrize("number", range(8))
def test_a_member_gets_thirty_messages_in_a_minute_whichever_script_breaks(
    proxied_office: Office,
    ledger: Ledger,
    producer: Producer,
    simulator: SimulatorControl,
    proxy: FaultProxy,
    number: int,
    action: Action,
) -> None:
    simulator.add_fault("errcode", endpoint="send", errcode=45002, times=REFUSED)
    proxy.rules.add(Rule(any_script, action, after=number, times=1))
    producer.send_many(SendRequest("hr", Text(content=f"{n}"), users=["a"]) for n in range(30))
    for _ in range(3):
        deliver(proxied_office, "hr", lambda: None)
    producer.send_many(SendRequest("hr", Text(content=f"more {n}"), users=["a"]) for n in range(30))
    for _ in range(3):
        deliver(proxied_office, "hr", lambda: None)
    assert len(simulator.served()["a"]) == 30
    assert simulator.counters().dropped == 0
    assert ledger.history.counts("hr") == {State.SENT: 30, State.FAILED: REFUSED, State.SCHEDULED: 15}


def test_a_script_answers_a_repeated_call_as_it_answered_the_first(redis: Redis, proxy: FaultProxy) -> None:
    script = Script(redis, "redis.call('incr', KEYS[1]) return {1, 'two', {3}}")
    script(["counter"], [])
    lost = proxy.rules.add(Rule(any_script, Action.LOSE_ANSWER, times=1))
    assert script(["counter"], []) == [1, b"two", [3]]
    assert lost.fired == 1
    assert redis.get("counter") == b"2"


def test_a_bell_whose_answer_is_lost_is_rung_and_told(redis: Redis, proxy: FaultProxy) -> None:
    told: list[tuple[str, int]] = []
    bell = Bell(redis, lambda sender, slot: told.append((sender, slot)), slots=2)
    lost = proxy.rules.add(Rule(any_script, Action.LOSE_ANSWER, times=1))
    bell.ring("hr")
    assert lost.fired == 1
    assert told == [("hr", 0)]


def test_a_lock_whose_answer_is_lost_is_recognised_by_its_owner(redis: Redis, proxy: FaultProxy) -> None:
    lost = proxy.rules.add(Rule(command("SET"), Action.LOSE_ANSWER, times=1))
    lock = redis.lock("wecom:lock", timeout=60, thread_local=False, lock_class=OwnLock)
    began = time.monotonic()
    assert lock.acquire(blocking_timeout=20)
    assert time.monotonic() - began < 5
    assert lost.fired == 1
    assert not redis.lock("wecom:lock", timeout=60, lock_class=OwnLock).acquire(blocking=False)
    lock.release()
    assert redis.lock("wecom:lock", timeout=60, lock_class=OwnLock).acquire(blocking=False)


def test_no_command_is_repeated_unseen(redis: Redis, proxy: FaultProxy) -> None:
    asked = proxy.watch(command("INCRBY"))
    proxy.rules.add(Rule(command("INCRBY"), Action.LOSE_ANSWER, times=1))
    with pytest.raises(RedisConnectionError):
        redis.incr("counter")
    assert asked.seen == 1
    assert redis.get("counter") == b"1"
