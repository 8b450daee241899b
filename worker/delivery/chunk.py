"""The messages claimed at once, on their way: sent over many connections, settled in batches."""

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from queue import Empty, SimpleQueue
from typing import TypeVar
from uuid import UUID

from worker.delivery.clock import Clock
from worker.delivery.hearing import Hearing
from worker.delivery.media import send_with_files
from worker.delivery.office import Office
from worker.delivery.outcome import OUR_OWN_FAULT, PauseSender, decide
from worker.delivery.patience import PAST_THE_LEASE_SECONDS, patiently
from worker.delivery.quota import Fate, Reservation
from worker.delivery.settlement import SLACK_SECONDS, doubtful_seconds, settlement
from worker.delivery.stopping import stands_aside_for, stop_sender
from worker.elapsed import elapsed
from worker.ledger import ClaimedMessage, Settlement, State, is_passing
from worker.messages.sender import Sender
from worker.providers.base import Answer, Category, Channel, HeldBack, ProviderError

log = logging.getLogger(__name__)

Stored = TypeVar("Stored")

BATCH = 100
BATCH_SECONDS = 0.1
"""Answers are stored when so many are in, or so much time has passed."""
HOPELESS = 3
"""After so many failed connections, and more of them than answers, the chunk is given up."""
TURN_SECONDS = 0.5
"""A thread sends for one chunk so long before others may have it: handing over costs as much as a tenth of a send."""


@dataclass(frozen=True, slots=True)
class Answered:
    """A claimed message with its answer, or None where it was not sent after all."""

    message: ClaimedMessage
    answer: Answer | None


