"""Workers, beat and the network to Postgres that goes silent: they flow again by themselves, and TERM ends them."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from faults.addresses import database_upstream, proxied_database_url
from faults.postgres import PostgresConversation
from faults.proxy import FaultProxy

from worker import Producer, SendRequest, State, Text
from worker.ledger import Ledger
from worker.processes import BEAT, WORKER, CeleryProcess
from worker.simulator.control import SimulatorControl

pytestmark = pytest.mark.long

HELLO = Text(content="hello")
FLOWS_AGAIN_SECONDS = 30
ENDS_SECONDS = 30
SILENCE_SECONDS = "2"
"""The shortest; by default it is 15."""


@pytest.fixture
def postgres(database_url: str) -> Iterator[FaultProxy]:
    with FaultProxy(database_upstream(database_url), PostgresConversation) as proxy:
        yield proxy
        proxy.resume()


@pytest.fixture
def start_behind(
    start: Callable[..., CeleryProcess], database_url: str, postgres: FaultProxy
) -> Callable[..., CeleryProcess]:
    """Start processes whose Postgres is behind the proxy, while this test's own producer asks Postgres directly."""
    url = proxied_database_url(database_url, postgres)
    return lambda arguments: start(arguments, WECOM_DATABASE_URL=url, WECOM_SILENCE_SECONDS=SILENCE_SECONDS)


def send(producer: Producer, name: str, messages: int = 20) -> None:
    producer.send_many(SendRequest("hr", HELLO, users=[f"{name}{number}"]) for number in range(messages))


def test_workers_and_beat_flow_again_after_each_of_two_silences(
    ledger: Ledger,
    producer: Producer,
    simulator: SimulatorControl,
    postgres: FaultProxy,
    start_behind: Callable[..., CeleryProcess],
    tmp_path: Path,
    eventually: Callable[..., None],
) -> None:
    worker, beat = start_behind(WORKER), start_behind(BEAT)
    log = tmp_path / "worker-0.log"
    send(producer, "first")
    eventually(lambda: ledger.history.counts("hr") == {State.SENT: 20})
    for turn in (1, 2):
        postgres.silence()
        send(producer, f"during-{turn}-")
        # Every thread has met it by then: each that begins anew gives up after two seconds.
        time.sleep(8)
        postgres.resume()
        send(producer, f"after-{turn}-")
        eventually(lambda turn=turn: ledger.history.counts("hr") == {State.SENT: 20 + 40 * turn}, FLOWS_AGAIN_SECONDS)
    assert all(texts == ["hello"] for texts in simulator.served().values())
    assert worker.stop(ENDS_SECONDS) == 0
    assert beat.stop(ENDS_SECONDS) == 0
    said = log.read_text()
    assert "Traceback" not in said
    assert 0 < said.count("WARNING worker.delivery.absence: Postgres: ") <= 6  # a few kinds of faults
    assert said.count("Postgres does as asked again") in (1, 2)


def test_term_ends_a_worker_while_postgres_is_silent(
    ledger: Ledger,
    producer: Producer,
    simulator: SimulatorControl,
    postgres: FaultProxy,
    start_behind: Callable[..., CeleryProcess],
    eventually: Callable[..., None],
) -> None:
    worker = start_behind(WORKER)
    simulator.add_fault("latency", endpoint="send", seconds=0.8)
    send(producer, "u")
    eventually(lambda: simulator.counters().calls.get("send", 0) > 0)
    postgres.silence()  # answers come that cannot be stored
    began = time.monotonic()
    assert worker.stop(ENDS_SECONDS) == 0
    assert time.monotonic() - began < ENDS_SECONDS
    postgres.cut_all()
    # What it left is cleared up once its leases have ended, and nobody is told twice.
    postgres.resume()
    start_behind(WORKER)
    start_behind(BEAT)
    eventually(lambda: ledger.history.counts("hr") == {State.SENT: 20})
    assert all(texts == ["hello"] for texts in simulator.served().values())
