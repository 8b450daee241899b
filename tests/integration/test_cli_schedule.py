"""`wecom schedule`: what is sent again and again, from the command line."""

import re
import shlex
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner, Result

from worker.cli import wecom
from worker.delivery.deliver import deliver
from worker.delivery.office import Office
from worker.delivery.schedules import run_due_schedules
from worker.ledger import Ledger
from worker.settings import settings
from worker.simulator.control import SimulatorControl

DOCUMENTATION = Path(__file__).parents[2] / "docs" / "schedules.md"
FRIDAY = datetime(2026, 11, 20, 2, 0, tzinfo=UTC)
NINE = ("--cron", "0 9 * * 1-5", "--tz", "Asia/Shanghai")
STANDUP = ("add", "standup", *NINE, "--sender", "hr", "--text", "Stand up!", "--user", "zhangsan", "--party", "2")
PAYDAY = """
name = "payday"
sender = "hr"

[message]
msgtype = "text"

[message.text]
content = "{{ name }}, your payslip is ready"
"""


@pytest.fixture
def run(environment: dict[str, str], ledger: Ledger, set_clock: Callable[[datetime], None]) -> Callable[..., Result]:
    """Run `wecom schedule` in this process, with the sender `hr`, on a Friday at ten in Shanghai."""
    assert ledger.senders.names() == ["hr"]
    set_clock(FRIDAY)
    quiet = {"WECOM_QUIET_BEFORE": "60", "WECOM_QUIET_AFTER": "120"}

    def run(*arguments: str) -> Result:
        settings.cache_clear()
        return CliRunner().invoke(wecom, ["schedule", *arguments], env=environment | quiet)

    return run


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, ...]:
    """The options that name a campaign's file and its recipients."""
    file, recipients = tmp_path / "payday.toml", tmp_path / "staff.csv"
    file.write_text(PAYDAY)
    recipients.write_text("name,userid\n张三,zhangsan\n李四,lisi\n")
    return "--campaign", str(file), "--recipients", str(recipients)


def test_a_schedule_is_added_looked_at_paused_resumed_and_removed(run: Callable[..., Result]) -> None:
    added = run(*STANDUP)
    assert added.exit_code == 0, added.output
    assert "next due Mon 2026-11-23 09:00 +0800, sent from 09:02 to 09:06." in added.output
    assert "zhangsan, party 2" in run("list").output
    assert run("next", "standup", "-n", "2").output.splitlines() == [
        "Mon 2026-11-23 09:00 +0800, sent from 09:02 to 09:06",
        "Tue 2026-11-24 09:00 +0800, sent from 09:02 to 09:06",
    ]
    assert "paused: holidays" in run("pause", "standup", "--reason", "holidays").output
    assert "paused: holidays" in run("list").output
    nothing = run("next", "standup")
    assert (nothing.stdout, "`wecom schedule resume standup`" in nothing.stderr) == ("", True)
    assert "Mon 2026-11-23" in run("resume", "standup").output
    assert "Removed standup." in run("remove", "standup").output
    assert orjson.loads(run("list", "--json").stdout) == []


def test_what_is_shown_is_what_was_asked_for(run: Callable[..., Result]) -> None:
    assert run(*STANDUP, "--urgent", "--late-within", "2h", "--expires-after", "90m").exit_code == 0
    shown = run("show", "standup").output
    for words in ("0 9 * * 1-5 (Asia/Shanghai)", "sent up to 2 hours late", "90 minutes after its time", "urgent"):
        assert words in shown
    assert "sent from" not in shown, "what is urgent goes in quiet windows too"
    told = orjson.loads(run("show", "standup", "--json").stdout)
    assert (told["late_within"], told["expires_after"], told["named"]["users"]) == (7200, 5400, ["zhangsan"])
    skipping = run(*STANDUP, "--replace", "--missed", "skip", "--json")
    assert orjson.loads(skipping.stdout)["late_within"] == 60


def test_a_campaign_is_sent_to_the_recipients_it_was_added_with(
    run: Callable[..., Result],
    files: tuple[str, ...],
    office: Office,
    set_clock: Callable[[datetime], None],
    simulator: SimulatorControl,
) -> None:
    added = run("add", "payday", *NINE, *files)
    assert added.exit_code == 0, added.output
    Path(files[-1]).unlink()
    set_clock(datetime(2026, 11, 23, 1, 0, tzinfo=UTC))
    assert run_due_schedules(office) == 1
    deliver(office, "hr", lambda: None)
    assert simulator.served() == {
        "zhangsan": ["张三, your payslip is ready"],
        "lisi": ["李四, your payslip is ready"],
    }
    shown = run("show", "payday").output
    assert "a campaign of 2 rows" in shown
    assert "wecom campaign status 'hr/payday 2026-11-23T09:00+08:00'" in shown


