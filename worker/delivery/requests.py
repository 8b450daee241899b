"""What a producer asks for, as a value; nothing is judged here but its form."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self
from uuid import UUID

from worker.messages import Content, InvalidMessage, content_from_body, recipients_of_body

EARLIEST, LATEST = datetime(1000, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)
"""Times that Python can read in every time zone, and add to; Postgres shows them in that of its session."""


@dataclass(frozen=True, slots=True)
class SendRequest:
    """What a producer asks for.

    Attributes:
        sender: the short name of a sender.
        message: what to send.
        users: userids of members.
        parties: ids of departments.
        tags: ids of tags.
        everyone: reach every member the app can see (`@all`).
        at: when to send, with a time zone; None means now. It is moved out of the quiet windows.
        expires: when sending has no use any more.
        urgent: go before everything else, in quiet windows too.
        idempotency_key: asking again with the same key and message sends nothing and returns the first id.
        late_is_now: a due time that has passed means now, for requests that have waited in a queue.
        message_id: asking again for a message that was perhaps stored (`PerhapsStored.ids`): it is found, or stored
            under this id.
    """

    sender: str
    message: Content
    users: Iterable[str] = ()
    parties: Iterable[int | str] = ()
    tags: Iterable[int | str] = ()
    everyone: bool = False
    at: datetime | None = None
    expires: datetime | None = None
    urgent: bool = False
    idempotency_key: str | None = None
    late_is_now: bool = False
    message_id: UUID | None = None

    @classmethod
    def from_json(
        cls,
        sender: str,
        message: Mapping[str, Any],
        *,
        at: str | None = None,
        expires: str | None = None,
        **others: Any,  # noqa: ANN401 - judged by the constructor and by accept
    ) -> Self:
        """Read a request as JSON carries it: the message in WeCom's own form, times as ISO 8601.

        Recipients may stand in the message (`"touser": "a|b"`), as in WeCom's examples, or beside it.

        Raises:
            InvalidMessage: something in it cannot be sent.
        """
        if not isinstance(message, Mapping):
            raise InvalidMessage('message: an object is needed, like {"msgtype": "text", "text": {"content": "..."}}')
        named = {**recipients_of_body(message), **others}
        return cls(
            sender, content_from_body(message), at=read_time("at", at), expires=read_time("expires", expires), **named
        )


def read_time(field: str, value: str | datetime | None) -> datetime | None:
    """Read an ISO 8601 time with a time zone; Celery's JSON carries times as such.

    Raises:
        InvalidMessage: it is no time, or has no zone.
    """
    if value is None:
        return None
    try:
        return with_zone(field, value if isinstance(value, datetime) else datetime.fromisoformat(value))
    except (ValueError, TypeError) as error:
        if isinstance(error, InvalidMessage):
            raise
        raise InvalidMessage(f"{field}: {value!r} is no ISO 8601 time like 2026-11-20T09:00:00+08:00") from None


def with_zone(field: str, value: datetime) -> datetime:
    """Return the time if it says in which zone it is.

    Raises:
        InvalidMessage: it does not, or is no time at all.
    """
    if not isinstance(value, datetime):
        raise InvalidMessage(f"{field}: a datetime with a time zone is needed, not {type(value).__name__}")
    if value.tzinfo is None:
        raise InvalidMessage(
            f"{field}: {value.isoformat()} has no time zone; write {value.isoformat()}+08:00 or use aware datetimes"
        )
    try:
        kept = EARLIEST <= value.astimezone(UTC) <= LATEST
    except (OverflowError, ValueError):
        kept = False
    if not kept:
        raise InvalidMessage(f"{field}: {value.isoformat()} is not a time that can be kept")
    return value
