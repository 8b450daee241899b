"""What the demo plays on: servers, a local WeCom, workers and beat of its own, and two clocks it can set."""

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from worker.embedded import EmbeddedError, EmbeddedServers
from worker.encryption import load_key_ring
from worker.ledger import Ledger, migrate, open_engine
from worker.ledger.demonstration import Demonstration
from worker.messages.sender import Sender
from worker.processes import BEAT, WORKER, CeleryProcess
from worker.producer import Producer
from worker.settings import Settings, load_settings
from worker.simulator.apps import NEWCOMER
from worker.simulator.control import SimulatorControl
from worker.simulator.process import running_simulator

SENDER = "hr-notices"
WORKERS = 2
CHANGES = {
    "WECOM_DISPATCH_SECONDS": "0.25",
    "WECOM_REAP_SECONDS": "1",
    "WECOM_CONNECT_TIMEOUT": "2",
    "WECOM_READ_TIMEOUT": "3",
    "WECOM_LEASE_SECONDS": "10",
}
"""Less patience than in production, so that faults do not take up the minute."""


class StageError(Exception):
    """The demo cannot play here; the text is one line."""


@dataclass
class Stage:
    """All that runs, for the acts to use."""

    home: Path
    ledger: Ledger
    demonstration: Demonstration
    simulator: SimulatorControl
    producer: Producer
    logs: Path
    environment: dict[str, str]
    processes: dict[str, CeleryProcess] = field(default_factory=dict)

    def set_clocks(self, moment: datetime) -> None:
        """Set the clocks of the ledger and of the local WeCom, between which this machine's does not matter."""
        self.simulator.set_clock(moment.timestamp())
        self.demonstration.set_clock(moment)

    def start_workers(self) -> None:
        """Start the workers and beat, real processes like in production."""
        commands = {f"worker-{number}": (*WORKER, "-n", f"demo-{number}@%h") for number in range(1, WORKERS + 1)}
        for name, arguments in {**commands, "beat": BEAT}.items():
            self.processes[name] = CeleryProcess(arguments, self.environment, self.logs / f"{name}.log")

    def stop_workers(self) -> None:
        """Ask all of them to stop, then wait for each."""
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            process.stop()

    def require_alive(self) -> None:
        """Check that every process still runs.

        Raises:
            StageError: one has ended.
        """
        for name, process in self.processes.items():
            if not process.running():
                raise StageError(f"{name} has stopped unexpectedly; {self.logs / f'{name}.log'} says why")


@contextmanager
def set_up(home: Path, opening: datetime) -> Iterator[Stage]:
    """Build the stage afresh, yield it, and leave no process behind.

    Args:
        home: a directory of the demo alone; what an earlier demo left in it is removed.
        opening: what the clocks show at first.

    Raises:
        StageError: another demo runs in this home.
        EmbeddedError: the servers cannot be started.
    """
    with ExitStack() as exits:
        exits.enter_context(_alone(home))
        _remove_earlier(home)
        logs = home / "logs"
        servers = exits.enter_context(EmbeddedServers(home))
        logs.mkdir()
        simulator = exits.enter_context(running_simulator())
        environment = untouched_environment(home, simulator.base_url)
        ledger = Ledger(open_engine(servers.database_url), load_key_ring(_settings(environment)))
        exits.callback(ledger.engine.dispose)
        migrate(ledger.engine)
        ledger.senders.add(
            Sender(SENDER, "wecom", NEWCOMER.agentid, {"corpid": NEWCOMER.corpid, "corpsecret": NEWCOMER.secret})
        )
        addresses = {"WECOM_DATABASE_URL": servers.database_url, "WECOM_REDIS_URL": servers.redis_url}
        producer = Producer(settings=_settings(environment | addresses))
        exits.callback(producer.close)
        stage = Stage(home, ledger, Demonstration(ledger.engine), simulator, producer, logs, environment)
        stage.set_clocks(opening)
        exits.callback(stage.stop_workers)
        stage.start_workers()
        yield stage


def untouched_environment(home: Path, api_base_url: str) -> dict[str, str]:
    """Name every setting, so that nothing of the user's environment, `.env` or secrets directory reaches the demo."""
    defaults = {
        f"WECOM_{name.upper()}": "" if setting.default is None else str(setting.default)
        for name, setting in Settings.model_fields.items()
    }
    return {**defaults, **CHANGES, "WECOM_HOME": str(home), "WECOM_API_BASE_URL": api_base_url}


def _settings(environment: dict[str, str]) -> Settings:
    """Read an environment's settings in this process."""
    return load_settings(**{name.removeprefix("WECOM_").lower(): value for name, value in environment.items()})


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    home.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with home.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StageError(f"another demo is running in {home}; wait for its end") from None
        yield


def _remove_earlier(home: Path) -> None:
    """Stop what a killed demo left running, and remove what it stored."""
    if not home.exists():
        return
    with suppress(EmbeddedError), EmbeddedServers(home):
        pass
    shutil.rmtree(home)
