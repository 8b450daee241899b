"""`wecom send`, `wecom status` and `wecom recall`, for people and for programs."""

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import orjson
import pytest
from click.testing import CliRunner, Result

from worker.cli import wecom
from worker.delivery.office import Office
from worker.delivery.serve import serve
from worker.ledger import Ledger, Priority, State
from worker.processes import BEAT, WORKER, CeleryProcess
from worker.settings import settings
from worker.simulator.control import SimulatorControl

STATUS = [
    "id",
    "sender",
    "state",
    "priority",
    "requested_at",
    "send_at",
    "expires_at",
    "sent_at",
    "recipients",
    "body",
    "msgid",
    "errcode",
    "error",
    "recall_requested_at",
    "recalled_at",
    "recall_error",
    "invalid",
    "attempts",
    "parts",
    "card_updates",
    "warnings",
]
PAYROLL = "Your payslip is ready.\n工资条"


@pytest.fixture
def run(environment: dict[str, str], ledger: Ledger) -> Callable[..., Result]:
    """Run `wecom` in this process, with the sender `hr`."""
    assert ledger.senders.names() == ["hr"]

    def run(*arguments: str, standard_input: str | None = None, **changes: str | None) -> Result:
        settings.cache_clear()
        return CliRunner().invoke(wecom, list(arguments), input=standard_input, env=environment | changes)

    return run


@pytest.fixture
def sent_id(run: Callable[..., Result]) -> Callable[..., str]:
    """Hand a message over with `wecom send --json` and return its id."""

    def send(*arguments: str) -> str:
        result = run("send", "hr", "--json", *arguments)
        assert result.exit_code == 0, result.output
        return str(orjson.loads(result.stdout)["ids"][0])

    return send


