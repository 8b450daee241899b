"""Leaves a sender to other workers while this one alone cannot send for it.

A fault of the address, the network or the key may concern one machine alone. Whoever meets one leaves the sender to the
others for a while, then tries again with a single message. Only when every worker that lives has met the same, the
sender itself is stopped. The ledger knows who has met what; this process remembers for which senders it has to ask.
"""

import logging
import threading

from worker.elapsed import elapsed
from worker.ledger import Asides, Fault, WorkerProcess
from worker.providers.base import Answer

log = logging.getLogger(__name__)

FIRST_SECONDS = {Fault.REFUSED: 60, Fault.KEY: 60, Fault.UNREACHABLE: 5}
LONGEST_SECONDS = {Fault.REFUSED: 600, Fault.KEY: 600, Fault.UNREACHABLE: 60}
"""For how long a worker stands aside the first time, and at most; each time twice as long. What a person has to mend
takes longer than what the network mends by itself."""
PASS_ON_SECONDS = 1.0
"""A wake-up that this process does not answer is passed on, but no more often, in case there is nobody else."""


class StandsAside:
    """For which senders this process stands aside; safe to use from many threads."""

    def __init__(self, asides: Asides, worker: WorkerProcess) -> None:
        self._asides = asides
        self._worker = worker
        self._met: set[str] = set()
        self._left: set[str] = set()
        self._passed_on: dict[str, float] = {}
        self._lock = threading.Lock()

    def meets(self, sender: str, fault: Fault, reason: str) -> bool:
        """Note a fault that may be of this machine alone; return whether this process alone has to stand aside for it.

        If not, no worker can send, and the sender is to be stopped.
        """
        first, longest = FIRST_SECONDS[fault], LONGEST_SECONDS[fault]
        alone = self._asides.meet(sender, self._worker, fault, reason, first=first, longest=longest)
        self._met.add(sender)
        if alone:
            self._left.add(sender)
            log.warning("this worker stands aside for %s, others may send: %s", sender, reason)
        return alone

    def may_try(self, sender: str) -> bool:
        """Whether this process may send for a sender now; while nothing is the matter the ledger is not asked."""
        if sender not in self._met:
            return True
        stands = self._asides.stands(sender, self._worker)
        if stands is None:
            self._met.discard(sender)
        if not stands:
            self._left.discard(sender)
        return not stands

    def on_trial(self, sender: str) -> bool:
        """Whether this process has met a fault, and has not sent since."""
        return sender in self._met

    def passed(self, sender: str) -> None:
        """Note that this process has been let in again."""
        self._asides.passed(sender, self._worker)
        self._met.discard(sender)
        self._left.discard(sender)
        log.warning("this worker sends for %s again", sender)

    def passes_on(self, sender: str) -> bool:
        """Whether a wake-up is to be rung again for others; not again and again, if nobody else is there."""
        if sender not in self._left:
            return False
        with self._lock:
            now = elapsed()
            if now - self._passed_on.get(sender, -PASS_ON_SECONDS) < PASS_ON_SECONDS:
                return False
            self._passed_on[sender] = now
            return True


def fault_of(answer: Answer) -> Fault:
    """Name the fault behind an answer that may be of this machine alone."""
    return Fault.REFUSED if answer.address_refused else Fault.UNREACHABLE
