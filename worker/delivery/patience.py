"""Does a step of the ledger again and again while Postgres is away for a moment."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from worker.delivery.absence import Absence
from worker.elapsed import elapsed
from worker.ledger import ClaimInDoubtError, is_passing

Stored = TypeVar("Stored")
Claimed = TypeVar("Claimed")

AGAIN_SECONDS = 0.5
PAST_THE_LEASE_SECONDS = 60.0
"""Answers wait for Postgres longer than their leases last: while it is away nobody else can take the messages, and the
reaper looks only every few seconds once it is back."""
STOPPING_SECONDS = 10.0
"""How long answers go on waiting for Postgres in a worker that is to stop. What it can then not store has an unknown
fate, as if it had been killed; waiting longer would only have it killed by whoever stops it."""


class Stopping(threading.Event):
    """Set once this worker is to stop, and knows since when."""

    def __init__(self) -> None:
        super().__init__()
        self._since = float("inf")

    def set(self) -> None:
        """Begin to stop."""
        self._since = min(self._since, elapsed())
        super().set()

    @property
    def patience_ends(self) -> float:
        """Until when, by `elapsed`, answers wait for Postgres."""
        return self._since + STOPPING_SECONDS


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a step of the ledger is tried.

    Attributes:
        until: the moment of `elapsed` after which a fault is raised.
        stopping: whether this worker is to stop; then patience ends soon.
        absence: is told that Postgres is away.
    """

    until: float
    stopping: Stopping
    absence: Absence

    def ends(self, *, missed: bool) -> bool:
        """Whether it has come to its end for a step that would be missed, or for one that nobody would miss."""
        if self.stopping.is_set() and not missed:
            return True
        return elapsed() > min(self.until, self.stopping.patience_ends)


def patiently(store: Callable[[], Stored], patience: Patience, *, missed: bool = True) -> Stored:
    """Do a step of the ledger; while it meets a passing fault, do it again.

    Args:
        store: the step. Its COMMIT may have been carried out although it failed, so twice must be as good as once.
        patience: how long.
        missed: whether anybody would miss the step; if not, it does not hold up a worker that is to stop.

    Raises:
        Exception: what the step raised, once it is too late or if the fault is no passing one.
    """
    waited = False
    while True:
        try:
            stored = store()
        except Exception as error:
            if not is_passing(error):
                raise
            patience.absence.met(error)
            if patience.ends(missed=missed):
                raise
            waited = True
            time.sleep(AGAIN_SECONDS)
        else:
            if waited:
                patience.absence.ended()
            return stored


def claim_surely(
    claim: Callable[[], list[Claimed]], give_back: Callable[[Sequence[Claimed]], None], patience: Patience
) -> list[Claimed]:
    """Claim rows to work on; what may be claimed or not is given back at once, and nothing is claimed.

    So no row waits for the end of a lease under which nobody works.

    Args:
        claim: raises ClaimInDoubtError where the answer to its COMMIT was lost.
        give_back: releases these rows, if they are claimed.
        patience: how long it is tried to give them back.

    Raises:
        Exception: what the claim raised if it certainly claimed nothing, or what giving back raised in the end.
    """
    try:
        return claim()
    except ClaimInDoubtError as doubt:
        claimed: Sequence[Claimed] = doubt.claimed
        patience.absence.met(doubt)
        patiently(lambda: give_back(claimed), patience)
        return []
