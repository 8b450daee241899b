"""Finds out whether a campaign whose COMMIT got no answer was stored; its recipients were read and cannot be again."""

from sqlalchemy import Connection

from worker.delivery.campaigns import CampaignConflict
from worker.ledger import Campaign, LedgerError, NewCampaign, begin_campaign, counted


def find_written(connection: Connection, written: Campaign) -> Campaign:
    """Return a campaign that was perhaps stored, as it was written; of another with its name and content, that one.

    Raises:
        LedgerError: it was not stored, and nothing of it was.
        CampaignConflict: the sender has another campaign of this name, with other content.
    """
    existing = begin_campaign(
        connection,
        NewCampaign(
            id=written.id,
            sender=written.sender,
            name=written.name,
            body=written.body,
            priority=written.priority,
            requested_at=written.requested_at,
            expires_at=written.expires_at,
        ),
    )
    # Had it been stored, it would have its name; a transaction that is still under way was waited for.
    if existing is None:
        raise LedgerError(
            f"the connection to Postgres broke before it had the campaign {written.name!r}; nothing of it was stored, "
            "make it again"
        )
    if existing.id == written.id:
        return written
    if existing.content_hash != written.content_hash:
        raise CampaignConflict(
            f"name: {existing.sender} has a campaign {existing.name!r} with other content; choose another name"
        )
    return counted(connection, existing)
