"""Keeps messages away from minute 0 and minute 30, when everybody sends and WeCom delivers late (doc 90236).

Pure: the same question always has the same answer. The half hours of Beijing are those of UTC.
"""

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

HALF_HOUR = 1800


@dataclass(frozen=True, slots=True)
class QuietWindows:
    """The windows around each minute 0 and minute 30, in seconds.

    Attributes:
        before: how long before the half hour a window begins.
        after: how long after the half hour it ends; with `before` and `after` 0 there is none.
        spread: over how long after its end the messages are spread that were due in it.
    """

    before: int = 60
    after: int = 120
    spread: int = 240

    def window(self, moment: datetime) -> tuple[datetime, datetime] | None:
        """Return the begin and end of the quiet window a moment lies in; the end itself is outside."""
        seconds = moment.timestamp()
        half_hour = HALF_HOUR * round(seconds / HALF_HOUR)
        if not half_hour - self.before <= seconds < half_hour + self.after:
            return None
        return _moment(half_hour - self.before), _moment(half_hour + self.after)

    def next_window(self, now: datetime) -> tuple[datetime, datetime] | None:
        """Return the begin and end of the window that is on, or of the next one; None if there are no windows."""
        if not self.before + self.after:
            return None
        half_hour = HALF_HOUR * math.floor(now.timestamp() / HALF_HOUR)
        while half_hour + self.after <= now.timestamp():
            half_hour += HALF_HOUR
        return _moment(half_hour - self.before), _moment(half_hour + self.after)

    def waiting_until(self, now: datetime) -> datetime | None:
        """Return until when messages may have to wait because of the window that is on, or None outside of one.

        A message that must be sent before then is let through.
        """
        window = self.window(now)
        return window[1] + timedelta(seconds=self.spread) if window else None

    def stagger(self, at: datetime, *, now: datetime, message: UUID, latest: datetime | None = None) -> datetime:
        """Move a due time out of a quiet window.

        Args:
            at: when the message would be due.
            now: nothing can be moved to before now.
            message: spreads messages over the time after the window, the same one always to the same place.
            latest: if the message may not wait so long, it goes before the window, or else at `at` after all.
        """
        window = self.window(at)
        if window is None:
            return at
        begin, end = window
        share = (message.int & 0xFFFF) / 0x10000
        behind = end + timedelta(seconds=self.spread * share)
        if latest is None or behind < latest:
            return behind
        ahead = begin - timedelta(seconds=1 + min(self.spread, HALF_HOUR // 2) * share)
        if begin <= now:
            return at
        return max(ahead, now)


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
