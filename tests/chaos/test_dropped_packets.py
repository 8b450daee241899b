"""A network that drops every packet, as a cable that is pulled out, with the deadlines as they are by default.

`make chaos` drops them for five minutes, `make test` for 40 seconds: then both what waits for an answer and what
begins anew meanwhile has been given up.
"""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from faults.addresses import database_upstream
from faults.far_network import FarNetwork, NoNetworkError
from pydantic import SecretStr
from sqlalchemy import make_url

from worker import LedgerError, Producer, SendRequest, State, Text
from worker.ledger import Ledger
from worker.processes import BEAT, WORKER, CeleryProcess
from worker.settings import Settings
from worker.simulator.control import SimulatorControl

pytestmark = pytest.mark.long

DROPPED_SECONDS = {"short": 40, "long": 300}
ENDS_SECONDS = FLOWS_AGAIN_SECONDS = 30
TOLD_SECONDS = 35
"""A statement is given up after 20 seconds at most, and then asked for once more."""
POSTGRES = 5432
HELLO = Text(content="hello")


@pytest.fixture
def far(database_url: str) -> Iterator[FarNetwork]:
    try:
        with FarNetwork({POSTGRES: database_upstream(database_url)}) as far:
            yield far
    except NoNetworkError as error:
        pytest.skip(str(error))


@pytest.fixture
def far_url(database_url: str, far: FarNetwork) -> str:
    address = make_url(database_url).set(host=far.address, port=POSTGRES, query={})
    return address.render_as_string(hide_password=False)


@pytest.mark.timeout(600)
def test_nobody_hangs_and_all_is_sent_once_after_the_network_dropped_every_packet(
    request: pytest.FixtureRequest,
    ledger: Ledger,
    producer: Producer,
    chosen: Settings,
    simulator: SimulatorControl,
    far: FarNetwork,
    far_url: str,
    start: Callable[..., CeleryProcess],
    eventually: Callable[..., None],
) -> None:
    goes_on, stops, _ = (start(arguments, WECOM_DATABASE_URL=far_url) for arguments in (WORKER, WORKER, BEAT))
    asks = Producer(settings=chosen.model_copy(update={"database_url": SecretStr(far_url)}))
    simulator.add_fault("latency", endpoint="send", seconds=0.3)
    with closing(asks), ThreadPoolExecutor() as threads:
        asks.send("hr", HELLO, users=["first"], idempotency_key="first")
        eventually(lambda: ledger.history.counts("hr") == {State.SENT: 1})
        send(producer, "before")
        eventually(lambda: simulator.counters().calls["send"] > 1)
        began = time.monotonic()
        far.drop_packets()
        send(producer, "during")
        ended = threads.submit(stopped_later, stops)
        for _ in range(2):
            asked = time.monotonic()
            with pytest.raises(LedgerError):
                asks.send("hr", HELLO, users=["asked"], idempotency_key="asked")
            assert time.monotonic() - asked < TOLD_SECONDS
        assert ended.result() == 0
        eventually(lambda: time.monotonic() - began > DROPPED_SECONDS[request.config.getoption("--chaos")], 300)
        far.let_packets_pass()
        asks.send("hr", HELLO, users=["asked"], idempotency_key="asked")
    send(producer, "after")
    eventually(lambda: ledger.history.counts("hr") == {State.SENT: 62}, FLOWS_AGAIN_SECONDS)
    assert all(texts == ["hello"] for texts in simulator.served().values())
    assert goes_on.stop(ENDS_SECONDS) == 0


def send(producer: Producer, name: str) -> None:
    producer.send_many(SendRequest("hr", HELLO, users=[f"{name}{number}"]) for number in range(20))


def stopped_later(worker: CeleryProcess) -> int:
    """Stop a worker once its threads wait for an answer, and return its exit status; in time, or it is killed."""
    time.sleep(DROPPED_SECONDS["short"] / 4)
    return worker.stop(ENDS_SECONDS)
