"""Processes beside Django: what it commits is delivered, whatever happens to its own, and nothing else."""

from collections.abc import Callable
from pathlib import Path

from killed_programs import prove

from worker import Producer, State, Text
from worker.ledger import Ledger
from worker.processes import BEAT, WORKER, CeleryProcess
from worker.simulator.control import SimulatorControl

SCRIPT = Path(__file__).resolve().parents[2] / "killed_django.py"


def test_of_hundreds_of_transactions_of_a_project_killed_again_and_again_exactly_the_committed_ones_are_delivered(
    environment: dict[str, str],
    ledger: Ledger,
    simulator: SimulatorControl,
    start: Callable[..., CeleryProcess],
    eventually: Callable[..., None],
) -> None:
    start(WORKER)
    start(BEAT)
    prove(SCRIPT, environment, ledger, simulator, eventually)


def test_a_worker_has_no_use_for_the_project_although_it_is_told_of_it(
    ledger: Ledger, producer: Producer, start: Callable[..., CeleryProcess], eventually: Callable[..., None]
) -> None:
    assert ledger.senders.names() == ["hr"]
    start(WORKER, DJANGO_SETTINGS_MODULE="a_project.that_is_not_installed_here")
    message = producer.send("hr", Text(content="hello"), users=["zhangsan"])
    eventually(lambda: producer.status(message).state is State.SENT)
