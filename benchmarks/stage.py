"""What the benchmarks run on: servers of their own, a database of each benchmark's own, a worker, the local WeCom."""

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from cryptography.fernet import Fernet

from worker import SendRequest, Text
from worker.embedded import EmbeddedServers
from worker.encryption import KeyRing
from worker.ledger import Ledger, State, migrate, open_engine
from worker.messages.sender import Sender
from worker.processes import BEAT, WORKER, CeleryProcess
from worker.producer import Producer
from worker.settings import load_settings
from worker.simulator.control import SimulatorControl
from worker.simulator.process import running_simulator

SENDER = "bench"
CORPID, CORPSECRET, AGENTID = "ww-simulator", "simulator-secret", 1000002


@dataclass(frozen=True)
class Stage:
    """Running servers, and what a benchmark does with them."""

    simulator: SimulatorControl
    ledger: Ledger
    producer: Producer
    environment: dict[str, str]
    folder: Path

    @contextmanager
    def worker(self, **settings: str) -> Iterator[psutil.Process]:
        """Run one worker and beat; the worker has sent a first message when this is entered."""
        environment = {**self.environment, **settings}
        processes = [
            CeleryProcess(arguments, environment, self.folder / f"{arguments[0]}.log") for arguments in (WORKER, BEAT)
        ]
        try:
            self.producer.send(SENDER, Text(content="warm up"), users=["warm-up"], urgent=True)
            self.wait_until_sent()
            yield psutil.Process(processes[0].pid)
        finally:
            for process in processes:
                process.stop()

    def store(self, requested: Sequence[SendRequest]) -> None:
        """Store messages that wait for `let_go`, so that producing and sending do not share the processors."""
        self.ledger.senders.pause(SENDER, "until all is stored")
        self.producer.send_many(requested)

    def let_go(self) -> None:
        """Let what was stored be sent."""
        self.ledger.senders.resume(SENDER)

    def wait_until_sent(self) -> None:
        """Wait until every message of the sender has been sent.

        Raises:
            RuntimeError: some message ended in another state.
        """
        while True:
            counts = self.ledger.history.counts(SENDER)
            if set(counts) == {State.SENT}:
                return
            if set(counts) - {State.SENT, State.SCHEDULED, State.SENDING}:
                raise RuntimeError(f"not every message was sent: {counts}")
            time.sleep(0.02)


@contextmanager
def stage(**settings: str) -> Iterator[Stage]:
    """Set up servers, tables, a sender and the local WeCom; all of it is gone afterwards."""
    with (
        tempfile.TemporaryDirectory(prefix="wecom-bench-") as folder,
        EmbeddedServers(Path(folder) / "home") as servers,
        running_simulator() as simulator,
    ):
        key = Fernet.generate_key().decode()
        environment = {
            "WECOM_DATABASE_URL": servers.database_url,
            "WECOM_REDIS_URL": servers.redis_url,
            "WECOM_SECRET_KEYS": key,
            "WECOM_API_BASE_URL": simulator.base_url,
            "WECOM_QUIET_BEFORE": "0",
            "WECOM_QUIET_AFTER": "0",
            **settings,
        }
        chosen = {name.removeprefix("WECOM_").lower(): value for name, value in environment.items()}
        engine = open_engine(servers.database_url)
        migrate(engine)
        ledger = Ledger(engine, KeyRing([key]))
        ledger.senders.add(Sender(SENDER, "wecom", AGENTID, {"corpid": CORPID, "corpsecret": CORPSECRET}))
        producer = Producer(settings=load_settings(**chosen))
        yield Stage(simulator, ledger, producer, environment, Path(folder))
        producer.close()
        engine.dispose()
