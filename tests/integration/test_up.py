"""`wecom up` as somebody at a terminal sees it: real processes, real signals, and nothing left behind."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from worker.cli.up_lock import UP_LOCK, beside_local_wecom, local_wecom
from worker.embedded import EmbeddedServers
from worker.encryption import load_key_ring
from worker.ledger import Ledger, State, migrate, open_engine
from worker.messages import Text
from worker.messages.sender import Sender
from worker.producer import Producer
from worker.settings import load_settings
from worker.simulator.control import SimulatorControl

Eventually = Callable[..., None]
QUICK = {"WECOM_DISPATCH_SECONDS": "0.2", "WECOM_QUIET_BEFORE": "0", "WECOM_QUIET_AFTER": "0"}


class Terminal:
    """One `wecom up` in a process group of its own, like one started at a terminal."""

    def __init__(self, directory: Path, number: int, *options: str, **settings: str) -> None:
        self.directory = directory
        self._output = directory / f"up-{number}.log"
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "worker.cli", "up", *options],
                cwd=directory,
                env={**os.environ, **QUICK, **settings},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        return self._output.read_text()

    def shows(self, words: str) -> bool:
        assert self.process.poll() is None or words in self.output, self.output
        return words in self.output

    def press_control_c(self) -> None:
        os.killpg(self.process.pid, signal.SIGINT)

    def processes(self) -> dict[int, str]:
        """Everything that works in this directory or with its sockets, by pid."""
        found = {}
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                here = (entry / "cwd").readlink().is_relative_to(self.directory) or os.fspath(self.directory) in command
                if here and command and int(entry.name) != os.getpid():
                    found[int(entry.name)] = command
        return found


pytestmark = pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks for processes in /proc")


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def open_terminal(*options: str, **settings: str) -> Terminal:
        opened.append(Terminal(tmp_path, len(opened), *options, **settings))
        return opened[-1]

    yield open_terminal
    for one in opened:
        if one.process.poll() is None:
            one.process.terminate()
            one.process.wait(30)


def finished(terminal: Terminal) -> str:
    terminal.process.wait(60)
    return terminal.output


def test_what_is_sent_beside_it_arrives_and_control_c_leaves_nothing(
    terminal: Callable[..., Terminal], eventually: Eventually, tmp_path: Path
) -> None:
    up = terminal("--simulator", "--workers", "2")
    eventually(lambda: up.shows("Ctrl-C stops everything"))
    assert "send default --text 'Hello 你好' --user zhangsan" in up.output
    with closing(Producer(settings=load_settings(home=tmp_path / ".wecom"))) as producer:
        message = producer.send("default", Text(content="Hello 你好"), users=["zhangsan"], urgent=True)
        eventually(lambda: producer.status(message).state is State.SENT)
    address = re.search(r"http://127.0.0.1:\d+", up.output)
    assert address is not None
    with SimulatorControl(address[0]) as control:
        assert control.served() == {"zhangsan": ["Hello 你好"]}
    up.press_control_c()
    assert up.process.wait(30) == 0, up.output
    for line in ("stopping", "workers and beat have stopped", "the local WeCom has stopped", "Postgres and Redis stop"):
        assert line in up.output
    assert "Traceback" not in up.output
    assert "superuser" not in up.output
    # This test's own producer is the last user of the servers; they end with this process.
    left = [command for command in up.processes().values() if "worker." in command]
    assert left == []


def test_killed_without_warning_it_takes_its_children_along(
    terminal: Callable[..., Terminal], eventually: Eventually
) -> None:
    up = terminal("--simulator")
    eventually(lambda: up.shows(" ready."))
    assert len(up.processes()) >= 6  # itself, worker, beat, the local WeCom, Postgres, Redis
    up.process.kill()
    up.process.wait()
    eventually(lambda: up.processes() == {})


def kill_worker(up: Terminal) -> None:
    worker = next(pid for pid, command in up.processes().items() if "worker.processes worker" in command)
    os.kill(worker, signal.SIGKILL)


def test_a_worker_that_ends_is_started_again(terminal: Callable[..., Terminal], eventually: Eventually) -> None:
    up = terminal("--simulator")
    eventually(lambda: up.shows(" ready."))
    kill_worker(up)
    eventually(lambda: up.shows("worker-1 has ended unexpectedly (status -9); it is started again"))
    eventually(lambda: up.output.count(" ready.") == 2)
    up.press_control_c()
    assert up.process.wait(30) == 0, up.output


def test_a_worker_that_ends_again_and_again_is_told_and_the_rest_stops(
    terminal: Callable[..., Terminal], eventually: Eventually
) -> None:
    up = terminal("--simulator")
    for times in range(1, 5):
        eventually(lambda times=times: up.output.count(" ready.") == times)
        kill_worker(up)
    assert "worker-1 has ended unexpectedly (status -9), not for the first time; its last words:" in finished(up)
    assert up.process.returncode == 1
    assert up.processes() == {}


def test_a_taken_port_is_one_line(terminal: Callable[..., Terminal]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        up = terminal("--simulator", "--simulator-port", str(port))
        assert f"Error: the local WeCom cannot listen on port {port} (Address already in use)" in finished(up)
    assert up.process.returncode == 1
    assert up.processes() == {}


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"WECOM_CHUNK": "many"}, "Error: WECOM_CHUNK: "),
        (
            {
                "WECOM_DATABASE_URL": "postgresql+psycopg://nobody@127.0.0.1:1/nothing",
                "WECOM_REDIS_URL": "redis://127.0.0.1:1",
            },
            "Error: WECOM_SECRET_KEYS is not set",
        ),
        (
            {
                "WECOM_DATABASE_URL": "postgresql+psycopg://nobody@127.0.0.1:1/nothing",
                "WECOM_SECRET_KEYS": "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
            },
            "Error: Postgres cannot be reached",
        ),
        ({"WECOM_REDIS_URL": "redis://127.0.0.1:1"}, "Error: Redis cannot be used"),
    ],
)
def test_what_cannot_work_is_one_line(terminal: Callable[..., Terminal], settings: dict[str, str], line: str) -> None:
    up = terminal(**settings)
    output = finished(up)
    assert up.process.returncode == 1
    errors = [one for one in output.splitlines() if not one.startswith("up ")]
    assert len(errors) == 1, output
    assert errors[0].startswith(line)


def beside(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a second terminal."""
    return subprocess.run(
        [sys.executable, "-m", "worker.cli", *arguments],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_a_second_one_in_the_same_home_refuses_and_names_the_first(
    terminal: Callable[..., Terminal], eventually: Eventually
) -> None:
    first = terminal("--simulator")
    eventually(lambda: first.shows("Ctrl-C stops everything"))
    for options in ((), ("--simulator",)):
        second = terminal(*options)
        assert finished(second).startswith("Error: `wecom up` runs in .wecom already (process ")
        assert f"(process {first.process.pid})" in second.output
        assert len(second.output.splitlines()) == 1
        assert second.process.returncode == 1
    first.press_control_c()
    assert first.process.wait(30) == 0, first.output
    third = terminal()
    eventually(lambda: third.shows("Ctrl-C stops everything"))


def test_commands_beside_it_find_the_local_wecom(
    terminal: Callable[..., Terminal], eventually: Eventually, tmp_path: Path
) -> None:
    up = terminal("--simulator")
    eventually(lambda: up.shows(" ready."))
    told = beside(tmp_path, "doctor", "--all")
    assert told.returncode == 0, told.stdout + told.stderr
    assert "looks at the local WeCom of `wecom up --simulator`, http://127.0.0.1:" in told.stdout
    assert "Sender default: WeCom accepts its credentials" in told.stdout
    assert "qyapi" not in told.stdout
    (tmp_path / "letter.txt").write_text("Dear all")
    uploaded = beside(tmp_path, "media", "upload", "default", "letter.txt")
    assert (uploaded.returncode, uploaded.stderr) == (0, "")
    named = load_settings(api_base_url="https://wecom.example.com")
    assert beside_local_wecom(named) is named
    up.press_control_c()
    assert up.process.wait(30) == 0, up.output
    assert (tmp_path / ".wecom" / UP_LOCK).read_text() == ""


def test_what_a_killed_one_wrote_about_its_local_wecom_is_not_believed(
    terminal: Callable[..., Terminal], eventually: Eventually, tmp_path: Path
) -> None:
    up = terminal("--simulator")
    eventually(lambda: up.shows(" ready."))
    assert local_wecom(tmp_path / ".wecom") is not None
    up.process.kill()
    up.process.wait()
    assert "http://127.0.0.1:" in (tmp_path / ".wecom" / UP_LOCK).read_text()
    assert local_wecom(tmp_path / ".wecom") is None
    eventually(lambda: up.processes() == {})


def test_a_port_for_the_local_wecom_implies_it(terminal: Callable[..., Terminal], eventually: Eventually) -> None:
    up = terminal("--simulator-port", "0")
    eventually(lambda: up.shows("a local WeCom"))


def test_misspelt_settings_are_told_once_and_without_their_values(
    terminal: Callable[..., Terminal], eventually: Eventually
) -> None:
    up = terminal("--simulator", WECOM_REDTIMEOUT="hunter2")
    eventually(lambda: up.shows(" ready."))
    told = [line for line in up.output.splitlines() if "WECOM_REDTIMEOUT (did you mean WECOM_READ_TIMEOUT?)" in line]
    assert [line.split("|")[0].strip() for line in told] == ["up", "worker-1"]
    assert "hunter2" not in up.output


def test_a_paused_real_sender_does_not_keep_the_local_wecom_away(
    terminal: Callable[..., Terminal], eventually: Eventually, tmp_path: Path
) -> None:
    chosen = load_settings(home=tmp_path / ".wecom")
    with EmbeddedServers(chosen.home) as servers:
        engine = open_engine(servers.database_url)
        migrate(engine)
        ledger = Ledger(engine, load_key_ring(chosen))
        ledger.senders.add(Sender("real", "wecom", 7, {"corpid": "ww-real", "corpsecret": "real-secret"}))
        refused = terminal("--simulator")
        assert "pause it (`wecom senders pause real`)" in finished(refused)
        ledger.senders.pause("real", "not while we try things out")
        up = terminal("--simulator")
        eventually(lambda: up.shows("Ctrl-C stops everything"))
        assert ledger.senders.find("real").paused_reason == "not while we try things out"
        engine.dispose()


def test_half_of_the_credentials_is_one_line(terminal: Callable[..., Terminal]) -> None:
    assert "Error: WECOM_CORPSECRET and WECOM_AGENTID not set" in finished(terminal("--simulator", WECOM_CORPID="ww1"))


def test_the_local_wecom_refuses_a_ledger_of_real_senders(terminal: Callable[..., Terminal], tmp_path: Path) -> None:
    chosen = load_settings(home=tmp_path / ".wecom")
    real = Sender("default", "wecom", 1000007, {"corpid": "ww-real", "corpsecret": "real-secret"})
    with EmbeddedServers(chosen.home) as servers:
        engine = open_engine(servers.database_url)
        migrate(engine)
        ledger = Ledger(engine, load_key_ring(chosen))
        ledger.senders.add(real)
        up = terminal("--simulator")
        assert "Error: the ledger holds the sender default with other credentials" in finished(up)
        assert up.process.returncode == 1
        stored, _ = ledger.senders.open("default")
        engine.dispose()
    assert stored.credentials == real.credentials
    assert "real-secret" not in up.output


def test_keys_that_do_not_fit_are_one_line(terminal: Callable[..., Terminal], tmp_path: Path) -> None:
    chosen = load_settings(home=tmp_path / ".wecom")
    with EmbeddedServers(chosen.home) as servers:
        engine = open_engine(servers.database_url)
        migrate(engine)
        Ledger(engine, load_key_ring(chosen)).senders.add(Sender("hr", "wecom", 1, {"corpid": "a", "corpsecret": "b"}))
        engine.dispose()
        up = terminal(WECOM_SECRET_KEYS="MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=")
        assert "Error: the stored credentials were encrypted with another key" in finished(up)
    assert up.process.returncode == 1
