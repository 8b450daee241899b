"""The messages claimed at once, on their way: sent over many connections, settled in batches."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from queue import Empty, SimpleQueue
from typing import TypeVar

from worker.delivery.office import Office
from worker.delivery.outcome import PauseSender, Sent, Unknown, decide
from worker.delivery.quota import Reservation, corrections
from worker.delivery.settlement import doubtful_seconds, settlement
from worker.delivery.stopping import stop_sender
from worker.ledger import PASSING_FAULTS, ClaimedMessage, Settlement, State
from worker.messages.sender import Sender
from worker.providers.base import Answer, Category, Channel, ProviderError

log = logging.getLogger(__name__)

Stored = TypeVar("Stored")

BATCH = 100
BATCH_SECONDS = 0.1
"""Answers are stored when so many are in, or so much time has passed."""
HOPELESS = 3
"""After so many failed connections, and more of them than answers, the chunk is given up."""
STORE_AGAIN_SECONDS = 0.5
TURN_SECONDS = 0.5
"""A thread sends for one chunk so long before others may have it: handing over costs as much as a tenth of a send."""


@dataclass(frozen=True, slots=True)
class Answered:
    """A claimed message with its answer, or None where it was not sent after all."""

    message: ClaimedMessage
    answer: Answer | None


class Clock:
    """The database's time, carried on by this machine's monotonic clock: what the wall says here does not matter."""

    def __init__(self, now: datetime) -> None:
        self._read_at = time.monotonic()
        self._now = now

    def now(self) -> datetime:
        """Return the database's time."""
        return self._now + timedelta(seconds=time.monotonic() - self._read_at)


class Chunk:
    """One chunk of one sender; `last_start` is the monotonic moment after which no call may begin."""

    def __init__(
        self,
        office: Office,
        sender: Sender,
        channel: Channel,
        clock: Clock,
        last_start: float,
        reservation: Reservation,
    ) -> None:
        self.halted = threading.Event()
        self._halted_by: Answer | None = None
        self._office = office
        self._sender = sender
        self._channel = channel
        self._clock = clock
        self._last_start = last_start
        self._reservation = reservation
        self._waiting: deque[ClaimedMessage] = deque()
        self._arrivals: SimpleQueue[Answered] = SimpleQueue()
        self._counting = threading.Lock()
        self._reached = 0
        self._unreachable = 0

    def send(self) -> Iterator[list[Answered]]:
        """Send all admitted messages and yield the answers as they come in.

        Only as many calls are under way at once as are this chunk's share of the connections, so that the calls of
        other senders are never behind more than those.
        """
        self._waiting.extend(self._reservation.admitted)
        remaining = len(self._waiting)
        for _ in range(min(self._office.calls_at_once(self._sender), remaining)):
            self._office.senders_at_work.submit(self._send_for_a_turn)
        while remaining:
            batch = self._batch(min(BATCH, remaining))
            remaining -= len(batch)
            yield batch

    def settle(self, batch: Sequence[Answered]) -> None:
        """Store what became of each message, and stop the sender where an answer says so."""
        ledger, name = self._office.ledger, self._sender.name
        settlements = [self._settlement(one.message, one.answer) for one in batch if one.answer is not None]
        unsent = [one.message for one in batch if one.answer is None]
        self._correct_counters(batch)
        recalling = self._patiently(lambda: ledger.deliveries.settle(name, settlements)) if settlements else 0
        self._patiently(lambda: ledger.deliveries.release(name, unsent))
        self._watch_campaigns(batch, settlements)
        halted_by, self._halted_by = self._halted_by, None
        if halted_by is not None:
            self._patiently(lambda: stop_sender(self._office, self._sender, halted_by))
        if self._sender.park_seconds and any(one.category == Category.ACCEPTED for one in settlements):
            self._patiently(lambda: ledger.senders.end_parking(name))
        if recalling:
            self._office.bell.ring(name)

    def _correct_counters(self, batch: Sequence[Answered]) -> None:
        """Give back what was counted and certainly not sent."""
        sent = [
            (one.message, one.answer.milliseconds)
            for one in batch
            if one.answer is not None and isinstance(decide(one.answer), Sent | Unknown)
        ]
        known = {message.id for message, _ in sent}
        unsent = [one.message for one in batch if one.message.id not in known]
        now = self._clock.now()
        self._office.quota.correct(self._sender, self._reservation, corrections(sent, unsent, self._sender, now), now)

    def _watch_campaigns(self, batch: Sequence[Answered], settlements: Sequence[Settlement]) -> None:
        failed = {one.message for one in settlements if one.state is State.FAILED}
        campaigns = {one.message.campaign for one in batch if one.message.id in failed}
        self._patiently(lambda: self._office.campaign_watch.messages_failed(one for one in campaigns if one))

    def _patiently(self, store: Callable[[], Stored]) -> Stored:
        """Store something, waiting for Postgres to come back as long as the leases last."""
        while True:
            try:
                return store()
            except PASSING_FAULTS as error:
                if time.monotonic() > self._last_start + self._office.slowest_call:
                    raise
                log.warning("answers for %s wait to be stored: %s", self._sender.name, type(error).__name__)
                time.sleep(STORE_AGAIN_SECONDS)

    def _send_for_a_turn(self) -> None:
        """Send what waits, unless it is too late or the sender must stop; after a turn make room for other chunks."""
        turn_ends = time.monotonic() + TURN_SECONDS
        while (now := time.monotonic()) < turn_ends:
            try:
                message = self._waiting.popleft()
            except IndexError:
                return
            stopped = now > self._last_start or self.halted.is_set() or self._office.stopping.is_set()
            self._arrivals.put(Answered(message, None if stopped else self._attempt(message)))
        self._office.senders_at_work.submit(self._send_for_a_turn)

    def _attempt(self, message: ClaimedMessage) -> Answer:
        try:
            answer = self._call(message)
        except ProviderError as error:
            answer = error.answer
        except Exception:
            log.exception("sending %s failed in our own code", message.id)
            answer = Answer(Category.UNCERTAIN, reason="a fault in wecom-worker; its log has the details")
        self._halt_if_pointless(answer)
        return answer

    def _call(self, message: ClaimedMessage) -> Answer:
        if message.files:
            return self._office.media.send(self._channel, self._sender.name, message)
        return self._channel.send(message.body, message.recipients)

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
        now, lease_seconds = self._clock.now(), self._office.settings.lease_seconds
        share = (message.id.int & 0xFFFF) / 0x10000
        outcome = decide(answer, message.retries, share, doubtful_seconds(message, now, lease_seconds))
        return settlement(message, answer, outcome, now=now, lease_seconds=lease_seconds, quiet=self._office.quiet)

    def _batch(self, most: int) -> list[Answered]:
        """Collect answers until there are enough or the first of them has waited long enough."""
        batch = [self._arrivals.get()]
        until = time.monotonic() + BATCH_SECONDS
        while len(batch) < most:
            try:
                batch.append(self._arrivals.get(timeout=max(0.0, until - time.monotonic())))
            except Empty:
                break
        return batch
