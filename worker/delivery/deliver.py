"""Delivers: claim a chunk, count it against WeCom's limits, send it, settle the answers.

The order of the steps is the guarantee. A message is claimed in a committed transaction before it is sent, no
transaction is open while it is sent, and what was claimed but not sent goes back. Whoever dies in between leaves
rows whose lease runs out.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from redis import RedisError

from worker.delivery.chunk import Chunk, Clock
from worker.delivery.office import Office
from worker.delivery.stopping import stop_sender
from worker.providers.base import ProviderError

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Delivery:
    """What one chunk amounted to."""

    claimed: int = 0
    more_due: bool = False


def deliver(office: Office, name: str, still_working: Callable[[], None]) -> Delivery:
    """Send the next due chunk of one sender and settle every answer."""
    settings, ledger = office.settings, office.ledger
    sender, now = ledger.senders.open(name)
    if sender.paused(now) or office.stopping.is_set():
        return Delivery()
    clock = Clock(now)
    try:
        channel = office.provider_of(sender).open(sender)
    except ProviderError as error:
        stop_sender(office, sender, error.answer)
        return Delivery()
    last_start = time.monotonic() + settings.lease_seconds - office.slowest_call
    quiet_until = office.quiet.waiting_until(clock.now())
    claimed = ledger.deliveries.claim(name, settings.chunk, settings.lease_seconds, quiet_until)
    try:
        reservation = office.quota.reserve(sender, claimed, clock.now())
    except RedisError as error:
        log.warning("nothing can be counted, so nothing is sent for %s: %s", name, error)
        ledger.deliveries.release(name, claimed)
        return Delivery(len(claimed))
    ledger.deliveries.postpone(name, reservation.postponed)
    chunk = Chunk(office, sender, channel, clock, last_start, reservation)
    try:
        for batch in chunk.send():
            chunk.settle(batch)
            still_working()
    except BaseException:
        chunk.halted.set()  # nobody would store the answers of the rest
        raise
    return Delivery(len(claimed), more_due=len(claimed) == settings.chunk and not chunk.halted.is_set())
