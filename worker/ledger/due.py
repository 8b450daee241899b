"""Which messages are due, and which senders have some: the one place that says so."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Engine, text

from worker.ledger.parked_calls import Calls, not_parked

# A message that is due; the indexes messages_due and messages_by_due_time serve the first line. Messages of a paused
# campaign are not, unless their fate is unknown: they may have been sent already, and only a repetition in time can
# tell.
DUE = """
    state = 'scheduled' and send_at <= wecom.clock()
    and (expires_at is null or expires_at > wecom.clock())
    and (resend_until is null or resend_until > wecom.clock())
    and (campaign is null or resend_until is not null
         or campaign not in (select paused.id from wecom.campaigns as paused where paused.paused_reason is not null))
"""

# In a quiet window only urgent messages go, and those that cannot wait for its end; the index messages_pressing
# serves the second kind, so that nobody looks through the backlog that waits.
CANNOT_WAIT = """
    priority in (1, 2) and (expires_at is not null or resend_until is not null)
    and least(expires_at, resend_until) < :quiet_until
"""

# An upload that somebody wants and nobody is at; `upload` is its row, `sender` that of its sender.
UPLOAD_DUE = """
    upload.try_at <= wecom.clock() and (upload.lease_until is null or upload.lease_until <= wecom.clock())
    and upload.wanted_until > wecom.clock()
"""
UPLOADS_ALLOWED = not_parked(Calls.UPLOADS, "upload.sender")

MAY_SEND = "(sender.paused_reason is null or sender.paused_until <= wecom.clock())"

LOOKED_AT = 10_000
"""So many due messages of a priority are read, the oldest first, before senders are asked one by one instead."""

# What is due is found by the index messages_by_due_time, whatever number of senders and of later messages there is.
_SENDERS_OF_OLDEST_DUE_MESSAGES = text(f"""
    with oldest as materialized (
        select found.sender
        from unnest(cast(:priorities as smallint[])) as rank (priority)
        cross join lateral (
            select sender from wecom.messages where priority = rank.priority and {DUE}
            order by send_at limit :looked_at
        ) as found
    )
    select sender.name, least(count(*), :enough) as messages, {MAY_SEND} as may_send,
           (select count(*) from oldest) as looked_at
    from oldest join wecom.senders as sender on sender.name = oldest.sender
    group by sender.name
    order by sender.name
""")

# Behind a backlog of one sender there may be others; one look into each sender's own part of messages_due finds them.
_SENDERS_WITH_DUE_MESSAGES = text(f"""
    select sender.name, due.messages
    from wecom.senders as sender
    cross join lateral (
        select count(*) as messages
        from (
            select from wecom.messages
            where messages.sender = sender.name and priority = any(cast(:priorities as smallint[])) and {DUE}
            limit :enough
        ) as counted
    ) as due
    where {MAY_SEND} and due.messages > 0
    order by sender.name
""")

_SENDERS_WITH_MESSAGES_THAT_CANNOT_WAIT = text(f"""
    select sender.name, 1 as messages
    from wecom.senders as sender
    where {MAY_SEND} and sender.name in (select sender from wecom.messages where {CANNOT_WAIT} and {DUE})
""")


def _senders_with(table: str, state: str) -> str:
    """Name each sender that has a row in this state and unleased: one step in the state's index from each to the next.

    A campaign of a million that is recalled is not read through for that.
    """
    return f"""
        with recursive found (sender) as (
            (select sender from {table} where state = '{state}' order by sender limit 1)
            union all
            select (select following.sender from {table} as following
                    where following.state = '{state}' and following.sender > found.sender
                    order by following.sender limit 1)
            from found where found.sender is not null
        )
        select sender from found where exists (
            select from {table} as waiting
            where waiting.sender = found.sender and state = '{state}'
              and (lease_until is null or lease_until <= wecom.clock()))
    """


# A parking is about messages: recalls and card updates of a parked sender go on, and wait only by their own.
_SENDERS_WITH_ERRANDS = text(f"""
    select sender.name
    from wecom.senders as sender
    where (sender.paused_reason is null or sender.paused_until is not null) and (
        sender.name in ({_senders_with("wecom.messages", "recalling")})
            and {not_parked(Calls.RECALLS, "sender.name")}
        or sender.name in ({_senders_with("wecom.card_updates", "scheduled")})
            and {not_parked(Calls.CARD_UPDATES, "sender.name")}
    )
    union
    select upload.sender from wecom.uploads as upload join wecom.senders as sender on sender.name = upload.sender
    where {MAY_SEND} and {UPLOAD_DUE} and {UPLOADS_ALLOWED}
    order by name
""")

_NOW = text("select wecom.clock()")


@dataclass(frozen=True, slots=True)
class DueSender:
    """A sender that could send now, and how many messages it has due, counted up to a bound."""

    name: str
    messages: int


class Due:
    """What the dispatcher asks."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def now(self) -> datetime:
        """Return the database's time, by which everything is judged."""
        with self._engine.connect() as connection:
            now: datetime = connection.execute(_NOW).scalar_one()
        return now

    def senders(self, enough: int, quiet_until: datetime | None) -> list[DueSender]:
        """Return the senders with due messages, counted up to `enough`; in a quiet window those with any that go."""
        with self._engine.connect() as connection:
            if quiet_until is None:
                return self._with_priorities(connection, [0, 1, 2], enough)
            urgent = self._with_priorities(connection, [0], enough)
            pressing = connection.execute(_SENDERS_WITH_MESSAGES_THAT_CANNOT_WAIT, {"quiet_until": quiet_until})
            known = {due.name for due in urgent}
            return urgent + [DueSender(*row) for row in pressing if row.name not in known]

    def _with_priorities(self, connection: Connection, priorities: list[int], enough: int) -> list[DueSender]:
        asked = {"priorities": priorities, "enough": enough}
        found = connection.execute(_SENDERS_OF_OLDEST_DUE_MESSAGES, asked | {"looked_at": LOOKED_AT}).all()
        if not found or found[0].looked_at < LOOKED_AT:
            return [DueSender(row.name, row.messages) for row in found if row.may_send]
        return [DueSender(*row) for row in connection.execute(_SENDERS_WITH_DUE_MESSAGES, asked)]

    def senders_with_errands(self) -> list[str]:
        """Return the senders with sent messages to be recalled, cards to be updated or files to be uploaded."""
        with self._engine.connect() as connection:
            return list(connection.scalars(_SENDERS_WITH_ERRANDS))
