"""Makes calls that stand for themselves, a few at once: recalls and card updates."""

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from worker.delivery.hearing import LOOK_SECONDS
from worker.delivery.office import Office
from worker.delivery.outcome import OUR_OWN_FAULT, PauseSender, decide
from worker.delivery.patience import PAST_THE_LEASE_SECONDS, Patience, claim_surely, patiently
from worker.delivery.stopping import park_calls, stands_aside_for, stop_sender
from worker.elapsed import elapsed
from worker.ledger import Calls, is_passing
from worker.messages.sender import Sender
from worker.providers.base import Answer, Category, Channel, HeldBack, ProviderError

log = logging.getLogger(__name__)

Claimed = TypeVar("Claimed")
Settled = TypeVar("Settled")

AGAIN_SECONDS = 5.0
"""How long a call that met a passing fault waits before it is made again."""


@dataclass(frozen=True, slots=True)
class Errand(Generic[Claimed, Settled]):
    """One kind of calls: how they are claimed, made, judged and settled.

    Attributes:
        calls: by which name they are parked.
        claim: of a sender, so many at most, for so many seconds.
        give_back: releases what was claimed and not tried.
        call: makes one call, and has asked the last argument whether it may, right before it leaves.
        settlement: says what an answer makes of what was claimed.
        settle: stores that.
    """

    calls: Calls
    claim: Callable[[str, int, float], list[Claimed]]
    give_back: Callable[[str, Sequence[Claimed]], None]
    call: Callable[[Channel, Claimed, Callable[[], None]], Answer]
    settlement: Callable[[Claimed, Answer], Settled]
    settle: Callable[[str, Sequence[Settled]], None]


def carry_out(office: Office, name: str, errand: Errand[Claimed, Settled]) -> int:
    """Make the next calls of one sender that wait; return how many were tried.

    A sender that is paused makes none. A parked one does: its parking is about messages, and WeCom counts each
    interface by itself. Calls that meet a limit of their own, or nobody at all, are parked by themselves.
    """
    sender, _ = office.ledger.senders.open(name)
    if sender.stopped:
        return 0
    lease_seconds = office.settings.lease_seconds
    lease_ends = elapsed() + lease_seconds
    patience = office.patience(lease_ends + PAST_THE_LEASE_SECONDS)
    claimed = claim_surely(
        lambda: errand.claim(name, office.calls_at_once(sender), lease_seconds),
        lambda unsure: errand.give_back(name, unsure),
        patience,
    )
    if not claimed:
        return 0
    try:
        channel = office.provider_of(sender).open(sender)
    except ProviderError as error:
        answer = error.answer
        patiently(lambda: errand.give_back(name, claimed), patience)
        patiently(lambda: _stop(office, sender, errand.calls, answer), patience, missed=False)
        return 0
    permit = _Permit(office, name, lease_ends - office.slowest_call)

    def made(one: Claimed) -> Answer | None:
        try:
            permit.require()  # what waits for a thread need not connect for nothing
            return _answer(errand.call, channel, one, permit.require)
        except HeldBack:
            return None

    tried = list(zip(claimed, office.senders_at_work.map(made, claimed), strict=True))
    answers = [answer for _, answer in tried if answer is not None]
    if answers and _fault_of_this_machine(office, name, answers, patience):
        # Nothing became of these calls, and others make them.
        tried = [(one, None if answer and answer.may_be_of_this_machine else answer) for one, answer in tried]
        answers = [answer for _, answer in tried if answer is not None]
    if kept := [one for one, answer in tried if answer is None]:
        patiently(lambda: errand.give_back(name, kept), patience)
    if answers:
        settled = [errand.settlement(one, answer) for one, answer in tried if answer is not None]
        _settle(errand, name, settled, patience)
        if limit := _limit(answers):
            patiently(lambda: park_calls(office, sender, errand.calls, limit), patience, missed=False)
    return len(answers)


class _Permit:
    """Whether calls that wait for a thread may still be made; one look into the ledger serves many for a moment."""

    def __init__(self, office: Office, name: str, last_start: float) -> None:
        self._office = office
        self._name = name
        self._last_start = last_start
        self._looking = threading.Lock()
        self._looked_at = elapsed()
        self._stopped = False

    def require(self) -> None:
        """Ask whether a call may be made: not past the lease, not while this worker stops or the sender is paused.

        Raises:
            HeldBack: it must stay.
        """
        with self._looking:
            if elapsed() - self._looked_at > LOOK_SECONDS:
                self._looked_at = elapsed()
                try:
                    self._stopped = self._office.ledger.senders.find(self._name).stopped
                except Exception as error:
                    if not is_passing(error):
                        raise
                    self._stopped = True  # while nobody can be asked, nothing leaves
        if self._stopped or self._office.stopping.is_set() or elapsed() >= self._last_start:
            raise HeldBack


def rejected(answer: Answer) -> bool:
    """Whether an answer is the last word on a call that stands for itself.

    A fault of the configuration is one too: it may concern this API alone, and must not stop the sender's messages
    again and again. Where it concerns them as well, their own answers say so.
    """
    return answer.category in {
        Category.RECIPIENT,
        Category.CONTENT,
        Category.CONFIG,
        Category.TOKEN,
        Category.UNLISTED,
    }


def _stop(office: Office, sender: Sender, calls: Calls, answer: Answer) -> None:
    """Stop what cannot go on without access: with wrong credentials the sender, otherwise these calls."""
    if decide(answer) == PauseSender(None):
        stop_sender(office, sender, answer)
    elif not stands_aside_for(office, sender.name, answer):
        park_calls(office, sender, calls, answer)


def _fault_of_this_machine(office: Office, name: str, answers: Sequence[Answer], patience: Patience) -> bool:
    """Whether this worker has to leave the sender to others, after what its calls met."""
    refused = next((answer for answer in answers if answer.address_refused), None)
    fault = answers[0] if all(answer.may_be_of_this_machine for answer in answers) else refused
    if fault is not None:
        return patiently(lambda: stands_aside_for(office, name, fault), patience, missed=False)
    if office.aside.on_trial(name) and any(answer.let_in for answer in answers):
        patiently(lambda: office.aside.passed(name), patience, missed=False)
    return False


def _limit(answers: Sequence[Answer]) -> Answer | None:
    """Return the answer that further calls of this kind would meet too, if there is one."""
    for answer in answers:
        if answer.category is Category.RATE_LIMITED:
            return answer
    return answers[0] if all(answer.category is Category.UNREACHABLE for answer in answers) else None


def _settle(errand: Errand[Claimed, Settled], name: str, settled: Sequence[Settled], patience: Patience) -> None:
    """Store what became of the calls; where Postgres refuses something, one by one."""
    try:
        patiently(lambda: errand.settle(name, settled), patience)
    except Exception as error:
        if is_passing(error) or len(settled) == 1:
            raise
    else:
        return
    faults = []
    for one in settled:
        try:
            patiently(lambda one=one: errand.settle(name, [one]), patience)  # type: ignore[misc]
        except Exception as error:  # noqa: BLE001 - the others must not wait for it
            faults.append(error)
    if faults:
        raise faults[0]


def _answer(
    call: Callable[[Channel, Claimed, Callable[[], None]], Answer],
    channel: Channel,
    claimed: Claimed,
    before_leaving: Callable[[], None],
) -> Answer:
    try:
        return call(channel, claimed, before_leaving)
    except ProviderError as error:
        return error.answer
    except HeldBack:
        raise
    except Exception:
        log.exception("a call failed in our own code")
        return OUR_OWN_FAULT
