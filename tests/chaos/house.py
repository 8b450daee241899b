"""The servers and processes that break and come back, and the proxies through which they reach each other."""

import contextlib
import os
import random
import signal
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
from cryptography.fernet import Fernet
from faults.addresses import database_upstream, proxied_database_url, proxied_redis_url, redis_upstream
from faults.forward_proxy import ForwardProxy
from faults.http import HttpConversation
from faults.postgres import PostgresConversation
from faults.proxy import FaultProxy
from faults.redis import RedisConversation
from faults.tls import Authority
from redis import Redis

from worker import Producer
from worker.embedded import EmbeddedServers
from worker.encryption import KeyRing
from worker.ledger import Ledger, migrate, open_engine
from worker.messages.sender import Sender
from worker.processes import BEAT, WORKER, CeleryProcess
from worker.settings import load_settings
from worker.simulator.control import SimulatorControl

CORPID = "ww-simulator"
SENDERS: Mapping[str, int] = {"hr": 1000002, "payroll": 1000003, "canteen": 1000004}
"""Names and agentids; the simulator knows the first by itself."""
QUIET_SPREAD = 5


class House:
    """Everything that breaks: Postgres, Redis, workers and beats; WeCom is somebody else's.

    Workers reach Postgres, Redis and WeCom through one proxy each, programs reach Postgres through one of their own;
    `ledger` and `redis_url` go straight. With TLS workers reach the proxy before WeCom through a tunnel of another one.
    """

    def __init__(
        self, home: Path, wecom: SimulatorControl, logs: Path, connections: int, quiet_seconds: int, *, tls: bool
    ) -> None:
        self._home = home
        self._logs = logs
        self._started = 0
        self._wecom = wecom
        self._stack = contextlib.ExitStack()
        self.servers = [EmbeddedServers(home)]
        addresses = self.servers[0].start()
        self._stack.callback(self._close_servers)
        database = database_upstream(addresses.database_url)
        self.postgres = self._stack.enter_context(FaultProxy(database, PostgresConversation))
        self.postgres_of_programs = self._stack.enter_context(FaultProxy(database, PostgresConversation))
        self.redis = self._stack.enter_context(FaultProxy(redis_upstream(addresses.redis_url), RedisConversation))
        self.tunnels = self._stack.enter_context(ForwardProxy())
        self.way_to_wecom: FaultProxy = self.tunnels
        way = {"WECOM_API_BASE_URL": wecom.base_url}
        if tls:
            authority = Authority(logs)
            at = urlsplit(wecom.base_url)
            server = FaultProxy((str(at.hostname), at.port or 80), HttpConversation, tls=authority.server("127.0.0.1"))
            self.way_to_wecom = self._stack.enter_context(server)
            way = {
                "WECOM_API_BASE_URL": f"https://127.0.0.1:{server.port}",
                "WECOM_CA_BUNDLE": str(authority.certificate),
            }
        key = Fernet.generate_key().decode()
        self.quiet_before = quiet_seconds // 2
        self.quiet_after = quiet_seconds - self.quiet_before
        self.environment = {
            "WECOM_DATABASE_URL": proxied_database_url(addresses.database_url, self.postgres),
            "WECOM_REDIS_URL": proxied_redis_url(addresses.redis_url, self.redis),
            "WECOM_SECRET_KEYS": key,
            **way,
            "WECOM_PROXY": self.tunnels.url,
            "WECOM_HOME": str(home / "keys"),
            "WECOM_QUIET_BEFORE": str(self.quiet_before),
            "WECOM_QUIET_AFTER": str(self.quiet_after),
            "WECOM_QUIET_SPREAD": str(QUIET_SPREAD),
            "WECOM_CONNECT_TIMEOUT": "1",
            "WECOM_READ_TIMEOUT": "3",
            "WECOM_CONNECTIONS": str(connections),
            "WECOM_LEASE_SECONDS": "10",
            "WECOM_REAP_SECONDS": "1",
            "PYTHONFAULTHANDLER": "1",
        }
        engine = open_engine(addresses.database_url)
        self._stack.callback(engine.dispose)
        migrate(engine)
        self.ledger = Ledger(engine, KeyRing([key]))
        self._redis_url = addresses.redis_url
        for name, agentid in SENDERS.items():
            secret = "simulator-secret" if name == "hr" else f"secret-of-{name}"
            wecom.add_app(CORPID, secret, agentid)
            self.ledger.senders.add(Sender(name, "wecom", agentid, {"corpid": CORPID, "corpsecret": secret}))
        through = proxied_database_url(addresses.database_url, self.postgres_of_programs)
        self._settings = {
            name.removeprefix("WECOM_").lower(): value
            for name, value in self.environment.items()
            if name.startswith("WECOM_")
        }
        self._settings["database_url"] = through
        self.workers: list[CeleryProcess] = []
        self.beats: list[CeleryProcess] = []

    def producer(self) -> Producer:
        """Return what a program of its own works with."""
        producer = Producer(settings=load_settings(**self._settings))
        self._stack.callback(producer.close)
        return producer

    def start(self, arguments: tuple[str, ...]) -> CeleryProcess:
        self._started += 1
        return CeleryProcess(arguments, self.environment, self._logs / f"{arguments[0]}-{self._started}.log")

    def kill_one(self, processes: list[CeleryProcess], arguments: tuple[str, ...], chance: random.Random) -> None:
        number = chance.randrange(len(processes))
        processes[number].kill()
        processes[number] = self.start(arguments)

    def start_again_what_ended(self) -> bool:
        """Do what a supervisor does: kombu's Redis transport can end a worker when Redis breaks off at a bad moment."""
        for processes, arguments in ((self.workers, WORKER), (self.beats, BEAT)):
            for number, process in enumerate(processes):
                if not process.running():
                    process.kill()
                    processes[number] = self.start(arguments)
        return True

    def flush_redis(self) -> None:
        with Redis.from_url(self._redis_url) as redis:
            redis.flushall()

    def restart(self, server: str) -> None:
        """Kill a server without warning, and start it again as `wecom up` would."""
        pids = orjson.loads((self._home / "servers.json").read_bytes())
        os.kill(_pid_of(pids, server), signal.SIGQUIT if server == "postgres" else signal.SIGKILL)
        again = EmbeddedServers(self._home)
        again.start()
        self.servers.append(again)

    def begin_a_quiet_window_in(self, seconds: float) -> tuple[float, float]:
        """Set the clocks of Postgres and WeCom forward; return the window's begin and end, in Unix seconds of theirs.

        Connections made under the old time are ended.
        """
        now = self._wecom.now()
        least = now + self.quiet_before + seconds
        half_hour = least - least % 1800 + 1800
        offset = timedelta(seconds=half_hour - least)
        with self.ledger.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql(
                f"alter database wecom set wecom.clock_offset = '{offset.total_seconds():.6f} s'"
            )
            connection.exec_driver_sql(
                "select pg_terminate_backend(pid) from pg_stat_activity where datname = 'wecom' and pid <> "
                "pg_backend_pid()"
            )
        self.ledger.engine.dispose()
        self._wecom.set_clock(self._wecom.now() + offset.total_seconds())
        return half_hour - self.quiet_before, half_hour + self.quiet_after

    def heal(self) -> None:
        """Let the proxies pass everything on again."""
        for proxy in (self.postgres, self.postgres_of_programs, self.redis, self.way_to_wecom, self.tunnels):
            proxy.rules.clear()
            proxy.resume()

    def close(self) -> None:
        for process in (*self.workers, *self.beats):
            if process.running():
                os.kill(process.pid, signal.SIGABRT)  # so that its log says where each thread was
            process.kill()
        self._stack.close()

    def _close_servers(self) -> None:
        for servers in self.servers:
            servers.close()


def _pid_of(noted: Any, server: str) -> int:  # noqa: ANN401 - JSON
    found = noted[server]
    return int(found["pid"] if isinstance(found, dict) else found)