def test_the_commands_of_the_documentation_work(
    run: Callable[..., Result], files: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(files[1]).parent)
    commands = re.findall(r"^wecom schedule (.*)$", DOCUMENTATION.read_text(), re.MULTILINE)
    assert len(commands) == 8
    for command in commands:
        result = run(*shlex.split(command))
        assert result.exit_code == 0, result.output


def test_the_doctor_names_a_schedule_that_is_paused(
    run: Callable[..., Result], environment: dict[str, str], ledger: Ledger
) -> None:
    run(*STANDUP)
    run("pause", "standup", "--reason", "'name' is undefined")
    assert ledger.schedules.find("standup").paused_reason == "'name' is undefined"
    settings.cache_clear()
    told = CliRunner().invoke(wecom, ["doctor", "--json"], env=environment)
    [finding] = [one for one in orjson.loads(told.stdout)["findings"] if one["subject"] == "Schedule standup"]
    assert (finding["name"], finding["level"]) == ("schedule.paused", "fault")
    assert "'name' is undefined" in finding["words"]
    assert "wecom schedule resume standup" in finding["advice"]


@pytest.mark.parametrize(
    ("arguments", "status", "complaint"),
    [
        (("add", "x", "--cron", "0 25 * * *", *STANDUP[4:]), 1, "--cron: '0 25 * * *': bad hour"),
        (("add", "x", *NINE[:3], "Asia/Shangai", *STANDUP[6:]), 1, "--tz: 'Asia/Shangai' is none"),
        (("add", "x", *NINE, "--sender", "payroll", *STANDUP[8:]), 1, "no sender named 'payroll'"),
        (("add", "x", *NINE, *STANDUP[8:]), 2, "--sender is missing"),
        (("add", "x", *NINE, "--sender", "hr", "--user", "a"), 2, "give one of --text and --file"),
        (("add", "x", *NINE, "--sender", "hr", "--text", "hello"), 2, "nobody is named"),
        ((*STANDUP, "--text", "x" * 3000), 1, "--text: 3000 bytes"),
        ((*STANDUP, "--late-within", "soon"), 2, "'soon' is no duration; write it like 90s, 30m, 2h or 1d"),
        ((*STANDUP, "--late-within", "1h", "--missed", "skip"), 2, "leave one of them out"),
        ((*STANDUP, "--expires-after", "9999d"), 1, "--expires-after: a second to 366 days"),
        (("show", "nothing"), 1, "no schedule is named 'nothing'"),
    ],
)
def test_what_cannot_be_is_a_clear_line(
    run: Callable[..., Result], arguments: tuple[str, ...], status: int, complaint: str
) -> None:
    result = run(*arguments)
    assert (result.exit_code, complaint in result.stderr) == (status, True), result.output
    assert "Traceback" not in result.output
    assert orjson.loads(run("list", "--json").stdout) == []


@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        (("--text", "hello"), "a campaign has --recipients"),
        (("--sender", "payroll"), "names hr; leave --sender out"),
    ],
)
def test_a_campaign_is_told_from_a_message(
    run: Callable[..., Result], files: tuple[str, ...], more: tuple[str, ...], complaint: str
) -> None:
    assert complaint in run("add", "payday", *NINE, *files, *more).stderr
    assert "go together" in run("add", "payday", *NINE, *files[:2]).stderr
    Path(files[1]).write_text(PAYDAY.replace("[message]", "expires = 2026-11-25T18:00:00+08:00\n[message]", 1))
    assert "give --expires-after instead" in run("add", "payday", *NINE, *files).stderr
    assert "payday" not in run("list").output


def test_a_bad_row_is_named_by_its_line(run: Callable[..., Result], files: tuple[str, ...]) -> None:
    Path(files[-1]).write_text(f"userid,name\na,A\nb,{'x' * 3000}\n")
    assert "staff.csv line 3: text.content: 3023 bytes" in run("add", "payday", *NINE, *files).stderr