def execute(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "worker.cli", *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_the_real_program_sends_tells_and_takes_back(
    environment: dict[str, str],
    ledger: Ledger,
    start: Callable[..., CeleryProcess],
    simulator: SimulatorControl,
    eventually: Callable[..., None],
) -> None:
    assert ledger.senders.names() == ["hr"]
    start(WORKER)
    start(BEAT)
    handed_over = execute(
        environment, "send", "hr", "--text", PAYROLL, "--user", "zhangsan", "--user", "ghost1", "--json"
    )
    assert (handed_over.returncode, handed_over.stderr) == (0, "")
    [message_id] = orjson.loads(handed_over.stdout)["ids"]
    eventually(lambda: ledger.history.status(UUID(message_id)).state is State.SENT)

    told = execute(environment, "status", message_id)
    assert told.returncode == 0, told.stderr
    for words in ("Your payslip is ready.", "工资条", "zhangsan, ghost1", "WeCom accepted it", "Not served", "ago)"):
        assert words in told.stdout
    assert "\x1b" not in told.stdout

    taken_back = execute(environment, "recall", message_id, "--wait", "30", "--json")
    assert taken_back.returncode == 0, taken_back.stderr
    assert orjson.loads(taken_back.stdout) == {
        "parts": [{"id": message_id, "sender": "hr", "state": "recalled", "recall_error": None}]
    }
    assert simulator.counters().recalled == 1


def test_what_is_sent_is_what_was_said(run: Callable[..., Result], ledger: Ledger) -> None:
    at = (datetime.now(UTC) + timedelta(days=2)).replace(microsecond=0)
    expires = at + timedelta(hours=1)
    arguments = ("--user", "a", "--user", "b", "--party", "2", "--tag", "7", "--tag", "8", "--urgent", "--key", "k1")
    result = run(
        "send", "hr", "--text", PAYROLL, *arguments, "--at", at.isoformat(), "--expires", expires.isoformat(), "--json"
    )
    assert (result.exit_code, result.stderr) == (0, "")
    answer = orjson.loads(result.stdout)
    assert list(answer) == ["ids"]
    found = ledger.history.status(UUID(answer["ids"][0]))
    assert found is not None
    assert found.body["text"]["content"] == PAYROLL
    assert (found.recipients.users, found.recipients.parties, found.recipients.tags) == (("a", "b"), ("2",), ("7", "8"))
    assert (found.requested_at, found.expires_at, found.priority) == (at, expires, Priority.URGENT)


def test_a_person_is_told_the_id_and_how_to_look_it_up(run: Callable[..., Result]) -> None:
    first, second = run("send", "hr", "--text", "x", "--user", "a").stdout.splitlines()
    message_id = first.removeprefix("Stored as ").split(";")[0]
    assert "; due 20" in first
    assert second == f"`wecom status {message_id}` tells what became of it."
    assert run("status", message_id).exit_code == 0


def test_what_a_file_says_is_refused_by_the_names_of_the_file(run: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "message.json").write_text('{"msgtype": "text", "text": {"content": " "}}')
    refused = run("send", "hr", "--file", "message.json", "--user", "a")
    assert (refused.exit_code, refused.stderr) == (1, "Error: text.content: is empty\n")


def test_a_card_update_is_refused_by_the_names_of_its_options(run: Callable[..., Result]) -> None:
    refused = run("update-card", str(uuid4()), "--replace-name", " ", "--user", "a")
    assert (refused.exit_code, refused.stderr) == (1, "Error: --replace-name: is empty\n")
    refused = run("update-card", str(uuid4()), "--replace-name", "x", "--user", "u" * 65)
    assert (refused.exit_code, refused.stderr) == (1, "Error: --user: 65 bytes of UTF-8, at most 64\n")


def test_a_message_moved_by_a_quiet_window_says_so(run: Callable[..., Result], ledger: Ledger) -> None:
    windows = {"WECOM_QUIET_BEFORE": "60", "WECOM_QUIET_AFTER": "120"}
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    for minute in (0, 30):
        at = tomorrow.replace(minute=minute, second=0, microsecond=0)
        said = run("send", "hr", "--text", "x", "--user", "a", "--at", at.isoformat(), **windows).stdout
        assert f"; kept away from minute {minute}: due 20" in said
    at = tomorrow.replace(minute=15)
    said = run("send", "hr", "--text", "x", "--user", "a", "--at", at.isoformat(), **windows).stdout
    assert "kept away" not in said
    assert ledger.history.counts("hr") == {State.SCHEDULED: 3}


def test_a_text_comes_from_standard_input(run: Callable[..., Result], ledger: Ledger) -> None:
    result = run("send", "hr", "--text", "-", "--user", "a", "--json", standard_input="one\n\ntwo\n")
    found = ledger.history.status(UUID(orjson.loads(result.stdout)["ids"][0]))
    assert found is not None
    assert found.body["text"]["content"] == "one\n\ntwo"


def test_everyone_is_reached_only_if_that_is_said(run: Callable[..., Result], ledger: Ledger) -> None:
    result = run("send", "hr", "--text", "x", "--everyone", "--json")
    found = ledger.history.status(UUID(orjson.loads(result.stdout)["ids"][0]))
    assert found is not None
    assert found.recipients.everyone


def test_a_large_audience_has_one_id_for_each_part(run: Callable[..., Result]) -> None:
    users = [word for number in range(1001) for word in ("--user", f"u{number}")]
    result = run("send", "hr", "--text", "x", *users, "--json")
    ids = orjson.loads(result.stdout)["ids"]
    assert len(set(ids)) == 2
    told = run("status", ids[0]).stdout
    assert "u0, u1, u2 and 997 more" in told
    assert ids[1] in told
    taken_back = orjson.loads(run("recall", ids[0], "--json").stdout)["parts"]
    assert [(part["id"], part["state"]) for part in taken_back] == [(one, "cancelled") for one in ids]
    assert "in 2 parts" in run("send", "hr", "--text", "x", *users).stdout


def test_the_same_key_stands_for_the_same_message(run: Callable[..., Result], sent_id: Callable[..., str]) -> None:
    keyed = ("--text", "x", "--user", "a", "--key", "payday")
    assert sent_id(*keyed) == sent_id(*keyed)
    other = run("send", "hr", "--text", "y", "--user", "a", "--key", "payday")
    assert (other.exit_code, other.stdout) == (1, "")
    assert "was used for another message" in other.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nobody", "--text", "x", "--user", "a"], "there is no sender named 'nobody'; known senders: hr"),
        (["hr", "--text", "", "--user", "a"], "Error: --text: is empty"),
        (["hr", "--text", " \n", "--user", "a"], "Error: --text: is empty"),
        (["hr", "--text", "x" * 2049, "--user", "a"], "2049 bytes of UTF-8, at most 2048"),
        (["hr", "--text", "字" * 683, "--user", "a"], "2049 bytes of UTF-8, at most 2048"),
        (["hr", "--text", "a\x07b", "--user", "a"], "control character U+0007 at position 1"),
        (["hr", "--text", "x", "--user", "@all"], "Error: --user: @all reaches every member; say --everyone if that"),
        (["hr", "--text", "x", "--everyone", "--user", "a"], "Error: --everyone: WeCom ignores"),
        (["hr", "--text", "x", "--user", "a|b"], "Error: --user: 'a|b' holds"),
        (["hr", "--text", "x", "--user", ""], "1 to 64 bytes"),
        (["hr", "--text", "x", "--user", "a", "--at", "2020-01-01T09:00:00+08:00"], "Error: --at: 2020-"),
        (["hr", "--text", "x", "--user", "a", "--expires", "2020-01-01T09:00:00Z"], "Error: --expires: "),
        (["hr", "--text", "x", "--user", "a", "--key", ""], "Error: --key: 1 to 255 characters"),
    ],
)
def test_what_cannot_be_sent_is_refused_and_not_stored(
    run: Callable[..., Result], ledger: Ledger, arguments: list[str], words: str
) -> None:
    result = run("send", "--json", *arguments)
    assert (result.exit_code, result.stdout) == (1, ""), result.output
    assert len(result.stderr.splitlines()) == 1
    assert words in result.stderr
    assert ledger.history.counts("hr") == {}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["hr", "--text", "x"], "nobody is named"),
        (["hr", "--user", "a"], "--text"),
        (["--text", "x", "--user", "a"], "SENDER"),
        (["hr", "--text", "x", "--party", "sales"], "--party"),
        (["hr", "--text", "x", "--tag", "-1"], "--tag"),
        (["hr", "--text", "x", "--user", "a", "--at", "2026-11-20T09:00:00"], "no time zone; add one"),
        (["hr", "--text", "x", "--user", "a", "--at", "nine"], "no ISO 8601 time"),
        (["hr", "--text", "x", "--user", "a", "--expires", "2026-11-20"], "no time zone"),
    ],
)
def test_wrong_use_is_found_before_a_server_is_asked(arguments: list[str], words: str) -> None:
    result = CliRunner().invoke(wecom, ["send", "--json", *arguments])
    assert (result.exit_code, result.stdout) == (2, "")
    assert words in result.stderr


