"""Reopens what dead workers held, and ends what can no longer be sent; harmless when it runs twice at once."""

import logging

from worker.delivery.office import Office
from worker.delivery.rejections import REJECTED_KEPT
from worker.delivery.settlement import SLACK_SECONDS
from worker.ledger import REAP, Reaped

log = logging.getLogger(__name__)


def reap(office: Office) -> Reaped:
    """Look for expired leases, expired messages, messages of unknown fate past their last resend, and old things."""
    reaped = office.ledger.reaper.reap(office.settings.lease_seconds + SLACK_SECONDS)
    if reaped.reopened or reaped.unconfirmed:
        log.warning(
            "%d messages of stopped workers will be sent again, %d are unconfirmed and need a person",
            reaped.reopened,
            reaped.unconfirmed,
        )
    office.ledger.campaigns.finish_changes()
    office.ledger.reaper.forget_keys()
    office.ledger.rejected.forget(REJECTED_KEPT)
    office.ledger.uploads.drop_what_nobody_wants()
    office.ledger.media.drop_what_nobody_needs()
    office.ledger.workers.forget_the_gone()
    office.ledger.asides.forget_the_old()
    office.ledger.workers.note_tick(REAP)
    return reaped
