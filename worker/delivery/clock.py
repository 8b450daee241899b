"""The database's time in a worker: what the wall of its machine says does not matter."""

from datetime import datetime, timedelta

from worker.elapsed import elapsed


class Clock:
    """The database's time, carried on by this machine.

    `now` is never later than the database's own time, and `latest` never earlier; between them lies how long the
    question for it took.
    """

    def __init__(self, now: datetime, asked_at: float) -> None:
        """Begin with the time that the database answered; `asked_at` is when it was asked, by `elapsed`."""
        self._now = now
        self._asked_at = asked_at
        self._answered_at = elapsed()

    def now(self) -> datetime:
        """Return the database's time, or a little earlier."""
        return self._now + timedelta(seconds=elapsed() - self._answered_at)

    def latest(self) -> datetime:
        """Return the database's time, or a little later."""
        return self._now + timedelta(seconds=elapsed() - self._asked_at)

    def until(self, moment: datetime) -> float:
        """Return at which `elapsed` a moment of the database's time has come, at the earliest."""
        return self._asked_at + (moment - self._now).total_seconds()
