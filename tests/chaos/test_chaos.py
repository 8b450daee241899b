"""Everything breaks, again and again, and no message is lost, doubled or dropped.

Real servers of the test's own, several worker processes, two beats, and a local WeCom that fails a tenth of all calls.
While messages are stored and sent, workers and beats are killed, Redis is flushed and restarted, and Postgres is
restarted at once, at seeded moments.
"""

import logging
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest
from cryptography.fernet import Fernet
from redis import Redis, RedisError

from worker import LedgerError, Producer, SendRequest, State, Text
from worker.embedded import EmbeddedServers
from worker.encryption import KeyRing
from worker.ledger import Ledger, is_passing, migrate, open_engine
from worker.messages.sender import Sender
from worker.processes import BEAT, WORKER, CeleryProcess
from worker.settings import load_settings
from worker.simulator.control import SimulatorControl
from worker.simulator.process import running_simulator

log = logging.getLogger(__name__)

PORTION = 250
NEAR_THE_LIMIT = 5
MESSAGES_NEAR_THE_LIMIT = 35
PROBED = "probe-"
RECOVERY_SECONDS = 30
"""So soon after the last fault everything is as fast as before the first."""


@dataclass(frozen=True)
class Plan:
    """How much is sent and what breaks."""

    messages: int
    probe: int
    workers: int
    worker_kills: int
    beat_kills: int
    flushes: int
    redis_restarts: int
    postgres_restarts: int


PLANS = {
    "short": Plan(2_000, 200, 2, 4, 1, 1, 1, 1),
    "long": Plan(20_000, 3_000, 3, 50, 5, 3, 3, 3),
}


class House:
    """The servers and processes that break and come back."""

    def __init__(self, home: Path, simulator: SimulatorControl, logs: Path) -> None:
        self._home = home
        self._logs = logs
        self._started = 0
        self.servers = [EmbeddedServers(home)]
        addresses = self.servers[0].start()
        key = Fernet.generate_key().decode()
        self.environment = {
            "WECOM_DATABASE_URL": addresses.database_url,
            "WECOM_REDIS_URL": addresses.redis_url,
            "WECOM_SECRET_KEYS": key,
            "WECOM_API_BASE_URL": simulator.base_url,
            "WECOM_HOME": str(home / "keys"),
            "WECOM_QUIET_BEFORE": "0",
            "WECOM_QUIET_AFTER": "0",
            "WECOM_CONNECT_TIMEOUT": "1",
            "WECOM_READ_TIMEOUT": "1",
            "WECOM_LEASE_SECONDS": "7",
            "WECOM_REAP_SECONDS": "1",
        }
        engine = open_engine(addresses.database_url)
        migrate(engine)
        self.ledger = Ledger(engine, KeyRing([key]))
        self.redis_url = addresses.redis_url
        chosen = {name.removeprefix("WECOM_").lower(): value for name, value in self.environment.items()}
        self.producer = Producer(settings=load_settings(**chosen))
        self.workers: list[CeleryProcess] = []
        self.beats: list[CeleryProcess] = []

    def start(self, arguments: tuple[str, ...]) -> CeleryProcess:
        self._started += 1
        return CeleryProcess(arguments, self.environment, self._logs / f"{arguments[0]}-{self._started}.log")

    def kill_one(self, processes: list[CeleryProcess], arguments: tuple[str, ...], chance: random.Random) -> None:
        number = chance.randrange(len(processes))
        processes[number].kill()
        processes[number] = self.start(arguments)

    def start_again_what_ended(self) -> bool:
        """Do what a supervisor does: kombu's Redis transport can end a worker when Redis breaks off at a bad moment."""
        for processes, arguments in ((self.workers, WORKER), (self.beats, BEAT)):
            for number, process in enumerate(processes):
                if not process.running():
                    process.kill()
                    processes[number] = self.start(arguments)
        return True

    def flush_redis(self) -> None:
        with Redis.from_url(self.redis_url) as redis:
            redis.flushall()

    def restart(self, server: str) -> None:
        """Kill a server without warning, and start it again as `wecom up` would."""
        pids = orjson.loads((self._home / "servers.json").read_bytes())
        os.kill(_pid_of(pids, server), signal.SIGQUIT if server == "postgres" else signal.SIGKILL)
        again = EmbeddedServers(self._home)
        again.start()
        self.servers.append(again)

    def close(self) -> None:
        for process in (*self.workers, *self.beats):
            process.kill()
        self.producer.close()
        self.ledger.engine.dispose()
        for servers in self.servers:
            servers.close()


