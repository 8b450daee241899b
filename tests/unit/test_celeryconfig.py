"""The configuration of Celery, held against the tasks there are and the rules of the design."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from celery.worker.consumer import Consumer as CeleryConsumer

from worker.consumer import Consumer
from worker.delivery.rejections import PATIENCE_SECONDS
from worker.delivery.serve import TURN_SECONDS
from worker.settings import Settings, settings
from worker.ticks import MOST_WAITING

CONFIGURATION = Path(__file__).resolve().parents[2] / "celeryconfig.py"
NAMED_SERVERS = {"WECOM_DATABASE_URL": "postgresql+psycopg://nowhere/wecom", "WECOM_REDIS_URL": "redis://nowhere/0"}
ASK_CELERY = """
import json
from worker.celery import app
import worker.tasks
app.finalize()
routes = {name: app.amqp.router.route({}, name)["queue"].name for name in app.tasks if not name.startswith("celery.")}
print(json.dumps(routes))
"""


@pytest.fixture
def configuration(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The names celeryconfig.py sets; servers are named, so that none is started."""
    for name, value in NAMED_SERVERS.items():
        monkeypatch.setenv(name, value)
    return runpy.run_path(str(CONFIGURATION))


@pytest.fixture(scope="module")
def routes() -> dict[str, str]:
    """Every task and its queue, as Celery itself sees them in a process of its own."""
    answer = subprocess.check_output([sys.executable, "-c", ASK_CELERY], env={**os.environ, **NAMED_SERVERS})
    routes: dict[str, str] = json.loads(answer)
    return routes


def longest_allowed(name: str) -> float:
    return float(next(limit.le for limit in Settings.model_fields[name].metadata if hasattr(limit, "le")))


def test_every_task_has_a_name_that_outlives_its_module(routes: dict[str, str]) -> None:
    assert routes
    assert [name for name in routes if not name.startswith("wecom.")] == []


def test_every_task_goes_to_its_queue(routes: dict[str, str], configuration: dict[str, Any]) -> None:
    assert routes == {
        "wecom.send": "wecom",
        "wecom.campaign": "wecom",
        "wecom.reject": "wecom",
        "wecom.recall": "wecom",
        "wecom.deliver": "wecom.deliver",
        "wecom.dispatch": "wecom.housekeeping",
        "wecom.reap": "wecom.housekeeping",
    }
    assert set(routes.values()) == set(configuration["task_queues"])


def test_every_route_and_every_entry_of_beat_names_a_task(
    routes: dict[str, str], configuration: dict[str, Any]
) -> None:
    assert set(configuration["task_routes"]) <= set(routes)
    assert {entry["task"] for entry in configuration["beat_schedule"].values()} <= set(routes)


def test_a_mistyped_queue_is_an_error(configuration: dict[str, Any]) -> None:
    assert configuration["task_create_missing_queues"] is False
    assert configuration["task_default_queue"] in configuration["task_queues"]


def test_rabbitmq_is_told_what_is_its_own_and_nothing_of_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WECOM_BROKER_URL", "amqp://guest:guest@nowhere:5672//")
    for name, value in NAMED_SERVERS.items():
        monkeypatch.setenv(name, value)
    settings.cache_clear()
    rabbitmq = runpy.run_path(str(CONFIGURATION))
    assert rabbitmq["broker_transport_options"] == {"confirm_publish": True}
    for queue in rabbitmq["task_queues"].values():
        assert queue == {"queue_arguments": {"x-queue-type": "quorum"}}


def test_a_worker_is_patient_for_less_time_than_redis_gives_it(configuration: dict[str, Any]) -> None:
    assert configuration["broker_transport_options"]["visibility_timeout"] > 2 * PATIENCE_SECONDS


def test_the_consumer_is_celerys_but_for_one_step() -> None:
    assert Consumer.Blueprint.default_steps == [
        step for step in CeleryConsumer.Blueprint.default_steps if not step.endswith(":DelayedDelivery")
    ]
    assert len(Consumer.Blueprint.default_steps) == len(CeleryConsumer.Blueprint.default_steps) - 1


def test_beat_keeps_the_intervals_of_the_settings_and_its_ticks_carry_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in NAMED_SERVERS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("WECOM_DISPATCH_SECONDS", "2.5")
    monkeypatch.setenv("WECOM_REAP_SECONDS", "7")
    settings.cache_clear()
    changed = runpy.run_path(str(CONFIGURATION))["beat_schedule"]
    assert (changed["dispatch"]["schedule"], changed["reap"]["schedule"]) == (2.5, 7)
    assert not any("options" in entry for entry in changed.values())
    assert {entry["task"] for entry in changed.values()} == set(MOST_WAITING)


def test_remote_control_is_off_unless_asked_for(monkeypatch: pytest.MonkeyPatch, configuration: dict[str, Any]) -> None:
    assert configuration["worker_enable_remote_control"] is False
    monkeypatch.setenv("WECOM_REMOTE_CONTROL", "true")
    settings.cache_clear()
    assert runpy.run_path(str(CONFIGURATION))["worker_enable_remote_control"] is True


def test_only_json_is_spoken_and_no_result_is_kept(configuration: dict[str, Any]) -> None:
    assert configuration["task_serializer"] == "json"
    assert tuple(configuration["accept_content"]) == ("json",)
    assert configuration["task_ignore_result"] is True
    assert configuration["result_backend"] is None


def test_the_pool_is_threads_and_a_bell_is_rung_again_when_its_worker_dies(configuration: dict[str, Any]) -> None:
    assert configuration["worker_pool"] == "threads"
    assert configuration["task_acks_late"] is True
    assert configuration["task_reject_on_worker_lost"] is True


def test_a_bell_is_not_given_to_a_second_worker_while_the_first_makes_its_slowest_call(
    configuration: dict[str, Any],
) -> None:
    slowest_call = longest_allowed("connect_timeout") + longest_allowed("read_timeout")
    assert configuration["broker_transport_options"]["visibility_timeout"] > TURN_SECONDS + slowest_call


def test_a_broker_that_no_longer_answers_holds_up_nobody_for_good(configuration: dict[str, Any]) -> None:
    options = configuration["broker_transport_options"]
    assert 0 < options["socket_connect_timeout"] <= options["socket_timeout"] <= 30


def test_a_celeryconfig_of_another_project_is_not_taken_for_ours(tmp_path: Path) -> None:
    (tmp_path / "celeryconfig.py").write_text("task_default_queue = 'theirs'")
    ask = [sys.executable, "-m", "celery", "-A", "worker", "report"]
    told = subprocess.check_output(ask, cwd=tmp_path, env={**os.environ, **NAMED_SERVERS}, text=True)
    assert "task_default_queue: 'wecom'" in told


def test_the_configuration_is_loaded_when_it_is_needed_and_no_sooner(tmp_path: Path) -> None:
    bad = {**os.environ, **NAMED_SERVERS, "WECOM_CHUNK": "many"}
    ask = [
        sys.executable,
        "-c",
        "from worker.celery import app; import worker.tasks; print('loaded'); app.conf.imports",
    ]
    told = subprocess.run(ask, cwd=tmp_path, env=bad, capture_output=True, text=True, check=False)
    assert told.stdout == "loaded\n"
    assert "WECOM_CHUNK: " in told.stderr
