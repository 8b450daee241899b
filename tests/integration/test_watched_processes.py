"""A worker or beat that stands still ends itself, and one that is told to stop ends, whatever its broker does."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from faults.addresses import proxied_redis_url, redis_upstream
from faults.proxy import FaultProxy
from faults.redis import RedisConversation

from worker import Producer, State, Text
from worker.ledger import Ledger
from worker.processes import BEAT, WORKER, CeleryProcess
from worker.watch import LEAVING_LOOKS, STATUS

pytestmark = pytest.mark.long

LOOK_SECONDS = 0.1
"""So that a watch decides in seconds what it decides in minutes elsewhere."""
IMPATIENT = f"""
import worker.watch

worker.watch.LOOK_SECONDS = {LOOK_SECONDS}
"""
STANDING_STILL = """
import pathlib, time
import worker.watch

turned = worker.watch.MainLoop.turned

def stand_still(loop):
    turned(loop)
    while pathlib.Path({file!r}).exists():
        time.sleep(0.1)

worker.watch.MainLoop.turned = stand_still
"""
PROCESSES = pytest.mark.parametrize("arguments", [WORKER, BEAT], ids=["worker", "beat"])


@pytest.fixture
def broker(redis_url: str, environment: dict[str, str], tmp_path: Path) -> Iterator[FaultProxy]:
    """What stands between this test's processes and their broker; their watch is impatient."""
    (tmp_path / "sitecustomize.py").write_text(IMPATIENT)
    with FaultProxy(redis_upstream(redis_url), RedisConversation) as proxy:
        environment |= {"WECOM_BROKER_URL": proxied_redis_url(redis_url, proxy), "PYTHONPATH": str(tmp_path)}
        yield proxy


def handles_tasks(broker: FaultProxy) -> bool:
    return any(seen.request.kind in ("BRPOP", "LPUSH") for seen in broker.requests)


@PROCESSES
def test_a_process_whose_main_loop_stands_still_ends_itself_with_one_line(
    arguments: tuple[str, ...],
    broker: FaultProxy,
    ledger: Ledger,
    start: Callable[..., CeleryProcess],
    eventually: Callable[..., None],
    tmp_path: Path,
) -> None:
    assert ledger.senders.names() == ["hr"]
    stop_file = tmp_path / "stand-still"
    (tmp_path / "sitecustomize.py").write_text(IMPATIENT + STANDING_STILL.format(file=str(stop_file)))
    process = start(arguments)
    eventually(lambda: handles_tasks(broker))
    stop_file.touch()
    eventually(lambda: not process.running())
    assert process.stop() == STATUS
    told = (tmp_path / f"{arguments[0]}-0.log").read_text()
    assert told.count("the main loop has stood still for") == 1


@PROCESSES
@pytest.mark.parametrize("fault", ["silence", "refuse"])
def test_term_ends_a_process_whose_broker_does_not_answer(
    arguments: tuple[str, ...],
    fault: str,
    broker: FaultProxy,
    ledger: Ledger,
    start: Callable[..., CeleryProcess],
    eventually: Callable[..., None],
) -> None:
    assert ledger.senders.names() == ["hr"]
    process = start(arguments)
    eventually(lambda: handles_tasks(broker))
    getattr(broker, fault)()
    if fault == "refuse":
        broker.cut_all()
    process.terminate()
    eventually(lambda: not process.running(), 3 * LEAVING_LOOKS * LOOK_SECONDS + 15)


def test_a_worker_whose_broker_is_away_is_not_ended_and_goes_on_when_it_is_back(
    broker: FaultProxy,
    producer: Producer,
    ledger: Ledger,
    start: Callable[..., CeleryProcess],
    eventually: Callable[..., None],
    tmp_path: Path,
) -> None:
    worker, beat = start(WORKER), start(BEAT)
    eventually(lambda: handles_tasks(broker))
    broker.refuse()
    broker.cut_all()
    # Of a watch a tenth as patient as anywhere else: each try, and each second between two, shows that it lives.
    eventually(lambda: (tmp_path / "worker-0.log").read_text().count("cannot be reached") >= 4)
    broker.resume()
    producer.send("hr", Text(content="hello"), users=["a"])
    eventually(lambda: ledger.history.counts("hr") == {State.SENT: 1})
    assert worker.running()
    assert beat.running()
