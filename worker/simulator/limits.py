"""How often one may call and how much one member is shown (doc 90312)."""

from dataclasses import dataclass, field

from worker.simulator.answers import RefusedError
from worker.simulator.apps import App
from worker.simulator.settings import Settings

BEIJING_SHIFT = 8 * 3600
DAY = 86_400
PICTURE_MONTH = 30 * DAY
DEBUG_CALLS_PER_MINUTE = 5
"""Calls with `debug=1` in the address (doc 90313)."""


@dataclass(slots=True)
class _Window:
    """Calls counted from the first one on; passing the limit blocks for as long as the window is."""

    start: float = 0.0
    count: int = 0
    blocked_until: float = 0.0

    def admits(self, now: float, limit: int, seconds: int) -> bool:
        if now < self.blocked_until <= now + seconds:
            return False
        if not self.start <= now < self.start + seconds:
            self.start, self.count = now, 0
        self.count += 1
        if self.count > limit:
            self.blocked_until = now + seconds
            return False
        return True


@dataclass(slots=True)
class Limits:
    """Every counter of calls, person-times and messages a member was shown."""

    settings: Settings
    under_way: dict[str, int] = field(default_factory=dict)
    _calls: dict[tuple[str, str, int], _Window] = field(default_factory=dict)
    _person_times: dict[int, tuple[int, int]] = field(default_factory=dict)
    _shown: dict[int, dict[str, float | list[float]]] = field(default_factory=dict)
    _pictures: dict[str, tuple[int, int]] = field(default_factory=dict)

    def reset(self) -> None:
        """Start counting anew; calls under way stay under way."""
        self._calls.clear()
        self._person_times.clear()
        self._shown.clear()
        self._pictures.clear()

    def check_call(self, corpid: str, endpoint: str, now: float, *, debug: bool = False) -> None:
        """Count one call of a corp to an endpoint.

        Raises:
            RefusedError: 45009 over the frequency, 45033 too many at once (docs 90312, 90313).
        """
        settings = self.settings
        if settings.concurrency and self.under_way.get(corpid, 0) >= settings.concurrency:
            raise RefusedError(45033)
        if debug:
            self._check_window(corpid, "debug", now, DEBUG_CALLS_PER_MINUTE, 60)
        if endpoint == "send":
            if settings.send_calls_per_minute:
                self._check_window(corpid, endpoint, now, settings.send_calls_per_minute, 60)
            return
        self._check_window(corpid, endpoint, now, settings.calls_per_minute, 60)
        self._check_window(corpid, endpoint, now, settings.calls_per_hour, 3600)

    def check_day(self, app_number: int, app: App, persons: int, now: float) -> None:
        """Count person-times of a natural day in Beijing against account cap x 200 (doc 90312).

        Raises:
            RefusedError: 45009, and nothing is counted. Which code the daily cap earns is not documented.
        """
        day = int(now + BEIJING_SHIFT) // DAY
        counted_day, counted = self._person_times.get(app_number, (day, 0))
        if counted_day != day:
            counted = 0
        if counted + persons > app.account_cap * self.settings.persons_per_account:
            raise RefusedError(45009)
        self._person_times[app_number] = (day, counted + persons)

    def check_picture(self, corpid: str, now: float) -> None:
        """Count one picture of uploadimg: so many a natural day in Beijing, so many in 30 days (doc 90312).

        Raises:
            RefusedError: 45009 for the rest of the day, or for 30 days.
        """
        day = int(now + BEIJING_SHIFT) // DAY
        counted_day, counted = self._pictures.get(corpid, (day, 0))
        counted = counted + 1 if counted_day == day else 1
        if 0 < self.settings.uploadimg_per_day < counted:
            raise RefusedError(45009)
        self._check_window(corpid, "pictures", now, self.settings.uploadimg_per_month, PICTURE_MONTH)
        self._pictures[corpid] = (day, counted)

    def shows(self, app_number: int, userid: str, now: float) -> bool:
        """Whether a member is shown one more message of the app, and count it if so (doc 90312).

        At most 30 in any 60 s and 1000 in any hour; what was dropped is not counted.
        """
        members = self._shown.setdefault(app_number, {})
        times = members.get(userid)
        if times is None:
            members[userid] = now  # most members get one message; a list for each would be most of the memory
            return True
        if isinstance(times, float):
            times = members[userid] = [times]
        minute, hour = self.settings.member_per_minute, self.settings.member_per_hour
        if len(times) >= minute and times[-minute] > now - 60:
            return False
        if len(times) >= hour and times[-hour] > now - 3600:
            return False
        times.append(now)
        if len(times) > 2 * hour:
            del times[:-hour]
        return True

    def _check_window(self, corpid: str, name: str, now: float, limit: int, seconds: int) -> None:
        window = self._calls.setdefault((corpid, name, seconds), _Window())
        if limit and not window.admits(now, limit, seconds):
            raise RefusedError(45009)
