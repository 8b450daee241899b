"""Workers and beats of a course, with a supervisor."""

import itertools
import os
import signal
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from worker.processes import BEAT, CeleryProcess

SAYS_WHY = "this process ends"
PATIENCE = 60


class Crew:
    """Workers and beats, and a supervisor who starts again what has ended."""

    def __init__(self, environment: Mapping[str, str], logs: Path) -> None:
        self._environment = environment
        self._logs = logs
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._at_work: dict[CeleryProcess, tuple[tuple[str, ...], Path]] = {}
        self._over = threading.Event()
        self._supervisor = threading.Thread(target=self._supervise, name="supervisor")
        self.ended_silently: list[str] = []
        """Logs of processes that ended by themselves and did not say why."""
        self.ended = 0

    def __enter__(self) -> Self:
        self._supervisor.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._supervisor.join()
        for process in self._at_work:
            if process.running():
                os.kill(process.pid, signal.SIGABRT)  # so that its log says where each thread was
            process.kill()

    def start(self, arguments: tuple[str, ...]) -> CeleryProcess:
        """Start a process; a beat believes that it is another time."""
        file = self._logs / f"{arguments[0]}-{next(self._numbers)}.log"
        changes = {"PYTHONPATH": str(self._logs / "clock")} if arguments == BEAT else {}
        process = CeleryProcess(arguments, {**self._environment, **changes}, file)
        with self._lock:
            self._at_work[process] = arguments, file
        return process

    def stop(self, process: CeleryProcess) -> float:
        """Send TERM, and return how many seconds it took to end; what does not end is left to the end of the test."""
        began = time.monotonic()
        with self._lock:
            self._at_work.pop(process)
        process.terminate()
        while process.running() and time.monotonic() < began + PATIENCE:
            time.sleep(0.05)
        took = time.monotonic() - began
        if process.running():
            os.kill(process.pid, signal.SIGABRT)
        process.kill()
        return took

    def working(self, arguments: tuple[str, ...]) -> list[CeleryProcess]:
        """Return the processes of a kind."""
        with self._lock:
            return [process for process, (kind, _) in self._at_work.items() if kind == arguments]

    def _supervise(self) -> None:
        while not self._over.wait(0.2):
            with self._lock:
                ended = [(process, *about) for process, about in self._at_work.items() if not process.running()]
                for process, _, _ in ended:
                    del self._at_work[process]
            for process, arguments, file in ended:
                process.kill()
                self.ended += 1
                if SAYS_WHY not in file.read_text(errors="replace"):
                    self.ended_silently.append(file.name)
                self.start(arguments)
