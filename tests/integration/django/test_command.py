"""`manage.py wecom ...`, in this process and in one of its own."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command, load_command_class

from worker import State, Text
from worker.integrations.django import wecom
from worker.ledger import Ledger

Project = Callable[..., None]

pytestmark = pytest.mark.usefixtures("project")


def test_call_command_has_the_output_and_the_errors_of_wecom(project: Project) -> None:
    message = wecom.send("hr", Text(content="hello"), users=["zhangsan"])
    output = io.StringIO()
    call_command("wecom", "status", str(message), "--json", stdout=output)
    assert json.loads(output.getvalue())["state"] == State.SCHEDULED
    with pytest.raises(CommandError, match="no message has the id"):
        call_command("wecom", "status", "00000000-0000-7000-8000-000000000000")
    project(CHUNCK=5)
    with pytest.raises(CommandError, match="'CHUNCK' is no setting; did you mean 'CHUNK'"):
        call_command("wecom", "history", "zhangsan")


def told(capfd: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> str:
    """What `manage.py wecom` prints when it ends with this status."""
    with pytest.raises(SystemExit) as ended:
        load_command_class("worker.integrations.django", "wecom").run_from_argv(["./manage.py", "wecom", *arguments])
    printed = "".join(capfd.readouterr())
    assert (ended.value.code or 0) == status, printed
    return printed


def test_manage_py_wecom_is_the_whole_command_with_the_settings_of_the_project(
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert "Usage: manage.py wecom [OPTIONS] COMMAND" in told(capfd, "--help")
    sent = json.loads(told(capfd, "send", "hr", "--text", "hello", "--user", "zhangsan", "--json"))
    assert wecom.status(sent["ids"][0]).state is State.SCHEDULED
    assert "Nothing to do" in told(capfd, "migrate")
    assert "no sender named 'nobody'" in told(capfd, "senders", "show", "nobody", status=1)
    assert "No such command" in told(capfd, "nonsense", status=2)
    assert [name for name in os.environ if name.startswith("WECOM_")] == []


def test_a_process_of_its_own_takes_djangos_options_too(
    environment: dict[str, str], ledger: Ledger, tmp_path: Path
) -> None:
    given = {name.removeprefix("WECOM_"): value for name, value in environment.items()}
    (tmp_path / "settings_of_shop.py").write_text(
        f"INSTALLED_APPS = ['worker.integrations.django']\nWECOM = {given!r}\n"
    )
    django = [sys.executable, "-m", "django", "wecom", "--settings=settings_of_shop", "--pythonpath", str(tmp_path)]
    ended = subprocess.run([*django, "senders", "list", "--json"], capture_output=True, timeout=60, check=True)
    assert [sender["name"] for sender in json.loads(ended.stdout)["senders"]] == ledger.senders.names()
