"""Every connection is reset, servers fall silent, clocks differ, garbage lies in the queues: all goes on.

A program sends all the time, to a member of its own each, with a key. What arrived is judged by the local WeCom's
record. Whatever ends by itself is started again, as a supervisor does, and must have said why.
"""

import itertools
import logging
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from broker_entries import MALFORMED
from chaos.crew import Crew
from chaos.record import Record
from chaos.traffic import until_it_works
from faults.addresses import database_upstream, proxied_database_url, proxied_redis_url, redis_upstream
from faults.postgres import PostgresConversation
from faults.proxy import FaultProxy
from faults.redis import RedisConversation
from redis import Redis
from wrong_clock import WRONG_CLOCK

from worker import Producer, SendRequest, State, Text
from worker.ledger import Ledger, migrate, migrating, open_engine, revisions
from worker.processes import BEAT, WORKER
from worker.simulator.control import SimulatorControl

pytestmark = pytest.mark.long

log = logging.getLogger(__name__)

STORM_SECONDS = {"short": 10, "long": 60}
SILENT_SECONDS = {"short": 8, "long": 40}
SILENCE_SETTING = {"short": "3", "long": "15"}
"""What the processes think of a Postgres that says nothing, WECOM_SILENCE_SECONDS; the long form has the default."""
MEAN_LIFE = 2.0
CLOCKS_APART = 60
SENT_EACH_SECOND = 40
DONE_WITHIN = 30
"""Seconds until a message arrives after the last fault, and until a process has ended after TERM."""
NEXT_REVISION = '''
"""A column, an index and a constraint, as a release to come may bring them.

Revision: 9999
"""

import sqlalchemy as sa
from alembic import op

from worker.ledger.gentle_changes import build_index, lock_briefly, validate

revision, down_revision, branch_labels, depends_on = "9999", "{newest}", None, None


def upgrade() -> None:
    build_index("messages_of_days_to_come", "messages", ["sender", "requested_at"])
    lock_briefly({{"senders": "share row exclusive", "messages": "access exclusive"}})
    op.execute("alter table wecom.messages add column if not exists days_to_come integer")
    op.execute("alter table wecom.messages drop constraint if exists days_to_come")
    op.execute("alter table wecom.messages add constraint days_to_come check (attempt >= 0) not valid")
    validate("messages", "days_to_come")
'''


