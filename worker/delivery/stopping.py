"""Stops a sender, or its calls of one kind, because of an answer that all others would meet too; they wait.

What may be the fault of this machine alone stops nobody else, unless all workers have met it.
"""

import logging

from worker.delivery.office import Office
from worker.delivery.outcome import PauseSender, decide, next_parking
from worker.delivery.standing_aside import fault_of
from worker.ledger import Calls
from worker.messages.sender import Sender
from worker.providers.base import Answer

log = logging.getLogger(__name__)

UNREACHABLE_PARK_SECONDS = 5
LONGEST_UNREACHABLE_PARK = 60
"""A network that is back should not be waited for long."""


def stop_sender(office: Office, sender: Sender, answer: Answer) -> bool:
    """Pause a sender until a person resumes it, or park it for a while, as the answer demands.

    Returns whether this worker alone stands aside instead, so that others can send what it had in hand.
    """
    if stands_aside_for(office, sender.name, answer):
        return True
    match decide(answer):
        case PauseSender(None):
            log.error(
                "%s is paused: %s; its messages wait for `wecom senders resume %s`",
                sender.name,
                answer.said,
                sender.name,
            )
            office.ledger.senders.pause(sender.name, answer.said)
        case PauseSender(int(seconds)):
            park_sender(office, sender, answer.said, next_parking(seconds, sender.park_seconds))
        case _:
            seconds = next_parking(UNREACHABLE_PARK_SECONDS, sender.park_seconds, LONGEST_UNREACHABLE_PARK)
            park_sender(office, sender, answer.said, seconds)
    return False


def stands_aside_for(office: Office, sender: str, answer: Answer) -> bool:
    """Whether an answer is a fault of this machine alone; then this worker leaves the sender to the others."""
    return answer.may_be_of_this_machine and office.aside.meets(sender, fault_of(answer), answer.said)


def park_sender(office: Office, sender: Sender, reason: str, seconds: int) -> None:
    """Stop a sender for so many seconds."""
    log.warning("%s is parked for %d s: %s", sender.name, seconds, reason)
    office.ledger.senders.park(sender.name, reason, seconds)


def park_calls(office: Office, sender: Sender, calls: Calls, answer: Answer) -> None:
    """Have a sender's recalls or card updates wait for a while; its messages and its other calls go on."""
    last = office.ledger.parked_calls.last(sender.name, calls)
    match decide(answer):
        case PauseSender(int(first)):
            seconds = next_parking(first, last)
        case _:
            seconds = next_parking(UNREACHABLE_PARK_SECONDS, last, LONGEST_UNREACHABLE_PARK)
    log.warning("%s of %s are parked for %d s: %s", calls, sender.name, seconds, answer.said)
    office.ledger.parked_calls.park(sender.name, calls, answer.said, seconds)