class Chunk:
    """One chunk of one sender."""

    def __init__(
        self, office: Office, sender: Sender, channel: Channel, clock: Clock, hearing: Hearing, reservation: Reservation
    ) -> None:
        self.hearing = hearing
        self._halted_by: Answer | None = None
        self._office = office
        self._sender = sender
        self._channel = channel
        self._clock = clock
        self._reservation = reservation
        self._waiting: deque[ClaimedMessage] = deque()
        self._unanswered: dict[UUID, ClaimedMessage] = {}
        self._arrivals: SimpleQueue[Answered] = SimpleQueue()
        self._counting = threading.Lock()
        self._on_trial = office.aside.on_trial(sender.name)
        self._aside = False
        self._reached = 0
        self._unreachable = 0

    def deliver(self, still_working: Callable[[], None]) -> None:
        """Send all admitted messages, and store what became of each as the answers come in.

        Only as many calls are under way at once as are this chunk's share of the connections, so that the calls of
        other senders are never behind more than those.
        """
        self._waiting.extend(self._reservation.admitted)
        self._unanswered.update((message.id, message) for message in self._waiting)
        for _ in range(min(self._office.calls_at_once(self._sender), len(self._waiting))):
            self._office.senders_at_work.submit(self._send_for_a_turn)
        while self._unanswered:
            batch = self._batch()
            for one in batch:
                del self._unanswered[one.message.id]
            if batch:
                self._settle(batch)
            if self._unanswered and not self.hearing.seconds_to_look():
                self._look()
            still_working()

    def give_up(self) -> None:
        """Let nothing more leave, and give back what did not; the answers of what did are lost."""
        self.hearing.halt()
        unsent: list[ClaimedMessage] = []
        until = elapsed() + self._office.slowest_call
        while self._unanswered and elapsed() < until:
            for one in self._batch():
                del self._unanswered[one.message.id]
                if one.answer is None:
                    unsent.append(one.message)
        self._patiently(lambda: self._office.ledger.deliveries.release(self._sender.name, unsent))

    def _look(self) -> None:
        try:
            self.hearing.look(self._unanswered.values())
        except Exception as error:
            if not is_passing(error):
                raise
            self._office.absence.met(error)

    def _settle(self, batch: Sequence[Answered]) -> None:
        """Store what became of each message, and stop the sender where an answer says so."""
        ledger, name = self._office.ledger, self._sender.name
        halted_by, self._halted_by = self._halted_by, None
        if halted_by is not None:
            self._aside = self._patiently(lambda: stop_sender(self._office, self._sender, halted_by))
        elif not self._aside and (fault := self._nothing_but_unreachable(batch)) is not None:
            self._aside = self._patiently(lambda: stands_aside_for(self._office, name, fault))
            if self._aside:
                self.hearing.halt()
        settlements, unsent = [], []
        for one in batch:
            if one.answer is None or (self._aside and one.answer.may_be_of_this_machine):
                unsent.append(one.message)  # another worker sends it, and nothing is counted against it
            else:
                settlements.append(self._settlement(one.message, one.answer))
        answered_by = self._clock.latest()
        self._patiently(lambda: ledger.deliveries.release(name, unsent))
        recalling = self._patiently(lambda: ledger.deliveries.settle(name, settlements)) if settlements else 0
        self._correct_counters(batch, settlements, answered_by)
        self._watch_campaigns(batch, settlements)
        if self._on_trial and any(one.answer is not None and one.answer.let_in for one in batch):
            self._on_trial = False
            self._patiently(lambda: self._office.aside.passed(name))
        if self._sender.park_seconds and any(one.category == Category.ACCEPTED for one in settlements):
            self._patiently(lambda: ledger.senders.end_parking(name))
        if recalling:
            self._office.bell.ring(name)

    def _nothing_but_unreachable(self, batch: Sequence[Answered]) -> Answer | None:
        """Return an answer that says so, if none of this chunk has reached anybody yet.

        So few do not stop a sender, but others may have a better way: a machine that is cut off while little is sent
        would otherwise take up each message again and again.
        """
        if self._reached:
            return None
        answers = (one.answer for one in batch if one.answer is not None)
        return next((answer for answer in answers if answer.category is Category.UNREACHABLE), None)

    def _correct_counters(
        self, batch: Sequence[Answered], settlements: Sequence[Settlement], answered_by: datetime
    ) -> None:
        """Say what is known now of messages that were counted before they were sent."""
        settled = {one.message: one for one in settlements}
        fates = [fate(one.message, one.answer, settled.get(one.message.id), answered_by) for one in batch]
        self._office.quota.correct(self._sender, self._reservation, fates, answered_by)

    def _watch_campaigns(self, batch: Sequence[Answered], settlements: Sequence[Settlement]) -> None:
        failed = {one.message for one in settlements if one.state is State.FAILED}
        campaigns = {one.message.campaign for one in batch if one.message.id in failed}
        self._patiently(lambda: self._office.campaign_watch.messages_failed(one for one in campaigns if one))

    def _patiently(self, store: Callable[[], Stored]) -> Stored:
        """Store something, waiting for Postgres to come back."""
        until = self.hearing.last_start + self._office.slowest_call + PAST_THE_LEASE_SECONDS
        return patiently(store, self._office.patience(until))

    def _send_for_a_turn(self) -> None:
        """Send what waits and may leave; after a turn make room for other chunks."""
        turn_ends = elapsed() + TURN_SECONDS
        while elapsed() < turn_ends:
            try:
                message = self._waiting.popleft()
            except IndexError:
                return
            self._arrivals.put(Answered(message, self._attempt(message)))
        self._office.senders_at_work.submit(self._send_for_a_turn)

    def _attempt(self, message: ClaimedMessage) -> Answer | None:
        try:
            answer = self._call(message) if self.hearing.may_leave(message) else None
        except HeldBack:
            answer = None
        except ProviderError as error:
            answer = error.answer
        except Exception:
            log.exception("sending %s failed in our own code", message.id)
            answer = OUR_OWN_FAULT
        if answer is not None:
            self._halt_if_pointless(answer)
        return answer

    def _call(self, message: ClaimedMessage) -> Answer:
        before_leaving = partial(self.hearing.require, message)
        if message.files:
            media = self._office.ledger.media
            return send_with_files(self._channel, media, self._sender.name, message, before_leaving)
        return self._channel.send(message.body, message.recipients, before_leaving)

    def _halt_if_pointless(self, answer: Answer) -> None:
        """Keep the rest of the chunk from failing the same way."""
        with self._counting:
            if answer.category is Category.UNREACHABLE:
                self._unreachable += 1
            else:
                self._reached += 1
            enough = 1 if self._on_trial else HOPELESS
            hopeless = self._unreachable >= enough and self._unreachable > self._reached
            if (hopeless or isinstance(decide(answer), PauseSender)) and not self.hearing.halted:
                self._halted_by = answer
                self.hearing.halt()

    def _settlement(self, message: ClaimedMessage, answer: Answer) -> Settlement:
        now, lease_seconds = self._clock.now(), self._office.settings.lease_seconds
        share = (message.id.int & 0xFFFF) / 0x10000
        outcome = decide(answer, message.retries, share, doubtful_seconds(message, now, lease_seconds))
        return settlement(message, answer, outcome, now=now, lease_seconds=lease_seconds, quiet=self._office.quiet)

    def _batch(self) -> list[Answered]:
        """Collect answers until there are enough or the first of them has waited long enough, or a look is due."""
        batch: list[Answered] = []
        wait = self.hearing.seconds_to_look()
        while len(batch) < min(BATCH, len(self._unanswered)):
            try:
                batch.append(self._arrivals.get(timeout=wait))
            except Empty:
                break
            if len(batch) == 1:
                until = elapsed() + BATCH_SECONDS
            wait = max(0.0, until - elapsed())
        return batch


def fate(message: ClaimedMessage, answer: Answer | None, settlement: Settlement | None, answered_by: datetime) -> Fate:
    """Say what the counters have to know of a message that was answered and settled so, or not sent after all."""
    called = answer is not None and answer.category is not Category.UNREACHABLE
    if settlement is None:
        in_doubt = message.resend_until is not None
    elif settlement.state is State.SENT:
        return Fate(message, answered_by, called)
    else:
        in_doubt = settlement.state is State.UNCONFIRMED or (
            settlement.state is State.SCHEDULED and settlement.resend_until is not None
        )
    if not in_doubt:
        return Fate(message, None, called)
    # The system goes on trying to hand over what it was given, for a while.
    return Fate(message, answered_by + timedelta(seconds=SLACK_SECONDS), called, in_doubt=True)
