"""The statement that has a failed message sent again; campaigns have one of their own."""

from uuid import UUID

from sqlalchemy import Connection, text

# WeCom refused it for certain, so it cannot arrive twice.
_RETRY = text("""
    with failed as (
        select id from wecom.messages
        where (id = :id or part_of = :id) and state = 'failed' and recall_requested_at is null
          and (expires_at is null or expires_at > wecom.clock())
        order by id for update
    )
    update wecom.messages as message
    set state = 'scheduled', retries = 0, send_at = wecom.clock(), errcode = null, error = null
    from failed where message.id = failed.id
    returning message.sender
""")


def retry_message(connection: Connection, message: UUID) -> str | None:
    """Have a failed message and its failed parts sent again; return the sender, or None if nothing of it had failed."""
    senders: list[str] = list(connection.scalars(_RETRY, {"id": message}))
    return senders[0] if senders else None
