"""The example with two beats, as somebody starts it from a fresh clone."""

import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "beat_campaign" / "run.py"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "example.log"


@pytest.fixture
def example(tmp_path: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, str(SCRIPT)],
            env=os.environ | {"WECOM_HOME": str(tmp_path / "home")},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    yield process
    if process.poll() is None:
        process.terminate()
        process.wait(60)


def test_what_two_beats_send_arrives_once_and_control_c_stops_everything(
    example: subprocess.Popen[bytes], log: Path, eventually: Callable[..., None]
) -> None:
    def arrived() -> list[str]:
        assert example.poll() is None, log.read_text()
        return re.findall(r"\d\d:\d\d:\d\d  (\w+: .*)", log.read_text())

    eventually(
        lambda: (
            sum("zhangsan" in line for line in arrived()) >= 2
            and {"wangwu", "maliu"} <= {line.partition(":")[0] for line in arrived()}
        )
    )
    assert "maliu: 马六, ten seconds have passed." in arrived()
    reports = Counter(line for line in arrived() if "report" in line)
    assert any(line.startswith("lisi: 李四, this is the report") for line in reports)
    assert set(reports.values()) == {1}

    os.killpg(example.pid, signal.SIGINT)
    assert example.wait(60) == 0, log.read_text()
    assert "Traceback" not in log.read_text()
