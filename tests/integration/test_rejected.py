"""Requests of programs that know only Celery: refused ones are kept until a person decides, and nothing is lost."""

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from celery import Celery
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given
from hypothesis import settings as trials
from hypothesis import strategies as st
from kombu import Connection
from sqlalchemy import text

from worker import State
from worker.cli import wecom
from worker.delivery.office import Office
from worker.delivery.reap import reap
from worker.delivery.rejections import REJECTED_KEPT, carry_out, reject, retry
from worker.delivery.task_requests import LONGEST_TASK_ID, MOST_RECIPIENTS, Desk, TaskRequest
from worker.ledger import Ledger, open_engine
from worker.messages.sender import Sender
from worker.processes import WORKER, CeleryProcess
from worker.servers import broker_form
from worker.settings import settings

HELLO = {"msgtype": "text", "text": {"content": "from afar"}}
PAYROLL = {"sender": "payroll", "message": HELLO, "users": ["a"]}
NOTHING_MORE: dict[str, Any] = {"args": [], "kwargs": {}, "at": None}
IMPATIENT = """
from worker.delivery import rejections

rejections.PATIENCE_SECONDS = rejections.LOOK_AGAIN_SECONDS = 0.2
"""


@pytest.fixture
def run(environment: dict[str, str], ledger: Ledger) -> Callable[..., Result]:
    """Run `wecom` in this process."""
    assert ledger.senders.names() == ["hr"]

    def run(*arguments: str) -> Result:
        settings.cache_clear()
        return CliRunner().invoke(wecom, list(arguments), env=environment)

    return run


@pytest.fixture
def app(redis_url: str) -> Iterator[Celery]:
    """A Celery app that knows nothing of this package."""
    with Celery("elsewhere", broker=broker_form(redis_url), set_as_current=False) as app:
        yield app


def add_payroll(ledger: Ledger) -> None:
    ledger.senders.add(Sender("payroll", "wecom", 1000003, {"corpid": "c", "corpsecret": "s"}))


def reasons(ledger: Ledger) -> list[str]:
    return [one.reason for one in ledger.rejected.list()]


@pytest.mark.parametrize(
    ("task", "args", "kwargs", "reason"),
    [
        ("wecom.send", [], {}, "arguments: missing a required argument: 'sender'; wecom.send takes sender, message"),
        ("wecom.send", [], {**PAYROLL, "user": ["a"]}, "arguments: got an unexpected keyword argument 'user'"),
        ("wecom.send", ["hr", HELLO, ["a"], [], [], "x"], {}, "arguments: too many positional arguments"),
        ("wecom.send", ["hr"], PAYROLL, "arguments: multiple values for argument 'sender'"),
        ("wecom.send", [], PAYROLL, "no sender named 'payroll'"),
        ("wecom.send", [], {**PAYROLL, "sender": 5}, "sender: text is needed, not int"),
        ("wecom.send", [], {**PAYROLL, "sender": "a\0"}, "no sender named 'a\\x00'"),
        ("wecom.send", [], {"sender": "hr", "message": HELLO}, "nobody is named"),
        ("wecom.send", [], {"sender": "hr", "message": HELLO, "users": "a"}, "users: a list is needed"),
        ("wecom.send", [], {**PAYROLL, "everyone": "no"}, "everyone: true or false is needed, not str"),
        ("wecom.send", [], {**PAYROLL, "at": 5}, "at: 5 is no ISO 8601 time"),
        ("wecom.send", [], {**PAYROLL, "sender": "hr", "idempotency_key": ["k"]}, "idempotency_key: 1 to 255"),
        ("wecom.campaign", [], {"name": "c", **PAYROLL}, "missing a required argument: 'recipients'"),
        ("wecom.campaign", ["c", "hr", HELLO, "a,b"], {}, "recipients: a list of userids"),
        ("wecom.campaign", ["c", "hr", HELLO, []], {}, "recipients: nobody is named"),
        ("wecom.campaign", ["c", "hr", HELLO, [{"name": "x"}]], {}, "recipient 1: userid: is missing"),
        ("wecom.campaign", ["c", "hr", HELLO, ["a"] * (MOST_RECIPIENTS + 1)], {}, "one task carries at most 10000"),
        ("wecom.campaign", ["c", "hr", "hello", ["a"]], {}, "message: an object is needed"),
        ("wecom.recall", [], {}, "name a message by message_id or by sender and idempotency_key"),
        ("wecom.recall", ["x"], {}, "message_id: 'x' is no message id"),
        ("wecom.recall", ["019a9f3e-6c1b-7c3a-9d52-0b5f3c1e2a77"], {}, "message_id: no message has the id"),
        ("wecom.recall", [], {"sender": "hr", "idempotency_key": "k"}, "no message of 'hr' has the key 'k'"),
        ("wecom.recall", [], {"campaign": "c"}, "no campaign is named 'c'"),
        ("wecom.sendd", [], PAYROLL, "this release has none named 'wecom.sendd'; did you mean wecom.send?"),
    ],
)
def test_what_cannot_be_carried_out_is_kept_with_the_reason(
    office: Office, task: str, args: list[Any], kwargs: dict[str, Any], reason: str
) -> None:
    assert carry_out(office, TaskRequest(task, "id-1", args, kwargs))
    [kept] = office.ledger.rejected.list()
    assert reason in kept.reason
    assert (kept.task, kept.task_id) == (task, "id-1")
    assert kept.read_arguments() == {"args": args, "kwargs": kwargs, "at": None}
    assert office.ledger.history.counts("hr") == {}


