"""Statements about schedules: what is sent again and again, and the one who carries out an occurrence of it."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Connection, Engine, Row, text

from worker.ledger.connection import LedgerError
from worker.ledger.transactions import InDoubt, transact

_VALUES = """
    insert into wecom.schedules as stored (name, sender, cron, timezone, body, recipients, files, urgent, late_within,
                                           expires_after, next_at)
    values (:name, :sender, :cron, :timezone, cast(:body as jsonb), cast(:recipients as jsonb), :files, :urgent,
            :late_within, :expires_after, :next_at)
"""
_ADD = text(f"{_VALUES} on conflict (name) do nothing")
# A program that stores its schedules whenever it starts must not lose the occurrence that is due just then, nor resume
# what a person paused: only a schedule that was changed goes on.
_REPLACE = text(f"""
    {_VALUES}
    on conflict (name) do update
    set sender = excluded.sender, cron = excluded.cron, timezone = excluded.timezone, body = excluded.body,
        recipients = excluded.recipients, files = excluded.files, urgent = excluded.urgent,
        late_within = excluded.late_within, expires_after = excluded.expires_after,
        paused_reason = case
            when (stored.sender, stored.cron, stored.timezone, stored.body, stored.recipients, stored.urgent)
                 = (excluded.sender, excluded.cron, excluded.timezone, excluded.body, excluded.recipients,
                    excluded.urgent)
            then stored.paused_reason
        end,
        next_at = case
            when (stored.cron, stored.timezone) = (excluded.cron, excluded.timezone) and stored.paused_reason is null
            then stored.next_at else excluded.next_at
        end
""")

_COLUMNS = """
    name, sender, cron, timezone, body, files, urgent, late_within, expires_after, next_at, paused_reason, last_at,
    last_id, created_at,
    case jsonb_typeof(recipients) when 'object' then recipients end as named,
    case jsonb_typeof(recipients) when 'array' then jsonb_array_length(recipients) end as rows
"""
_FIND = text(f"select {_COLUMNS} from wecom.schedules where name = :name")
_ALL = text(f"select {_COLUMNS} from wecom.schedules order by name")

# Whoever comes second passes over the row, or finds it due no more: an occurrence is claimed by the transaction that
# writes its messages.
_CLAIM = text(f"""
    select {_COLUMNS}, recipients, wecom.clock() as now
    from wecom.schedules
    where paused_reason is null and next_at <= wecom.clock()
    order by next_at, name limit 1
    for update skip locked
""")
_MOVE_ON = text("""
    update wecom.schedules
    set next_at = :next_at, last_at = coalesce(:occurrence, last_at), last_id = coalesce(:id, last_id)
    where name = :name and next_at = :due_at
""")
_PAUSE = text("update wecom.schedules set paused_reason = :reason where name = :name")
_RESUME = text("""
    update wecom.schedules set paused_reason = null, next_at = :next_at
    where name = :name and paused_reason is not null
""")
_REMOVE = text("delete from wecom.schedules where name = :name")


class UnknownSchedule(LedgerError):  # noqa: N818 - what a producer reads
    """No schedule has this name."""


class ScheduleExists(LedgerError):  # noqa: N818 - it says what is the matter
    """A schedule has this name already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSchedule:
    """A schedule to be; `recipients` are the arguments of `Producer.send`, or the rows of a campaign."""

    name: str
    sender: str
    cron: str
    timezone: str
    body: Mapping[str, Any]
    recipients: Mapping[str, Any] | Sequence[Mapping[str, Any]]
    files: tuple[str, ...]
    urgent: bool
    late_within: timedelta | None
    expires_after: timedelta | None
    next_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A message or a campaign that is sent again and again.

    Attributes:
        body: the message in WeCom's own form, with templates if it is a campaign.
        named: whom the message names; None if it is a campaign.
        rows: how many recipients the campaign has; None if it is a message.
        late_within: so much later an occurrence that was missed may still be sent; None means however late.
        expires_after: so long after an occurrence sending has no use any more; None means it always has.
        next_at: when it is due next.
        paused_reason: why it is not sent, or None.
        last_at: the last occurrence that was sent.
        last_id: its message or campaign.
    """

    name: str
    sender: str
    cron: str
    timezone: str
    body: Mapping[str, Any]
    named: Mapping[str, Any] | None
    rows: int | None
    files: tuple[str, ...]
    urgent: bool
    late_within: timedelta | None
    expires_after: timedelta | None
    next_at: datetime
    paused_reason: str | None
    last_at: datetime | None
    last_id: UUID | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class DueSchedule:
    """A schedule that is due, locked until the end of the transaction, and the database's time."""

    schedule: Schedule
    recipients: Mapping[str, Any] | Sequence[Mapping[str, Any]]
    now: datetime


