"""What programs call about schedules; reached as `Producer.schedules`."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from sqlalchemy import Connection

from worker.delivery.campaign_rows import Recipient
from worker.delivery.office import acceptance_rules
from worker.delivery.schedules import ScheduleRequest, check_schedule, store_schedule
from worker.delivery.timetable import read_timetable
from worker.ledger import InDoubt, Ledger, Schedule, transact
from worker.messages import Content
from worker.settings import Settings

PAUSED_BY_HAND = "paused by hand"


class Schedules:
    """Messages and campaigns that are sent again and again; workers carry them out while a beat runs."""

    def __init__(
        self,
        ledger: Callable[[], Ledger],
        plain_errors: Callable[[], AbstractContextManager[None]],
        settings: Settings,
    ) -> None:
        self._ledger = ledger
        self._plain_errors = plain_errors
        self._settings = settings

    def add(  # noqa: PLR0913 - what Producer.send and Producer.campaign take, and when; all by name
        self,
        name: str,
        *,
        cron: str,
        timezone: str,
        sender: str,
        message: Content | Mapping[str, Any],
        users: Iterable[str] = (),
        parties: Iterable[int | str] = (),
        tags: Iterable[int | str] = (),
        everyone: bool = False,
        recipients: Iterable[Recipient] | None = None,
        urgent: bool = False,
        late_within: timedelta | None = None,
        expires_after: timedelta | None = None,
        replace: bool = False,
    ) -> Schedule:
        """Store a schedule: a message to `users`, `parties`, `tags` or `everyone`, or a campaign to `recipients`.

        Args:
            name: unique in the ledger; an occurrence's campaign is called `NAME 2026-11-20T09:00+08:00`.
            cron: minute, hour, day of the month, month and day of the week, as Debian cron reads them.
            timezone: in which zone, like `Asia/Shanghai`.
            sender: the short name of a sender.
            message: what to send, with templates if it is a campaign.
            users: userids of members.
            parties: ids of departments.
            tags: ids of tags.
            everyone: reach every member the app can see (`@all`).
            recipients: userids or rows as for `Producer.campaign`, at most 5000: read now and kept with the schedule.
            urgent: go before everything else, in quiet windows too.
            late_within: so much later an occurrence that was missed may still be sent; None means however late.
                Of several that were missed only the last is sent.
            expires_after: so long after an occurrence sending has no use any more.
            replace: take the place of a schedule of this name; if its times stay the same, none is lost or repeated.

        Raises:
            InvalidMessage: it could not be sent, or is never due; the text says why.
            ScheduleExists: the name is taken.
            UnknownSender: there is no such sender.
            PerhapsStored: Postgres was asked to commit, and nobody knows whether it did; see docs/asking-again.md.
            LedgerError: Postgres cannot be reached or has no tables yet. Nothing was stored.
        """
        request = ScheduleRequest(
            name=name,
            cron=cron,
            timezone=timezone,
            sender=sender,
            message=message,
            users=users,
            parties=parties,
            tags=tags,
            everyone=everyone,
            recipients=recipients,
            urgent=urgent,
            late_within=late_within,
            expires_after=expires_after,
        )
        checked = check_schedule(request, acceptance_rules(self._settings))
        with self._plain_errors():
            ledger, made = self._ledger(), list[datetime]()

            def store(connection: Connection) -> Schedule:
                stored = store_schedule(ledger, connection, checked, replacing=replace, made=made)
                made.append(stored.created_at)
                return stored

            return transact(ledger.engine, store, InDoubt(f"look with schedules.find({name!r}), or add it again"))

    def all(self) -> list[Schedule]:
        """Return all schedules by name."""
        with self._plain_errors():
            return self._ledger().schedules.all()

    def find(self, name: str) -> Schedule:
        """Return one schedule.

        Raises:
            UnknownSchedule: there is none of that name.
        """
        with self._plain_errors():
            return self._ledger().schedules.find(name)

    def next(self, name: str, number: int = 5) -> list[datetime]:
        """Return the next occurrences of a schedule, in its zone; none if it is paused.

        Raises:
            UnknownSchedule: there is none of that name.
        """
        found = self.find(name)
        if found.paused_reason is not None:
            return []
        timetable = read_timetable(found.cron, found.timezone)
        first = found.next_at.astimezone(timetable.zone)
        return [first, *islice(timetable.after(first), number - 1)]

    def pause(self, name: str, reason: str = PAUSED_BY_HAND) -> Schedule:
        """Send nothing more of a schedule until it is resumed; what was stored already is still delivered.

        Raises:
            UnknownSchedule: there is none of that name.
        """
        with self._plain_errors():
            return self._ledger().schedules.pause(name, reason)

    def resume(self, name: str) -> Schedule:
        """Let a paused schedule go on at its next occurrence; what came meanwhile is not made up for.

        Raises:
            UnknownSchedule: there is none of that name.
        """
        found = self.find(name)
        timetable = read_timetable(found.cron, found.timezone)
        with self._plain_errors():
            ledger = self._ledger()
            return ledger.schedules.resume(name, timetable.next(ledger.due.now()))

    def remove(self, name: str) -> None:
        """Forget a schedule; what was stored already is still delivered.

        Raises:
            UnknownSchedule: there is none of that name.
        """
        self.find(name)
        with self._plain_errors():
            self._ledger().schedules.remove(name)
