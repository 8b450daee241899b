"""Which faults of Postgres pass, as Postgres itself raises them, and how long a worker waits for their end."""

import time
from collections.abc import Callable, Iterator

import pytest
from faults.addresses import database_upstream, proxied_database_url
from faults.postgres import PostgresConversation, statement_with
from faults.proxy import FaultProxy
from faults.rules import Action, Rule
from pydantic import SecretStr
from sqlalchemy import Engine, text

from worker import Producer, SendRequest, State, Text
from worker.delivery.absence import Absence
from worker.delivery.deliver import deliver
from worker.delivery.office import Office, open_office
from worker.delivery.patience import Patience, Stopping, patiently
from worker.elapsed import elapsed
from worker.ledger import Ledger, LedgerError, is_passing, open_engine
from worker.settings import Settings
from worker.simulator.control import SimulatorControl


@pytest.fixture
def postgres(database_url: str) -> Iterator[FaultProxy]:
    with FaultProxy(database_upstream(database_url), PostgresConversation) as proxy:
        yield proxy


@pytest.fixture
def engine(database_url: str, postgres: FaultProxy) -> Iterator[Engine]:
    engine = open_engine(proxied_database_url(database_url, postgres), lock_seconds=0.2)
    yield engine
    postgres.rules.clear()
    engine.dispose()


@pytest.fixture
def behind(chosen: Settings, database_url: str, postgres: FaultProxy, ledger: Ledger) -> Iterator[Office]:
    """A worker's office whose Postgres is behind the proxy."""
    assert ledger.senders.names() == ["hr"]
    proxied = {"database_url": SecretStr(proxied_database_url(database_url, postgres))}
    office = open_office(chosen.model_copy(update=proxied), lambda _sender, _slot: None)
    yield office
    postgres.rules.clear()
    postgres.resume()
    office.close()


def fault_of(engine: Engine, statement: str, **parameters: object) -> Exception:
    with engine.connect() as connection, pytest.raises(Exception) as fault:  # noqa: PT011 - any, it is judged below
        connection.execute(text(statement), parameters)
    return fault.value


@pytest.mark.parametrize(
    "statement",
    [
        "select pg_terminate_backend(pg_backend_pid())",
        "set transaction read only; create table t (i int)",
        "set local statement_timeout = 1; select pg_sleep(1)",
        "do $$ begin raise exception 'full' using errcode = '53100'; end $$",
        "do $$ begin raise exception 'deadlock' using errcode = '40P01'; end $$",
        "do $$ begin raise exception 'shut down' using errcode = '57P01'; end $$",
        "do $$ begin raise exception 'no server' using errcode = '08P01'; end $$",
    ],
)
def test_what_the_server_is_to_blame_for_passes(engine: Engine, statement: str) -> None:
    assert is_passing(fault_of(engine, statement))


@pytest.mark.parametrize(
    ("statement", "parameters"),
    [
        (("insert into wecom.invalid_recipients select gen_random_uuid(), 'user', string_agg(random()::text, '') "
         "from generate_series(1, 3000)"), {}),
        ("select cast(:value as int)", {"value": "many"}),
        ("select cast(:value as text)", {"value": "\x00"}),
        ("select cast(:value as text)", {"value": "\ud800"}),
        ("select 2147483648::int", {}),
        ("select 1 / 0", {}),
        ("select from wecom.nothing", {}),
        ("selekt", {}),
        ("do $$ begin raise exception 'no'; end $$", {}),
    ],
    ids=["too long for an index", "no number", "NUL", "half a character", "out of range", "zero", "no table", "syntax",
         "raised"],
)  # fmt: skip
def test_what_the_statement_or_its_values_are_to_blame_for_does_not(
    engine: Engine, statement: str, parameters: dict[str, object]
) -> None:
    assert not is_passing(fault_of(engine, statement, **parameters))


def test_a_lost_connection_a_lock_and_an_exhausted_pool_pass(engine: Engine, postgres: FaultProxy) -> None:
    postgres.rules.add(Rule(statement_with("pg_sleep"), Action.CUT))
    assert is_passing(fault_of(engine, "select pg_sleep(0)"))
    postgres.rules.clear()
    with engine.begin() as holder:
        holder.execute(text("lock table wecom.senders"))
        assert is_passing(fault_of(engine, "select from wecom.senders"))
    postgres.refuse()
    postgres.cut_all()
    with pytest.raises(Exception) as refused:  # noqa: PT011
        engine.connect()
    assert is_passing(refused.value)


@pytest.mark.parametrize("error", [ValueError("no"), LedgerError("no"), KeyError("no")])
def test_a_fault_that_is_not_of_postgres_does_not_pass(error: Exception) -> None:
    assert not is_passing(error)


def test_patience_ends_at_its_time_with_the_fault(engine: Engine, postgres: FaultProxy) -> None:
    postgres.refuse()
    postgres.cut_all()
    began = time.monotonic()
    with pytest.raises(Exception) as fault:  # noqa: PT011
        patiently(engine.connect, Patience(elapsed() + 1, Stopping(), Absence()))
    assert is_passing(fault.value)
    assert 1 <= time.monotonic() - began < 5


def test_a_step_that_nobody_misses_does_not_hold_up_a_worker_that_stops(engine: Engine, postgres: FaultProxy) -> None:
    postgres.refuse()
    postgres.cut_all()
    stopping = Stopping()
    stopping.set()
    began = time.monotonic()
    with pytest.raises(Exception) as fault:  # noqa: PT011
        patiently(engine.connect, Patience(elapsed() + 60, stopping, Absence()), missed=False)
    assert is_passing(fault.value)
    assert time.monotonic() - began < 5


def test_a_postgres_that_is_away_longer_than_a_lease_costs_no_answer_and_leaves_no_doubt(
    behind: Office,
    ledger: Ledger,
    producer: Producer,
    simulator: SimulatorControl,
    postgres: FaultProxy,
    eventually: Callable[..., None],
) -> None:
    unchecked = Text(content="hello", enable_duplicate_check=0)
    simulator.add_fault("errcode", endpoint="send", errcode=60020, after=20)
    producer.send_many(SendRequest("hr", unchecked, users=[f"u{n}"]) for n in range(40))
    simulator.add_fault("latency", endpoint="send", seconds=0.3)
    delivering = behind.senders_at_work.submit(deliver, behind, "hr", lambda: None)
    eventually(lambda: simulator.counters().calls.get("send", 0) > 0)
    postgres.refuse()
    postgres.cut_all()
    time.sleep(behind.settings.lease_seconds + 1)
    postgres.resume()
    delivering.result()
    counts = ledger.history.counts("hr")
    assert counts == {State.SENT: len(simulator.served()), State.SCHEDULED: 40 - len(simulator.served())}
    ledger.reaper.reap(behind.settings.lease_seconds)
    assert ledger.history.counts("hr") == counts
    with ledger.engine.connect() as connection:
        assert connection.scalar(text("select count(*) from wecom.attempts where category = 'uncertain'")) == 0