def insert_schedule(
    connection: Connection, new: NewSchedule, *, replace: bool, made: Collection[datetime] = ()
) -> Schedule:
    """Store a schedule and return it; with `replace` in place of one of its name, due when that was if its times stay.

    Args:
        connection: where.
        new: what is to be stored.
        replace: whether the name may be taken.
        made: when earlier tries made it, whose COMMIT was perhaps carried out: one made just then is no other.

    Raises:
        ScheduleExists: the name is taken.
    """
    values = {
        "name": new.name,
        "sender": new.sender,
        "cron": new.cron,
        "timezone": new.timezone,
        "body": orjson.dumps(new.body).decode(),
        "recipients": orjson.dumps(new.recipients).decode(),
        "files": list(new.files),
        "urgent": new.urgent,
        "late_within": _seconds(new.late_within),
        "expires_after": _seconds(new.expires_after),
        "next_at": new.next_at,
    }
    written = connection.execute(_REPLACE if replace else _ADD, values).rowcount
    stored = _found(connection, new.name)
    if not written and stored.created_at not in made:
        raise ScheduleExists(
            f"a schedule named {new.name!r} exists already; choose another name, or say --replace (replace=True)"
        )
    return stored


def claim_schedule(connection: Connection) -> DueSchedule | None:
    """Return the schedule that has been due longest and that nobody else carries out just now."""
    row = connection.execute(_CLAIM).one_or_none()
    return DueSchedule(_schedule(row), row.recipients, row.now) if row else None


def move_schedule_on(
    connection: Connection, due: Schedule, next_at: datetime, *, occurrence: datetime | None, sent: UUID | None
) -> None:
    """Store when a claimed schedule is due next, and what was sent now, if anything."""
    values = {"name": due.name, "due_at": due.next_at, "next_at": next_at, "occurrence": occurrence, "id": sent}
    connection.execute(_MOVE_ON, values)


def pause_schedule(connection: Connection, name: str, reason: str) -> bool:
    """Send nothing more of a schedule until it is resumed; return whether there is one of that name."""
    return connection.execute(_PAUSE, {"name": name, "reason": reason}).rowcount == 1


class Schedules:
    """The schedules of a ledger."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def find(self, name: str) -> Schedule:
        """Return one schedule.

        Raises:
            UnknownSchedule: there is none of that name.
        """
        with self._engine.connect() as connection:
            return _found(connection, name)

    def all(self) -> list[Schedule]:
        """Return all schedules by name."""
        with self._engine.connect() as connection:
            return [_schedule(row) for row in connection.execute(_ALL)]

    def pause(self, name: str, reason: str) -> Schedule:
        """Send nothing more of a schedule until it is resumed; what was stored already is still delivered.

        Raises:
            UnknownSchedule: there is none of that name.
        """

        def pause(connection: Connection) -> Schedule:
            pause_schedule(connection, name, reason)
            return _found(connection, name)

        return transact(self._engine, pause, _in_doubt("paused", name))

    def resume(self, name: str, next_at: datetime) -> Schedule:
        """Let a paused schedule go on at this occurrence.

        Raises:
            UnknownSchedule: there is none of that name.
        """

        def resume(connection: Connection) -> Schedule:
            connection.execute(_RESUME, {"name": name, "next_at": next_at})
            return _found(connection, name)

        return transact(self._engine, resume, _in_doubt("resumed", name))

    def remove(self, name: str) -> None:
        """Forget a schedule; what was stored already is still delivered."""
        transact(
            self._engine,
            lambda connection: connection.execute(_REMOVE, {"name": name}).rowcount,
            _in_doubt("removed", name),
        )


def _in_doubt(done: str, name: str) -> InDoubt:
    return InDoubt(f"do it again, or ask `wecom schedule show {name}`: the schedule {name!r} is perhaps {done}")


def _found(connection: Connection, name: str) -> Schedule:
    row = None if "\0" in name else connection.execute(_FIND, {"name": name}).one_or_none()
    if row is None:
        raise UnknownSchedule(f"no schedule is named {name!r}; `wecom schedule list` names them")
    return _schedule(row)


def _schedule(row: Row[Any]) -> Schedule:
    return Schedule(
        name=row.name,
        sender=row.sender,
        cron=row.cron,
        timezone=row.timezone,
        body=row.body,
        named=row.named,
        rows=row.rows,
        files=tuple(row.files),
        urgent=row.urgent,
        late_within=_duration(row.late_within),
        expires_after=_duration(row.expires_after),
        next_at=row.next_at,
        paused_reason=row.paused_reason,
        last_at=row.last_at,
        last_id=row.last_id,
        created_at=row.created_at,
    )


def _seconds(duration: timedelta | None) -> int | None:
    return None if duration is None else int(duration.total_seconds())


def _duration(seconds: int | None) -> timedelta | None:
    return None if seconds is None else timedelta(seconds=seconds)
