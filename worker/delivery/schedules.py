"""Takes schedules over from producers, and turns each occurrence of them into messages, once."""

import logging
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Connection

from worker.delivery.accept import FILES_KEPT, AcceptanceRules, accept, check
from worker.delivery.campaign_rows import Recipient, row_of
from worker.delivery.campaigns import CampaignRequest, accept_campaign, check_campaign, rehearse
from worker.delivery.office import Office
from worker.delivery.requests import SendRequest
from worker.delivery.timetable import Timetable, occurrence_name, read_timetable, take_turn
from worker.ledger import (
    DueSchedule,
    Ledger,
    LedgerError,
    NewSchedule,
    Schedule,
    StoredFile,
    claim_schedule,
    insert_schedule,
    is_passing,
    keep_files,
    move_schedule_on,
    pause_schedule,
)
from worker.messages import Content, InvalidMessage, content_from_body
from worker.messages.refusals import path_of

log = logging.getLogger(__name__)

LONGEST_NAME = 100
"""With the time of an occurrence it is the name of a campaign, which has 128 characters."""
MOST_ROWS = 5000
MOST_BYTES = 4 * 1024 * 1024
"""So much the ledger keeps of a campaign's recipients with its schedule."""
NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
"""In JSON; behind another backslash it is the text of such an escape."""
LONGEST_DURATION = timedelta(days=366)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleRequest:
    """What a producer asks for; see `Schedules.add`."""

    name: str
    cron: str
    timezone: str
    sender: str
    message: Content | Mapping[str, Any]
    users: Iterable[str] = ()
    parties: Iterable[int | str] = ()
    tags: Iterable[int | str] = ()
    everyone: bool = False
    recipients: Iterable[Recipient] | None = None
    urgent: bool = False
    late_within: timedelta | None = None
    expires_after: timedelta | None = None


@dataclass(frozen=True, slots=True)
class CheckedSchedule:
    """A schedule that can be sent, as far as that is known today."""

    request: ScheduleRequest
    timetable: Timetable
    body: Mapping[str, Any]
    recipients: Mapping[str, Any] | Sequence[Mapping[str, Any]]
    files: tuple[StoredFile, ...]


def check_schedule(request: ScheduleRequest, rules: AcceptanceRules) -> CheckedSchedule:
    """Check what can be checked without the ledger, every row of a campaign too, and read the files.

    Raises:
        InvalidMessage: it could not be sent, or is never due.
    """
    name = request.name
    if not isinstance(name, str) or not 1 <= len(name) <= LONGEST_NAME or not name.isprintable() or "/" in name:
        raise InvalidMessage(f"name: 1 to {LONGEST_NAME} printable characters without / are needed")
    timetable = read_timetable(request.cron, request.timezone)
    timetable.next(datetime.now(UTC))
    for field in ("late_within", "expires_after"):
        duration = getattr(request, field)
        if duration is not None and not timedelta(seconds=1) <= duration <= LONGEST_DURATION:
            raise InvalidMessage(f"{field}: a second to {LONGEST_DURATION.days} days are possible, not {duration}")
    if request.recipients is not None:
        return _checked_campaign(request, timetable, rules)
    content = request.message if isinstance(request.message, Content) else content_from_body(request.message)
    users, parties, tags = tuple(request.users), tuple(request.parties), tuple(request.tags)
    asked = SendRequest(request.sender, content, users, parties, tags, request.everyone)
    checked = check(asked, rules)
    named = {"users": users, "parties": parties, "tags": tags, "everyone": request.everyone}
    return CheckedSchedule(request, timetable, checked.content.body(), named, checked.files)


def store_schedule(
    ledger: Ledger,
    connection: Connection,
    checked: CheckedSchedule,
    *,
    replacing: bool,
    made: Collection[datetime] = (),
) -> Schedule:
    """Write a schedule in the connection's transaction and return it; it is first due at its next occurrence.

    With `made` it is written again: these are the times at which earlier tries made it.

    Raises:
        ScheduleExists: the name is taken, and it is not to be replaced.
        UnknownSender: there is no such sender.
    """
    request, timetable = checked.request, checked.timetable
    next_at = timetable.next(ledger.senders.require(request.sender, connection))
    new = NewSchedule(
        name=request.name,
        sender=request.sender,
        cron=timetable.cron,
        timezone=request.timezone,
        body=checked.body,
        recipients=checked.recipients,
        files=tuple(file.reference for file in checked.files),
        urgent=request.urgent,
        late_within=request.late_within,
        expires_after=request.expires_after,
        next_at=next_at,
    )
    stored = insert_schedule(connection, new, replace=replacing, made=made)
    keep_files(connection, checked.files, next_at + FILES_KEPT)
    return stored


def run_due_schedules(office: Office) -> int:
    """Store the messages of every schedule that is due, and return how many were; harmless when it runs twice at once.

    An occurrence is claimed in the transaction that writes its messages, so that a crash neither loses nor doubles it.
    """
    ran = 0
    while (due := _run_one(office.ledger, office.acceptance)) is not None:
        office.bell.ring(due.sender)
        ran += 1
    return ran


