"""Shows in the ledger that a worker lives, from a thread of its own: however busy it is, whatever the broker does."""

import logging
import threading
from collections.abc import Callable

from worker.ledger import WorkerProcess, Workers
from worker.ledger.workers import SIGN_SECONDS

log = logging.getLogger(__name__)


class SignsOfLife:
    """One process's signs.

    Args:
        workers: where they are shown.
        worker: whose they are.
        delivers: whether the process answers wake-ups.
        oldest_task_seconds: says for how long it has been at the oldest task it has under way.
    """

    def __init__(
        self, workers: Workers, worker: WorkerProcess, *, delivers: bool, oldest_task_seconds: Callable[[], float]
    ) -> None:
        self._workers = workers
        self._worker = worker
        self._delivers = delivers
        self._oldest_task_seconds = oldest_task_seconds
        self._shown = True
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._go_on, name="wecom-signs-of-life", daemon=True)

    def start(self) -> None:
        """Show one now, so that others know of this worker before it sends, and more from now on."""
        self.show()
        self._thread.start()

    def stop(self) -> None:
        """Say that the process ends in order."""
        self._stopping.set()
        if self._shown:
            try:
                self._workers.leave(self._worker)
            except Exception as error:  # noqa: BLE001 - it is forgotten in any case
                log.warning("Postgres does not hear that this worker ends (%s)", type(error).__name__)

    def show(self) -> None:
        """Show one; while Postgres is away there is none, and nobody who could look for it."""
        try:
            self._workers.sign(
                self._worker, delivers=self._delivers, oldest_task_seconds=int(self._oldest_task_seconds())
            )
        except Exception as error:  # noqa: BLE001 - the next one may be shown
            if self._shown:
                log.warning("Postgres takes no sign of life of this worker (%s)", type(error).__name__)
            self._shown = False
        else:
            self._shown = True

    def _go_on(self) -> None:
        while not self._stopping.wait(SIGN_SECONDS):
            self.show()
