"""Answers a bell: recalls and chunks of one sender, for one turn."""

import time

from worker.delivery.deliver import deliver
from worker.delivery.office import Office
from worker.delivery.recall import carry_out_recalls

TURN_SECONDS = 5
"""After so long a sender goes to the back of the queue, so that one with much to send does not hold up others."""


def serve(office: Office, sender: str, slot: int) -> int:
    """Do what is due for a sender until nothing is or its turn is over; return how many messages were claimed."""
    turn_ends = time.monotonic() + TURN_SECONDS
    claimed, more_due = 0, True
    with office.bell.answered(sender, slot) as still_working:
        if still_working is None:
            return 0
        carry_out_recalls(office, sender)
        while more_due and time.monotonic() < turn_ends:
            delivery = deliver(office, sender, still_working)
            claimed += delivery.claimed
            more_due = delivery.more_due
    if more_due and not office.stopping.is_set():
        office.bell.ring(sender)
    return claimed
