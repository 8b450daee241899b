"""`wecom campaign`: a file of recipients, checked before anything is sent, and a campaign kept in hand."""

from collections.abc import Callable
from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner, Result

from worker.cli import wecom
from worker.delivery.deliver import deliver
from worker.delivery.office import Office
from worker.ledger import Ledger, State
from worker.settings import settings
from worker.simulator.control import SimulatorControl

PAYDAY = """
name = "payday"
sender = "hr"

[message]
msgtype = "text"

[message.text]
content = "{{ name }}, your payslip is ready"
"""


@pytest.fixture
def run(environment: dict[str, str], ledger: Ledger) -> Callable[..., Result]:
    """Run `wecom campaign` in this process, with the sender `hr`."""
    assert ledger.senders.names() == ["hr"]

    def run(*arguments: str) -> Result:
        settings.cache_clear()
        return CliRunner().invoke(wecom, ["campaign", *arguments], env=environment)

    return run


@pytest.fixture
def create(run: Callable[..., Result], tmp_path: Path) -> Callable[..., Result]:
    """Create a campaign from these bytes of CSV."""

    def create(rows: str | bytes, *options: str, description: str = PAYDAY) -> Result:
        file, recipients = tmp_path / "payday.toml", tmp_path / "staff.csv"
        file.write_text(description)
        recipients.write_bytes(rows if isinstance(rows, bytes) else rows.encode())
        return run("create", str(file), "--recipients", str(recipients), *options)

    return create


def test_a_campaign_goes_from_a_file_to_its_members(
    create: Callable[..., Result], run: Callable[..., Result], office: Office, simulator: SimulatorControl
) -> None:
    result = create("name,userid\n张三,zhangsan\n李四,lisi\n张三,ZhangSan\n")
    assert result.exit_code == 0, result.output
    assert "Stored hr/payday: 2 members, 2 messages" in result.output
    assert "1 rows named somebody twice" in result.output
    deliver(office, "hr", lambda: None)
    assert simulator.served() == {
        "zhangsan": ["张三, your payslip is ready"],
        "lisi": ["李四, your payslip is ready"],
    }
    told = orjson.loads(run("status", "payday", "--json").stdout)
    assert (told["counts"], told["finished"], told["messages"]) == ({"sent": 2}, 2, 2)
    assert "2 of 2 messages finished (100%)" in run("status", "hr/payday").output
    assert "finished" in run("list").output


def test_the_same_call_again_stores_nothing(create: Callable[..., Result], ledger: Ledger) -> None:
    rows = "userid,name\na,A\n"
    assert create(rows).exit_code == 0
    again = create(rows)
    assert (again.exit_code, "stored already" in again.output) == (0, True)
    other = create("userid,name\na,B\n")
    assert other.exit_code == 1
    assert "other content" in other.stderr
    assert ledger.history.counts("hr") == {State.SCHEDULED: 1}


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbfuserid,name\r\na,\xe5\xbc\xa0\r\n",
        "name , UserID \n张, a \n\n,\n".encode(),
        "userid,name\ra,张\r".encode(),
    ],
    ids=["byte order mark", "blanks and case", "line ends of old Macs"],
)
def test_files_as_spreadsheets_write_them_are_read(
    create: Callable[..., Result], ledger: Ledger, content: bytes
) -> None:
    result = create(content)
    assert result.exit_code == 0, result.output
    [entry] = ledger.history.of_member("a", 10)
    assert entry.body["text"]["content"] == "张, your payslip is ready"


