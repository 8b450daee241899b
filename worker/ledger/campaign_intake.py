"""Statements that write a new campaign: its row, its messages by COPY, and what it amounts to."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, Self, cast
from uuid import UUID

import orjson
from psycopg import Copy, Cursor
from sqlalchemy import Connection, text

from worker.ledger.campaigns import FIND, Campaign, campaign_of
from worker.ledger.schema import Priority, State

_COPY = """
    copy wecom.messages (sender, campaign, state, priority, requested_at, expires_at, toparty, totag, files,
                         id, send_at, touser, body)
    from stdin with (encoding 'UTF8')
"""

# Of two producers who make the same campaign at once, one waits here for the other and then finds it.
_BEGIN = text("""
    insert into wecom.campaigns (id, sender, name, content_hash, body, priority, requested_at, expires_at)
    values (:id, :sender, :name, '', :body, :priority, :requested_at, :expires_at)
    on conflict (sender, name) do nothing
""")
_FINISH = text("""
    update wecom.campaigns
    set content_hash = :content_hash, messages = :messages, recipients = :recipients, duplicates = :duplicates
    where id = :id
""")
_NAMED = text("""
    select distinct asked.userid
    from wecom.messages as message
    cross join lateral unnest(message.touser) as named (userid)
    join unnest(cast(:userids as text[])) as asked (userid) on lower(named.userid) = lower(asked.userid)
    where message.campaign = :campaign
""")


@dataclass(frozen=True, slots=True)
class NewCampaign:
    """A campaign to be."""

    id: UUID
    sender: str
    name: str
    body: Mapping[str, Any]
    priority: Priority
    requested_at: datetime
    expires_at: datetime | None


class MessageCopy:
    """Writes the messages of one campaign by COPY, in the producer's transaction."""

    def __init__(self, connection: Connection, campaign: NewCampaign, files: Sequence[str]) -> None:
        self._connection = connection
        self._campaign = campaign
        self._copying = ExitStack()
        self._copy: Copy | None = None
        constant = (
            campaign.sender,
            str(campaign.id),
            State.SCHEDULED.value,
            str(campaign.priority.value),
            campaign.requested_at.isoformat(),
            campaign.expires_at.isoformat() if campaign.expires_at else None,
            "{}",
            "{}",
            "{" + ",".join(files) + "}",
        )
        self._constant = b"".join(_column(value) + b"\t" for value in constant)

    def line(self, message: str, send_at: bytes, users: bytes, body: bytes) -> bytes:
        """Return one message as a line of COPY; `users` comes from `array_of`."""
        body = body.replace(b"\\", b"\\\\")
        return b"%b%b\t%b\t%b\t%b\n" % (self._constant, message.encode(), send_at, users, body)

    def write(self, lines: Sequence[bytes]) -> None:
        """Send lines to Postgres."""
        if self._copy is None:
            # psycopg is the only driver the ledger opens or borrows.
            cursor = cast("Cursor[Any]", self._connection.connection.cursor())
            self._copy = self._copying.enter_context(self._copying.enter_context(cursor).copy(_COPY))
        self._copy.write(b"".join(lines))

    def named_already(self, userids: Sequence[str]) -> set[str]:
        """Return which of these members the messages written so far name."""
        self._end()
        parameters = {"campaign": self._campaign.id, "userids": list(userids)}
        return set(self._connection.scalars(_NAMED, parameters))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._copying.__exit__(kind, error, trace)

    def _end(self) -> None:
        self._copying.close()
        self._copy = None


def array_of(users: Sequence[str]) -> bytes:
    """Write an array of userids as COPY reads it."""
    quoted = ",".join(f'"{user}"' for user in users)
    if "\\" in quoted or quoted.count('"') != 2 * len(users):
        quoted = ",".join('"{}"'.format(user.replace("\\", "\\\\").replace('"', '\\"')) for user in users)
        quoted = quoted.replace("\\", "\\\\")
    return b"{%b}" % quoted.encode()


def moment_of(time: datetime) -> bytes:
    """Write a time as COPY reads it."""
    return time.isoformat().encode()


def _column(value: str | None) -> bytes:
    if value is None:
        return b"\\N"
    return value.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r").encode()


def begin_campaign(connection: Connection, campaign: NewCampaign) -> Campaign | None:
    """Make a campaign without messages; return the one that has its name already, or None."""
    made = connection.execute(
        _BEGIN,
        {
            "id": campaign.id,
            "sender": campaign.sender,
            "name": campaign.name,
            "body": orjson.dumps(campaign.body).decode(),
            "priority": campaign.priority.value,
            "requested_at": campaign.requested_at,
            "expires_at": campaign.expires_at,
        },
    )
    if made.rowcount:
        return None
    return campaign_of(connection.execute(FIND, {"name": campaign.name, "sender": campaign.sender}).one())


def finish_campaign(
    connection: Connection, campaign: UUID, content_hash: bytes, *, messages: int, recipients: int, duplicates: int
) -> None:
    """Store what a campaign amounts to, now that all its messages are written."""
    connection.execute(
        _FINISH,
        {
            "id": campaign,
            "content_hash": content_hash,
            "messages": messages,
            "recipients": recipients,
            "duplicates": duplicates,
        },
    )
