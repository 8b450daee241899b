"""docs/celery.md: every program in it runs, knowing only Celery, and every argument of its tables is taken."""

import ast
import inspect
import re
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from worker import State
from worker.delivery.office import Office
from worker.delivery.rejections import carry_out
from worker.delivery.task_requests import OWN_PARAMETERS, TASKS, TaskRequest
from worker.ledger import Ledger
from worker.messages.sender import Sender
from worker.processes import WORKER, CeleryProcess
from worker.servers import broker_form

PAGE = (Path(__file__).parents[2] / "docs" / "celery.md").read_text(encoding="utf-8")
PROGRAMS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
KNOWS_ONLY_CELERY = """
import sys
assert not [name for name in sys.modules if name.partition(".")[0] == "worker"]
"""
NEEDED: dict[str, dict[str, Any]] = {
    "wecom.send": {"sender": "hr-notices", "message": {"msgtype": "text", "text": {"content": "x"}}, "users": ["a"]},
    "wecom.campaign": {
        "name": "c",
        "sender": "hr-notices",
        "message": {"msgtype": "text", "text": {"content": "x"}},
        "recipients": ["a"],
    },
    "wecom.recall": {},
}


def rows(task: str) -> dict[str, tuple[str, Any]]:
    """The arguments in the table of a task: what they must be, and the example."""
    section = PAGE.partition(f"\n## {task}\n")[2].partition("\n## ")[0]
    found = re.findall(r"^\| `(\w+)` \| ([^|]+) \| `([^`]+)` \|", section, re.MULTILINE)
    return {name: (kind, ast.literal_eval(example)) for name, kind, example in found}


def add_sender(ledger: Ledger) -> None:
    credentials = {"corpid": "ww-simulator", "corpsecret": "simulator-secret"}
    ledger.senders.add(Sender("hr-notices", "wecom", 1000002, credentials))


def test_every_program_of_the_page_runs_and_does_what_it_says(
    redis_url: str, ledger: Ledger, start: Callable[..., CeleryProcess], eventually: Callable[..., None]
) -> None:
    add_sender(ledger)
    start(WORKER)
    stored = [{State.SENT: 1}, {State.SENT: 3}, *[{State.SENT: 2, State.RECALLED: 1}] * 2]
    for written, then in zip(PROGRAMS, stored, strict=True):
        program = written.replace("redis://localhost:6379/0", broker_form(redis_url))
        subprocess.run([sys.executable, "-W", "error", "-c", program + KNOWS_ONLY_CELERY], check=True, timeout=60)
        eventually(partial(lambda then: ledger.history.counts("hr-notices") == then, then))
    assert ledger.rejected.list() == []


@pytest.mark.parametrize("task", TASKS)
def test_the_tables_name_every_argument(task: str) -> None:
    taken = list(inspect.signature(TASKS[task]).parameters)[OWN_PARAMETERS:]
    assert sorted(rows(task)) == sorted(taken)


@pytest.mark.parametrize("task", ["wecom.send", "wecom.campaign"])
def test_every_example_of_the_tables_is_taken(office: Office, task: str) -> None:
    add_sender(office.ledger)
    for number, (name, (kind, example)) in enumerate(rows(task).items()):
        kwargs = NEEDED[task] | {"name": f"c{number}"} if task == "wecom.campaign" else NEEDED[task]
        carry_out(office, TaskRequest(task, name, [], kwargs | {name: example}))
        assert office.ledger.rejected.list() == [], name
        if "required" in kind:
            lacking = {key: value for key, value in kwargs.items() if key != name}
            carry_out(office, TaskRequest(task, name, [], lacking))
            [kept] = office.ledger.rejected.list()
            assert f"missing a required argument: {name!r}" in kept.reason
            office.ledger.rejected.remove(kept.id)


def test_a_recall_takes_every_combination_of_its_table(office: Office) -> None:
    add_sender(office.ledger)
    examples = {name: example for name, (_, example) in rows("wecom.recall").items()}
    send = NEEDED["wecom.send"] | {"idempotency_key": examples["idempotency_key"]}
    carry_out(office, TaskRequest("wecom.send", "1", [], send))
    carry_out(office, TaskRequest("wecom.campaign", "2", [], NEEDED["wecom.campaign"] | {"name": examples["campaign"]}))
    by_key = {name: examples[name] for name in ("sender", "idempotency_key")}
    for number, kwargs in enumerate([by_key, {"campaign": examples["campaign"]}]):
        carry_out(office, TaskRequest("wecom.recall", f"recall-{number}", [], kwargs))
    assert office.ledger.rejected.list() == []
    assert office.ledger.history.counts("hr-notices") == {State.CANCELLED: 2}
    carry_out(office, TaskRequest("wecom.recall", "3", [], {"message_id": examples["message_id"]}))
    assert [one.task_id for one in office.ledger.rejected.list()] == ["3"]
