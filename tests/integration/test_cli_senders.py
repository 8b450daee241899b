"""`wecom senders`: credentials come in unseen and stay unseen."""

import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner, Result
from sqlalchemy import text

from worker.cli import wecom
from worker.delivery.office import Office
from worker.delivery.serve import serve
from worker.ledger import Calls, Fault, Ledger, State, WorkerProcess
from worker.messages import Text
from worker.producer import Producer
from worker.settings import settings
from worker.simulator.control import SimulatorControl

SECRET = "Zx9-this-is-the-app-secret_4711"
ADD = ("senders", "add", "it", "--corpid", "ww1", "--agentid", "7")
SENDER = [
    "name",
    "provider",
    "agentid",
    "account_cap",
    "calls_per_minute",
    "calls_at_once",
    "state",
    "reason",
    "until",
    "parked_calls",
    "standing_aside",
]


@pytest.fixture
def run(environment: dict[str, str], ledger: Ledger) -> Callable[..., Result]:
    """Run `wecom` in this process, with the sender `hr`."""
    assert ledger.senders.names() == ["hr"]

    def run(*arguments: str, standard_input: str | None = None, **changes: str | None) -> Result:
        settings.cache_clear()
        return CliRunner().invoke(wecom, list(arguments), input=standard_input, env=environment | changes)

    return run


@pytest.fixture
def misuse() -> Callable[..., Result]:
    """Run `wecom` where no Postgres is to be had: only what is found wrong before that is exit status 2."""

    def run(*arguments: str, standard_input: str | None = None, **changes: str) -> Result:
        settings.cache_clear()
        away = {
            "WECOM_DATABASE_URL": "postgresql+psycopg://127.0.0.1:1/wecom",
            "WECOM_REDIS_URL": "redis://127.0.0.1:1",
        }
        return CliRunner().invoke(wecom, list(arguments), input=standard_input, env=away | changes)

    return run


def at_a_terminal(arguments: tuple[str, ...], environment: dict[str, str], answer: str) -> tuple[int, str]:
    """Run the real program where a person types an answer; return its status and everything the person sees."""
    keyboard, terminal = pty.openpty()
    try:
        with subprocess.Popen(
            [sys.executable, "-m", "worker.cli", *arguments],
            env=os.environ | environment,
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            start_new_session=True,
        ) as process:
            os.close(terminal)
            seen = os.read(keyboard, 4096)
            while not seen.endswith(b": "):
                seen += os.read(keyboard, 4096)
            os.write(keyboard, f"{answer}\n".encode())
            seen += _rest(keyboard)
            return process.wait(60), seen.decode()
    finally:
        os.close(keyboard)


def _rest(keyboard: int) -> bytes:
    """Everything until the program closes the terminal, which Linux reports as an error."""
    seen = b""
    try:
        while some := os.read(keyboard, 4096):
            seen += some
    except OSError:
        pass
    return seen


def test_a_secret_comes_from_a_file_and_is_never_shown(
    run: Callable[..., Result], ledger: Ledger, tmp_path: Path
) -> None:
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\n")
    result = run(*ADD, "--account-cap", "30", "--secret-file", str(file))
    assert result.exit_code == 0, result.output
    stored, _ = ledger.senders.open("it")
    assert stored.credentials == {"corpid": "ww1", "corpsecret": SECRET}
    assert (stored.provider, stored.agentid, stored.account_cap) == ("wecom", 7, 30)
    shown = [run("senders", "list"), run("senders", "list", "--json"), run("senders", "show", "it")]
    shown.append(run("senders", "show", "it", "--json"))
    assert all(one.exit_code == 0 for one in shown)
    assert not any(SECRET in one.output for one in [result, *shown])


def test_a_secret_comes_from_a_variable(run: Callable[..., Result], ledger: Ledger) -> None:
    result = run(*ADD, "--secret-env", "MY_SECRET", MY_SECRET=SECRET)
    assert result.exit_code == 0, result.output
    assert ledger.senders.open("it")[0].credentials["corpsecret"] == SECRET
    assert SECRET not in result.output


def test_a_secret_comes_through_a_pipe(run: Callable[..., Result], ledger: Ledger) -> None:
    result = run(*ADD, "--secret-file", "-", standard_input=f"{SECRET}\r\n")
    assert result.exit_code == 0, result.output
    assert ledger.senders.open("it")[0].credentials["corpsecret"] == SECRET
    assert SECRET not in result.output


