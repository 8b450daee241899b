"""The processes `wecom up` runs: started, listened to, started again, stopped."""

import os
import signal
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import cycle

import click

from worker.processes import CeleryProcess

COLOURS = ("cyan", "magenta", "green", "yellow", "blue")
LAST_WORDS = 10
MOST_RESTARTS = 3
RESTART_SECONDS = 60
"""So many processes may end by themselves in so many seconds; more is no accident."""


class Stopped(click.ClickException):
    """A process has ended that should run; the others were stopped in order."""


@dataclass
class Crew:
    """The workers and beat, and what they say; one that ends by itself is started again."""

    processes: dict[str, CeleryProcess] = field(default_factory=dict)
    _orders: dict[str, tuple[tuple[str, ...], Mapping[str, str]]] = field(default_factory=dict)
    _ended: list[float] = field(default_factory=list)
    last_words: dict[str, deque[str]] = field(default_factory=dict)
    _readers: list[threading.Thread] = field(default_factory=list)
    _colours: Iterator[str] = field(default_factory=lambda: cycle(COLOURS))

    def start(self, name: str, arguments: tuple[str, ...], environment: Mapping[str, str]) -> None:
        """Start a process and print its log, each line with its name before it."""
        self._orders[name] = (arguments, environment)
        reading, writing = os.pipe()
        self.last_words[name] = deque(maxlen=LAST_WORDS)
        self.processes[name] = CeleryProcess(arguments, environment, os.fdopen(writing, "wb"))
        prefix = click.style(f"{name:9}| ", fg=next(self._colours))
        reader = threading.Thread(target=self._read, args=(name, prefix, reading), name=f"log-{name}", daemon=True)
        reader.start()
        self._readers.append(reader)

    def stop(self) -> None:
        """Ask all to stop at once and wait for each; calls under way finish, claimed messages go back."""
        if not self.processes:
            return
        for process in reversed(self.processes.values()):
            process.terminate()
        for process in self.processes.values():
            process.stop()
        for reader in self._readers:
            reader.join(timeout=5)
        tell("workers and beat have stopped; what they had claimed and not sent waits in the ledger")

    def kill(self) -> None:
        """Kill all of them; their claims are reopened when the leases end."""
        for process in self.processes.values():
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)

    def keep_alive(self) -> None:
        """Start again what has ended by itself, as one does whose main loop stands still (`worker.watch`).

        Raises:
            Stopped: processes end again and again; the last log lines of one are part of the message.
        """
        for name, process in list(self.processes.items()):
            if process.running():
                continue
            now = time.monotonic()
            self._ended = [*(at for at in self._ended if now - at < RESTART_SECONDS), now]
            fate = f"{name} has ended unexpectedly (status {process.stop()})"
            if len(self._ended) > MOST_RESTARTS:
                last = "\n".join(f"  {line}" for line in self.last_words[name])
                raise Stopped(f"{fate}, not for the first time; its last words:\n{last}")
            tell(f"{fate}; it is started again")
            self.start(name, *self._orders[name])

    def _read(self, name: str, prefix: str, reading: int) -> None:
        with os.fdopen(reading, encoding="utf-8", errors="replace") as log:
            for line in log:
                if not line.strip():
                    continue
                self.last_words[name].append(line.rstrip())
                # Where nobody reads our output any more, the process must still be able to write its log.
                with suppress(OSError, ValueError):
                    click.echo(prefix + line.rstrip())


def tell(sentence: str) -> None:
    """Print one line of our own."""
    with suppress(OSError):
        click.echo(click.style(f"{'up':9}| ", bold=True) + sentence)