def _pid_of(noted: Any, server: str) -> int:  # noqa: ANN401 - JSON
    found = noted[server]
    return int(found["pid"] if isinstance(found, dict) else found)


@pytest.fixture
def plan(request: pytest.FixtureRequest) -> Plan:
    """How hard the chaos is this time."""
    return PLANS[request.config.getoption("--chaos")]


@pytest.fixture
def wecom() -> Iterator[SimulatorControl]:
    """A local WeCom."""
    with running_simulator() as simulator:
        simulator.change_settings(latency=0.02, latency_jitter=0.03)
        yield simulator


@pytest.fixture
def house(tmp_path: Path, wecom: SimulatorControl) -> Iterator[House]:
    """Everything that breaks."""
    house = House(tmp_path / "wecom", wecom, tmp_path)
    yield house
    house.close()


@pytest.mark.timeout(1800)
def test_no_message_is_lost_doubled_or_dropped_whatever_breaks(
    house: House,
    wecom: SimulatorControl,
    plan: Plan,
    seed: int,
    eventually: Callable[..., None],
) -> None:
    chance = random.Random(seed)
    credentials = {"corpid": "ww-simulator", "corpsecret": "simulator-secret"}
    house.ledger.senders.add(Sender("hr", "wecom", 1000002, credentials))
    requests = _requests(plan, chance)
    everything = len(requests) + 1 + 2 * plan.probe
    house.workers = [house.start(WORKER) for _ in range(plan.workers)]
    house.beats = [house.start(BEAT) for _ in range(2)]
    _seconds_to_send(house, wecom, "warm-up", 1, eventually)
    calm = _seconds_to_send(house, wecom, "before", plan.probe, eventually)
    _fail_a_tenth_of_all_calls(wecom)
    storing = threading.Thread(target=_store_all, args=(house.producer, requests))
    storing.start()

    for event, at in _events(house, plan, chance, len(requests)):
        eventually(lambda at=at: house.start_again_what_ended() and wecom.counters().deliveries >= plan.probe + at, 300)
        _until_it_works(event)
    storing.join()
    wecom.clear_faults()
    # The last fault was now.
    after = _seconds_to_send(house, wecom, "after", plan.probe, eventually)
    log.info("%d messages took %.1f s before the first fault, %.1f s after the last", plan.probe, calm, after)
    assert after <= RECOVERY_SECONDS + calm, f"{after:.1f} s after the last fault, {calm:.1f} s before the first"
    # What is left takes a minute at most for the members near their limit, and a lease.
    eventually(lambda: house.start_again_what_ended() and _all_final(house.ledger, everything), 300)

    assert house.ledger.history.counts("hr") == {State.SENT: everything}
    served = Counter((user, content) for user, contents in wecom.served().items() for content in contents)
    assert set(served.values()) == {1}, [one for one, times in served.items() if times > 1][:5]
    assert {one for one in served if not one[0].startswith(PROBED)} == {
        (next(iter(request.users)), request.message.content) for request in requests
    }
    assert wecom.counters().dropped == 0
    given = {delivery.msgid for delivery in wecom.deliveries()}
    assert _msgids(house.ledger) <= given


