"""Starts and stops Celery processes of this project, for `wecom up`, the demo, and tests."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO

STOP_SECONDS = 30
WORKER = ("worker", "--without-mingle", "--without-gossip", "--without-heartbeat")
"""Workers need to know nothing of each other; not asking saves a second at the start."""
BEAT = ("beat",)


class CeleryProcess:
    """One `celery -A worker ...` in a session of its own, so that Ctrl-C reaches only whoever started it."""

    def __init__(
        self, arguments: tuple[str, ...], environment: Mapping[str, str], log: Path | IO[bytes] | None = None
    ) -> None:
        self._log = log.open("ab") if isinstance(log, Path) else log
        self._process = subprocess.Popen(
            [sys.executable, "-m", "celery", "-A", "worker", "--quiet", *arguments],
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT if self._log is not None else None,
            start_new_session=True,
        )

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
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return self.kill()
        finally:
            if self._log is not None:
                self._log.close()

    def kill(self) -> int:
        """Kill it without warning, as a crash would, and return its exit status."""
        self._process.kill()
        return self._process.wait()