ODD = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(
        [
            "@ALL",
            "a/b",
            "{{ x }}",
            "{% with %}",
            "\0",
            "\ud800",
            "9" * 5000,
            2**70,
            "9999-12-31T23:59:59-12:00",
            "0001-01-01T00:00:00+14:00",
            "9999-12-31T23:59:59+00:00",
            "2031-01-01T00:00:00",
            "text",
            "news",
            "x" * 3000,
        ]
    ),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["userid", "msgtype", "text", "content", "touser", "safe", "\0", "x", "news", "articles"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=6,
)
"""What JSON can carry, and programs should not send."""
ARGUMENTS = {
    "wecom.send": ("sender", "message", "users", "parties", "tags", "everyone", "at", "expires", "idempotency_key"),
    "wecom.campaign": ("name", "sender", "message", "recipients", "at", "expires", "urgent"),
}


@pytest.mark.parametrize("task", ARGUMENTS)
def test_odd_json_is_refused_with_a_reason_that_names_the_field(
    office: Office, task: str, caplog: pytest.LogCaptureFixture
) -> None:
    whole = {"sender": "hr", "message": {"msgtype": "text", "text": {"content": "hello {{ userid }}"}}}
    whole |= {"name": "c", "recipients": ["a"]} if task == "wecom.campaign" else {"users": ["a"]}

    @trials(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
    @given(odd=st.dictionaries(st.sampled_from(ARGUMENTS[task]), ODD, min_size=1, max_size=2))
    def holds(odd: dict[str, Any]) -> None:
        caplog.clear()
        assert carry_out(office, TaskRequest(task, "id", [], whole | odd))
        assert not [record for record in caplog.records if "nobody foresaw" in record.message]
        for kept in office.ledger.rejected.list():
            assert FIELD.match(kept.reason), kept.reason
            office.ledger.rejected.remove(kept.id)

    holds()


FIELD = re.compile(r"(recipient \d+: )?[\w.\[\]'\\]+: |there is no sender named ")
"""How a reason begins."""


def test_what_postgres_could_not_hold_is_kept_readable_and_unchanged(office: Office) -> None:
    text_of_all_kinds = "nul \0, half \ud83d, 你好 😀, \\u0000, \\"
    kwargs = {"sender": "hr", "message": {"msgtype": "text", "text": {"content": text_of_all_kinds}}, "users": ["a"]}
    carry_out(office, TaskRequest("wecom.send", "id\0\ud800", [], kwargs))
    [kept] = office.ledger.rejected.list()
    assert kept.read_arguments() == {"args": [], "kwargs": kwargs, "at": None}
    assert "nul \\u0000, half \\ud83d, 你好 😀" in kept.arguments
    assert kept.task_id == "id\\u0000\\ud800"


def test_a_task_that_a_broker_hands_over_twice_is_kept_once(office: Office) -> None:
    for _ in range(2):
        carry_out(office, TaskRequest("wecom.send", "id-1", [], PAYROLL))
    [kept] = office.ledger.rejected.list()
    assert kept.rejections == 2


def test_two_requests_that_a_program_calls_alike_are_both_kept(office: Office) -> None:
    for user in ("a", "b"):
        carry_out(office, TaskRequest("wecom.send", "id-1", [], PAYROLL | {"users": [user]}))
    kept = [one.read_arguments() for one in office.ledger.rejected.list()]
    assert [one["kwargs"]["users"] for one in kept if one] == [["a"], ["b"]]


def test_a_request_is_kept_however_long_its_task_id_is(office: Office) -> None:
    office.stopping.set()  # a fault that counts as passing ends the attempt
    noise = "".join(hashlib.sha256(str(number).encode()).hexdigest() for number in range(200))
    for task_id in (noise, noise + "x", "\0" * LONGEST_TASK_ID, "i" * LONGEST_TASK_ID):
        assert carry_out(office, TaskRequest("wecom.send", task_id, [], PAYROLL))
    *hashed, short = [one.task_id for one in office.ledger.rejected.list()]
    assert {len(task_id) for task_id in hashed} == {len("sha256:") + 64}
    assert len(set(hashed)) == 3
    assert short == "i" * LONGEST_TASK_ID


@pytest.mark.parametrize("task_id", ["\0" * 20, "\ud800", "\0" * LONGEST_TASK_ID, "i" * LONGEST_TASK_ID, "i" * 1000])
def test_what_is_tried_again_has_the_key_it_had_at_first(office: Office, task_id: str) -> None:
    request = TaskRequest("wecom.send", task_id, [], PAYROLL)
    carry_out(office, request)
    add_payroll(office.ledger)
    [kept] = office.ledger.rejected.list()
    assert retry(Desk(office.ledger, office.acceptance), kept) is None
    carry_out(office, request)
    assert office.ledger.rejected.list() == []
    assert office.ledger.history.counts("payroll") == {State.SCHEDULED: 1}


def test_a_log_line_cannot_be_forged_by_what_a_request_says(office: Office, caplog: pytest.LogCaptureFixture) -> None:
    forged = "\n2031-01-01 ERROR root: all is lost\r\x1b[2J\u2028\x9b31m"
    carry_out(office, TaskRequest(f"wecom.send{forged}", f"id{forged}", [], PAYROLL))
    carry_out(office, TaskRequest("wecom.send", "i" * 150, [], {**PAYROLL, f"to{forged}": 1}))
    handed_on = {"reason": f"no{forged}", "request": {"task": "t" * 10_000, "task_id": forged} | NOTHING_MORE}
    reject(office, TaskRequest("wecom.reject", "id-3", [], handed_on))
    assert office.ledger.rejected.count() == len(caplog.messages) == 3
    assert all(line.isprintable() and len(line) < 1500 for line in caplog.messages)
    assert "\\x1b[2J" in caplog.messages[0]
    assert all(reason.isprintable() for reason in reasons(office.ledger))


@pytest.mark.parametrize(
    ("args", "kwargs"),
    [
        ([], {}),
        (["no", {}], {}),
        ([], {"reason": 5, "request": {"task": "t", "task_id": "i"} | NOTHING_MORE}),
        ([], {"reason": "no", "request": "no"}),
        ([], {"reason": "no", "request": {"task": "t"}}),
        ([], {"reason": "no", "request": {"task": 5, "task_id": "i"} | NOTHING_MORE}),
        ([], {"reason": "no", "request": {"task": "t", "task_id": "i"} | NOTHING_MORE | {"at": 5}}),
        ([], {"reason": "no", "request": {"task": "t", "task_id": "i", "more": 1} | NOTHING_MORE}),
        ([], {"reason": "no", "request": {"task": "t", "task_id": "i"} | NOTHING_MORE, "more": 1}),
    ],
)
def test_a_rejection_that_no_worker_sent_is_kept_itself(
    office: Office, args: list[Any], kwargs: dict[str, Any]
) -> None:
    assert reject(office, TaskRequest("wecom.reject", "id-1", args, kwargs))
    [kept] = office.ledger.rejected.list()
    assert (kept.task, kept.task_id) == ("wecom.reject", "id-1")
    assert kept.reason.startswith("task: only workers send wecom.reject")
    assert kept.read_arguments() == {"args": args, "kwargs": kwargs, "at": None}


def test_a_campaign_is_recalled_with_no_connection_held_meanwhile(office: Office, database_url: str) -> None:
    campaign = {"name": "c", "sender": "hr", "message": HELLO, "recipients": ["a"]}
    recall = TaskRequest("wecom.recall", "id-2", [], {"campaign": "c"})
    engine = open_engine(database_url, 1)  # two at most: what `take_back` needs
    narrow = replace(office, ledger=Ledger(engine))
    narrow.stopping.set()  # waiting for a connection in vain ends the attempt
    assert carry_out(narrow, recall)
    [kept] = office.ledger.rejected.list()
    for name in ("c", "d"):
        carry_out(office, TaskRequest("wecom.campaign", name, [], campaign | {"name": name}))
    assert carry_out(narrow, TaskRequest("wecom.recall", "id-3", [], {"campaign": "d"}))
    assert retry(Desk(narrow.ledger, office.acceptance), kept) is None
    engine.dispose()
    assert office.ledger.rejected.list() == []
    assert office.ledger.history.counts("hr") == {State.CANCELLED: 2}


def test_arguments_too_long_to_keep_are_cut_and_said_to_be(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.ledger.rejected.MOST_CHARACTERS", 50)
    desk = Desk(office.ledger, office.acceptance)
    carry_out(office, TaskRequest("wecom.send", "id-1", [], PAYROLL))
    [kept] = office.ledger.rejected.list()
    assert len(kept.arguments) == 50
    assert "too long to be kept whole" in (retry(desk, kept) or "")
    assert len(office.ledger.rejected.list()) == 1


def test_after_a_month_a_rejected_request_is_forgotten(office: Office) -> None:
    for task_id, age in (("old", REJECTED_KEPT + timedelta(hours=1)), ("young", REJECTED_KEPT - timedelta(hours=1))):
        carry_out(office, TaskRequest("wecom.send", task_id, [], PAYROLL))
        with office.ledger.engine.begin() as connection:
            connection.execute(
                text("update wecom.rejected_requests set rejected_at = now() - :age where task_id = :id"),
                {"age": age, "id": task_id},
            )
    reap(office)
    assert [one.task_id for one in office.ledger.rejected.list()] == ["young"]


def test_a_request_is_carried_out_once_its_fault_is_mended(run: Callable[..., Result], office: Office) -> None:
    carry_out(office, TaskRequest("wecom.send", "id-1", [], PAYROLL, at="2031-01-01T09:00:00+08:00"))
    [kept] = office.ledger.rejected.list()
    again = run("rejected", "retry", str(kept.id))
    assert again.exit_code == 1
    assert "no sender named 'payroll'" in again.stdout
    assert office.ledger.rejected.find(kept.id).rejections == 2

    add_payroll(office.ledger)
    assert run("rejected", "retry", str(kept.id)).stdout == f"{kept.id}: carried out\n"
    assert office.ledger.rejected.list() == []
    [stored] = office.ledger.history.of_member("a", 10)
    assert stored.requested_at.isoformat() == "2031-01-01T01:00:00+00:00"
    # The broker hands the same task over once more: it is the same message.
    carry_out(office, TaskRequest("wecom.send", "id-1", [], PAYROLL))
    assert office.ledger.history.counts("payroll") == {State.SCHEDULED: 1}


def test_two_people_who_retry_at_once_send_once(office: Office) -> None:
    desk = Desk(office.ledger, office.acceptance)
    carry_out(office, TaskRequest("wecom.send", "id-1", [], PAYROLL))
    [kept] = office.ledger.rejected.list()
    add_payroll(office.ledger)
    with office.ledger.engine.begin() as first:
        assert office.ledger.rejected.take(first, kept)
        with ThreadPoolExecutor(1) as another:
            second = another.submit(retry, desk, kept)
            with pytest.raises(TimeoutError):
                second.result(0.2)
            first.rollback()
            assert second.result(10) is None
    assert "somebody else" in (retry(desk, kept) or "")
    assert office.ledger.history.counts("payroll") == {State.SCHEDULED: 1}


def test_rejected_requests_are_listed_shown_and_removed(run: Callable[..., Result], office: Office) -> None:
    assert run("rejected", "list").stdout == "No request was rejected.\n"
    for number in range(3):
        carry_out(office, TaskRequest("wecom.send", f"id-{number}", [], PAYROLL))
    first, second, third = [one.id for one in office.ledger.rejected.list()]
    told = run("rejected", "list", "--most", "2").stdout
    assert told.count("no sender named 'payroll'") == 2
    assert "1 more; --most 3 lists them." in told
    listed = orjson.loads(run("rejected", "list", "--json").stdout)
    assert listed["count"] == 3
    assert list(listed["requests"][0]) == ["id", "task", "task_id", "reason", "rejected_at", "rejections"]
    assert "from afar" in run("rejected", "show", str(first)).stdout
    shown = orjson.loads(run("rejected", "show", str(first), "--json").stdout)
    assert json.loads(shown["arguments"])["kwargs"] == PAYROLL
    assert run("rejected", "remove", str(first), str(second)).exit_code == 0
    assert [one.id for one in office.ledger.rejected.list()] == [third]
    assert run("rejected", "show", str(first)).stderr.startswith(f"Error: no rejected request has the id {first}")
    assert "3 of programs" not in run("doctor").stdout
    assert "1 of programs that know only Celery were rejected" in run("doctor").stdout
    assert run("rejected", "remove").exit_code == 2
    assert run("rejected", "remove", "--all", str(third)).exit_code == 2
    assert run("rejected", "retry", "--all").exit_code == 1
    assert run("rejected", "remove", "--all").exit_code == 0
    assert office.ledger.rejected.count() == 0


def test_what_celery_would_throw_away_is_kept(
    app: Celery,
    redis_url: str,
    ledger: Ledger,
    start: Callable[..., CeleryProcess],
    tmp_path: Path,
    eventually: Callable[..., None],
) -> None:
    start(WORKER)
    app.send_task("wecom.sendd", kwargs=PAYROLL, queue="wecom", task_id="mistyped")
    app.send_task("wecom.send", kwargs=PAYROLL, queue="wecom", task_id="pickled", serializer="pickle")
    app.send_task("wecom.reject", kwargs={"reason": "", "request": "", "x": 1}, queue="wecom", task_id="no worker's")
    app.send_task("wecom.reap.v2", queue="wecom.housekeeping")  # a newer release's; an hour later it is worth nothing
    with Connection(broker_form(redis_url)) as connection:
        raw = connection.Producer(routing_key="wecom")
        json_alike = {"content_type": "application/json", "content_encoding": "utf-8"}
        raw.publish("{not json", headers={"task": "wecom.send", "id": "broken"}, **json_alike)
        raw.publish('{"hello": "you"}', **json_alike)
        raw.publish("[1, 2", **json_alike)
    eventually(lambda: ledger.rejected.count() == 6)
    kept = {one.task_id[:7]: one for one in ledger.rejected.list()}
    assert kept["mistype"].read_arguments() == {"args": [], "kwargs": PAYROLL, "at": None}
    assert "none named 'wecom.sendd'" in kept["mistype"].reason
    assert "pickle" in kept["pickled"].reason
    assert kept["broken"].read_arguments()["args"] == ["{not json"]
    assert kept["no work"].read_arguments()["kwargs"] == {"reason": "", "request": "", "x": 1}
    nameless = [one.read_arguments()["args"] for one in ledger.rejected.list() if one.task_id.startswith("sha256:")]
    assert sorted(nameless, key=str) == [["[1, 2"], [{"hello": "you"}]]
    assert "from afar" not in (tmp_path / "worker-0.log").read_text()


def test_a_request_waits_for_postgres_and_outlives_its_worker(
    app: Celery,
    ledger: Ledger,
    start: Callable[..., CeleryProcess],
    tmp_path: Path,
    postgres_accepts: Callable[..., None],
    eventually: Callable[..., None],
) -> None:
    (tmp_path / "impatient.py").write_text(IMPATIENT)
    worker = start((*WORKER, "--include", "impatient"), PYTHONPATH=str(tmp_path), WECOM_LOG_LEVEL="DEBUG")
    log = tmp_path / "worker-0.log"
    eventually(lambda: "ready" in log.read_text())
    postgres_accepts(connections=False)
    for number in range(9):  # more than there are threads
        kwargs = {"sender": "hr", "message": HELLO, "users": [f"user{number}"]}
        app.send_task("wecom.send", kwargs=kwargs, queue="wecom", countdown=3600 if number == 0 else None)
    app.send_task("wecom.sendd", queue="wecom")
    eventually(lambda: log.read_text().count("waits for Postgres") > 50)  # each several times anew
    assert worker.stop() == 0
    postgres_accepts(connections=True)
    start((*WORKER, "--include", "impatient"), PYTHONPATH=str(tmp_path))
    eventually(lambda: ledger.history.counts("hr") == {State.SENT: 8, State.SCHEDULED: 1})
    eventually(lambda: ledger.rejected.count() == 1)
