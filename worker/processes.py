"""Starts and stops Celery processes of this project, for `wecom up`, the demo, and tests.

Such a process must not outlive whoever started it, however that ended. So it runs through this module
(`python -m worker.processes worker ...`), which watches standard input: a pipe that nobody writes to, and that the
operating system closes when the process at its other end is gone. This works wherever there are pipes.
"""

import os
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import IO

STOP_SECONDS = 30
WORKER = ("worker", "--without-mingle", "--without-gossip", "--without-heartbeat")
"""Workers need to know nothing of each other; not asking saves a second at the start."""
BEAT = ("beat",)


class CeleryProcess:
    """One `celery -A worker ...` in a session of its own, so that Ctrl-C reaches only whoever started it.

    It stops by itself if this process dies.
    """

    def __init__(
        self, arguments: tuple[str, ...], environment: Mapping[str, str], log: Path | IO[bytes] | None = None
    ) -> None:
        output = log.open("ab") if isinstance(log, Path) else log
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "worker.processes", *arguments],
                env={**os.environ, **environment},
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT if output is not None else None,
                start_new_session=True,
            )
        finally:
            if output is not None:
                output.close()  # the process has its own copy

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def terminate(self) -> None:
        """Ask it to stop: calls under way finish, claimed messages go back."""
        if self.running():
            self._process.send_signal(signal.SIGTERM)

    def stop(self, seconds: float = STOP_SECONDS) -> int:
        """Stop it and return its exit status; it is killed if it does not stop in time."""
        self.terminate()
        try:
            return self._ended(seconds)
        except subprocess.TimeoutExpired:
            return self.kill()

    def kill(self) -> int:
        """Kill it without warning, as a crash would, and return its exit status."""
        self._process.kill()
        return self._ended()

    def _ended(self, seconds: float | None = None) -> int:
        status = self._process.wait(seconds)
        assert self._process.stdin is not None  # noqa: S101 - it was asked for when the process was started
        self._process.stdin.close()
        return status


def wecom_command() -> str:
    """Return how `wecom` is called from where we are, whether or not its environment is activated."""
    script = Path(sys.executable).with_name("wecom")
    if not script.exists():
        return f"{shlex.quote(sys.executable)} -m worker.cli"
    if (found := shutil.which("wecom")) and Path(found).samefile(script):
        return "wecom"
    here = Path.cwd()
    return shlex.quote(str(script.relative_to(here) if script.is_relative_to(here) else script))


def run_attached(arguments: list[str]) -> None:
    """Be `celery -A worker ...` until it is stopped or the process that started this one is gone."""
    threading.Thread(target=_stop_when_abandoned, name="wecom-attached", daemon=True).start()
    # The embedded servers and containers are run by root as a matter of course; nothing here unpickles.
    warnings.filterwarnings("ignore", message="You're running the worker with superuser privileges")
    sys.argv = ["celery", "-A", "worker", "--quiet", *arguments]
    from celery.__main__ import main  # noqa: PLC0415 - it patches the library for gevent, so it must come late

    main()


def _stop_when_abandoned() -> None:
    """Wait for the end of standard input, then stop as after TERM, and in the end in any case."""
    while os.read(sys.stdin.fileno(), 1):
        pass
    _write_to_nobody()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(STOP_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)


def _write_to_nobody() -> None:
    """Let output that went to the process that is gone go nowhere: writing to a broken pipe would spoil the stop."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for output in (1, 2):
        if stat.S_ISFIFO(os.fstat(output).st_mode):
            os.dup2(nowhere, output)


if __name__ == "__main__":
    run_attached(sys.argv[1:])
