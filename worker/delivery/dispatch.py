"""Rings for every sender that has something due; harmless when it runs twice at once."""

from worker.delivery.office import Office
from worker.ledger import DISPATCH


def dispatch(office: Office) -> int:
    """Look for due messages and errands, ring for their senders, and return how many senders there are."""
    chunk, deliveries = office.settings.chunk, office.settings.deliveries
    quiet_until = office.quiet.waiting_until(office.ledger.due.now())
    bells = {due.name: -(-due.messages // chunk) for due in office.ledger.due.senders(chunk * deliveries, quiet_until)}
    for sender in office.ledger.due.senders_with_errands():
        bells.setdefault(sender, 1)
    for sender, times in bells.items():
        office.bell.ring(sender, times)
    office.ledger.workers.note_tick(DISPATCH)
    return len(bells)
