"""A real Postgres and a real Redis from wheels, for one machine, shared by every process that uses their directory."""

import atexit
import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from worker.embedded.home import USERS_LOCK, EmbeddedError, Home
from worker.embedded.postgres import Postgres
from worker.embedded.redis import Redis

__all__ = ["EmbeddedError", "EmbeddedServers", "Servers"]

# Postgres may have much to recover after a kill; a start in ordinary is a tenth of a second.
START_SECONDS = 120.0
START_LOCK = "start.lock"
POLL_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class Servers:
    """Where the embedded servers are: a SQLAlchemy URL and a redis-py URL, both of unix sockets."""

    database_url: str
    redis_url: str


class EmbeddedServers:
    """The servers of a directory, running as long as any process uses them.

    Each process that uses them holds a shared lock on `users.lock`, which it loses however it ends; the last one that
    closes them stops them, and what a killed one left running is joined by the next. Starting and stopping happen
    one at a time, under `start.lock`. `postgres_options` are settings for Postgres, used if this process starts it.
    """

    def __init__(self, home: Path, *, postgres_options: Mapping[str, str] | None = None) -> None:
        self._home = Home(home)
        self._postgres_options = dict(postgres_options or {})
        self._users_lock: int | None = None
        self._owner_pid = 0
        self._servers: Servers | None = None

    def start(self) -> Servers:
        """Start the servers, or join those that run, and wait until both answer.

        Raises:
            EmbeddedError: they cannot be started or do not answer within START_SECONDS; the text says what to do.
        """
        if self._servers is not None and self._owner_pid == os.getpid():
            return self._servers
        self._leave_to_parent()
        deadline = time.monotonic() + START_SECONDS
        postgres, redis = Postgres(self._home, self._postgres_options), Redis(self._home)
        self._home.prepare()
        try:
            with self._one_at_a_time(deadline):
                self._users_lock = self._home.open(USERS_LOCK)
                self._owner_pid = os.getpid()
                fcntl.flock(self._users_lock, fcntl.LOCK_SH)
                redis.launch()
                postgres.launch()
                redis.wait_until_ready(deadline)
                postgres.wait_until_ready(deadline)
                self._servers = Servers(postgres.url, redis.url)
                self._note(postgres, redis)
        except BaseException:  # Ctrl-C too: a start that did not finish leaves nothing behind
            with contextlib.suppress(EmbeddedError):  # the first error is the one to read
                self.close()
            raise
        atexit.register(self.close)
        return self._servers

    def close(self) -> None:
        """Stop using the servers, and stop them if nobody else uses them; closing twice is harmless.

        Raises:
            EmbeddedError: a server does not stop; the text names it.
        """
        atexit.unregister(self.close)
        if self._users_lock is None or self._owner_pid != os.getpid():
            self._leave_to_parent()
            return
        try:
            with self._one_at_a_time(time.monotonic() + START_SECONDS):
                if self._is_last_user(self._users_lock):
                    try:
                        Redis(self._home).stop()
                    finally:
                        Postgres(self._home, {}).stop()
                    (self._home.path / "servers.json").unlink(missing_ok=True)
                    self._home.leave_temporary_directory()
        finally:
            os.close(self._users_lock)
            self._users_lock = self._servers = None

    def __enter__(self) -> Servers:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _leave_to_parent(self) -> None:
        """After a fork the servers are the parent's to stop; the child only lets go of its copy of the lock."""
        if self._users_lock is not None and self._owner_pid != os.getpid():
            os.close(self._users_lock)
            self._users_lock = self._servers = None

    @staticmethod
    def _is_last_user(users_lock: int) -> bool:
        # Our shared lock is lost if this fails, which is what closing wants anyway.
        try:
            fcntl.flock(users_lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    @contextlib.contextmanager
    def _one_at_a_time(self, deadline: float) -> Iterator[None]:
        """Hold the lock under which servers are started and stopped; the file says who holds it."""
        lock = self._home.open(START_LOCK)
        try:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        holder = os.pread(lock, 32, 0).decode(errors="replace").strip() or "unknown"
                        raise EmbeddedError(
                            f"Process {holder} has been starting or stopping the servers in {self._home.path} for "
                            f"{START_SECONDS:.0f} s: wait for it, or stop it."
                        ) from None
                    time.sleep(POLL_SECONDS)
            os.truncate(lock, 0)
            os.pwrite(lock, f"{os.getpid()}\n".encode("ascii"), 0)
            yield
        finally:
            os.close(lock)

    def _note(self, postgres: Postgres, redis: Redis) -> None:
        """Write for people what runs here."""
        note = {
            server.name.lower(): {"pid": server.pid(), "socket": os.fspath(server.socket)}
            for server in (postgres, redis)
        }
        descriptor = self._home.open("servers.json", os.O_WRONLY | os.O_TRUNC)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(note, file, indent=2)