def test_a_redis_that_is_away_costs_no_message(run: Callable[..., Result], ledger: Ledger) -> None:
    result = run("send", "hr", "--text", "x", "--user", "a", "--json", WECOM_REDIS_URL="redis://127.0.0.1:1/0")
    assert result.exit_code == 0, result.output
    [message_id] = orjson.loads(result.stdout)["ids"]
    found = ledger.history.status(UUID(message_id))
    assert found is not None
    assert found.state is State.SCHEDULED


def test_the_note_that_nobody_was_rung_for_stays_off_standard_output(
    environment: dict[str, str], ledger: Ledger
) -> None:
    assert ledger.senders.names() == ["hr"]
    away = environment | {"WECOM_REDIS_URL": "redis://127.0.0.1:1/0"}
    told = execute(away, "send", "hr", "--text", "x", "--user", "a", "--json")
    assert told.returncode == 0
    assert list(orjson.loads(told.stdout)) == ["ids"]
    assert "Redis cannot be reached (ConnectionError); the message is stored and goes out once" in told.stderr
    assert "Traceback" not in told.stderr


def test_the_sender_default_needs_no_more_than_three_variables(run: Callable[..., Result], ledger: Ledger) -> None:
    three = {"WECOM_CORPID": "ww9", "WECOM_CORPSECRET": "s3cret-of-default", "WECOM_AGENTID": "9"}
    result = run("send", "default", "--text", "x", "--user", "a", **three)
    assert result.exit_code == 0, result.output
    assert ledger.history.counts("default") == {State.SCHEDULED: 1}
    assert "s3cret-of-default" not in result.output


def test_a_producer_without_keys_can_send_and_look(run: Callable[..., Result]) -> None:
    result = run("send", "hr", "--text", "x", "--user", "a", "--json", WECOM_SECRET_KEYS=None)
    assert result.exit_code == 0, result.output
    [message_id] = orjson.loads(result.stdout)["ids"]
    assert run("status", message_id, WECOM_SECRET_KEYS=None).exit_code == 0
    assert run("recall", message_id, WECOM_SECRET_KEYS=None).exit_code == 0


