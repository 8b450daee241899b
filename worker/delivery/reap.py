"""Reopens what dead workers held, and ends what can no longer be sent; harmless when it runs twice at once."""

import logging

from worker.delivery.office import Office
from worker.ledger import Reaped

log = logging.getLogger(__name__)


def reap(office: Office) -> Reaped:
    """Look for expired leases, expired messages, and messages of unknown fate past their last resend."""
    reaped = office.ledger.deliveries.reap(office.settings.lease_seconds)
    if reaped.reopened or reaped.unconfirmed:
        log.warning(
            "%d messages of stopped workers will be sent again, %d are unconfirmed and need a person",
            reaped.reopened,
            reaped.unconfirmed,
        )
    return reaped
