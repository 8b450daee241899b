"""When something that is sent again and again is due: cron, time zones, and what was missed. Pure.

Cron is read as Debian cron reads it. Where a day of the month and a day of the week are both given, either will do.
When clocks go forward, a time of day that is skipped comes as soon as the clock is past the gap; when they go back, a
time of day that comes twice counts once. Where minute or hour begin with `*`, it is an interval and goes by the time
that passes: nothing in a skipped hour, and a repeated hour twice.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from difflib import get_close_matches
from itertools import takewhile
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from cronsim import CronSim, CronSimError

from worker.messages import InvalidMessage

HOW_TO_WRITE_IT = 'write minute hour day-of-month month day-of-week, like "0 9 * * 1-5"'
LOOKS_BACK = (timedelta(hours=1), timedelta(days=1), timedelta(days=32))
"""So far back the latest occurrence is looked for before all the time is gone through."""


@dataclass(frozen=True, slots=True)
class Timetable:
    """Cron fields in a time zone; `read_timetable` checks them.

    Attributes:
        cron: minute, hour, day of the month, month and day of the week.
        zone: the zone in which they are read.
        weekdays: days of the week that must fit besides, 0 is Sunday; cron itself does not require both days to fit.
    """

    cron: str
    zone: tzinfo
    weekdays: frozenset[int] | None = None

    def after(self, moment: datetime) -> Iterator[datetime]:
        """Yield every occurrence after a moment, in the zone, each later than the one before."""
        latest = moment.astimezone(UTC)
        for found in CronSim(self.cron, moment.astimezone(self.zone)):
            # Two times of one zone are compared by their digits, which go back when the clocks do.
            occurrence = found.astimezone(UTC)
            if occurrence > latest and (self.weekdays is None or found.isoweekday() % 7 in self.weekdays):
                latest = occurrence
                yield occurrence.astimezone(self.zone)

    def next(self, moment: datetime) -> datetime:
        """Return the first occurrence after a moment.

        Raises:
            InvalidMessage: there is none within 50 years.
        """
        occurrence = next(self.after(moment), None)
        if occurrence is None:
            raise InvalidMessage(f"cron: {self.cron!r} never comes; no such day is in the calendar")
        return occurrence

    def latest(self, *, after: datetime, until: datetime) -> datetime | None:
        """Return the last occurrence that is after one moment and not after the other; None if there is none."""
        after, until = after.astimezone(UTC), until.astimezone(UTC)
        for back in LOOKS_BACK:
            if after >= until - back:
                break
            if found := self._last(until - back, until):
                return found
        return self._last(after, until)

    def _last(self, after: datetime, until: datetime) -> datetime | None:
        found = deque(takewhile(lambda one: one.astimezone(UTC) <= until, self.after(after)), maxlen=1)
        return found[0] if found else None


@dataclass(frozen=True, slots=True)
class Turn:
    """What to do about a schedule that is due.

    Attributes:
        occurrence: what is to be sent now; None if all that was missed is too late.
        next_at: when it is due again.
    """

    occurrence: datetime | None
    next_at: datetime


def take_turn(timetable: Timetable, due_at: datetime, now: datetime, late_within: timedelta | None) -> Turn:
    """Decide about a schedule that is due: of several occurrences that were missed, only the last may still be sent.

    Args:
        timetable: when the schedule is due.
        due_at: its first occurrence that nobody has decided about.
        now: not before `due_at`.
        late_within: so much later an occurrence may still be sent; None means however late.

    Raises:
        InvalidMessage: it is never due again.
    """
    occurrence = timetable.latest(after=due_at, until=now) or due_at.astimezone(timetable.zone)
    too_late = late_within is not None and now.astimezone(UTC) - occurrence.astimezone(UTC) > late_within
    return Turn(None if too_late else occurrence, timetable.next(now))


def read_timetable(cron: str, timezone: str) -> Timetable:
    """Check cron fields and the name of a time zone.

    Raises:
        InvalidMessage: they cannot be read; the text says what is wrong.
    """
    if not isinstance(cron, str) or len(cron.split()) != 5:
        raise InvalidMessage(f"cron: {cron!r} has not five fields; {HOW_TO_WRITE_IT}")
    timetable = Timetable(" ".join(cron.split()), _zone(timezone))
    try:
        CronSim(timetable.cron, datetime.now(UTC))
    except CronSimError as error:
        wrong = str(error).lower().replace("day-of-month", "day-of-month, or none that these months have")
        raise InvalidMessage(f"cron: {cron!r}: {wrong}; {HOW_TO_WRITE_IT}") from None
    return timetable


def occurrence_name(name: str, occurrence: datetime) -> str:
    """Name the campaign of one occurrence: `payday 2026-11-20T09:00+08:00`; no two have the same name."""
    return f"{name} {occurrence.isoformat(timespec='auto' if occurrence.second else 'minutes')}"


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, TypeError, OSError):
        nearest = get_close_matches(str(name), available_timezones(), n=1)
        meant = f"; did you mean {nearest[0]}?" if nearest else ""
        raise InvalidMessage(f"timezone: {name!r} is none; write it like Asia/Shanghai or UTC{meant}") from None