def _run_one(ledger: Ledger, rules: AcceptanceRules) -> Schedule | None:
    with ledger.engine.begin() as connection:
        due = claim_schedule(connection)
        if due is None:
            return None
        schedule = due.schedule
        try:
            timetable = read_timetable(schedule.cron, schedule.timezone)
            late_within = min((one for one in (schedule.late_within, schedule.expires_after) if one), default=None)
            turn = take_turn(timetable, schedule.next_at, due.now, late_within)
            stored = None
            if turn.occurrence is not None:
                with connection.begin_nested():
                    stored = _accepted(ledger, connection, due, turn.occurrence, rules)
            else:
                log.warning("schedule %s: nothing was sent since %s, and now it is too late", *_since(schedule))
            move_schedule_on(connection, schedule, turn.next_at, occurrence=turn.occurrence, sent=stored)
        except Exception as error:
            if is_passing(error):
                raise
            # Whatever it is, it would be the same again in a second.
            reason = _reason(error)
            log.error("schedule %s is paused: %s", schedule.name, reason)  # noqa: TRY400 - a template or a sender
            pause_schedule(connection, schedule.name, reason)
        return schedule


def _reason(error: Exception) -> str:
    """Say why a schedule is paused; what nobody foresaw is only named, as its words may hold what members are told."""
    if isinstance(error, InvalidMessage | LedgerError):
        return " ".join(str(error).split())
    return f"an error nobody foresaw, {type(error).__name__}"


def _since(schedule: Schedule) -> tuple[str, str]:
    return schedule.name, schedule.next_at.isoformat(timespec="seconds")


def _accepted(
    ledger: Ledger, connection: Connection, due: DueSchedule, occurrence: datetime, rules: AcceptanceRules
) -> UUID:
    """Write the messages of one occurrence, and return the id of the message or campaign.

    Raises:
        InvalidMessage: they cannot be sent any more.
    """
    schedule, recipients = due.schedule, due.recipients
    files = tuple(file for reference in schedule.files if (file := ledger.media.read(reference)))
    expires = occurrence + schedule.expires_after if schedule.expires_after else None
    if isinstance(recipients, Mapping):
        key = f"schedule:{schedule.name}:{occurrence.astimezone(UTC).isoformat()}"
        asked = SendRequest(
            schedule.sender,
            content_from_body(schedule.body),
            **recipients,
            expires=expires,
            urgent=schedule.urgent,
            idempotency_key=key,
        )
        return accept(ledger, connection, [replace(check(asked, rules), files=files)], rules)[0]
    name = occurrence_name(schedule.name, occurrence)
    many = CampaignRequest(name, schedule.sender, schedule.body, expires=expires, urgent=schedule.urgent)
    return accept_campaign(ledger, connection, replace(check_campaign(many, rules), files=files), recipients, rules).id


def _checked_campaign(request: ScheduleRequest, timetable: Timetable, rules: AcceptanceRules) -> CheckedSchedule:
    if any((request.users, request.parties, request.tags, request.everyone)):
        raise InvalidMessage("recipients: a campaign has rows; users, parties and tags are for a single message")
    assert request.recipients is not None  # noqa: S101 - the caller asked
    checked = check_campaign(CampaignRequest(request.name, request.sender, request.message), rules)
    rows = list(islice(request.recipients, MOST_ROWS + 1))
    if len(rows) > MOST_ROWS:
        raise _too_many(f"more than {MOST_ROWS} rows")
    rehearse(checked, rows, rules)
    # Rows that know their place in a file are dicts of a class of their own.
    stored = b",".join(_kept_as(number, row_of(row)) for number, row in enumerate(rows, start=1)).join((b"[", b"]"))
    if len(stored) > MOST_BYTES:
        raise _too_many(f"{len(stored) // 1024} KiB")
    kept: list[Mapping[str, Any]] = orjson.loads(stored)
    # What is kept may be less than what was given: of an object only its text.
    rehearse(checked, kept, rules)
    return CheckedSchedule(request, timetable, checked.message.body, kept, checked.files)


def _kept_as(number: int, row: Mapping[str, Any]) -> bytes:
    """Return a row as JSON, for as long as its schedule is kept.

    Raises:
        InvalidMessage: a value is nothing that JSON or Postgres can keep; the text names the row and the column.
    """
    for name, value in row.items():
        where = f"recipient {number}: {path_of([str(name)])}"
        try:
            kept = orjson.dumps({name: value}, default=str)
        except TypeError as error:
            raise InvalidMessage(f"{where}: cannot be kept as JSON ({error})") from None
        if NUL.search(kept):
            raise InvalidMessage(f"{where}: holds a NUL character, which Postgres cannot keep")
    return orjson.dumps(row, default=str)


def _too_many(found: str) -> InvalidMessage:
    return InvalidMessage(
        f"recipients: {found} are too many to be kept with a schedule, at most {MOST_ROWS} rows of "
        f"{MOST_BYTES // 1024} KiB; send larger campaigns from a periodic task of your own with Producer.campaign "
        "(docs/schedules.md)"
    )
