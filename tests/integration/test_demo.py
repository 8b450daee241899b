"""The demo: it plays to its end on real servers, and its checks notice what they are there for."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest

from worker.demo.audience import Promise, can_be_served, personal_texts
from worker.demo.checks import CLAIMS, Evidence, check
from worker.ledger import State
from worker.ledger.demonstration import LedgerEntry
from worker.simulator.record import Delivery

COMMAND = [sys.executable, "-m", "worker.cli", "demo"]
QUIET_UNTIL = datetime(2026, 11, 20, 1, 2, tzinfo=UTC)
NAMED = "postgresql+psycopg://somebody@127.0.0.1:1/theirs"
GREETING, HALF_GHOST, GHOST, URGENT, WAITING = (UUID(int=number) for number in range(1, 6))


def working_in(directory: Path) -> list[str]:
    """The command lines of all other processes that work in a directory or below it, as the servers do."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (entry / "cwd").readlink().is_relative_to(directory) and int(entry.name) != os.getpid():
                found.append((entry / "cmdline").read_text())
    return found


def test_the_demo_plays_to_its_end_and_agrees_with_the_record(tmp_path: Path) -> None:
    settings = {"WECOM_DATABASE_URL": NAMED, "WECOM_CHUNK": "1"}
    played = subprocess.run(
        COMMAND, cwd=tmp_path, env={**os.environ, **settings}, capture_output=True, text=True, check=False, timeout=120
    )
    assert played.returncode == 0, played.stdout + played.stderr
    assert played.stderr == ""
    for claim in CLAIMS:
        assert f"✓ {claim}" in played.stdout
    for words in ("3,000 of 3,000", "wecom senders resume hr-notices", "ghost-li", "WECOM_DATABASE_URL", "81013"):
        assert words in played.stdout
    assert all(len(line) <= 100 for line in played.stdout.splitlines()[:-1])
    assert working_in(tmp_path) == []
    look = played.stdout.splitlines()[-1]
    # Neither an activated environment nor the servers of the user's settings.
    looked = subprocess.run(
        ["/bin/sh", "-c", look],
        cwd=tmp_path,
        env={**os.environ, **settings, "PATH": os.defpath},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert looked.returncode == 0, look + looked.stderr
    assert "member-0042" in looked.stdout


def test_control_c_in_the_middle_leaves_nothing(tmp_path: Path, eventually: Callable[..., None]) -> None:
    output = tmp_path / "output"
    with output.open("wb") as file:
        demo = subprocess.Popen(COMMAND, cwd=tmp_path, stdout=file, stderr=subprocess.STDOUT, start_new_session=True)
    eventually(lambda: "texts accepted and stored" in output.read_text())
    os.killpg(demo.pid, signal.SIGINT)
    assert demo.wait(30) == 130
    assert output.read_text().endswith("\nstopped; nothing is left running\n")
    assert "Traceback" not in output.read_text()
    assert working_in(tmp_path) == []


def test_the_texts_of_the_fan_out_are_what_the_demo_says() -> None:
    texts = list(personal_texts())
    hopeless = [text for text in texts if not any(map(can_be_served, text.users))]
    mixed = [text for text in texts if text not in hopeless and not all(map(can_be_served, text.users))]
    assert (len(texts), len(hopeless), len(mixed)) == (3000, 250, 120)
    assert len({text.users for text in texts}) == len({text.content for text in texts}) == 3000


def entry(message: UUID, *users: str, state: State = State.SENT, invalid: tuple[str, ...] = ()) -> LedgerEntry:
    failed = state is State.FAILED
    return LedgerEntry(
        id=message,
        state=state,
        users=frozenset(users),
        msgid=None if failed else f"msgid-{message.int}",
        errcode=81013 if failed else 0,
        sent_at=None if failed else QUIET_UNTIL,
        send_at=QUIET_UNTIL,
        invalid=frozenset(invalid),
    )


def delivery(number: int, message: UUID, served: tuple[str, ...], *, at: float = 0.0) -> Delivery:
    return Delivery(
        number=number,
        at=at,
        corpid="ww-simulator",
        agentid=1000002,
        msgid=f"msgid-{message.int}",
        body_sha256=f"digest-{message.int}",
        msgtype="text",
        content=f"text {message.int}",
        served=list(served),
        dropped=[],
        duplicate_of=None,
        truncated=False,
        recalled_at=None,
    )


@pytest.fixture
def evidence() -> Evidence:
    """A ledger and a record that agree."""
    end = QUIET_UNTIL.timestamp()
    users = {
        GREETING: ("ann",),
        HALF_GHOST: ("bob", "ghost-1"),
        GHOST: ("ghost-2",),
        URGENT: ("ann",),
        WAITING: ("bob",),
    }
    repeated = delivery(1, HALF_GHOST, ("bob",))
    return Evidence(
        promises=[Promise(message, named, f"text {message.int}") for message, named in users.items()],
        entries=[
            entry(GREETING, "ann", state=State.RECALLED),
            entry(HALF_GHOST, "bob", "ghost-1", invalid=("ghost-1",)),
            entry(GHOST, "ghost-2", state=State.FAILED, invalid=("ghost-2",)),
            entry(URGENT, "ann"),
            entry(WAITING, "bob"),
        ],
        deliveries=[
            replace(delivery(0, GREETING, ("ann",)), recalled_at=1.0),
            repeated,
            replace(repeated, number=2, duplicate_of=1, served=[]),
            delivery(3, URGENT, ("ann",), at=end - 100),
            delivery(4, WAITING, ("bob",), at=end + 1),
        ],
        recalled=GREETING,
        urgent=URGENT,
        waiting=WAITING,
        quiet_until=QUIET_UNTIL,
    )


def changed(evidence: Evidence, part: str, place: int, **values: object) -> Evidence:
    """The evidence with one entry, delivery or promise falsified."""
    rows = list(getattr(evidence, part))
    rows[place] = replace(rows[place], **values)
    return replace(evidence, **{part: rows})


def without(evidence: Evidence, part: str, place: int) -> Evidence:
    rows = list(getattr(evidence, part))
    del rows[place]
    return replace(evidence, **{part: rows})


def again(evidence: Evidence, place: int) -> Evidence:
    """The evidence with a delivery shown a second time."""
    return replace(
        evidence, deliveries=[*evidence.deliveries, replace(evidence.deliveries[place], number=9, msgid="another")]
    )


def test_agreeing_figures_pass(evidence: Evidence) -> None:
    assert [one.claim for one in check(evidence) if not one.holds] == []


@pytest.mark.parametrize(
    ("falsify", "noticed"),
    [
        (lambda one: without(one, "entries", 4), "every accepted text is in the ledger"),
        (lambda one: without(one, "promises", 0), "every accepted text is in the ledger"),
        (lambda one: changed(one, "entries", 1, state=State.SCHEDULED), "no text is left behind"),
        (lambda one: changed(one, "entries", 1, state=State.UNCONFIRMED), "no text is left behind"),
        (lambda one: without(one, "deliveries", 4), "nobody was missed"),
        (lambda one: changed(one, "deliveries", 1, served=[]), "nobody was missed"),
        (lambda one: again(one, 3), "nobody was shown a text twice"),
        (lambda one: changed(one, "deliveries", 3, content="text 1"), "nobody was shown a text twice"),
        (lambda one: changed(one, "entries", 3, msgid="made-up"), "the msgids in the ledger"),
        (lambda one: again(one, 3), "the msgids in the ledger"),
        (lambda one: changed(one, "entries", 1, invalid=frozenset()), "the invalid recipients"),
        (lambda one: changed(one, "entries", 3, invalid=frozenset({"ann"})), "the invalid recipients"),
        (lambda one: changed(one, "entries", 2, errcode=45009), "failed are exactly"),
        (lambda one: changed(one, "entries", 4, state=State.FAILED), "failed are exactly"),
        (lambda one: changed(one, "deliveries", 2, body_sha256="other"), "what was of unknown fate"),
        (lambda one: without(one, "deliveries", 2), "what was of unknown fate"),
        (lambda one: changed(one, "deliveries", 0, recalled_at=None), "the recalled text"),
        (lambda one: changed(one, "deliveries", 3, recalled_at=2.0), "the recalled text"),
        (lambda one: changed(one, "deliveries", 4, at=QUIET_UNTIL.timestamp() - 1), "in the quiet window"),
        (lambda one: changed(one, "deliveries", 3, at=QUIET_UNTIL.timestamp()), "in the quiet window"),
        (lambda one: replace(one, unmet_faults=["http"]), "every fault that was ordered"),
    ],
)
def test_falsified_figures_are_noticed(
    evidence: Evidence, falsify: Callable[[Evidence], Evidence], noticed: str
) -> None:
    broken = [one.claim for one in check(falsify(evidence)) if not one.holds]
    assert any(claim.startswith(noticed) for claim in broken), broken
