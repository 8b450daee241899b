"""A scheduler for Celery's beat: what `beat_schedule` sends through WeCom goes once, with any number of beats.

Two beats know nothing of each other, so each of them sends every entry. But both know the moment for which it was due,
and with it they name what they send: a message by its idempotency key, a campaign by its name. What comes second finds
itself stored already. So nothing has to be kept or agreed upon, and a beat that starts can make up for what was due
just before. Entries that name other tasks are left to Celery.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from celery.beat import BeatLazyFunc, ScheduleEntry, Scheduler, SchedulingError
from celery.exceptions import ImproperlyConfigured
from celery.schedules import crontab, schedstate, schedule
from celery.utils.time import maybe_make_aware

from worker.delivery.timetable import Timetable, occurrence_name

SEND, CAMPAIGN = "wecom.send", "wecom.campaign"
RESTART = timedelta(seconds=60)
"""A beat that starts makes up for so much time; it must not exceed how long idempotency keys are remembered."""
LOOK_AGAIN = timedelta(seconds=5)
"""Entries are looked at no less often, so that one that the broker did not take is soon tried again."""
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Multiples:
    """An interval, counted from 1970 on, so that all beats agree; Celery itself counts from when a beat was started."""

    interval: timedelta

    def latest(self, *, after: datetime, until: datetime) -> datetime | None:
        """Return the last multiple that is after one moment and not after the other; None if there is none."""
        found = EPOCH + (until - EPOCH) // self.interval * self.interval
        return found if found > after else None

    def next(self, moment: datetime) -> datetime:
        """Return the first multiple after a moment."""
        return EPOCH + ((moment - EPOCH) // self.interval + 1) * self.interval


class OnceEntry(ScheduleEntry):
    """An entry of `beat_schedule` and the moments for which it is due; `last_run_at` is the last one handed over.

    Raises:
        ImproperlyConfigured: it sends through WeCom and is neither a crontab nor an interval.
    """

    app: Any
    args: Any
    kwargs: Any
    last_run_at: datetime

    def __init__(
        self,
        *,
        last_run_at: datetime | None = None,
        moments: Timetable | Multiples | None = None,
        **kwargs: Any,  # noqa: ANN401 - Celery's
    ) -> None:
        super().__init__(last_run_at=last_run_at, **kwargs)
        self.moments = moments
        if self.task in {SEND, CAMPAIGN} and moments is None:
            self.moments = _moments(self)
            self.last_run_at = self.now() - RESTART

    def now(self) -> datetime:
        """Return the time."""
        return maybe_make_aware(self.default_now()).astimezone(UTC)

    def latest(self) -> datetime | None:
        """Return the last moment that has come and was not handed over; one that is missed for it is left out."""
        return self.moments.latest(after=self.last_run_at, until=self.now()) if self.moments else None

    def is_due(self) -> tuple[bool, float]:
        """Say whether it is due, and in how many seconds to look again."""
        if self.moments is None:
            return super().is_due()
        now = self.now()
        due = self.moments.latest(after=self.last_run_at, until=now) is not None
        return schedstate(due, min(self.moments.next(now).astimezone(UTC) - now, LOOK_AGAIN).total_seconds())

    def named_by(self, moment: datetime) -> Self:
        """Return the entry with arguments that are its own at this moment and the same in every beat."""
        args, kwargs = list(self.args or ()), dict(self.kwargs)
        if self.task == SEND:
            own = _value(kwargs.get("idempotency_key")) or f"beat:{self.app.main}:{self.name}"
            kwargs["idempotency_key"] = f"{own}:{moment.astimezone(UTC).isoformat()}"
        elif args:
            args[0] = occurrence_name(_value(args[0]), moment)
        elif "name" in kwargs:
            kwargs["name"] = occurrence_name(_value(kwargs["name"]), moment)
        return type(self)(**{**vars(self), "args": args, "kwargs": kwargs})


class OnceScheduler(Scheduler):
    """Celery's scheduler in memory, with entries that several beats send once.

    A Celery app uses it by `beat_scheduler = "worker.beat:OnceScheduler"`.
    """

    Entry = OnceEntry

    def reserve(self, entry: Any) -> Any:  # noqa: ANN401 - an OnceEntry, which Celery's types cannot say
        """Take the moment for which an entry is due: it is not due for it again."""
        moment = entry.latest()
        if moment is None:
            return super().reserve(entry)
        self.schedule[entry.name] = entry.next(moment)
        return self.schedule[entry.name]

    def apply_async(
        self,
        entry: Any,  # noqa: ANN401 - an OnceEntry
        producer: Any = None,  # noqa: ANN401 - Celery's
        advance: bool = True,  # noqa: FBT001, FBT002 - Celery's interface
        **kwargs: Any,  # noqa: ANN401 - Celery's
    ) -> Any:  # noqa: ANN401 - Celery's
        """Hand an entry over to the broker; if it is not taken, it stays due.

        Raises:
            SchedulingError: the broker did not take it.
        """
        if entry.moments is None:
            return super().apply_async(entry, producer=producer, advance=advance, **kwargs)
        reserved: Any = self.reserve(entry) if advance else self.schedule[entry.name]
        named = entry.named_by(reserved.last_run_at)
        try:
            return super().apply_async(named, producer=producer, advance=False, **kwargs)
        except SchedulingError:
            reserved.last_run_at = entry.last_run_at
            raise


def _moments(entry: ScheduleEntry) -> Timetable | Multiples:
    found = entry.schedule
    if isinstance(found, crontab):
        return _timetable(found)
    if isinstance(found, schedule) and found.seconds > 0:
        return Multiples(timedelta(seconds=found.seconds))
    raise ImproperlyConfigured(
        f"beat_schedule: {entry.name}: {entry.task} needs a crontab or an interval as its schedule, not {found!r}"
    )


def _timetable(found: Any) -> Timetable:  # noqa: ANN401 - a crontab, of which Celery's types tell nothing
    fields = (
        _field(found.minute, 60),
        _field(found.hour, 24),
        _field(found.day_of_month, 31),
        _field(found.month_of_year, 12),
    )
    # Celery sends where both days fit, cron where either does.
    weekdays = None if len(found.day_of_week) == 7 else frozenset(found.day_of_week)
    return Timetable(" ".join((*fields, "*")), found.tz, weekdays)


def _field(values: set[int], all_of_them: int) -> str:
    return "*" if len(values) == all_of_them else ",".join(map(str, sorted(values)))


def _value(given: Any) -> Any:  # noqa: ANN401 - an argument of a task
    return given() if isinstance(given, BeatLazyFunc) else given
