"""The proof that messages share the fate of their transactions, for any framework.

A script of the framework calls `run`: it tries hundreds of transactions, half of which it rolls back, in one process
after another, each of which is killed at some moment. The test calls `prove` with that script.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from random import Random

from sqlalchemy import text

from worker import Text
from worker.delivery.bell import Bell
from worker.ledger import Ledger, State
from worker.simulator.control import SimulatorControl

TRANSACTIONS = int(os.environ.get("TRANSACTIONS", "400"))
"""`make chaos` tries a thousand."""
LONGEST_LIFE = 120
"""Transactions after which a process is killed, at the latest."""
DEATHS_AT_THE_BELL = 0.02
"""Share of the commits after which a process dies in the very moment between the commit and the bell."""
BELL = "bell\n"
"""What a process says that dies there."""

Attempt = Callable[[int, bool], None]
"""Stores the order with this number and sends its message, in one transaction; then commits or rolls back."""


def message_of(order: int) -> Text:
    """The message about an order."""
    return Text(content=f"order {order}")


def recipient_of(order: int) -> str:
    """The only member who is told about it."""
    return f"user{order}"


@dataclass
class Deaths:
    """How the processes ended."""

    at_any_moment: int = 0
    at_the_bell: int = 0


def run(open_program: Callable[[], Attempt]) -> None:
    """Try all transactions; for a script, which imports its framework once and is then forked."""
    random, deaths, begun = Random(), Deaths(), 0
    while begun < TRANSACTIONS:
        reading, writing = os.pipe()
        process = os.fork()
        if process == 0:
            os.close(reading)
            _live(open_program(), begun, writing)
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as progress:
            lines = list(islice(progress, random.randint(1, LONGEST_LIFE)))
            time.sleep(random.uniform(0, 0.01))  # anywhere in a transaction
            os.kill(process, signal.SIGKILL)
            lines += progress
        _, status = os.waitpid(process, 0)
        if os.WIFEXITED(status) and os.WEXITSTATUS(status):
            raise SystemExit("a process ended by an error of its own")
        begun = 1 + max(int(line) for line in lines if line != BELL)
        if os.WIFSIGNALED(status):
            if lines[-1] == BELL:
                deaths.at_the_bell += 1
            else:
                deaths.at_any_moment += 1
    print(json.dumps(vars(deaths)))  # noqa: T201 - this is what a script is asked for


def _live(attempt: Attempt, first: int, progress: int) -> None:
    """Try transactions until killed, and say which one before each."""
    random, ring = Random(), Bell.ring

    def perhaps_die() -> None:
        if random.random() < DEATHS_AT_THE_BELL:
            os.write(progress, BELL.encode())
            os.kill(os.getpid(), signal.SIGKILL)

    def ring_or_die(bell: Bell, sender: str, times: int = 1) -> None:
        perhaps_die()
        ring(bell, sender, times)

    Bell.ring = ring_or_die  # type: ignore[method-assign]
    for number in range(first, TRANSACTIONS):
        os.write(progress, f"{number}\n".encode())
        commits = number % 2 == 0
        attempt(number, commits)
        if commits:
            perhaps_die()  # where there is no bell, too


def prove(
    script: Path,
    environment: Mapping[str, str],
    ledger: Ledger,
    simulator: SimulatorControl,
    eventually: Callable[..., None],
) -> None:
    """Run a script of a framework while workers deliver; what is committed must be delivered once, and nothing else."""
    with ledger.engine.begin() as connection:
        connection.execute(text("create table orders (number integer primary key)"))

    ran = subprocess.run(
        [sys.executable, str(script)], env=os.environ | environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr

    with ledger.engine.connect() as connection:
        committed = set(connection.scalars(text("select number from orders")))
        stored = list(connection.scalars(text("select body -> 'text' ->> 'content' from wecom.messages")))
    eventually(lambda: ledger.history.counts("hr") == {State.SENT: len(committed)})
    assert all(number % 2 == 0 for number in committed)
    assert len(committed) > TRANSACTIONS * 0.4, "most were to be committed"
    assert Counter(stored) == {f"order {number}": 1 for number in committed}
    assert simulator.served() == {recipient_of(number): [f"order {number}"] for number in committed}

    deaths = Deaths(**json.loads(ran.stdout))
    assert deaths.at_any_moment > 0, "no process was killed amid its transactions"
    assert deaths.at_the_bell > 0, "no process died between a commit and its bell"
