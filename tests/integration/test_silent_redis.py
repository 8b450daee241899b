"""A Redis that falls silent without closing a connection: it is only a bell, so a producer hardly waits for it."""

import time
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
from faults.addresses import proxied_redis_url, redis_upstream
from faults.proxy import FaultProxy
from faults.redis import RedisConversation, command
from faults.rules import Action, Rule
from pydantic import SecretStr

from worker import Producer, SendRequest, State, Text
from worker.ledger import Ledger
from worker.processes import BEAT, WORKER, CeleryProcess
from worker.settings import Settings
from worker.simulator.control import SimulatorControl

pytestmark = pytest.mark.long

HELLO = Text(content="hello")
A_FEW_SECONDS = 5
ENDS_SECONDS = FLOWS_AGAIN_SECONDS = 30


@pytest.fixture
def redis(redis_url: str) -> Iterator[FaultProxy]:
    with FaultProxy(redis_upstream(redis_url), RedisConversation) as proxy:
        yield proxy
        proxy.rules.clear()
        proxy.resume()


@pytest.fixture
def producer(ledger: Ledger, chosen: Settings, redis_url: str, redis: FaultProxy) -> Iterator[Producer]:
    """A producer whose Redis, which is the broker too, is behind the proxy."""
    assert ledger.senders.names() == ["hr"]
    url = SecretStr(proxied_redis_url(redis_url, redis))
    with closing(Producer(settings=chosen.model_copy(update={"redis_url": url, "broker_url": url}))) as producer:
        yield producer


def seconds_of_a_send(producer: Producer) -> float:
    began = time.monotonic()
    producer.send("hr", HELLO, users=["zhangsan"])
    return time.monotonic() - began


@pytest.mark.parametrize("connected", [True, False])
def test_a_send_hardly_waits_for_a_silent_redis_and_the_next_ones_do_not(
    connected: bool,  # noqa: FBT001 - a parameter of pytest
    producer: Producer,
    ledger: Ledger,
    redis: FaultProxy,
) -> None:
    if connected:
        producer.send("hr", HELLO, users=["zhangsan"])
    redis.silence()
    assert seconds_of_a_send(producer) < A_FEW_SECONDS
    assert max(seconds_of_a_send(producer) for _ in range(20)) < 1
    assert ledger.history.counts("hr") == {State.SCHEDULED: 21 + connected}


@pytest.mark.parametrize("connected", [True, False])
def test_a_send_hardly_waits_for_a_broker_that_takes_no_bell(
    connected: bool,  # noqa: FBT001 - a parameter of pytest
    producer: Producer,
    ledger: Ledger,
    redis: FaultProxy,
) -> None:
    if connected:
        producer.send("hr", HELLO, users=["zhangsan"])
    silent = redis.rules.add(Rule(command("LPUSH", "SADD", "MULTI"), Action.SILENCE))
    assert sum(seconds_of_a_send(producer) for _ in range(20)) < A_FEW_SECONDS
    assert silent.fired <= 2
    assert ledger.history.counts("hr") == {State.SCHEDULED: 20 + connected}


def test_a_send_hardly_waits_for_a_rabbitmq_that_says_nothing(ledger: Ledger, chosen: Settings, redis_url: str) -> None:
    assert ledger.senders.names() == ["hr"]
    with FaultProxy(redis_upstream(redis_url)) as silent:
        silent.silence()
        url = SecretStr(f"amqp://guest:guest@127.0.0.1:{silent.port}//")
        with closing(Producer(settings=chosen.model_copy(update={"broker_url": url}))) as producer:
            assert sum(seconds_of_a_send(producer) for _ in range(20)) < A_FEW_SECONDS
        assert silent.connections > 0
    assert ledger.history.counts("hr") == {State.SCHEDULED: 20}


def test_workers_flow_again_after_a_silence_and_term_ends_them_in_the_next(
    ledger: Ledger,
    chosen: Settings,
    simulator: SimulatorControl,
    redis: FaultProxy,
    redis_url: str,
    start: Callable[..., CeleryProcess],
    eventually: Callable[..., None],
) -> None:
    """The Redis that counts; the broker is not silent."""

    def send(name: str) -> None:
        producer.send_many(SendRequest("hr", HELLO, users=[f"{name}{number}"]) for number in range(20))

    proxied = {"WECOM_REDIS_URL": proxied_redis_url(redis_url, redis)}
    with (
        FaultProxy(redis_upstream(redis_url), RedisConversation) as broker,
        closing(Producer(settings=chosen)) as producer,
    ):
        proxied["WECOM_BROKER_URL"] = proxied_redis_url(redis_url, broker)
        worker, _ = start(WORKER, **proxied), start(BEAT, **proxied)
        send("before")
        eventually(lambda: ledger.history.counts("hr") == {State.SENT: 20})
        redis.silence()
        send("during")
        asked = redis.connections
        eventually(lambda: redis.connections > asked + 1)  # it was waited for in vain
        assert ledger.history.counts("hr")[State.SENT] == 20  # what cannot be counted is not sent
        redis.resume()
        eventually(lambda: ledger.history.counts("hr") == {State.SENT: 40}, FLOWS_AGAIN_SECONDS)
        redis.silence()
        send("later")
        asked = redis.connections
        eventually(lambda: redis.connections > asked)
        assert worker.stop(ENDS_SECONDS) == 0
    assert all(texts == ["hello"] for texts in simulator.served().values())
