"""Delivers: claim a chunk, send it over many connections at once, settle the answers in batches.

The order of the steps is the guarantee. A message is claimed in a committed transaction before it is sent, no
transaction is open while it is sent, and what was claimed but not sent goes back. Whoever dies in between leaves
rows whose lease runs out.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from queue import Empty, SimpleQueue

from sqlalchemy.exc import OperationalError

from worker.delivery.office import Office
from worker.delivery.outcome import UNREACHABLE_PARK_SECONDS, PauseSender, decide, next_parking
from worker.delivery.settlement import settlement
from worker.ledger import ClaimedMessage, Settlement
from worker.messages.sender import Sender
from worker.providers.base import Answer, Category, Channel, ProviderError

log = logging.getLogger(__name__)

BATCH = 100
BATCH_SECONDS = 0.1
"""Answers are stored when so many are in, or so much time has passed."""
HOPELESS = 3
"""After so many failed connections, and more of them than answers, the chunk is given up."""
SETTLE_AGAIN_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Delivery:
    """What one chunk amounted to."""

    claimed: int = 0
    more_due: bool = False


@dataclass(frozen=True, slots=True)
class Answered:
    """A claimed message with its answer, or None where it was not sent after all."""

    message: ClaimedMessage
    answer: Answer | None


def deliver(office: Office, name: str, still_working: Callable[[], None]) -> Delivery:
    """Send the next due chunk of one sender and settle every answer."""
    settings, ledger = office.settings, office.ledger
    sender, now = ledger.senders.open(name)
    if sender.paused(now) or office.stopping.is_set():
        return Delivery()
    try:
        channel = office.providers[sender.provider].open(sender)
    except ProviderError as error:
        stop_sender(office, sender, error.answer)
        return Delivery()
    clock = Clock(now)
    claimed_at = time.monotonic()
    claimed = ledger.deliveries.claim(
        name, settings.chunk, settings.lease_seconds, office.quiet.waiting_until(clock.now())
    )
    chunk = Chunk(office, sender, channel, clock, claimed_at + settings.lease_seconds - office.slowest_call)
    for batch in chunk.send(claimed):
        chunk.settle(batch)
        still_working()
    return Delivery(len(claimed), more_due=len(claimed) == settings.chunk and not chunk.halted.is_set())


class Clock:
    """The database's time, carried on by this machine's monotonic clock: what the wall says here does not matter."""

    def __init__(self, now: datetime) -> None:
        self._read_at = time.monotonic()
        self._now = now

    def now(self) -> datetime:
        """Return the database's time."""
        return self._now + timedelta(seconds=time.monotonic() - self._read_at)


class Chunk:
    """The messages claimed at once, on their way."""

    def __init__(self, office: Office, sender: Sender, channel: Channel, clock: Clock, last_start: float) -> None:
        self.halted = threading.Event()
        self._halted_by: Answer | None = None
        self._office = office
        self._sender = sender
        self._channel = channel
        self._clock = clock
        self._last_start = last_start
        self._counting = threading.Lock()
        self._reached = 0
        self._unreachable = 0

    def send(self, claimed: Sequence[ClaimedMessage]) -> Iterator[list[Answered]]:
        """Send all messages at once, as far as there are connections; yield the answers as they come in."""
        arrivals: SimpleQueue[Answered] = SimpleQueue()
        for message in claimed:
            self._office.senders_at_work.submit(self._attempt, message, arrivals)
        remaining = len(claimed)
        while remaining:
            batch = _batch(arrivals, min(BATCH, remaining))
            remaining -= len(batch)
            yield batch

    def settle(self, batch: Sequence[Answered]) -> None:
        """Store what became of each message, and stop the sender where an answer says so."""
        if self._halted_by is not None:
            stop_sender(self._office, self._sender, self._halted_by)
            self._halted_by = None
        settlements = [self._settlement(one.message, one.answer) for one in batch if one.answer is not None]
        if settlements:
            self._store(settlements)
        self._office.ledger.deliveries.release(self._sender.name, [one.message for one in batch if one.answer is None])

    def _attempt(self, message: ClaimedMessage, arrivals: SimpleQueue[Answered]) -> None:
        """Send one message, unless it is too late or the sender must stop; always leaves something in `arrivals`."""
        if self.halted.is_set() or self._office.stopping.is_set() or time.monotonic() > self._last_start:
            arrivals.put(Answered(message, None))
            return
        try:
            answer = self._channel.send(message.body, message.recipients)
        except ProviderError as error:
            answer = error.answer
        except Exception:
            log.exception("sending %s failed in our own code", message.id)
            answer = Answer(Category.UNCERTAIN, reason="a fault in wecom-worker; its log has the details")
        self._halt_if_pointless(answer)
        arrivals.put(Answered(message, answer))

    def _halt_if_pointless(self, answer: Answer) -> None:
        """Keep the rest of the chunk from failing the same way."""
        with self._counting:
            if answer.category is Category.UNREACHABLE:
                self._unreachable += 1
            else:
                self._reached += 1
            hopeless = self._unreachable >= HOPELESS and self._unreachable > self._reached
            if (hopeless or isinstance(decide(answer), PauseSender)) and not self.halted.is_set():
                self._halted_by = answer
                self.halted.set()

    def _settlement(self, message: ClaimedMessage, answer: Answer) -> Settlement:
        return settlement(
            message,
            answer,
            decide(answer, message.retries, (message.id.int & 0xFFFF) / 0x10000),
            now=self._clock.now(),
            lease_seconds=self._office.settings.lease_seconds,
            quiet=self._office.quiet,
        )

    def _store(self, settlements: Sequence[Settlement]) -> None:
        """Settle, waiting for Postgres to come back as long as the lease allows."""
        ledger = self._office.ledger
        while True:
            try:
                recalling = ledger.deliveries.settle(self._sender.name, settlements)
                break
            except OperationalError:
                if time.monotonic() > self._last_start + self._office.slowest_call:
                    raise
                log.warning("Postgres does not answer; %d answers wait to be stored", len(settlements))
                time.sleep(SETTLE_AGAIN_SECONDS)
        if recalling:
            self._office.bell.ring(self._sender.name)
        if self._sender.park_seconds and any(one.category == Category.ACCEPTED for one in settlements):
            ledger.senders.end_parking(self._sender.name)


def stop_sender(office: Office, sender: Sender, answer: Answer) -> None:
    """Park or pause a sender because of an answer; its messages wait."""
    reason = f"{answer.errcode}: {answer.reason}" if answer.errcode else answer.reason
    outcome = decide(answer)
    if isinstance(outcome, PauseSender) and outcome.seconds is None:
        log.error("%s is paused: %s; its messages wait for `wecom senders resume %s`", sender.name, reason, sender.name)
        office.ledger.senders.pause(sender.name, reason)
        return
    first = outcome.seconds if isinstance(outcome, PauseSender) and outcome.seconds else UNREACHABLE_PARK_SECONDS
    seconds = next_parking(first, sender.park_seconds)
    log.warning("%s is parked for %d s: %s", sender.name, seconds, reason)
    office.ledger.senders.park(sender.name, reason, seconds)


def _batch(arrivals: SimpleQueue[Answered], most: int) -> list[Answered]:
    """Collect answers until there are enough or the first of them has waited long enough."""
    batch = [arrivals.get()]
    until = time.monotonic() + BATCH_SECONDS
    while len(batch) < most:
        try:
            batch.append(arrivals.get(timeout=max(0.0, until - time.monotonic())))
        except Empty:
            break
    return batch
