"""Shows that a process lives, by a file whose age anybody can look at; `python -m worker.liveness` does.

A fresh file proves that the process runs and that its threads get their turn; one whose main loop or tasks hang ends
itself (`worker.watch`). It proves nothing about the broker, Postgres or WeCom, on purpose: no restart of a worker
heals those, and a worker that cannot reach them goes on by itself when they are back. Nor does it prove that a worker
that could take bells is given any; for that, look at what is due (`wecom doctor`).
"""

import atexit
import logging
import sys
import threading
import time
from pathlib import Path

from worker.settings import Settings, SettingsError, settings

log = logging.getLogger(__name__)

TOUCH_SECONDS = 5
STALE_SECONDS = 30
"""A busy machine may keep a thread waiting for several turns before the process counts as dead."""


class LivenessError(Exception):
    """The file cannot be written, or the process it belongs to does not live; the text says which."""


class LifeSign:
    """Touches a file from a thread of its own, until the process ends."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._go_on, name="wecom-liveness", daemon=True)

    def start(self) -> None:
        """Touch the file now and every few seconds from now on.

        Raises:
            LivenessError: the file cannot be written.
        """
        try:
            self._file.touch()
        except OSError as error:
            raise LivenessError(
                f"WECOM_LIVENESS_FILE: {self._file} cannot be written ({error.strerror}); "
                "name a file in a directory that exists and this user may write to"
            ) from None
        self._thread.start()
        atexit.register(self.stop)

    def stop(self) -> None:
        """End the thread and remove the file; an ended process leaves no sign of life."""
        atexit.unregister(self.stop)
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        self._file.unlink(missing_ok=True)

    def show(self) -> None:
        """Touch the file once."""
        try:
            self._file.touch()
        except OSError as error:
            log.warning("the liveness file %s cannot be written: %s", self._file, error.strerror)

    def _go_on(self) -> None:
        while not self._stopping.wait(TOUCH_SECONDS):
            self.show()


def age_of_life_sign(chosen: Settings) -> float:
    """Return the seconds since a process last showed that it lives.

    Raises:
        LivenessError: it has not for too long, or not at all.
    """
    file = chosen.liveness_file
    if file is None:
        raise LivenessError("WECOM_LIVENESS_FILE is not set, so no process shows whether it lives")
    try:
        # The wall clock may be set back; a file from the future proves nothing either.
        age = abs(time.time() - file.stat().st_mtime)
    except OSError as error:
        raise LivenessError(f"not alive: {file} cannot be read ({error.strerror})") from None
    if age > STALE_SECONDS:
        raise LivenessError(f"not alive: {file} was touched {age:.0f} s ago, more than {STALE_SECONDS} s")
    return age


def main() -> None:
    """Say in one line whether the process lives; the exit status is 0 if it does, else 1."""
    try:
        age = age_of_life_sign(settings())
    except (LivenessError, SettingsError) as error:
        sys.exit(str(error))
    sys.stdout.write(f"alive: touched {age:.0f} s ago\n")


if __name__ == "__main__":
    main()
