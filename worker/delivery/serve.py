"""Answers a bell: recalls, card updates, chunks and uploads of one sender, for one turn."""

import logging
import time

from worker.delivery.card_update import carry_out_card_updates
from worker.delivery.deliver import deliver
from worker.delivery.office import Office
from worker.delivery.recall import carry_out_recalls
from worker.delivery.uploads import start_uploads
from worker.encryption import SecretKeyError
from worker.ledger import Calls, Fault

log = logging.getLogger(__name__)

UNREADABLE_SECONDS = 60
TURN_SECONDS = 5
"""After so long a sender goes to the back of the queue, so that one with much to send does not hold up others."""


def serve(office: Office, sender: str, slot: int) -> int:
    """Do what is due for a sender until nothing is or its turn is over; return how many messages were claimed."""
    turn_ends = time.monotonic() + TURN_SECONDS
    claimed, more_due = 0, True
    with office.bell.answered(sender, slot) as still_working:
        if still_working is None:
            return 0
        if _may_serve(office, sender, slot):
            carry_out_recalls(office, sender)
            carry_out_card_updates(office, sender)
        else:
            more_due = False
        while more_due and time.monotonic() < turn_ends and office.aside.may_try(sender):
            delivery = deliver(office, sender, still_working)
            start_uploads(office, sender)  # of retries that are due, and of files that the claim found missing
            claimed += delivery.claimed
            more_due = delivery.more_due
    if (more_due or office.aside.passes_on(sender)) and not office.stopping.is_set():
        office.bell.ring(sender)
    return claimed


def _may_serve(office: Office, sender: str, slot: int) -> bool:
    """Whether the sender may have so many chunks in work, and this process can send for it and read its credentials.

    If no worker can read them, that is said where an operator looks.
    """
    if not office.aside.may_try(sender):
        return False
    try:
        opened, _ = office.ledger.senders.open(sender)
    except SecretKeyError as error:
        if office.aside.meets(sender, Fault.KEY, str(error)):
            return False
        office.ledger.senders.park(sender, str(error), UNREADABLE_SECONDS)
        for calls in Calls:
            office.ledger.parked_calls.park(sender, calls, str(error), UNREADABLE_SECONDS)
        log.error("%s is parked: %s", sender, error)  # noqa: TRY400 - the sentence says it all
        return False
    return opened.calls_at_once is None or slot < opened.calls_at_once
