"""`wecom doctor` finds what is wrong, says what to do, and shows no secret."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
import pytest
from cryptography.fernet import Fernet
from redis import Redis
from sqlalchemy import Engine, make_url, text

from worker.cli import machine_checks
from worker.cli.findings import Verdict
from worker.ledger import Calls, Ledger
from worker.messages.sender import Sender
from worker.processes import WORKER, CeleryProcess
from worker.settings import load_settings
from worker.simulator.control import SimulatorControl

PASSWORD = "pass-word-of-a-server"
WRONG_SECRET = "wrong-app-secret"


@pytest.fixture
def doctor(environment: dict[str, str], ledger: Ledger) -> Callable[..., dict[str, Any]]:
    """Run `wecom doctor --json` and return its findings by subject, the worst of each."""
    assert ledger.senders.names() == ["hr"]

    def doctor(**changes: str) -> dict[str, Any]:
        done = execute(environment | changes, "--json")
        assert "Traceback" not in done.stderr
        report = orjson.loads(done.stdout)
        assert list(report) == ["ok", "checks"]
        assert done.returncode == (0 if report["ok"] else 1)
        secrets = (PASSWORD, WRONG_SECRET, "simulator-secret", environment["WECOM_SECRET_KEYS"])
        assert not any(secret in done.stdout + done.stderr for secret in secrets)
        for check in report["checks"]:
            assert list(check) == ["subject", "verdict", "words", "advice"]
            assert check["advice"] or check["verdict"] != "problem"
        order = [verdict.value for verdict in (Verdict.OK, Verdict.NOTE, Verdict.SKIPPED, Verdict.PROBLEM)]
        return {one["subject"]: one for one in sorted(report["checks"], key=lambda one: order.index(one["verdict"]))}

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


def problems(findings: dict[str, Any]) -> set[str]:
    return {subject for subject, finding in findings.items() if finding["verdict"] == "problem"}


def test_with_a_worker_all_is_well(
    doctor: Callable[..., dict[str, Any]],
    environment: dict[str, str],
    start: Callable[..., CeleryProcess],
    eventually: Callable[..., None],
) -> None:
    start(WORKER)
    eventually(lambda: problems(doctor()) == set())
    told = execute(environment)
    assert (told.returncode, told.stderr) == (0, "")
    assert "problem" not in told.stdout
    assert "\x1b" not in told.stdout
    assert "ok      Workers: 1 at work: celery@" in told.stdout


def test_without_a_worker_that_alone_is_the_problem(doctor: Callable[..., dict[str, Any]]) -> None:
    findings = doctor()
    assert problems(findings) == {"Workers"}
    assert findings["Workers"]["advice"] == "start `wecom up` or `celery -A worker worker`"
    assert findings["Sender hr"]["words"] == "WeCom accepts its credentials"


def test_every_server_that_is_away_is_found_at_once_and_no_password_is_shown(
    doctor: Callable[..., dict[str, Any]],
) -> None:
    findings = doctor(
        WECOM_DATABASE_URL=f"postgresql+psycopg://wecom:{PASSWORD}@127.0.0.1:1/wecom",
        WECOM_REDIS_URL=f"redis://:{PASSWORD}@127.0.0.1:1/0",
        WECOM_API_BASE_URL="http://127.0.0.1:1",
    )
    assert problems(findings) == {"Postgres", "Redis", "Broker", "WeCom"}
    assert findings["Senders"]["verdict"] == "skipped"
    for subject, setting in (("Postgres", "DATABASE"), ("Redis", "REDIS"), ("Broker", "BROKER")):
        assert f"WECOM_{setting}_URL" in findings[subject]["advice"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"WECOM_READ_TIMEOUT": "soon"}, {"Settings": "WECOM_READ_TIMEOUT"}),
        (
            {"WECOM_CORPID": "ww1", "WECOM_SECRET_KEYS": Fernet.generate_key().decode()},
            {"Settings": "WECOM_CORPSECRET and WECOM_AGENTID not set", "Sender hr": "encrypted with another key"},
        ),
        (
            {"WECOM_SECRET_KEYS": ""},
            {"Secret keys": "WECOM_SECRET_KEYS is not set"},
        ),
        ({"WECOM_REDIS_URL": f"http://:{PASSWORD}@host"}, {"Settings": "WECOM_REDIS_URL"}),
        ({"WECOM_REDIS_URL": f"redis://:{PASSWORD}@host:door"}, {"Settings": "WECOM_REDIS_URL"}),
        (
            {"WECOM_SECRET_KEYS": "short", "WECOM_DATABASE_URL": f"mysql://wecom:{PASSWORD}@host/wecom"},
            {"Secret keys": "no Fernet key", "Postgres": "WECOM_DATABASE_URL"},
        ),
    ],
)
def test_settings_that_cannot_work_are_named(
    doctor: Callable[..., dict[str, Any]], changes: dict[str, str], words: dict[str, str]
) -> None:
    findings = doctor(**changes)
    assert words.keys() <= problems(findings)
    for subject, part in words.items():
        assert part in findings[subject]["words"]


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
    assert findings["Postgres"]["verdict"] == "ok"
    assert findings["Tables"]["advice"] == "run `wecom migrate`"


def test_a_redis_that_forgets_is_found(doctor: Callable[..., dict[str, Any]], redis_url: str) -> None:
    with Redis.from_url(redis_url) as redis:
        before = redis.config_get("maxmemory-policy")["maxmemory-policy"]
        redis.config_set("maxmemory-policy", "allkeys-lru")
        try:
            findings = doctor()
        finally:
            redis.config_set("maxmemory-policy", before)
    assert "Redis" in problems(findings)
    assert findings["Redis"]["advice"] == "set it to noeviction"


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
    assert problems(first) == {"Workers", "Sender paused"}
    assert "40001: invalid credential" in first["Sender paused"]["words"]
    assert "wecom senders resume paused" in first["Sender paused"]["advice"]
    assert first["Sender parked"]["verdict"] == "note"
    doctor()
    assert simulator.counters().calls["gettoken"] == 4


def test_parked_card_updates_are_noted(doctor: Callable[..., dict[str, Any]], ledger: Ledger) -> None:
    ledger.parked_calls.park("hr", Calls.CARD_UPDATES, "45009: too often", 600)
    found = doctor()["Card updates of hr"]
    assert found["verdict"] == "note"
    assert "45009: too often" in found["words"]


def test_a_refused_secret_is_told_with_what_to_do_and_pauses_nobody(
    doctor: Callable[..., dict[str, Any]], ledger: Ledger
) -> None:
    ledger.senders.add(Sender("it", "wecom", 7, {"corpid": "ww-simulator", "corpsecret": WRONG_SECRET}))
    findings = doctor()
    assert findings["Sender it"]["words"].startswith("40001: ")
    assert "senders resume NAME" in findings["Sender it"]["advice"]
    assert ledger.senders.find("it").paused_reason is None


def test_embedded_servers_are_joined_or_started_and_that_is_said(
    doctor: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    findings = doctor(WECOM_DATABASE_URL="", WECOM_REDIS_URL="", WECOM_SECRET_KEYS="", WECOM_HOME=str(tmp_path / "h"))
    assert "joined, or started for this check alone" in findings["Embedded servers"]["words"]
    assert problems(findings) == {"Tables", "Workers"}
    assert not (tmp_path / "h" / "servers.json").exists(), "they are stopped when nobody uses them any more"


def test_a_misspelt_setting_is_a_problem_and_an_unknown_one_is_mentioned(
    environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text(f"WECOM_DATABSE_URL={PASSWORD}\n")
    told = execute(environment | {"WECOM_WEB_SERVICE_HOST": WRONG_SECRET, "WECOM_TEST_REDIS_URL": ""})
    assert "problem Settings: WECOM_DATABSE_URL is no setting and has no effect\n" in told.stdout
    assert "write WECOM_DATABASE_URL if that is meant" in told.stdout
    assert "note    Settings: WECOM_WEB_SERVICE_HOST is no setting" in told.stdout
    assert "WECOM_TEST" not in told.stdout
    assert told.returncode == 1
    assert not any(secret in told.stdout + told.stderr for secret in (PASSWORD, WRONG_SECRET))


def test_a_sender_with_a_wrong_secret_is_told_how_to_replace_it(
    doctor: Callable[..., dict[str, Any]], ledger: Ledger
) -> None:
    ledger.senders.add(Sender("it", "wecom", 7, {"corpid": "ww-simulator", "corpsecret": WRONG_SECRET}))
    assert "`wecom senders add NAME --replace ...`" in doctor()["Sender it"]["advice"]
    ledger.senders.pause("it", "40001: invalid credential")
    assert "`wecom senders add it --replace ...`" in doctor()["Sender it"]["advice"]


@pytest.mark.parametrize("named", ["database_url", "redis_url"])
def test_a_missing_wheel_matters_only_for_a_server_that_is_not_named(
    monkeypatch: pytest.MonkeyPatch, named: str
) -> None:
    monkeypatch.setattr(machine_checks, "find_spec", lambda _: None)
    [found] = machine_checks.embedded_wheels(load_settings(**{named: "redis://named"}))
    assert found.verdict is Verdict.PROBLEM
    assert f"WECOM_{named.upper()}" not in found.words
    assert "wecom-worker[embedded]" in found.advice


def test_niquests_is_mentioned(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "niquests" not in str(list(machine_checks.python_and_packages()))
    monkeypatch.setattr(machine_checks, "find_spec", lambda name: name)
    assert "niquests is installed" in str(list(machine_checks.python_and_packages()))
