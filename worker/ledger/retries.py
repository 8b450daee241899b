"""The statement that has a failed message sent again; campaigns have one of their own."""

from typing import NamedTuple
from uuid import UUID

from sqlalchemy import Connection, text

# WeCom refused it for certain, so it cannot arrive twice.
_RETRY = text("""
    with failed as (
        select id from wecom.messages as message
        where (id = :id or part_of = :id) and state = 'failed' and recall_requested_at is null
          and (expires_at is null or expires_at > wecom.clock())
          and not exists (
              select from wecom.campaigns where id = message.campaign and cancelled_at is not null
          )
        order by id for update
    ), again as (
        update wecom.messages as message
        set state = 'scheduled', retries = 0, send_at = wecom.clock(), errcode = null, error = null
        from failed where message.id = failed.id
        returning message.id
    )
    select sender, exists (select from again) as any_failed from wecom.messages where id = :id
""")


class Retried(NamedTuple):
    """A message that was asked to be sent again, and whether anything of it had failed and now waits to be sent."""

    sender: str
    any_failed: bool


def retry_message(connection: Connection, message: UUID) -> Retried | None:
    """Have a failed message and its failed parts sent again; None if no message has this id."""
    row = connection.execute(_RETRY, {"id": message}).one_or_none()
    return None if row is None else Retried(row.sender, row.any_failed)