def _fail_a_tenth_of_all_calls(simulator: SimulatorControl) -> None:
    """In every way there is."""
    simulator.clear_faults(seed=7)
    for kind, probability in (("reset_before", 0.02), ("reset_after", 0.02), ("cut", 0.01), ("hang_after", 0.003)):
        simulator.add_fault(kind, endpoint="send", probability=probability)
    simulator.add_fault("hang_before", endpoint="send", probability=0.003)
    simulator.add_fault("http", endpoint="send", probability=0.02, status=502)
    simulator.add_fault("http", endpoint="send", probability=0.01, status=503, processed=True)
    simulator.add_fault("errcode", endpoint="send", probability=0.01, errcode=-1)
    simulator.add_fault("token_expired", endpoint="send", probability=0.002)
    simulator.add_fault("reset_before", endpoint="gettoken", probability=0.1)


def _requests(plan: Plan, chance: random.Random) -> list[SendRequest]:
    """Messages to many members and to a few near the limit of a minute; their keys allow storing to be tried again."""
    audiences = [f"user{n}" for n in range(plan.messages)] + [
        f"near{member}" for member in range(NEAR_THE_LIMIT) for _ in range(MESSAGES_NEAR_THE_LIMIT)
    ]
    chance.shuffle(audiences)
    return [
        SendRequest("hr", Text(content=f"Message {n}"), users=(user,), idempotency_key=f"key-{n}")
        for n, user in enumerate(audiences)
    ]


def _store_all(producer: Producer, requests: list[SendRequest]) -> None:
    for begin in range(0, len(requests), PORTION):
        _until_it_works(lambda begin=begin: producer.send_many(requests[begin : begin + PORTION]))


def _events(house: House, plan: Plan, chance: random.Random, messages: int) -> list[tuple[Callable[[], None], int]]:
    """What breaks, and after how many deliveries, in order."""
    breaks: list[Callable[[], None]] = [
        *[lambda: house.kill_one(house.workers, WORKER, chance)] * plan.worker_kills,
        *[lambda: house.kill_one(house.beats, BEAT, chance)] * plan.beat_kills,
        *[house.flush_redis] * plan.flushes,
        *[lambda: house.restart("redis")] * plan.redis_restarts,
        *[lambda: house.restart("postgres")] * plan.postgres_restarts,
    ]
    chance.shuffle(breaks)
    moments = sorted(chance.randrange(messages * 9 // 10) for _ in breaks)
    return list(zip(breaks, moments, strict=True))


def _until_it_works(step: Callable[[], object]) -> None:
    """Do what a program does whose servers are restarting: try again."""
    until = time.monotonic() + 120
    while True:
        try:
            step()
        except Exception as error:
            if not (isinstance(error, LedgerError | RedisError) or is_passing(error)):
                raise
            assert time.monotonic() < until, "the servers did not come back"
            time.sleep(0.1)
        else:
            return


def _seconds_to_send(
    house: House, wecom: SimulatorControl, mark: str, messages: int, eventually: Callable[..., None]
) -> float:
    """Send messages to members of their own, behind nothing, and tell how long it takes until all are served."""
    members = {f"{PROBED}{mark}-{n}" for n in range(messages)}
    began = time.monotonic()
    requests = [
        SendRequest("hr", Text(content=f"Probe {mark}"), users=(member,), urgent=True, idempotency_key=member)
        for member in sorted(members)
    ]
    _until_it_works(lambda: house.producer.send_many(requests))
    eventually(lambda: house.start_again_what_ended() and members <= wecom.served().keys(), 300)
    return time.monotonic() - began


def _all_final(ledger: Ledger, messages: int) -> bool:
    try:
        counts = ledger.history.counts("hr")
    except Exception as error:
        if not is_passing(error):
            raise
        return False
    return sum(counts.values()) == messages and not counts.keys() & {State.SCHEDULED, State.SENDING}


def _msgids(ledger: Ledger) -> set[str]:
    with ledger.engine.connect() as connection:
        return set(connection.exec_driver_sql("select msgid from wecom.messages where msgid is not null").scalars())
