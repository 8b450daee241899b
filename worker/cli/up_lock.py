"""The lock of the one `wecom up` that may run in a home, and where it says what it runs.

The file holds the pid and, beside a local WeCom, its address. It counts only while somebody holds the lock, which the
system takes back however that process ends: what a killed one wrote is never believed.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from worker.embedded.home import Home
from worker.settings import Settings

UP_LOCK = "up.lock"
LOOKERS_SECONDS = 1.0
"""Whoever looks whether the lock is held has it for an instant; so long do we try before we say that it is taken."""
POLL_SECONDS = 0.01
LONGEST_NOTE = 200
LOCAL = "http://127.0.0.1:"


class UpLock:
    """The lock, held."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def note(self, *lines: str) -> None:
        """Write for the commands beside us what runs here."""
        os.truncate(self._descriptor, 0)
        os.pwrite(self._descriptor, "".join(f"{line}\n" for line in lines).encode("ascii"), 0)


@contextmanager
def the_only_one(directory: Path) -> Iterator[UpLock]:
    """Hold the lock of a home.

    Raises:
        click.ClickException: another `wecom up` holds it.
        EmbeddedError: the directory cannot be used.
    """
    home = Home(directory)
    home.prepare()
    descriptor = home.open(UP_LOCK)
    try:
        _lock(descriptor, directory)
        lock = UpLock(descriptor)
        lock.note(str(os.getpid()))
        try:
            yield lock
        finally:
            lock.note()
    finally:
        os.close(descriptor)


def local_wecom(directory: Path) -> str | None:
    """Return the address of the local WeCom that a `wecom up --simulator` runs in a home; None if there is none."""
    try:
        descriptor = os.open(directory / UP_LOCK, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        _, address = _written(descriptor)
        # Secrets go there: not to another machine, and not because of what another user has written.
        ours = os.geteuid() in {0, os.fstat(descriptor).st_uid}
        return address if address is not None and address.startswith(LOCAL) and ours else None
    finally:
        os.close(descriptor)
    return None


def beside_local_wecom(chosen: Settings) -> Settings:
    """Return the settings with which to call WeCom: those of the local one, if `wecom up --simulator` runs here.

    An address that the user named wins.
    """
    address = None if "api_base_url" in chosen.model_fields_set else local_wecom(chosen.home)
    return chosen if address is None else chosen.model_copy(update={"api_base_url": address, "proxy": None})


def _lock(descriptor: int, directory: Path) -> None:
    until = time.monotonic() + LOOKERS_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() < until:
                time.sleep(POLL_SECONDS)
                continue
            pid, _ = _written(descriptor)
            raise click.ClickException(
                f"`wecom up` runs in {directory} already (process {pid or 'unknown'}): use that one, stop it, or name "
                "another directory in WECOM_HOME"
            ) from None
        return


def _written(descriptor: int) -> tuple[str | None, str | None]:
    """Read the pid and the address, as far as they are there."""
    lines = os.pread(descriptor, LONGEST_NOTE, 0).decode("ascii", errors="replace").splitlines()
    pid, address, *_ = [*lines, None, None]
    return pid, address
