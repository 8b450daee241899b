"""Which messages are due, and which senders have some: the one place that says so."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine, text

# A message that is due; the index messages_due serves the first line. Messages of a paused campaign are not, unless
# their fate is unknown: they may have been sent already, and only a repetition in time can tell.
DUE = """
    state = 'scheduled' and send_at <= wecom.clock()
    and (expires_at is null or expires_at > wecom.clock())
    and (resend_until is null or resend_until > wecom.clock())
    and (campaign is null or resend_until is not null
         or campaign not in (select paused.id from wecom.campaigns as paused where paused.paused_reason is not null))
"""

# In a quiet window only urgent messages go, and those that cannot wait for its end; the index messages_that_cannot_wait
# serves the second kind, so that nobody looks through the backlog that waits.
CANNOT_WAIT = """
    priority in (1, 2) and (expires_at is not null or resend_until is not null)
    and least(expires_at, resend_until) < :quiet_until
"""

_MAY_SEND = "(sender.paused_reason is null or sender.paused_until <= wecom.clock())"

_SENDERS_WITH_DUE_MESSAGES = text(f"""
    select sender.name, due.messages
    from wecom.senders as sender
    cross join lateral (
        select count(*) as messages
        from (
            select from wecom.messages
            where messages.sender = sender.name and priority in (0, 1, 2) and {DUE}
            limit :enough
        ) as counted
    ) as due
    where {_MAY_SEND} and due.messages > 0
    order by sender.name
""")

_SENDERS_WITH_MESSAGES_THAT_GO_IN_QUIET_WINDOWS = text(f"""
    select sender.name, 1 as messages
    from wecom.senders as sender
    where {_MAY_SEND} and (
        exists (select from wecom.messages where messages.sender = sender.name and priority = 0 and {DUE})
        or exists (select from wecom.messages where messages.sender = sender.name and {CANNOT_WAIT} and {DUE})
    )
    order by sender.name
""")

_NOT_LEASED = "(lease_until is null or lease_until <= wecom.clock())"
_SENDERS_WITH_ERRANDS = text(f"""
    select sender.name
    from wecom.senders as sender
    where {_MAY_SEND} and (
        exists (select from wecom.messages
                where messages.sender = sender.name and state = 'recalling' and {_NOT_LEASED})
        or exists (select from wecom.card_updates
                   where card_updates.sender = sender.name and state = 'scheduled' and {_NOT_LEASED})
    )
    order by sender.name
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
                rows = connection.execute(_SENDERS_WITH_DUE_MESSAGES, {"enough": enough})
            else:
                rows = connection.execute(_SENDERS_WITH_MESSAGES_THAT_GO_IN_QUIET_WINDOWS, {"quiet_until": quiet_until})
            return [DueSender(*row) for row in rows]

    def senders_with_errands(self) -> list[str]:
        """Return the senders with sent messages that wait to be recalled, or with cards that wait to be updated."""
        with self._engine.connect() as connection:
            return list(connection.scalars(_SENDERS_WITH_ERRANDS))