class Program(threading.Thread):
    """Sends messages all the time, each to a member of its own, until it is told to stop."""

    def __init__(self, producer: Producer) -> None:
        super().__init__(name="program")
        self._producer = producer
        self._over = threading.Event()
        self.members: list[str] = []

    def run(self) -> None:
        for number in itertools.count():
            if self._over.wait(0.5):
                return
            members = [f"u{number}-{n}" for n in range(SENT_EACH_SECOND // 2)]
            until_it_works(lambda members=members: self._producer.send_many(map(_request, members)))
            self.members += members

    def stop(self) -> None:
        """Stop, and wait until everything is stored."""
        self._over.set()
        self.join()


@pytest.fixture
def length(request: pytest.FixtureRequest) -> str:
    """Which form this is, `short` or `long`."""
    return str(request.config.getoption("--chaos"))


@pytest.fixture
def servers_in_between(database_url: str, redis_url: str) -> Iterator[dict[str, FaultProxy]]:
    """A proxy before each server, and one for Redis as the broker."""
    with ExitStack() as stack:
        yield {
            "Postgres": stack.enter_context(FaultProxy(database_upstream(database_url), PostgresConversation)),
            "Redis": stack.enter_context(FaultProxy(redis_upstream(redis_url), RedisConversation)),
            "the broker": stack.enter_context(FaultProxy(redis_upstream(redis_url), RedisConversation)),
        }


@pytest.fixture
def crew(
    environment: dict[str, str],
    database_url: str,
    redis_url: str,
    servers_in_between: dict[str, FaultProxy],
    length: str,
    tmp_path: Path,
) -> Iterator[Crew]:
    """Two workers and two beats, whose clocks are a minute behind."""
    (tmp_path / "clock").mkdir()
    (tmp_path / "clock" / "sitecustomize.py").write_text(WRONG_CLOCK.format(seconds=-CLOCKS_APART))
    behind = environment | {
        "WECOM_DATABASE_URL": proxied_database_url(database_url, servers_in_between["Postgres"]),
        "WECOM_REDIS_URL": proxied_redis_url(redis_url, servers_in_between["Redis"]),
        "WECOM_BROKER_URL": proxied_redis_url(redis_url, servers_in_between["the broker"]),
        "WECOM_SILENCE_SECONDS": SILENCE_SETTING[length],
        "PYTHONFAULTHANDLER": "1",
    }
    with Crew(behind, tmp_path) as crew:
        for arguments in (WORKER, WORKER, BEAT, BEAT):
            crew.start(arguments)
        yield crew


@pytest.mark.timeout(1500)
def test_all_goes_on_whatever_servers_networks_clocks_and_queues_do(
    crew: Crew,
    servers_in_between: dict[str, FaultProxy],
    producer: Producer,
    ledger: Ledger,
    simulator: SimulatorControl,
    redis_url: str,
    database_url: str,
    length: str,
    seed: int,
    eventually: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    def flows(after: str) -> None:
        """Send something, and see that it arrives."""
        member, began = f"probe after {after}".replace(" ", "-").lower(), time.monotonic()
        producer.send_many([_request(member)])
        eventually(lambda: record.read() and member in record.members, 4 * DONE_WITHIN)
        took[f"flows after {after}"] = time.monotonic() - began
        log.info("after %s it took %.1f s until a message arrived", after, took[f"flows after {after}"])

    took: dict[str, float] = {}
    record = Record(simulator)
    flows("the start")
    program = Program(producer)
    program.start()

    for number, proxy in enumerate(servers_in_between.values()):
        proxy.storm(MEAN_LIFE, seed=seed * 10 + number)
    with Redis.from_url(redis_url) as redis:
        for queue in ("wecom", "wecom.deliver", "wecom.housekeeping"):
            for entry in MALFORMED.values():
                redis.lpush(queue, entry)
    _migrate_to_a_release_to_come(database_url, tmp_path, monkeypatch)
    time.sleep(STORM_SECONDS[length])  # the storm itself
    for proxy in servers_in_between.values():
        proxy.calm()
    assert all(proxy.resets for proxy in servers_in_between.values())
    flows("the storm")

    took["TERM of one of two workers"] = crew.stop(crew.working(WORKER)[0])
    for name, proxy in servers_in_between.items():
        for time_ in ("first", "second"):
            proxy.silence()
            time.sleep(SILENT_SECONDS[length])  # the silence itself
            proxy.resume()
            flows(f"the {time_} silence of {name}")
    program.stop()
    promised = set(program.members)
    eventually(lambda: record.read() and promised <= record.members, 120)

    for name, proxy in servers_in_between.items():
        proxy.silence()
        took[f"TERM while {name} is silent"] = crew.stop(crew.working(WORKER)[0])
        proxy.resume()
        crew.start(WORKER)
        flows(f"TERM while {name} was silent")
    for arguments in (WORKER, BEAT, BEAT):
        took[f"TERM of {arguments[0]}"] = crew.stop(crew.working(arguments)[0])

    log.info("%d processes ended by themselves; %s", crew.ended, took)
    served = Counter(
        user for delivery in simulator.deliveries() if delivery.duplicate_of is None for user in delivery.served
    )
    assert {user: times for user, times in served.items() if times > 1} == {}
    assert promised <= served.keys()
    assert set(ledger.history.counts("hr")) == {State.SENT}
    assert crew.ended_silently == []
    assert {what: seconds for what, seconds in took.items() if seconds > DONE_WITHIN} == {}


def _request(member: str) -> SendRequest:
    return SendRequest("hr", Text(content=f"To {member}"), users=(member,), idempotency_key=member)


def _migrate_to_a_release_to_come(database_url: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    migrations = folder / "migrations"
    shutil.copytree(revisions.MIGRATIONS, migrations)
    newest = max(file.name[:4] for file in (migrations / "versions").glob("0*.py"))
    (migrations / "versions" / "9999_days_to_come.py").write_text(NEXT_REVISION.format(newest=newest))
    for module in (revisions, migrating):
        monkeypatch.setattr(module, "MIGRATIONS", migrations)
    engine = open_engine(database_url)
    migrate(engine)
    engine.dispose()
