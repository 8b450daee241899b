"""The command itself: help, errors, migrations, keys, errcodes, the simulator; `celery wecom` is the same."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import click
import orjson
import pytest
import requests
from click.testing import CliRunner, Result
from cryptography.fernet import Fernet
from sqlalchemy import Engine, create_engine, make_url, text
from sqlalchemy.pool import NullPool

from worker.cli import COMMANDS, wecom
from worker.encryption import KeyRing
from worker.ledger import Ledger
from worker.ledger.revisions import MIGRATIONS
from worker.messages.sender import Sender
from worker.producer import Producer
from worker.providers.wecom.errcodes import ERRCODES
from worker.settings import settings

WECOM = [sys.executable, "-m", "worker.cli"]
CELERY_WECOM = [sys.executable, "-m", "celery", "wecom"]
NEWEST = max(path.name[:4] for path in (MIGRATIONS / "versions").glob("*.py"))
NOBODY_LISTENS = "127.0.0.1:1"
PASSWORD = "pass-word-of-a-server"
NO_SERVERS = {
    "WECOM_DATABASE_URL": f"postgresql+psycopg://wecom:{PASSWORD}@{NOBODY_LISTENS}/wecom",
    "WECOM_REDIS_URL": f"redis://:{PASSWORD}@{NOBODY_LISTENS}/0",
    "WECOM_SECRET_KEYS": Fernet.generate_key().decode(),
}


@pytest.fixture
def run(environment: dict[str, str]) -> Callable[..., Result]:
    """Run `wecom` in this process."""

    def run(*arguments: str, **changes: str | None) -> Result:
        settings.cache_clear()
        return CliRunner().invoke(wecom, list(arguments), env=environment | changes)

    return run


@pytest.fixture
def run_alone() -> Callable[..., Result]:
    """Run `wecom` in this process where no server is to be had."""

    def run(*arguments: str, **changes: str) -> Result:
        settings.cache_clear()
        return CliRunner().invoke(wecom, list(arguments), env=NO_SERVERS | changes)

    return run


@pytest.fixture
def empty_database(template: Engine) -> Iterator[str]:
    """The URL of a database without tables."""
    name = f"wecom_test_{uuid4().hex[:12]}"
    with template.connect() as connection:
        connection.execute(text(f"create database {name}"))
    yield make_url(template.url).set(database=name).render_as_string(hide_password=False)
    with template.connect() as connection:
        connection.execute(text(f"drop database {name} with (force)"))


def execute(*command: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, env=os.environ | (environment or {}), capture_output=True, text=True, check=False, timeout=60
    )


def in_one_line(result: Result) -> str:
    """What a failed command said."""
    assert result.exit_code == 1, result.output
    assert result.stdout == ""
    assert isinstance(result.exception, SystemExit)
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("Error: ")
    return lines[0]


def test_help_names_every_command_and_imports_none() -> None:
    script = (
        "import sys; from worker.cli import wecom; wecom(['--help'], standalone_mode=False);"
        "print('imported:', sorted(set(sys.modules) & {'sqlalchemy', 'celery', 'redis', 'rich', 'pydantic'}))"
    )
    said = execute(sys.executable, "-c", script)
    assert said.returncode == 0, said.stderr
    assert "imported: []" in said.stdout
    for name in COMMANDS:
        assert f"\n  {name} " in said.stdout


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - {"up", "demo"}))
def test_every_command_explains_itself(name: str) -> None:
    result = CliRunner().invoke(wecom, [name, "--help"])
    assert result.exit_code == 0, result.output
    assert "Usage: wecom" in result.stdout


@pytest.mark.parametrize("arguments", [["bogus"], ["status"], ["migrate", "--bogus"], ["explain", "x"], ["recall"]])
def test_wrong_use_is_exit_status_2_and_silent_on_standard_output(arguments: list[str]) -> None:
    result = CliRunner().invoke(wecom, arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "Error: " in result.stderr


@pytest.mark.parametrize("command", [WECOM, CELERY_WECOM], ids=["wecom", "celery wecom"])
def test_both_entry_points_answer_and_fail_alike(
    command: list[str], environment: dict[str, str], ledger: Ledger
) -> None:
    assert ledger.senders.names() == ["hr"]
    told = execute(*command, "senders", "list", "--json", environment=environment)
    assert (told.returncode, told.stderr) == (0, "")
    assert [sender["name"] for sender in orjson.loads(told.stdout)["senders"]] == ["hr"]

    failed = execute(*command, "senders", "show", "nobody", environment=environment)
    assert (failed.returncode, failed.stdout) == (1, "")
    assert failed.stderr == "Error: there is no sender named 'nobody'; known senders: hr\n"

    misused = execute(*command, "send", "hr", environment=environment)
    assert (misused.returncode, misused.stdout) == (2, "")


def test_an_interruption_is_exit_status_130_and_silent(
    run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Producer, "status", interrupted)
    result = run("status", str(uuid4()))
    assert (result.exit_code, result.output) == (130, "")


def test_a_fault_of_the_program_is_not_hidden(run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    def faulty(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Producer, "status", faulty)
    assert isinstance(run("status", str(uuid4())).exception, ZeroDivisionError)


def test_a_reader_that_goes_away_is_no_error_worth_a_word() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        ended = subprocess.run([*WECOM, "explain", "60020"], stdout=writer, stderr=subprocess.PIPE, check=False)
    finally:
        os.close(writer)
    assert ended.returncode == 1
    assert ended.stderr == b""


READING = [["senders", "list"], ["senders", "show", "hr"], ["status", str(uuid4())], ["recall", str(uuid4())]]
SEND = ["send", "hr", "--text", "x", "--user", "a"]


@pytest.mark.parametrize("arguments", [*READING, SEND, ["migrate"], ["secrets", "rotate"]])
def test_a_postgres_that_is_away_is_one_line_without_the_password(
    run_alone: Callable[..., Result], arguments: list[str]
) -> None:
    said = in_one_line(run_alone(*arguments))
    assert "Postgres cannot be reached" in said
    assert "check WECOM_DATABASE_URL" in said
    assert PASSWORD not in said


@pytest.mark.parametrize("arguments", [*READING, SEND])
def test_missing_tables_are_one_line_that_says_what_to_do(
    run: Callable[..., Result], empty_database: str, arguments: list[str]
) -> None:
    assert in_one_line(run(*arguments, WECOM_DATABASE_URL=empty_database)) == (
        "Error: the database has no tables of wecom-worker yet; run `wecom migrate`"
    )


@pytest.mark.parametrize("arguments", [*READING, SEND, ["migrate"]])
@pytest.mark.parametrize(
    ("setting", "value", "words"),
    [
        ("WECOM_READ_TIMEOUT", "soon", "WECOM_READ_TIMEOUT"),
        ("WECOM_AGENTID", "the-secret-by-mistake", "WECOM_AGENTID"),
        ("WECOM_DATABASE_URL", f"mysql://wecom:{PASSWORD}@host/wecom", "WECOM_DATABASE_URL cannot be read"),
    ],
)
def test_a_setting_that_cannot_be_used_is_one_line_that_names_it(
    run_alone: Callable[..., Result], arguments: list[str], setting: str, value: str, words: str
) -> None:
    said = in_one_line(run_alone(*arguments, **{setting: value}))
    assert words in said
    assert value not in said
    assert PASSWORD not in said


def test_an_embedded_database_without_tables_is_told_as_perhaps_the_wrong_one(
    run: Callable[..., Result], tmp_path: Path
) -> None:
    here = {"WECOM_DATABASE_URL": "", "WECOM_HOME": str(tmp_path / "elsewhere")}
    assert in_one_line(run(*SEND, **here)) == (
        f"Error: the embedded database in {tmp_path / 'elsewhere'} has no tables yet; is `wecom up` running in another "
        "directory? go there or set WECOM_HOME, or begin here with `wecom up`"
    )


@pytest.mark.parametrize("group", [[], ["senders"], ["media"], ["secrets"]])
def test_no_line_of_a_group_is_cut(group: list[str]) -> None:
    told = CliRunner().invoke(wecom, [*group, "--help"], terminal_width=80).stdout
    assert re.search(r"\w\.\.\.", told.partition("Commands:")[2]) is None


@pytest.mark.parametrize(
    "arguments",
    [
        ["explain", "abc"],
        ["send", "hr", "--party", "abc"],
        ["simulator", "--port", "abc"],
        ["senders", "add", "hr", "--agentid", "abc"],
        ["up", "--workers", "abc"],
    ],
)
def test_what_is_no_number_is_refused_in_plain_words(arguments: list[str]) -> None:
    result = CliRunner().invoke(wecom, arguments)
    assert result.exit_code == 2
    assert "'abc' is not a whole number" in result.stderr


def test_a_number_out_of_bounds_is_refused() -> None:
    assert "65536 is not in the range" in CliRunner().invoke(wecom, ["simulator", "--port", "65536"]).stderr
    assert "'x' is not a number" in CliRunner().invoke(wecom, ["recall", "id", "--wait", "x"]).stderr


def test_migrate_makes_the_tables_once_and_says_so(run: Callable[..., Result], empty_database: str) -> None:
    first = run("migrate", WECOM_DATABASE_URL=empty_database)
    assert (first.exit_code, first.stdout) == (0, f"Done: the tables are those of this release ({NEWEST}).\n")
    assert f"Done: {NEWEST} (" in first.stderr
    again = run("migrate", WECOM_DATABASE_URL=empty_database)
    assert again.stdout == f"Nothing to do: the tables are those of this release ({NEWEST}).\n"
    assert (again.exit_code, again.stderr) == (0, "")
    assert "no senders yet" in run("senders", "list", WECOM_DATABASE_URL=empty_database).stdout


def test_migrate_goes_as_far_as_it_is_told_and_check_says_by_its_exit_status_how_the_tables_stand(
    run: Callable[..., Result], empty_database: str
) -> None:
    def said(*arguments: str) -> tuple[int, str]:
        result = run("migrate", *arguments, WECOM_DATABASE_URL=empty_database)
        return result.exit_code, result.stdout

    behind = f"the tables are at 0008; this release needs {NEWEST}: run `wecom migrate`.\n"
    current = f"the tables are those of this release ({NEWEST}).\n"
    assert said("--check") == (3, f"there are no tables; this release needs {NEWEST}: run `wecom migrate`.\n")
    assert said("--to", "0008") == (0, f"Done: {behind}")
    assert said("--check") == (3, behind)
    assert said() == (0, f"Done: {current}")
    assert said("--check") == (0, current)
    with create_engine(empty_database, poolclass=NullPool).begin() as connection:
        connection.execute(text("update wecom.alembic_version set version_num = '9999'"))
    newer = "the tables are those of a newer release (9999); this one works with them.\n"
    assert said("--check") == (4, newer)
    assert said() == (0, f"Nothing to do: {newer}")


def test_check_writes_nothing(run: Callable[..., Result], empty_database: str) -> None:
    assert run("migrate", "--check", WECOM_DATABASE_URL=empty_database).exit_code == 3
    with create_engine(empty_database, poolclass=NullPool).connect() as connection:
        assert connection.scalar(text("select to_regnamespace('wecom')")) is None


def test_a_revision_that_cannot_be_gone_to_is_one_line_that_says_why(
    run: Callable[..., Result], empty_database: str
) -> None:
    unknown = in_one_line(run("migrate", "--to", "0815", WECOM_DATABASE_URL=empty_database))
    assert "there is no revision '0815'; this release has 0001, 0002, 0003, " in unknown
    assert unknown.endswith(f", {NEWEST}")
    assert f"past 0008, at {NEWEST}; there is no way back" in in_one_line(run("migrate", "--to", "0008"))
    assert run("migrate", "--check", "--to", "0008").exit_code == 2


def test_a_missing_right_is_one_line_that_names_it(
    run: Callable[..., Result], empty_database: str, database_url: str, template: Engine
) -> None:
    user = f"wecom_test_{uuid4().hex[:8]}"
    with template.connect() as connection:
        connection.execute(text(f"create role {user} login"))
    try:
        for arguments, database in ((["migrate"], empty_database), (["senders", "list"], database_url)):
            url = make_url(database).set(username=user).render_as_string(hide_password=False)
            assert "permission denied" in in_one_line(run(*arguments, WECOM_DATABASE_URL=url))
    finally:
        with template.connect() as connection:
            connection.execute(text(f"drop role {user}"))


def test_a_generated_key_is_alone_on_standard_output() -> None:
    result = CliRunner().invoke(wecom, ["secrets", "generate"])
    assert result.exit_code == 0
    Fernet(result.stdout.strip())
    assert "WECOM_SECRET_KEYS" in result.stderr
    assert result.stdout != CliRunner().invoke(wecom, ["secrets", "generate"]).stdout


def test_rotation_lets_the_old_key_go(run: Callable[..., Result], environment: dict[str, str], ledger: Ledger) -> None:
    old, new = environment["WECOM_SECRET_KEYS"], Fernet.generate_key().decode()
    ledger.senders.add(Sender("it", "wecom", 7, {"corpid": "ww1", "corpsecret": "it-secret"}))
    result = run("secrets", "rotate", WECOM_SECRET_KEYS=f"{new},{old}")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith("The credentials of 2 senders")
    with_new_key = Ledger(ledger.engine, KeyRing([new]))
    assert with_new_key.senders.open("it")[0].credentials["corpsecret"] == "it-secret"
    assert with_new_key.senders.open("hr")[0].credentials["corpid"] == "ww-simulator"
    assert not any(secret in result.output for secret in ("it-secret", "simulator-secret", new, old))


def test_rotation_without_the_old_key_names_the_sender(run: Callable[..., Result], ledger: Ledger) -> None:
    new = Fernet.generate_key().decode()
    said = in_one_line(run("secrets", "rotate", WECOM_SECRET_KEYS=new))
    assert said.startswith("Error: hr: the stored credentials were encrypted with another key")
    assert ledger.senders.open("hr")[0].credentials["corpid"] == "ww-simulator"


def test_rotation_keeps_credentials_that_are_replaced_meanwhile(environment: dict[str, str], ledger: Ledger) -> None:
    old, new = environment["WECOM_SECRET_KEYS"], Fernet.generate_key().decode()

    class Interrupted(KeyRing):
        """Lets somebody replace the credentials between reading and writing them."""

        interruptions = 0

        def decrypt(self, encrypted: bytes) -> dict[str, str]:
            if not self.interruptions:
                self.interruptions += 1
                ledger.senders.replace_credentials("hr", 8, {"corpid": "ww2", "corpsecret": "newer"})
            return super().decrypt(encrypted)

    assert Ledger(ledger.engine, Interrupted([new, old])).senders.reencrypt() == 1
    kept, _ = Ledger(ledger.engine, KeyRing([new])).senders.open("hr")
    assert (kept.agentid, kept.credentials) == (8, {"corpid": "ww2", "corpsecret": "newer"})


def test_explain_takes_a_negative_code() -> None:
    result = CliRunner().invoke(wecom, ["explain", "-1"])
    assert result.exit_code == 0
    assert result.stdout.startswith("-1: ")
    assert "What to do: " in result.stdout


@pytest.mark.parametrize("code", [-1, 0, 60020, 99999999])
def test_explain_as_json_always_has_the_same_names(code: int) -> None:
    result = CliRunner().invoke(wecom, ["explain", "--json", str(code)])
    facts = orjson.loads(result.stdout)
    assert list(facts) == ["code", "known", "meaning", "category", "retry", "worker", "advice", "page"]
    assert facts["code"] == code
    assert facts["known"] is (code == 0 or code in ERRCODES)
    assert facts["meaning"] == (ERRCODES[code].meaning if code in ERRCODES else None)


def test_the_simulator_serves_the_apps_it_was_given_until_it_is_interrupted() -> None:
    command = [*WECOM, "simulator", "--port", "0", "--app", "ww-mine:my-secret:42:5"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = next(word for word in process.stdout.readline().split() if word.startswith("http://"))
        answer = requests.get(
            f"{address}/cgi-bin/gettoken", {"corpid": "ww-mine", "corpsecret": "my-secret"}, timeout=10
        ).json()
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
    assert answer["errcode"] == 0


def test_the_simulator_says_that_its_port_is_taken() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = in_one_line(CliRunner().invoke(wecom, ["simulator", "--port", str(port)]))
    assert f"cannot listen on port {port}" in said


def test_a_misspelt_app_is_wrong_use_and_not_repeated() -> None:
    result = CliRunner().invoke(wecom, ["simulator", "--app", "ww:secret-without-agentid"])
    assert result.exit_code == 2
    assert "corpid:secret:agentid" in result.stderr
    assert "secret-without-agentid" not in result.output


def test_no_command_takes_a_secret_as_an_argument() -> None:
    def options(command: click.Command) -> set[str]:
        own = {option for parameter in command.params for option in parameter.opts}
        inner = command.commands.values() if isinstance(command, click.Group) else ()
        return own.union(*(options(one) for one in inner))

    context = click.Context(wecom)
    loaded = [wecom.get_command(context, name) for name in set(COMMANDS) - {"up", "demo"}]
    found = {option for command in loaded if command for option in options(command) if "secret" in option}
    assert found == {"--secret-file", "--secret-env"}