@pytest.mark.parametrize("command", ["status", "recall"])
@pytest.mark.parametrize("form", [[], ["--json"]])
def test_an_unknown_id_is_an_error(run: Callable[..., Result], command: str, form: list[str]) -> None:
    for message_id, words in ((str(uuid4()), "no message has the id"), ("payday", "'payday' is no message id")):
        result = run(command, message_id, *form)
        assert (result.exit_code, result.stdout) == (1, "")
        assert words in result.stderr
        assert len(result.stderr.splitlines()) == 1


def test_status_as_json_always_has_the_same_names(run: Callable[..., Result], sent_id: Callable[..., str]) -> None:
    message_id = sent_id("--text", "x", "--user", "a")
    facts = orjson.loads(run("status", message_id, "--json").stdout)
    assert list(facts) == STATUS
    assert (facts["id"], facts["sender"], facts["state"], facts["priority"]) == (
        message_id,
        "hr",
        "scheduled",
        "normal",
    )
    assert facts["recipients"] == {"users": ["a"], "parties": [], "tags": []}
    assert facts["invalid"] == {"users": [], "parties": [], "tags": [], "unlicensed": []}
    assert datetime.fromisoformat(facts["send_at"]).tzinfo is not None
    assert (facts["attempts"], facts["parts"], facts["msgid"]) == ([], [], None)


def test_a_refused_message_is_told_with_its_errcode_and_what_to_do(
    run: Callable[..., Result], sent_id: Callable[..., str], office: Office
) -> None:
    message_id = sent_id("--text", "x", "--user", "ghost1")
    serve(office, "hr", 0)
    told = run("status", message_id).stdout
    assert "failed: 81013" in told
    assert "try 1, " in told
    facts = orjson.loads(run("status", message_id, "--json").stdout)
    assert (facts["state"], facts["errcode"]) == ("failed", 81013)
    [attempt] = facts["attempts"]
    assert list(attempt) == ["attempt", "at", "category", "errcode", "reason", "milliseconds"]
    recalled = run("recall", message_id)
    assert recalled.exit_code == 1
    assert "it failed and was never sent" in recalled.stdout


def test_a_paused_sender_is_told_as_the_reason_why_a_message_waits(
    run: Callable[..., Result], sent_id: Callable[..., str], ledger: Ledger
) -> None:
    message_id = sent_id("--text", "x", "--user", "a")
    ledger.senders.pause("hr", "60020: not allow to access from your ip")
    told = run("status", message_id).stdout
    assert "paused (60020: not allow to access from your ip)" in told
    assert "wecom senders resume hr" in told


def test_a_message_cannot_take_over_a_terminal(run: Callable[..., Result], sent_id: Callable[..., str]) -> None:
    told = run("status", sent_id("--text", "[bold]a\x9b31m", "--user", "a")).stdout
    assert "[bold]a\\x9b31m" in told
    assert "\x9b" not in told


def test_a_sent_message_waits_for_a_worker_to_take_it_back(
    run: Callable[..., Result], sent_id: Callable[..., str], office: Office
) -> None:
    message_id = sent_id("--text", "x", "--user", "a")
    serve(office, "hr", 0)
    asked = run("recall", message_id)
    assert (asked.exit_code, "a worker is taking it back" in asked.stdout) == (0, True)
    waited = run("recall", message_id, "--wait", "0.1", "--json")
    assert waited.exit_code == 1
    assert orjson.loads(waited.stdout)["parts"][0]["state"] == "recalling"
    serve(office, "hr", 0)
    done = run("recall", message_id, "--wait", "0")
    assert (done.exit_code, "taken back" in done.stdout) == (0, True)
    assert "WeCom took it back" in run("status", message_id).stdout


def test_a_recall_that_wecom_refuses_is_exit_status_1_with_the_reason(
    run: Callable[..., Result],
    sent_id: Callable[..., str],
    office: Office,
    simulator: SimulatorControl,
) -> None:
    message_id = sent_id("--text", "x", "--user", "a")
    serve(office, "hr", 0)
    simulator.advance_clock(100_000)
    run("recall", message_id)
    serve(office, "hr", 0)
    told = run("status", message_id).stdout
    assert "it was asked to be taken back: " in told
    facts = orjson.loads(run("status", message_id, "--json").stdout)
    assert facts["state"] == "sent"
    assert facts["recall_error"] in told
