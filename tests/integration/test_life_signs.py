"""The sign of life of real processes, read as the health check reads it."""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from worker.ledger import Ledger
from worker.processes import BEAT, WORKER, CeleryProcess


def health(file: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "worker.liveness"],
        env={"WECOM_LIVENESS_FILE": str(file)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("arguments", [WORKER, BEAT], ids=["worker", "beat"])
def test_a_process_is_healthy_while_it_runs_and_not_after(
    arguments: tuple[str, ...],
    ledger: Ledger,
    start: Callable[..., CeleryProcess],
    eventually: Callable[..., None],
    tmp_path: Path,
) -> None:
    assert ledger.senders.names() == ["hr"]
    file = tmp_path / "alive"
    assert health(file).returncode == 1
    process = start(arguments, WECOM_LIVENESS_FILE=str(file))
    eventually(file.exists)
    healthy = health(file)
    assert (healthy.returncode, healthy.stderr) == (0, "")
    process.stop()
    assert not file.exists()
    assert "not alive" in health(file).stderr


def test_a_worker_is_healthy_without_a_broker(
    ledger: Ledger, start: Callable[..., CeleryProcess], eventually: Callable[..., None], tmp_path: Path
) -> None:
    assert ledger.senders.names() == ["hr"]
    file = tmp_path / "alive"
    start(WORKER, WECOM_LIVENESS_FILE=str(file), WECOM_BROKER_URL="redis://127.0.0.1:1/0")
    eventually(file.exists)
    assert health(file).returncode == 0


def test_a_process_whose_file_cannot_be_written_does_not_start(
    ledger: Ledger, start: Callable[..., CeleryProcess], eventually: Callable[..., None], tmp_path: Path
) -> None:
    assert ledger.senders.names() == ["hr"]
    process = start(WORKER, WECOM_LIVENESS_FILE=str(tmp_path / "missing" / "alive"))
    eventually(lambda: not process.running())
    assert process.stop() not in (0, -signal.SIGKILL)
    assert "WECOM_LIVENESS_FILE" in (tmp_path / "worker-0.log").read_text()
