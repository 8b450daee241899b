"""Ends a process that no longer does its work, so that whoever supervises it starts it anew.

Two things show that it does: its main loop turns, which takes tasks from the broker (in beat: hands them over), and no
task has been under way for so long that it must hang. A broker that is away is no reason: each try to reach it counts
as a turn. Nor is a machine that slept, or a process that was stopped for a while: what counts is how often this watch
looked in vain, not what any clock says. The end is orderly: calls under way finish, what is claimed goes back.
"""

import logging
import os
import threading
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
STILL_LOOKS = 120
"""In vain so often in a row: longer than the main loop ever waits for one answer of a broker, or for a few."""
LEAVING_LOOKS = 15
"""The same once the process is to stop and has no task under way: nobody waits for a silent broker then."""
STATUS = os.EX_SOFTWARE


class MainLoop:
    """How often the main loop of this process has turned."""

    def __init__(self) -> None:
        self.turns = 0

    def turned(self) -> None:
        """Note that it has turned once more, or tried again to reach its broker."""
        self.turns += 1


main_loop = MainLoop()
"""That of this process."""


class WorkUnderWay:
    """When each thread of this process began the task it works on."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began: dict[int, float] = {}

    def begin(self) -> None:
        """Note that this thread begins a task."""
        # By thread, not by task: a bell that was given out again has the same id and must not make the first look new.
        self._began[threading.get_ident()] = self._clock()

    def end(self) -> None:
        """Note that this thread has ended its task."""
        self._began.pop(threading.get_ident(), None)

    def longest(self) -> float:
        """Return for how many seconds the oldest task has been under way."""
        began = list(self._began.values())
        return self._clock() - min(began) if began else 0.0

    def younger_than(self, seconds: float) -> int:
        """Count the tasks that have been under way for less time."""
        now = self._clock()
        return sum(now - began < seconds for began in list(self._began.values()))

    def in_main_thread(self) -> bool:
        """Whether the main thread works on a task, as with the pool `solo`."""
        return threading.main_thread().ident in self._began


class Watch:
    """Looks at a process again and again, from a thread of its own.

    Args:
        loop: its main loop.
        under_way: its tasks.
        stuck_seconds: how long a task may be under way.
        patience_seconds: how long tasks that do not hang are waited for in the end.
        stop_sending: lets what has not left stay.
    """

    def __init__(
        self,
        loop: MainLoop,
        under_way: WorkUnderWay,
        stuck_seconds: float,
        patience_seconds: float,
        stop_sending: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._under_way = under_way
        self._stuck_seconds = stuck_seconds
        self._patience_seconds = patience_seconds
        self._stop_sending = stop_sending
        self._seen = loop.turns
        self._looks = 0
        self._leaving = False

    def start(self) -> None:
        """Look from now on."""
        threading.Thread(target=self._go_on, name="wecom-watch", daemon=True).start()

    def leave(self) -> None:
        """Note that the process was told to stop."""
        self._looks = 0
        self._leaving = True

    def look(self) -> str | None:
        """Look once, and return why the process must end, if it must."""
        longest = self._under_way.longest()
        if longest > self._stuck_seconds:
            return f"a task has been under way for {longest:.0f} s and must hang"
        works = self._leaving and self._under_way.younger_than(self._stuck_seconds) > 0
        if self._loop.turns != self._seen or works or self._under_way.in_main_thread():
            self._seen = self._loop.turns
            self._looks = 0
            return None
        self._looks += 1
        if self._looks < (LEAVING_LOOKS if self._leaving else STILL_LOOKS):
            return None
        return f"the main loop has stood still for {self._looks * LOOK_SECONDS:.0f} s"

    def _go_on(self) -> None:
        while (reason := self.look()) is None:
            time.sleep(LOOK_SECONDS)
        log.critical("%s; this process ends, and whoever supervises it starts it anew", reason)
        self._stop_sending()
        waited = 0.0
        while self._under_way.younger_than(self._stuck_seconds) and waited < self._patience_seconds:
            time.sleep(LOOK_SECONDS)
            waited += LOOK_SECONDS
        logging.shutdown()
        os._exit(STATUS)