def test_a_file_from_excel_in_gbk_is_named_as_such_and_read_when_that_is_said(
    create: Callable[..., Result], ledger: Ledger
) -> None:
    content = "userid,name\na,A\nb,张三\n".encode("gbk")
    refused = create(content)
    assert refused.exit_code == 1
    assert "staff.csv line 3: is not utf-8" in refused.stderr
    assert "--encoding gbk" in refused.stderr
    assert ledger.history.counts("hr") == {}
    assert create(content, "--encoding", "gbk").exit_code == 0
    assert ledger.history.of_member("b", 1)[0].body["text"]["content"].startswith("张三,")


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        ("", "staff.csv: is empty"),
        ("user,name\na,A\n", "staff.csv line 1: must name a column userid (is it 'user'?)"),
        ("userid,name,name\na,A,B\n", "staff.csv line 1: names the column 'name' twice"),
        ("userid,name\na,A\nb\n", "staff.csv line 3: 1 values, but the first line names 2 columns"),
        ('userid,name\na,"two\nlines"\nb,B,C\n', "staff.csv line 4: 3 values"),
        ("userid,name\n,A\n", "staff.csv line 2: userid: a userid"),
        (f"userid,name\na,A\nb,{'x' * 3000}\n", "staff.csv line 3: text.content: 3023 bytes"),
        ("userid,nome\na,A\n", "staff.csv line 2: text.content: 'name' is undefined"),
        ('userid,name\na,"A\n', "staff.csv line 2: no CSV; a quotation mark that begins a value has no end"),
        ("userid,name\n", "recipients: nobody is named"),
        (b"\xff\xfeu\x00", "staff.csv: is UTF-16"),
        (b"PK\x03\x04...", "staff.csv: is a workbook of Excel; save it as CSV UTF-8"),
        (b"userid,name\na,A\nb,\0\n", "staff.csv line 3: holds a NUL character"),
        ("userid,name\ra,A\rb\r", "staff.csv line 3: 1 values, but the first line names 2 columns"),
        ("\n\nuserid,name,name\n", "staff.csv line 3: names the column 'name' twice"),
        ("userid,name,,\n", "staff.csv line 1: several columns have no name"),
        (f"userid,name\na,{'x' * 140_000}\n", "staff.csv line 2: no CSV; a value is longer than 131072 characters"),
        ('userid,name\na,A\nb,"B"x\n', "staff.csv line 3: no CSV; behind the quotation mark that ends a value"),
        ("userid,name\n" + "x" * 2**23, "staff.csv line 2: is longer than 4 MiB; is it CSV?"),
        ("userid,name\na/b,A\n", "staff.csv line 2: userid: 'a/b' holds a slash"),
        ("userid,name\n@ALL,A\n", "staff.csv line 2: userid: a campaign names members, @all is none"),
    ],
)
def test_a_bad_row_is_named_by_its_line_and_nothing_is_stored(
    create: Callable[..., Result], ledger: Ledger, rows: str | bytes, complaint: str
) -> None:
    result = create(rows)
    assert result.exit_code == 1
    assert complaint in result.stderr
    assert "Traceback" not in result.output
    assert ledger.history.counts("hr") == {}


@pytest.mark.parametrize("encoding", ["hex", "rot13", "no-such", "zlib"])
def test_an_encoding_that_is_none_of_texts_is_a_wrong_option(create: Callable[..., Result], encoding: str) -> None:
    result = create("userid,name\na,A\n", "--encoding", encoding)
    assert (result.exit_code, "is no encoding of texts; try utf-8 or gbk" in result.stderr) == (2, True)


@pytest.mark.parametrize("encoding", ["utf-7", "idna", "punycode", "utf-32", "cp037", "utf-16"])
def test_bytes_that_are_not_in_the_encoding_are_refused_in_one_line(
    create: Callable[..., Result], encoding: str
) -> None:
    result = create(b"userid,name\n\xff\xfe\\,+!..\n", "--encoding", encoding)
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: staff.csv")
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("description", "complaint"),
    [
        ("name = ", "payday.toml: no TOML"),
        (PAYDAY + "x = " + "9" * 5000, "payday.toml: no TOML"),
        (PAYDAY + "x = " + "[" * 5000, "payday.toml: no TOML"),
        (PAYDAY.replace("sender", "sendr"), "sendr: unknown field; did you mean sender?"),
        ('sender = "hr"', "name: a text is needed"),
        (PAYDAY.partition("[message]")[0], "message: a table, [message] is needed"),
        (
            PAYDAY.replace('sender = "hr"', 'sender = "hr"\nexpires = 2031-01-01T00:00:00'),
            "expires: a time with its zone",
        ),
    ],
)
def test_a_description_that_cannot_be_read_is_a_clear_line(
    create: Callable[..., Result], description: str, complaint: str
) -> None:
    result = create("userid,name\na,A\n", description=description)
    assert result.exit_code == 2
    assert complaint in result.stderr


