"""Statements for the demo and its checks: the ledger's clock, and figures over all messages of a small ledger."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Engine, text

from worker.ledger.schema import State

# The setting belongs to the database, not to a session, so that every process sees the same clock.
_CLOCK_SETTING = text("""
    select format('alter database %I set wecom.clock_offset = %L',
                  current_database(), (cast(:moment as timestamptz) - clock_timestamp())::text)
""")

# Sessions read the setting when they begin; pools notice that these are gone and open others.
_END_OTHER_SESSIONS = text("""
    select pg_terminate_backend(pid) from pg_stat_activity
    where datname = current_database() and pid <> pg_backend_pid()
""")

_MESSAGES = text("""
    select id, state, touser, msgid, errcode, sent_at, send_at,
           array(select lower(value) from wecom.invalid_recipients where message = id) as invalid
    from wecom.messages
    order by id
""")

_ATTEMPTS = text("""
    select category, errcode, count(*) as attempts from wecom.attempts
    group by category, errcode order by attempts desc, category
""")

_INVALID = text("select kind, value from wecom.invalid_recipients order by kind, value")

_MOST_EVENTFUL = text("""
    select message from wecom.attempts join wecom.messages on messages.id = attempts.message
    where state = 'sent'
    group by message order by count(distinct category) desc, count(*) desc, message limit 1
""")


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """What the ledger says about one message, as far as the simulator's record can confirm it."""

    id: UUID
    state: State
    users: frozenset[str]
    msgid: str | None
    errcode: int | None
    sent_at: datetime | None
    send_at: datetime
    invalid: frozenset[str]


class Demonstration:
    """What the demo asks of its own ledger; nothing here belongs on a ledger that somebody relies on."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def set_clock(self, moment: datetime) -> None:
        """Set the ledger's clock; it runs on from there, for every process."""
        with self._engine.begin() as connection:
            statement = connection.execute(_CLOCK_SETTING, {"moment": moment}).scalar_one()
            connection.exec_driver_sql(statement)
        with self._engine.begin() as connection:
            connection.execute(_END_OTHER_SESSIONS)
        self._engine.dispose()

    def entries(self) -> list[LedgerEntry]:
        """Return every message, in the order of acceptance."""
        with self._engine.connect() as connection:
            return [
                LedgerEntry(
                    id=row.id,
                    state=State(row.state),
                    users=frozenset(user.lower() for user in row.touser),
                    msgid=row.msgid,
                    errcode=row.errcode,
                    sent_at=row.sent_at,
                    send_at=row.send_at,
                    invalid=frozenset(row.invalid),
                )
                for row in connection.execute(_MESSAGES)
            ]

    def attempts(self) -> Mapping[tuple[str, int | None], int]:
        """Return how many attempts were no plain success, by category and errcode."""
        with self._engine.connect() as connection:
            return {(row.category, row.errcode): row.attempts for row in connection.execute(_ATTEMPTS)}

    def invalid_recipients(self) -> Mapping[str, list[str]]:
        """Return the recipients who were not served, by kind."""
        invalid: dict[str, list[str]] = {}
        with self._engine.connect() as connection:
            for row in connection.execute(_INVALID):
                invalid.setdefault(row.kind, []).append(row.value)
        return invalid

    def most_eventful(self) -> UUID | None:
        """Return the sent message with the most different mishaps on its way, or None if there were none."""
        with self._engine.connect() as connection:
            found: UUID | None = connection.execute(_MOST_EVENTFUL).scalar_one_or_none()
        return found
