"""Says in the log that Postgres is away: a line for each kind of fault, not one for everybody who meets it."""

import logging
import threading
from dataclasses import dataclass

from worker.elapsed import elapsed
from worker.ledger import fault_in_one_line

log = logging.getLogger(__name__)

AGAIN_SECONDS = 60.0
"""How long a fault is only counted after it was told."""


MOST_KINDS = 100
"""How many kinds of faults are told apart."""


@dataclass(slots=True)
class _Fault:
    told_at: float
    since_told: int = 0


class Absence:
    """Counts what this process meets while Postgres is away; safe to use from many threads."""

    def __init__(self) -> None:
        self._noting = threading.Lock()
        self._faults: dict[str, _Fault] = {}
        self._since: float | None = None
        self._met = 0
        self._told = False

    def met(self, error: BaseException) -> None:
        """Tell of a passing fault, or count it if it was told of within the last minute."""
        kind, now = fault_in_one_line(error), elapsed()
        with self._noting:
            self._since = now if self._since is None else self._since
            self._met += 1
            fault = self._faults.get(kind)
            if fault is not None and now - fault.told_at < AGAIN_SECONDS:
                fault.since_told += 1
                return
            if len(self._faults) >= MOST_KINDS:
                self._faults.clear()
            self._faults[kind] = _Fault(now)
            self._told = True
        times = f" (and {fault.since_told} times since that was said last)" if fault and fault.since_told else ""
        log.warning("Postgres: %s%s; what needs it waits", kind, times)

    def ended(self) -> None:
        """Say that Postgres does as asked again, if it was said that it did not."""
        if self._since is None:
            return
        with self._noting:
            since, met, told = self._since, self._met, self._told
            self._since, self._met, self._told = None, 0, False
        if since is not None and told:
            log.warning("Postgres does as asked again, after %.0f s and %d faults", elapsed() - since, met)
