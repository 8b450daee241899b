"""Taking over messages: `campaign()` in one pass, against `.delay()` in a loop; and what a million cost in memory.

Both run in this process, in turns: a personalised campaign, each of whose recipients is a row and a call of its own,
and a Celery task for each recipient. The memory is that of a process of its own.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from statistics import median
from typing import Any

from celery import Celery, Task

from benchmarks.stage import SENDER, Stage, stage
from worker import Text
from worker.servers import broker_form

ROUNDS = 3
TEXT = Text(content="{{ name }}：工资条已发放，请查收")


def measure(*, quick: bool = False) -> dict[str, float]:
    """Return `enqueue_vs_delay`, both speeds in messages a second, and `enqueue_rss_growth_mb` from 100k to 1M."""
    rows, delays, few, many = (5_000, 1_000, 1_000, 10_000) if quick else (100_000, 10_000, 100_000, 1_000_000)
    ours, theirs = [], []
    with stage() as running:
        task = _task(running)
        running.producer.campaign("warm up", sender=SENDER, message=TEXT, recipients=recipients("warm-up", 100))
        for turn in range(ROUNDS):
            ours.append(_rows_a_second(running, f"turn {turn}", rows))
            theirs.append(_delays_a_second(task, turn, delays))
        growth = _peak_megabytes(running, many) - _peak_megabytes(running, few)
    return {
        "enqueue_vs_delay": median(our / their for our, their in zip(ours, theirs, strict=True)),
        "campaign_rows_per_s": median(ours),
        "delay_per_s": median(theirs),
        "enqueue_rss_growth_mb": growth,
    }


def recipients(mark: str, number: int) -> Iterator[dict[str, str]]:
    """Make rows as a CSV file or a query would yield them."""
    return ({"userid": f"{mark}-{position}", "name": f"Member {position}"} for position in range(number))


def _rows_a_second(running: Stage, name: str, rows: int) -> float:
    began = time.monotonic()
    running.producer.campaign(name, sender=SENDER, message=TEXT, recipients=recipients(name.replace(" ", ""), rows))
    return rows / (time.monotonic() - began)


def _delays_a_second(task: Task[Any, Any], turn: int, calls: int) -> float:
    began = time.monotonic()
    for number in range(calls):
        task.delay(f"delay{turn}-{number}", f"Member {number}：工资条已发放，请查收")
    return calls / (time.monotonic() - began)


def _task(running: Stage) -> Task[Any, Any]:
    """Make the task of a program that queues one a message, with no result backend."""
    app = Celery("delay", broker=broker_form(running.environment["WECOM_REDIS_URL"]), set_as_current=False)
    app.conf.update(task_ignore_result=True, task_default_queue="delay")

    @app.task(name="delay.send")
    def send(userid: str, content: str) -> None:
        """Do nothing; no worker of this program runs."""

    return send


def _peak_megabytes(running: Stage, rows: int) -> float:
    """Return the peak memory of a process that takes over so many messages and ends."""
    command = [sys.executable, "-m", "benchmarks.enqueue_process", str(rows)]
    finished = subprocess.run(
        command, check=True, capture_output=True, text=True, env={**os.environ, **running.environment}
    )
    return float(finished.stdout)