def test_an_encoding_nobody_knows_is_a_clear_line(create: Callable[..., Result]) -> None:
    result = create("userid,name\na,A\n", "--encoding", "klingon")
    assert (result.exit_code, "'klingon' is no encoding" in result.stderr) == (2, True)


def test_a_dry_run_checks_every_row_and_stores_nothing(create: Callable[..., Result], ledger: Ledger) -> None:
    good = create("userid,name\na,A\nb,B\nA,C\n", "--dry-run")
    assert "Every row is valid: 2 members, 2 messages, 1 rows named somebody twice" in good.output
    bad = create("userid,name\na,A\nb,\x07\n", "--dry-run")
    assert (bad.exit_code, "staff.csv line 3" in bad.stderr) == (1, True)
    assert ledger.history.counts("hr") == {}


def test_a_test_goes_to_one_member_and_nobody_else(
    create: Callable[..., Result], office: Office, simulator: SimulatorControl
) -> None:
    result = create("userid,name\na,A\nb,B\n", "--test-to", "boss")
    assert result.exit_code == 0, result.output
    deliver(office, "hr", lambda: None)
    assert simulator.served() == {"boss": ["A, your payslip is ready"]}


def test_a_campaign_is_paused_resumed_retried_and_taken_back(
    create: Callable[..., Result], run: Callable[..., Result], office: Office, simulator: SimulatorControl
) -> None:
    create("userid,name\na,A\nb,B\n")
    paused = run("pause", "payday", "--reason", "wrong month")
    assert "paused: wrong month" in paused.output
    assert deliver(office, "hr", lambda: None).claimed == 0
    assert "paused" not in run("resume", "payday").output
    simulator.add_fault("errcode", endpoint="send", errcode=45002, times=1)
    deliver(office, "hr", lambda: None)
    assert orjson.loads(run("retry", "payday", "--json").stdout)["counts"] == {"scheduled": 1, "sent": 1}
    told = orjson.loads(run("recall", "payday", "--json").stdout)
    assert told["counts"] == {"cancelled": 1, "recalling": 1}
    assert told["not_recalled"] == []


def test_a_campaign_is_cancelled(create: Callable[..., Result], run: Callable[..., Result]) -> None:
    create("userid,name\na,A\n")
    assert "cancelled" in run("cancel", "hr/payday").output
    watched = run("status", "payday", "--watch")
    assert (watched.exit_code, "1 of 1 messages finished" in watched.output) == (0, True)


def test_what_cannot_be_recalled_is_named(
    create: Callable[..., Result], run: Callable[..., Result], office: Office, simulator: SimulatorControl
) -> None:
    create("userid,name\na,A\n")
    simulator.advance_clock(0)
    deliver(office, "hr", lambda: None)
    with office.ledger.engine.begin() as connection:
        connection.exec_driver_sql("update wecom.messages set sent_at = sent_at - interval '25 hours'")
    result = run("recall", "payday")
    assert result.exit_code == 1
    assert "a: sent more than 24 hours ago" in result.output


def test_an_unknown_campaign_is_a_clear_line(run: Callable[..., Result]) -> None:
    for verb in ("status", "pause", "resume", "cancel", "retry", "recall"):
        result = run(verb, "nobody/knows")
        assert result.exit_code == 1
        assert "no campaign of nobody is named 'knows'" in result.stderr
