"""Does a step of the ledger again and again while Postgres is away for a moment."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from worker.elapsed import elapsed
from worker.ledger import ClaimInDoubtError, is_passing

log = logging.getLogger(__name__)

Stored = TypeVar("Stored")
Claimed = TypeVar("Claimed")

AGAIN_SECONDS = 0.5
PAST_THE_LEASE_SECONDS = 60.0
"""Answers wait for Postgres longer than their leases last: while it is away nobody else can take the messages, and the
reaper looks only every few seconds once it is back."""


def patiently(
    store: Callable[[], Stored], until: float, what: str, *, unless_stopping: threading.Event | None = None
) -> Stored:
    """Do a step of the ledger; while it meets a passing fault, do it again.

    Args:
        store: the step. Its COMMIT may have been carried out although it failed, so twice must be as good as once.
        until: the moment of `elapsed` after which the fault is raised.
        what: what waits, for the log.
        unless_stopping: set for a step that nobody misses; such a step does not hold up a worker that is to stop.

    Raises:
        Exception: what the step raised, once it is too late or if the fault is no passing one.
    """
    began = elapsed()
    waited = False
    while True:
        try:
            stored = store()
        except Exception as error:
            stopping = unless_stopping is not None and unless_stopping.is_set()
            if not is_passing(error) or stopping or elapsed() > until:
                raise
            if not waited:
                log.warning("%s: waiting for Postgres (%s)", what, type(error).__name__)
                waited = True
            time.sleep(AGAIN_SECONDS)
        else:
            if waited:
                log.warning("%s: stored after %.1f s", what, elapsed() - began)
            return stored


def claim_surely(
    claim: Callable[[], list[Claimed]], give_back: Callable[[Sequence[Claimed]], None], until: float, what: str
) -> list[Claimed]:
    """Claim rows to work on; what may be claimed or not is given back at once, and nothing is claimed.

    So no row waits for the end of a lease under which nobody works.

    Args:
        claim: raises ClaimInDoubtError where the answer to its COMMIT was lost.
        give_back: releases these rows, if they are claimed.
        until: the moment of `elapsed` until which it is tried to give them back.
        what: what is claimed, for the log.

    Raises:
        Exception: what the claim raised if it certainly claimed nothing, or what giving back raised in the end.
    """
    try:
        return claim()
    except ClaimInDoubtError as doubt:
        claimed: Sequence[Claimed] = doubt.claimed
        log.warning("%s: the answer to a claim was lost; giving %d back", what, len(claimed))
        patiently(lambda: give_back(claimed), until, what)
        return []
