"""A simulator in a process of its own, for as long as a `with` block lasts."""

import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import orjson

from worker.simulator.control import SimulatorControl

_START_SECONDS = 30
_STOP_SECONDS = 10


@contextmanager
def running_simulator(*, port: int = 0, **settings: bool | float | str) -> Iterator[SimulatorControl]:
    """Start a simulator, yield its control, and stop it.

    The process also stops by itself if this one dies, because it watches its standard input.

    Args:
        port: 0 lets the system choose; the control's `base_url` tells which.
        settings: changes to `settings.Settings`.

    Raises:
        RuntimeError: it did not come up.
    """
    command = [
        sys.executable,
        "-P",
        "-m",
        "worker.simulator",
        "--port",
        str(port),
        "--announce-json",
        "--until-stdin-closes",
    ]
    # In a session of its own: Ctrl-C is for whoever started it, who first lets the calls under way finish.
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True) as process:
        try:
            with SimulatorControl(_announced_address(process)) as control:
                if settings:
                    control.change_settings(**settings)
                yield control
        finally:
            _stop(process)


def _announced_address(process: subprocess.Popen[bytes]) -> str:
    assert process.stdout is not None  # noqa: S101 - it was asked for two lines above
    ready, _, _ = select.select([process.stdout], [], [], _START_SECONDS)
    line = process.stdout.readline() if ready else b""
    if not line:
        raise RuntimeError(f"the simulator did not come up (process {process.pid})")
    return str(orjson.loads(line)["base_url"])


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
