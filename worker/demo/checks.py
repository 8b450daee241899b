"""Compares what the ledger says with what the local WeCom recorded. Pure.

The two have nothing in common but the HTTP calls between them, so where they agree, nothing was lost, doubled or
made up on the way.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from worker.demo.audience import Promise, servable
from worker.ledger import State
from worker.ledger.demonstration import LedgerEntry
from worker.simulator.record import Delivery

NOBODY_CAN_BE_SERVED = 81013
SENT = frozenset({State.SENT, State.RECALLED})


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything the checks look at.

    Attributes:
        promises: what was handed over, with the ids the producer returned.
        entries: the ledger, whole.
        deliveries: the simulator's record, whole.
        recalled: the message that was taken back.
        urgent: the message sent in the quiet window.
        waiting: the message that had to wait for the end of the window.
        quiet_until: when that window ended.
        unmet_faults: faults that were ordered and never came.
    """

    promises: Sequence[Promise]
    entries: Sequence[LedgerEntry]
    deliveries: Sequence[Delivery]
    recalled: UUID
    urgent: UUID
    waiting: UUID
    quiet_until: datetime
    unmet_faults: Sequence[str] = ()

    def shown(self) -> list[Delivery]:
        """The deliveries that were shown to somebody: all but the suppressed repetitions."""
        return [delivery for delivery in self.deliveries if delivery.duplicate_of is None]

    def delivery_of(self, message: UUID) -> Delivery | None:
        """What the simulator recorded under the msgid that the ledger has for a message."""
        msgids = {entry.msgid for entry in self.entries if entry.id == message}
        return next((delivery for delivery in self.shown() if delivery.msgid in msgids), None)


@dataclass(frozen=True, slots=True)
class Check:
    """One claim, and where it does not hold."""

    claim: str
    differences: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Whether ledger and record agree."""
        return not self.differences


def check(evidence: Evidence) -> list[Check]:
    """Make every comparison."""
    return [Check(claim, tuple(differences(evidence))) for claim, differences in CLAIMS.items()]


def _not_in_ledger(evidence: Evidence) -> Iterator[str]:
    promised = {promise.id for promise in evidence.promises}
    stored = {entry.id for entry in evidence.entries}
    yield from (f"{message} was accepted and is not in the ledger" for message in promised - stored)
    yield from (f"{message} is in the ledger and nobody asked for it" for message in stored - promised)


def _not_final(evidence: Evidence) -> Iterator[str]:
    for entry in evidence.entries:
        if entry.state not in SENT | {State.FAILED}:
            yield f"{entry.id} still stands at {entry.state}"


def _missed(evidence: Evidence) -> Iterator[str]:
    missing = _due_to_be_shown(evidence) - _really_shown(evidence)
    yield from (f"{user} was never shown {content!r}" for user, content in missing)


def _shown_too_often(evidence: Evidence) -> Iterator[str]:
    surplus = _really_shown(evidence) - _due_to_be_shown(evidence)
    yield from (f"{user} was shown {content!r} {times} times too often" for (user, content), times in surplus.items())


def _msgids(evidence: Evidence) -> Iterator[str]:
    known = Counter(entry.msgid or "" for entry in evidence.entries if entry.state in SENT)
    recorded = Counter(delivery.msgid for delivery in evidence.shown())
    yield from (f"the ledger has a msgid the local WeCom has not: {msgid}" for msgid in known - recorded)
    yield from (f"the local WeCom has a msgid the ledger has not: {msgid}" for msgid in recorded - known)


def _invalid(evidence: Evidence) -> Iterator[str]:
    """Whoever was named and not served must be listed as invalid, and nobody else."""
    served = {delivery.msgid: frozenset(delivery.served) for delivery in evidence.shown()}
    for entry in evidence.entries:
        left_out = entry.users - served.get(entry.msgid or "", frozenset())
        if entry.state in SENT | {State.FAILED} and left_out != entry.invalid:
            yield f"{entry.id}: not served {sorted(left_out)}, invalid in the ledger {sorted(entry.invalid)}"


def _failures(evidence: Evidence) -> Iterator[str]:
    hopeless = {promise.id for promise in evidence.promises if not servable(promise.users)}
    failed = {entry.id: entry.errcode for entry in evidence.entries if entry.state is State.FAILED}
    yield from (f"{message} names nobody who can be served and is not failed" for message in hopeless - set(failed))
    yield from (f"{message} failed although somebody could be served" for message in set(failed) - hopeless)
    for message, errcode in failed.items():
        if errcode != NOBODY_CAN_BE_SERVED:
            yield f"{message} failed with {errcode}"


def _repetitions(evidence: Evidence) -> Iterator[str]:
    numbered = {delivery.number: delivery for delivery in evidence.deliveries}
    repetitions = [delivery for delivery in evidence.deliveries if delivery.duplicate_of is not None]
    if not repetitions:
        yield "nothing was repeated, although connections broke after the message was taken"
    for delivery in repetitions:
        original = numbered[delivery.duplicate_of or 0]
        if original.body_sha256 != delivery.body_sha256 or delivery.served:
            yield f"delivery {delivery.number} repeats {original.number} with other bytes, or was shown"


def _recall(evidence: Evidence) -> Iterator[str]:
    in_ledger = {entry.msgid for entry in evidence.entries if entry.state is State.RECALLED}
    recorded = {delivery.msgid for delivery in evidence.shown() if delivery.recalled_at is not None}
    asked = evidence.delivery_of(evidence.recalled)
    if in_ledger != recorded or asked is None or recorded != {asked.msgid}:
        yield f"{len(in_ledger)} recalled in the ledger, {len(recorded)} in the record"


def _quiet_window(evidence: Evidence) -> Iterator[str]:
    urgent, waiting = evidence.delivery_of(evidence.urgent), evidence.delivery_of(evidence.waiting)
    if urgent is None or waiting is None:
        yield "one of the two texts never arrived"
        return
    end = evidence.quiet_until.timestamp()
    if waiting.at < end:
        yield f"the normal text arrived in the window, at {datetime.fromtimestamp(waiting.at, UTC):%H:%M:%S} UTC"
    if urgent.at >= end:
        yield f"the urgent text waited, until {datetime.fromtimestamp(urgent.at, UTC):%H:%M:%S} UTC"


def _faults(evidence: Evidence) -> Iterator[str]:
    yield from (f"{fault} was ordered and never came" for fault in evidence.unmet_faults)


def _due_to_be_shown(evidence: Evidence) -> Counter[tuple[str, str]]:
    return Counter((user.lower(), promise.content) for promise in evidence.promises for user in servable(promise.users))


def _really_shown(evidence: Evidence) -> Counter[tuple[str, str]]:
    return Counter((user, delivery.content) for delivery in evidence.shown() for user in delivery.served)


CLAIMS: dict[str, Callable[[Evidence], Iterator[str]]] = {
    "every accepted text is in the ledger, and nothing else": _not_in_ledger,
    "no text is left behind: all are sent, recalled or failed": _not_final,
    "nobody was missed: every member who can be served was shown the text": _missed,
    "nobody was shown a text twice, or one meant for somebody else": _shown_too_often,
    "the msgids in the ledger are those the local WeCom gave out": _msgids,
    "the invalid recipients in the ledger are those who were not served": _invalid,
    "failed are exactly the texts that name nobody who can be served (81013)": _failures,
    "what was of unknown fate was repeated byte for byte, and never shown again": _repetitions,
    "the recalled text, and no other, is taken back": _recall,
    "every fault that was ordered has come: nothing above was too easy": _faults,
    "in the quiet window only the urgent text arrived": _quiet_window,
}