def test_a_typed_secret_is_not_echoed(environment: dict[str, str], ledger: Ledger) -> None:
    status, seen = at_a_terminal(ADD, environment, SECRET)
    assert status == 0, seen
    assert "Secret (not shown): " in seen
    assert SECRET not in seen
    assert ledger.senders.open("it")[0].credentials["corpsecret"] == SECRET


def test_without_a_terminal_nobody_is_asked(misuse: Callable[..., Result]) -> None:
    result = misuse(*ADD, standard_input=SECRET)
    assert result.exit_code == 2
    assert "--secret-file or --secret-env" in result.stderr
    assert SECRET not in result.output


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--secret-env", "NOT_SET"], "holds no secret"),
        (["--secret-file", "missing"], "missing cannot be read (No such file or directory)"),
        (["--secret-file", "empty"], "holds no secret"),
        (["--secret-file", "two-lines"], "one word on one line"),
        (["--secret-file", "binary"], "it is no text"),
        (["--secret-file", "two-lines", "--secret-env", "X"], "not both"),
        ([f"--secret={SECRET}"], "No such option"),
    ],
)
def test_a_secret_that_is_not_there_is_wrong_use(
    misuse: Callable[..., Result], tmp_path: Path, options: list[str], words: str
) -> None:
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "two-lines").write_text(f"{SECRET}\n{SECRET}\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    result = misuse(*ADD, *options)
    assert result.exit_code == 2
    assert words in result.stderr
    assert SECRET not in result.output


@pytest.mark.parametrize(
    "arguments",
    [
        ["", "--corpid", "ww1", "--agentid", "7"],
        ["-x", "--corpid", "ww1", "--agentid", "7"],
        ["with space", "--corpid", "ww1", "--agentid", "7"],
        ["名", "--corpid", "ww1", "--agentid", "7"],
        ["line\n", "--corpid", "ww1", "--agentid", "7"],
        ["x" * 65, "--corpid", "ww1", "--agentid", "7"],
        ["it", "--corpid", " ", "--agentid", "7"],
        ["it", "--corpid", "ww1", "--agentid", "0"],
        ["it", "--corpid", "ww1"],
        ["it", "--agentid", "7"],
        ["it", "--corpid", "ww1", "--agentid", "7", "--account-cap", "0"],
        ["it", "--corpid", "ww1", "--agentid", "7", "--provider", "smtp"],
        ["hr", "--corpid", "ww1", "--agentid", "7", "--replace", "--account-cap", "9"],
    ],
)
def test_what_cannot_be_a_sender_is_wrong_use(misuse: Callable[..., Result], arguments: list[str]) -> None:
    result = misuse("senders", "add", *arguments, "--secret-env", "MY_SECRET", MY_SECRET=SECRET)
    assert result.exit_code == 2, result.output
    assert SECRET not in result.output


def test_a_name_is_taken_once(run: Callable[..., Result], ledger: Ledger) -> None:
    result = run("senders", "add", "hr", "--corpid", "ww1", "--agentid", "7", "--secret-env", "S", S=SECRET)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "a sender named 'hr' exists already" in result.stderr
    assert "--replace" in result.stderr
    assert ledger.senders.open("hr")[0].credentials["corpid"] == "ww-simulator"


def test_resuming_a_sender_that_was_not_stopped_says_so(run: Callable[..., Result], ledger: Ledger) -> None:
    assert run("senders", "resume", "hr").stdout == "hr was not stopped, and sends.\n"
    ledger.senders.pause("hr", "a reason")
    assert run("senders", "resume", "hr").stdout == "hr sends again.\n"


def test_new_credentials_end_the_pause_the_old_ones_caused(run: Callable[..., Result], ledger: Ledger) -> None:
    ledger.senders.pause("hr", "40001: invalid credential")
    result = run(
        "senders", "add", "hr", "--replace", "--corpid", "ww1", "--agentid", "7", "--secret-env", "S", S=SECRET
    )
    assert result.exit_code == 0, result.output
    stored, now = ledger.senders.open("hr")
    assert stored.credentials == {"corpid": "ww1", "corpsecret": SECRET}
    assert not stored.paused(now)


@pytest.mark.parametrize(
    "arguments",
    [
        ["show", "nobody"],
        ["show", "nobody", "--json"],
        ["pause", "nobody", "--reason", "x"],
        ["resume", "nobody"],
        ["remove", "nobody", "--yes"],
        ["add", "nobody", "--replace", "--corpid", "ww1", "--agentid", "7", "--secret-env", "S"],
    ],
)
def test_an_unknown_sender_is_an_error_that_names_the_known_ones(
    run: Callable[..., Result], arguments: list[str]
) -> None:
    result = run("senders", *arguments, S=SECRET)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "Error: there is no sender named 'nobody'; known senders: hr\n"


def test_another_app_waits_until_no_message_is_left_that_only_the_one_before_can_repeat(
    run: Callable[..., Result], ledger: Ledger, producer: Producer
) -> None:
    message = producer.send("hr", Text(content="hello"), users=["zhangsan"])
    with ledger.engine.begin() as connection:
        connection.execute(
            text("update wecom.messages set resend_until = wecom.clock() + interval '1 hour' where id = :id"),
            {"id": message},
        )
    same = ("add", "hr", "--replace", "--corpid", "ww-simulator", "--agentid", "1000002", "--secret-env", "S")
    another = ("add", "hr", "--replace", "--corpid", "ww-simulator", "--agentid", "7", "--secret-env", "S")
    refused = run("senders", *another, S=SECRET)
    assert (refused.exit_code, "1 of the messages of hr are being sent or of unknown fate" in refused.stderr) == (
        1,
        True,
    )
    assert run("senders", *same, S=SECRET).exit_code == 0
    with ledger.engine.begin() as connection:
        connection.execute(text("update wecom.messages set state = 'sent', resend_until = null"))
    assert run("senders", *another, S=SECRET).exit_code == 0
    assert ledger.senders.find("hr").agentid == 7


def test_the_list_says_who_sends_who_is_parked_and_who_is_paused(run: Callable[..., Result], ledger: Ledger) -> None:
    for name in ("it", "boss"):
        run("senders", "add", name, "--corpid", "ww1", "--agentid", "7", "--secret-env", "S", S=SECRET)
    ledger.senders.park("it", "45009: too often", 600)
    paused = run("senders", "pause", "boss", "--reason", "on [holiday]\x1b[31m\u202e")
    assert (paused.exit_code, "wecom senders resume boss" in paused.stdout) == (0, True)

    listed = orjson.loads(run("senders", "list", "--json").stdout)["senders"]
    assert [list(sender) for sender in listed] == [SENDER] * 3
    assert [(sender["name"], sender["state"]) for sender in listed] == [
        ("boss", "paused"),
        ("hr", "sending"),
        ("it", "parked"),
    ]
    assert listed[0]["reason"] == "on [holiday]\x1b[31m\u202e"
    assert listed[0]["until"] is None
    assert listed[2]["until"].startswith("20")
    told = run("senders", "list").stdout.splitlines()
    assert [line.split()[0] for line in told] == ["NAME", "boss", "hr", "it"]
    assert "paused: on [holiday]\\x1b[31m\\u202e" in told[1]
    assert "parked until " in told[3]
    assert "45009: too often" in told[3]


def test_a_sender_whose_recalls_are_parked_says_so(run: Callable[..., Result], ledger: Ledger) -> None:
    ledger.parked_calls.park("hr", Calls.RECALLS, "45009: too often", 600)
    for told in (run("senders", "list").stdout, run("senders", "show", "hr").stdout):
        assert "sending; recalls parked until " in " ".join(told.split())
        assert "45009: too often" in " ".join(told.split())
    [sender] = orjson.loads(run("senders", "list", "--json").stdout)["senders"]
    [parked] = sender["parked_calls"]
    assert (parked["calls"], parked["reason"]) == ("recalls", "45009: too often")
    assert parked["until"].startswith("20")
    run("senders", "resume", "hr")
    assert orjson.loads(run("senders", "show", "hr", "--json").stdout)["parked_calls"] == []


def test_a_resumed_sender_sends(run: Callable[..., Result], ledger: Ledger) -> None:
    ledger.senders.pause("hr", "x")
    assert run("senders", "resume", "hr").exit_code == 0
    sender, now = ledger.senders.open("hr")
    assert not sender.paused(now)


def test_a_sender_whose_secret_is_still_refused_stays_paused_and_says_what_wecom_said(
    run: Callable[..., Result], ledger: Ledger, simulator: SimulatorControl
) -> None:
    ledger.senders.replace_credentials("hr", 1000002, {"corpid": "ww-simulator", "corpsecret": SECRET})
    ledger.senders.pause("hr", "40001: invalid credential")
    told = run("senders", "resume", "hr")
    assert (told.exit_code, told.stdout) == (1, "")
    assert told.stderr.startswith("Error: hr stays paused: WeCom refuses its credentials: 40001: ")
    assert ledger.senders.find("hr").paused_reason == "40001: invalid credential"
    assert simulator.counters().calls["gettoken"] == 1

    forced = run("senders", "resume", "hr", "--force")
    assert (forced.exit_code, forced.stdout) == (0, "hr is resumed.\n")
    assert ledger.senders.find("hr").paused_reason is None
    assert simulator.counters().calls["gettoken"] == 1


def test_a_refusal_that_workers_remember_is_forgotten_when_the_secret_is_right_again(
    run: Callable[..., Result], ledger: Ledger, producer: Producer, office: Office, simulator: SimulatorControl
) -> None:
    message = producer.send("hr", Text(content="hi"), users=["zhangsan"])
    simulator.add_fault("errcode", endpoint="gettoken", errcode=40001, times=1)  # the app was switched off for a moment
    serve(office, "hr", 0)
    assert str(ledger.senders.find("hr").paused_reason).startswith("40001: ")
    told = run("senders", "resume", "hr")
    assert told.stdout == "hr sends again.\n"
    assert told.stderr.startswith("It was paused by 40001: ")
    serve(office, "hr", 0)
    assert producer.status(message).state is State.SENT
    assert ledger.senders.find("hr").paused_reason is None


def test_a_sender_is_resumed_where_wecom_cannot_be_asked_from_here(run: Callable[..., Result], ledger: Ledger) -> None:
    for changes, words in (
        ({"WECOM_API_BASE_URL": "http://127.0.0.1:1"}, "no connection to WeCom"),
        ({"WECOM_SECRET_KEYS": "A" * 43 + "="}, "encrypted with another key"),
    ):
        ledger.senders.pause("hr", "by hand")
        told = run("senders", "resume", "hr", **changes)
        assert (told.exit_code, told.stdout) == (0, "hr is resumed.\n")
        assert words in told.stderr
        assert ledger.senders.find("hr").paused_reason is None


def test_a_machine_that_stands_aside_is_shown_with_its_reason(run: Callable[..., Result], ledger: Ledger) -> None:
    sick, well = WorkerProcess("a", "web-1", 4711), WorkerProcess("b", "web-2", 4712)
    for worker in (sick, well):
        ledger.workers.sign(worker)
    assert ledger.asides.meet("hr", sick, Fault.REFUSED, "60020: not allowed", first=60, longest=600)
    for told in (run("senders", "list").stdout, run("senders", "show", "hr").stdout):
        assert "sending; web-1 (process 4711) stands aside since " in " ".join(told.split())
        assert "60020: not allowed" in " ".join(told.split())
    [sender] = orjson.loads(run("senders", "list", "--json").stdout)["senders"]
    [aside] = sender["standing_aside"]
    assert (aside["machine"], aside["pid"], aside["reason"]) == ("web-1", 4711, "60020: not allowed")
    run("senders", "resume", "hr")
    assert orjson.loads(run("senders", "show", "hr", "--json").stdout)["standing_aside"] == []


def test_a_pause_needs_a_reason(misuse: Callable[..., Result]) -> None:
    assert misuse("senders", "pause", "hr").exit_code == 2
    assert misuse("senders", "pause", "hr", "--reason", " ").exit_code == 2


def test_a_sender_is_shown_with_how_many_messages_stand_where(run: Callable[..., Result], producer: Producer) -> None:
    producer.recall(producer.send("hr", Text(content="a"), users=["a"]))
    for _ in range(2):
        producer.send("hr", Text(content="b"), users=["b"])
    facts = orjson.loads(run("senders", "show", "hr", "--json").stdout)
    assert list(facts) == [*SENDER, "corpid", "messages"]
    assert facts["corpid"] == "ww-simulator"
    assert facts["messages"] == {state.value: 0 for state in State} | {"scheduled": 2, "cancelled": 1}
    assert "2 scheduled, 1 cancelled" in run("senders", "show", "hr").stdout


def test_another_key_is_an_error_that_says_what_to_do(run: Callable[..., Result]) -> None:
    other = "A" * 43 + "="
    result = run("senders", "show", "hr", WECOM_SECRET_KEYS=other)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "encrypted with another key" in result.stderr
    assert other not in result.stderr
    missing = run("senders", "show", "hr", WECOM_SECRET_KEYS=None)
    assert missing.exit_code == 1
    assert "WECOM_SECRET_KEYS is not set" in missing.stderr


@pytest.mark.parametrize(
    "arguments", [["list"], ["pause", "hr", "--reason", "x"], ["resume", "hr"], ["remove", "hr", "--yes"]]
)
def test_what_reads_no_credentials_needs_no_key(run: Callable[..., Result], arguments: list[str]) -> None:
    assert run("senders", *arguments, WECOM_SECRET_KEYS=None).exit_code == 0


def test_a_removal_is_asked_about_at_a_terminal(environment: dict[str, str], ledger: Ledger) -> None:
    status, seen = at_a_terminal(("senders", "remove", "hr"), environment, "n")
    assert (status, ledger.senders.names()) == (1, ["hr"]), seen
    status, seen = at_a_terminal(("senders", "remove", "hr"), environment, "y")
    assert (status, ledger.senders.names()) == (0, []), seen


def test_a_removal_that_cannot_be_asked_about_is_wrong_use(misuse: Callable[..., Result]) -> None:
    result = misuse("senders", "remove", "hr", standard_input="y\n")
    assert result.exit_code == 2
    assert "--yes" in result.stderr


def test_a_sender_with_messages_is_not_removed(run: Callable[..., Result], producer: Producer) -> None:
    producer.send("hr", Text(content="a"), users=["a"])
    result = run("senders", "remove", "hr", "--yes")
    assert result.exit_code == 1
    assert "wecom senders pause hr" in result.stderr


def test_three_variables_alone_make_the_sender_default(run: Callable[..., Result], ledger: Ledger) -> None:
    three = {"WECOM_CORPID": "ww9", "WECOM_CORPSECRET": SECRET, "WECOM_AGENTID": "9"}
    listed = run("senders", "list", "--json", **three)
    assert [sender["name"] for sender in orjson.loads(listed.stdout)["senders"]] == ["default", "hr"]
    stored, _ = ledger.senders.open("default")
    assert (stored.agentid, stored.credentials) == (9, {"corpid": "ww9", "corpsecret": SECRET})
    assert SECRET not in listed.output


def test_two_of_the_three_make_nothing(run: Callable[..., Result]) -> None:
    listed = run("senders", "list", "--json", WECOM_CORPID="ww9", WECOM_CORPSECRET=SECRET)
    assert [sender["name"] for sender in orjson.loads(listed.stdout)["senders"]] == ["hr"]


def test_a_ledger_without_senders_says_how_to_add_one(run: Callable[..., Result], ledger: Ledger) -> None:
    ledger.senders.remove("hr")
    assert "wecom senders add" in run("senders", "list").stdout
    assert orjson.loads(run("senders", "list", "--json").stdout) == {"senders": []}


def test_limits_of_a_sender_are_set_kept_and_taken_away(run: Callable[..., Result], ledger: Ledger) -> None:
    assert run("senders", "limit", "hr", "--account-cap", "500", "--calls-at-once", "8").exit_code == 0
    told = run("senders", "limit", "hr", "--calls-per-minute", "60").stdout
    assert told == "hr: account cap 500, calls per minute 60, calls at once 8.\n"
    stored = ledger.senders.find("hr")
    assert (stored.account_cap, stored.calls_per_minute, stored.calls_at_once) == (500, 60, 8)
    assert "Calls a minute" in run("senders", "show", "hr").stdout
    run("senders", "limit", "hr", "--calls-per-minute", "0", "--account-cap", "0")
    stored = ledger.senders.find("hr")
    assert (stored.account_cap, stored.calls_per_minute, stored.calls_at_once) == (None, None, 8)


def test_a_limit_must_be_named(run: Callable[..., Result]) -> None:
    assert run("senders", "limit", "hr").exit_code == 2
    assert run("senders", "limit", "nobody", "--account-cap", "1").exit_code == 1
