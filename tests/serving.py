"""A worker's turns in the test's own process."""

import time

from sqlalchemy import text

from worker.delivery.office import Office
from worker.delivery.serve import serve

PATIENCE_SECONDS = 30

_BUSY = text("""
    select exists (select from wecom.messages where state = 'sending')
        or exists (select from wecom.uploads where lease_until > wecom.clock())
""")


def serve_all(office: Office, sender: str = "hr") -> None:
    """Answer bells until nothing is due any more and no upload is under way."""
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        serve(office, sender, 0)
        # In the order in which work passes on: an upload is due, is under way, and wakes messages.
        if (
            not office.ledger.due.senders_with_errands()
            and not _busy(office)
            and not office.ledger.due.senders(1, None)
        ):
            return
        assert time.monotonic() < until, "something stays due"
        time.sleep(0.02)


def _busy(office: Office) -> bool:
    with office.ledger.engine.connect() as connection:
        return bool(connection.execute(_BUSY).scalar_one())
