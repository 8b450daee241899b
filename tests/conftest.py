"""Real servers for every test: a Postgres and a Redis of this run alone, a database a test, the local WeCom.

Nothing a test does reaches a server it did not start, unless WECOM_TEST_DATABASE_URL or WECOM_TEST_REDIS_URL name
one. Databases are made from a template that is migrated once.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import hypothesis
import pytest
from cryptography.fernet import Fernet
from redis import Redis
from sqlalchemy import Engine, create_engine, make_url, text

from worker.delivery.office import Office, open_office
from worker.embedded import EmbeddedServers, Servers
from worker.encryption import KeyRing
from worker.ledger import Ledger, migrate, open_engine
from worker.messages.sender import Sender
from worker.processes import CeleryProcess
from worker.producer import Producer
from worker.settings import Settings, load_settings, settings
from worker.simulator.control import SimulatorControl
from worker.simulator.process import running_simulator

# pytest --hypothesis-profile=long -o timeout=1800 tests/integration/test_models_against_simulator.py
# A busy machine is no reason to fail.
hypothesis.settings.register_profile("patient", suppress_health_check=[hypothesis.HealthCheck.too_slow], deadline=None)
hypothesis.settings.load_profile("patient")
hypothesis.settings.register_profile("long", max_examples=10_000, deadline=None)

# A shell that runs the tests in the background has them, and all they start, ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)

TEMPLATE = "wecom_test_template"
SECRET_KEY = Fernet.generate_key().decode()
CORPID, CORPSECRET, AGENTID = "ww-simulator", "simulator-secret", 1000002


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Run each test without the settings of whoever runs it."""
    for name in [name for name in os.environ if name.startswith("WECOM_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    settings.cache_clear()
    yield
    settings.cache_clear()


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """The Postgres and the Redis of this run."""
    named = Servers(os.environ.get("WECOM_TEST_DATABASE_URL", ""), os.environ.get("WECOM_TEST_REDIS_URL", ""))
    if named.database_url and named.redis_url:
        yield named
        return
    home = tmp_path_factory.mktemp("servers")
    # What a test run holds need not survive a power cut.
    with EmbeddedServers(home / "wecom", postgres_options={"fsync": "off"}) as embedded:
        yield Servers(named.database_url or embedded.database_url, named.redis_url or embedded.redis_url)


@pytest.fixture(scope="session")
def template(servers: Servers) -> Iterator[Engine]:
    """A connection to the server that holds a migrated database to copy."""
    administration = create_engine(servers.database_url, isolation_level="AUTOCOMMIT")
    name = f"{TEMPLATE}_{uuid4().hex[:8]}"
    with administration.connect() as connection:
        connection.execute(text(f"create database {name}"))
    engine = open_engine(_named(servers.database_url, name))
    migrate(engine)
    engine.dispose()
    yield administration.execution_options(template=name)
    with administration.connect() as connection:
        connection.execute(text(f"drop database {name} with (force)"))
    administration.dispose()


@pytest.fixture
def database_url(servers: Servers, template: Engine) -> Iterator[str]:
    """The URL of a migrated database of this test's own."""
    name = f"wecom_test_{uuid4().hex[:12]}"
    copied = template.get_execution_options()["template"]
    with template.connect() as connection:
        connection.execute(text(f"create database {name} template {copied} strategy file_copy"))
    yield _named(servers.database_url, name)
    with template.connect() as connection:
        connection.execute(text(f"drop database {name} with (force)"))


@pytest.fixture
def redis_url(servers: Servers) -> str:
    """The URL of an empty Redis."""
    with Redis.from_url(servers.redis_url) as redis:
        redis.flushdb()
    return servers.redis_url


@pytest.fixture
def ledger(database_url: str) -> Iterator[Ledger]:
    """The ledger of this test, with the sender `hr`, an app of the simulator."""
    engine = open_engine(database_url)
    ledger = Ledger(engine, KeyRing([SECRET_KEY]))
    ledger.senders.add(Sender("hr", "wecom", AGENTID, {"corpid": CORPID, "corpsecret": CORPSECRET}))
    yield ledger
    engine.dispose()


@pytest.fixture(scope="session")
def _simulator_process() -> Iterator[SimulatorControl]:
    with running_simulator() as control:
        yield control


@pytest.fixture
def simulator(_simulator_process: SimulatorControl) -> SimulatorControl:
    """The local WeCom, as new."""
    _simulator_process.reset()
    return _simulator_process


@pytest.fixture
def environment(database_url: str, redis_url: str, simulator: SimulatorControl, tmp_path: Path) -> dict[str, str]:
    """The settings of this test's processes; quiet windows are off, so that nothing depends on the time of day."""
    return {
        "WECOM_DATABASE_URL": database_url,
        "WECOM_REDIS_URL": redis_url,
        "WECOM_SECRET_KEYS": SECRET_KEY,
        "WECOM_API_BASE_URL": simulator.base_url,
        "WECOM_HOME": str(tmp_path / "home"),
        "WECOM_QUIET_BEFORE": "0",
        "WECOM_QUIET_AFTER": "0",
        "WECOM_CONNECT_TIMEOUT": "1",
        "WECOM_READ_TIMEOUT": "1",
        "WECOM_LEASE_SECONDS": "7",
        "WECOM_REAP_SECONDS": "0.5",
        "WECOM_DISPATCH_SECONDS": "0.2",
    }


@pytest.fixture
def chosen(environment: dict[str, str]) -> Settings:
    """The same settings as an object, for what runs in the test's own process."""
    return load_settings(**{name.removeprefix("WECOM_").lower(): value for name, value in environment.items()})


@pytest.fixture
def producer(ledger: Ledger, chosen: Settings) -> Iterator[Producer]:
    """A producer for this test's ledger."""
    assert ledger.senders.names() == ["hr"]
    producer = Producer(settings=chosen)
    yield producer
    producer.close()


@pytest.fixture
def bells() -> list[tuple[str, int]]:
    """Who was rung for, and in which slot."""
    return []


@pytest.fixture
def office(ledger: Ledger, chosen: Settings, bells: list[tuple[str, int]]) -> Iterator[Office]:
    """A worker's office in the test's own process; nothing answers its bells."""
    assert ledger.senders.names() == ["hr"]
    office = open_office(chosen, lambda sender, slot: bells.append((sender, slot)))
    yield office
    office.close()


@pytest.fixture
def start(environment: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., CeleryProcess]]:
    """Start real processes, `start(WORKER)` and `start(BEAT)`; what still runs at the end is killed."""
    started: list[CeleryProcess] = []

    def start(arguments: tuple[str, ...], **changes: str) -> CeleryProcess:
        log = tmp_path / f"{arguments[0]}-{len(started)}.log"
        started.append(CeleryProcess(arguments, environment | changes, log))
        return started[-1]

    yield start
    for process in started:
        process.kill()


@pytest.fixture
def set_clock(database_url: str, template: Engine, simulator: SimulatorControl) -> Callable[[datetime], None]:
    """Set the clocks of the ledger and of the local WeCom; connections made under the old time are ended."""
    name = make_url(database_url).database

    def set_clock(moment: datetime) -> None:
        offset = (moment - datetime.now(UTC)).total_seconds()
        with template.connect() as connection:
            connection.execute(text(f"alter database {name} set wecom.clock_offset = '{offset:.6f} seconds'"))
            connection.execute(
                text("select pg_terminate_backend(pid) from pg_stat_activity where datname = :name"), {"name": name}
            )
        simulator.set_clock(moment.timestamp())

    return set_clock


@pytest.fixture
def postgres_accepts(database_url: str, template: Engine) -> Iterator[Callable[..., None]]:
    """Take this test's database away, or give it back."""
    name = make_url(database_url).database

    def accept(*, connections: bool) -> None:
        with template.connect() as connection:
            connection.execute(text(f"alter database {name} allow_connections {str(connections).lower()}"))
            connection.execute(
                text("select pg_terminate_backend(pid) from pg_stat_activity where datname = :name"), {"name": name}
            )

    yield accept
    accept(connections=True)  # or it could not be dropped


@pytest.fixture
def eventually() -> Callable[..., None]:
    """Wait until something holds, for what other processes bring about."""

    def wait(holds: Callable[[], object], seconds: float = 60) -> None:
        until = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < until, f"did not come true within {seconds} s"
            time.sleep(0.02)

    return wait


def _named(url: str, database: str) -> str:
    return make_url(url).set(database=database).render_as_string(hide_password=False)
