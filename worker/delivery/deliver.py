"""Delivers: claim a chunk, count it against WeCom's limits, send it, settle the answers.

The order of the steps is the guarantee. A message is claimed in a committed transaction before it is sent, no
transaction is open while it is sent, and what was claimed but not sent goes back. Whoever dies in between leaves
rows whose lease runs out.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from redis import RedisError

from worker.delivery.chunk import Chunk
from worker.delivery.clock import Clock
from worker.delivery.hearing import Hearing
from worker.delivery.office import Office
from worker.delivery.patience import PAST_THE_LEASE_SECONDS, claim_surely, patiently
from worker.delivery.stopping import stop_sender
from worker.elapsed import elapsed
from worker.providers.base import ProviderError

log = logging.getLogger(__name__)


TRIAL = 1
"""Messages a worker claims while it does not know whether it can send again: one waits for that, the others do not."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """What one chunk amounted to."""

    claimed: int = 0
    more_due: bool = False


def deliver(office: Office, name: str, still_working: Callable[[], None]) -> Delivery:
    """Send the next due chunk of one sender and settle every answer."""
    settings, ledger = office.settings, office.ledger
    asked_at = elapsed()
    sender, now = ledger.senders.open(name)
    if sender.paused(now) or office.stopping.is_set():
        return Delivery()
    clock = Clock(now, asked_at)
    try:
        channel = office.provider_of(sender).open(sender)
    except ProviderError as error:
        stop_sender(office, sender, error.answer)
        return Delivery()
    claimed_at = elapsed()
    hearing = Hearing(
        ledger.holds,
        name,
        clock,
        office.quiet,
        last_start=claimed_at + settings.lease_seconds - office.slowest_call,
        claimed_at=claimed_at,
        stopping=office.stopping,
    )
    most = TRIAL if office.aside.on_trial(name) else settings.chunk
    quiet_until = office.quiet.waiting_until(clock.latest())
    patience = office.patience(claimed_at + settings.lease_seconds + PAST_THE_LEASE_SECONDS)
    claimed = claim_surely(
        lambda: ledger.deliveries.claim(name, most, settings.lease_seconds, quiet_until),
        lambda unsure: ledger.deliveries.give_back(name, unsure),
        patience,
    )
    try:
        reservation = office.quota.reserve(sender, claimed, clock.now())
    except BaseException as error:
        patiently(lambda: ledger.deliveries.release(name, claimed), patience)
        if not isinstance(error, RedisError):
            raise
        log.warning("nothing can be counted, so nothing is sent for %s: %s", name, error)
        return Delivery(len(claimed))
    patiently(lambda: ledger.deliveries.postpone(name, reservation.postponed), patience)
    chunk = Chunk(office, sender, channel, clock, hearing, reservation)
    try:
        chunk.deliver(still_working)
    except BaseException:
        chunk.give_up()
        raise
    return Delivery(len(claimed), more_due=len(claimed) == most and not hearing.halted)
