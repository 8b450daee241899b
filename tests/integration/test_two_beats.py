"""Two beats and their workers, as real processes, some of which die: every occurrence is sent, and sent once."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from worker import Producer, State, Text
from worker.ledger import Ledger
from worker.processes import BEAT, WORKER, CeleryProcess
from worker.servers import broker_form
from worker.simulator.control import SimulatorControl

BEGIN = datetime(2031, 3, 5, 9, 0, 30, tzinfo=UTC)
MINUTES = 50
KILLED_AT = 40

THEIR_APP = """
from celery import Celery

app = Celery("theirs", broker={broker!r})
app.conf.beat_scheduler = "worker.beat:OnceScheduler"
app.conf.beat_max_loop_interval = 1
app.conf.beat_schedule = {{
    "each-second": {{
        "task": "wecom.send",
        "schedule": 1.0,
        "kwargs": {{
            "sender": "hr", "message": {{"msgtype": "text", "text": {{"content": "tick"}}}}, "parties": [2]
        }},
        "options": {{"queue": "wecom"}},
    }},
}}
"""


@pytest.fixture
def stop_clock(ledger: Ledger) -> Callable[[datetime], None]:
    """Let the ledger's clock stand at a moment, for all who are connected already too."""

    def stop_clock(moment: datetime) -> None:
        with ledger.engine.begin() as connection:
            connection.execute(
                text(f"""
                create or replace function wecom.clock() returns timestamptz language sql stable parallel safe
                as $$ select timestamptz '{moment.isoformat()}' $$
                """)
            )

    return stop_clock


def test_of_fifty_scheduled_minutes_each_is_sent_once_while_a_beat_and_a_worker_are_killed(
    producer: Producer,
    ledger: Ledger,
    simulator: SimulatorControl,
    start: Callable[..., CeleryProcess],
    stop_clock: Callable[[datetime], None],
    eventually: Callable[..., None],
) -> None:
    def counts() -> Counter[State]:
        return Counter(ledger.history.counts("hr"))

    def stored() -> int:
        return sum(counts().values())

    stop_clock(BEGIN)
    # Nothing between us and the members hides a second message: no duplicate check, and no limit for departments.
    message = Text(content="tick", enable_duplicate_check=0)
    producer.schedules.add("each-minute", cron="* * * * *", timezone="UTC", sender="hr", message=message, parties=[2])
    beats, workers = [start(BEAT), start(BEAT)], [start(WORKER), start(WORKER)]
    for minute in range(1, MINUTES + 1):
        stop_clock(BEGIN + timedelta(minutes=minute))
        if minute == MINUTES // 2:
            beats[0].kill()
        if minute == KILLED_AT:
            workers[0].kill()
        # A lease does not outlast a minute, so the time waits for what is being sent by whoever is alive.
        sent = minute - (minute >= KILLED_AT)
        eventually(lambda minute=minute, sent=sent: stored() == minute and counts()[State.SENT] >= sent)
    stop_clock(BEGIN + timedelta(minutes=MINUTES, seconds=20))
    eventually(lambda: set(counts()) <= {State.SENT, State.UNCONFIRMED})

    with ledger.engine.connect() as connection:
        keys = list(connection.scalars(text("select key from wecom.idempotency_keys order by key")))
    first = BEGIN.replace(second=0)
    expected = [(first + timedelta(minutes=n)).isoformat() for n in range(1, MINUTES + 1)]
    assert keys == [f"schedule:each-minute:{moment}" for moment in expected]
    assert stored() == MINUTES
    assert counts()[State.UNCONFIRMED] <= 1, "of what the killed worker was sending nobody can know"
    assert counts()[State.SENT] <= len(simulator.served()["party:2"]) <= MINUTES


@pytest.fixture
def their_beat(tmp_path: Path, redis_url: str) -> Iterator[Callable[[int], subprocess.Popen[bytes]]]:
    """Start a beat of somebody's own Celery app, which knows nothing of us but the scheduler."""
    (tmp_path / "theirs.py").write_text(THEIR_APP.format(broker=broker_form(redis_url)))
    started: list[subprocess.Popen[bytes]] = []

    def their_beat(number: int) -> subprocess.Popen[bytes]:
        with (tmp_path / f"their-beat-{number}.log").open("wb") as log:
            command = [sys.executable, "-m", "celery", "-A", "theirs", "beat", "--loglevel", "INFO"]
            started.append(
                subprocess.Popen(
                    command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path)}, stdout=log, stderr=log
                )
            )
        return started[-1]

    yield their_beat
    for process in started:
        process.kill()
        process.wait()


def test_an_entry_of_two_beats_of_somebodys_own_is_sent_once_each_second(
    ledger: Ledger,
    simulator: SimulatorControl,
    start: Callable[..., CeleryProcess],
    their_beat: Callable[[int], subprocess.Popen[bytes]],
    eventually: Callable[..., None],
    tmp_path: Path,
) -> None:
    def handed_over(number: int) -> int:
        return (tmp_path / f"their-beat-{number}.log").read_text().count("Sending due task each-second")

    def moments() -> list[datetime]:
        with ledger.engine.connect() as connection:
            keys = connection.scalars(text("select key from wecom.idempotency_keys"))
            return sorted(datetime.fromisoformat(key.removeprefix("beat:theirs:each-second:")) for key in keys)

    start(WORKER)
    first, second = their_beat(1), their_beat(2)
    eventually(lambda: min(handed_over(1), handed_over(2)) >= 3)
    first.kill()
    first.wait()
    handed_over_by_first = handed_over(1)
    count = handed_over(2)
    eventually(lambda: handed_over(2) >= count + 2)
    second.kill()
    second.wait()
    total = handed_over_by_first + handed_over(2)
    # Either may have been killed between what it logged and what it sent.
    eventually(lambda: len(moments()) >= handed_over(2) - 1)
    eventually(lambda: ledger.history.counts("hr") == {State.SENT: len(moments())})

    served = Counter(simulator.served()["party:2"])
    assert served == {"tick": len(moments())}
    assert all(one.microsecond == 0 for one in moments())
    assert len(moments()) < total - 2, "with Celery's own scheduler each beat would have sent every entry"
