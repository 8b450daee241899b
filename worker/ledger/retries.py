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
    select sender, array(select id from again) as again from wecom.messages where id = :id
""")
_CHANGED = text(
    "select exists (select from wecom.messages where id = any (cast(:ids as uuid[])) and state <> 'failed')"
)


class Retried(NamedTuple):
    """A message that was asked to be sent again, and whether anything of it had failed and now waits to be sent."""

    sender: str
    any_failed: bool


class Retry:
    """Has a failed message and its failed parts sent again; doing it again says what the first time said."""

    def __init__(self, message: UUID) -> None:
        self._message = message
        self._had_failed: list[UUID] = []

    def write(self, connection: Connection) -> Retried | None:
        """Change what has failed; None if no message has this id."""
        row = connection.execute(_RETRY, {"id": self._message}).one_or_none()
        if row is None:
            return None
        any_failed = bool(row.again)
        if self._had_failed and not any_failed:
            # An earlier try changed these if they are not failed any more. It may have ended while the statement above
            # waited for it, so this is another one.
            any_failed = bool(connection.scalar(_CHANGED, {"ids": self._had_failed}))
        self._had_failed += row.again
        return Retried(row.sender, any_failed)
