"""What a producer works with: its settings, and its connections to the ledger, to Redis and to the broker."""

import os
import threading
import weakref
from dataclasses import dataclass

from celery import Celery
from redis import Redis

from worker.broker import is_rabbitmq
from worker.delivery.bell import Bell
from worker.ledger import Ledger, LedgerError, open_engine, require_migrated
from worker.redis_connection import open_redis
from worker.servers import embedded_database, open_servers
from worker.settings import Settings

BELL_SECONDS = 2
"""How long a producer waits for an answer of Redis or of the broker: they only ring."""
SILENT_SECONDS = 30
"""How long a producer does not ring after they failed to answer: meanwhile the dispatcher does, every second."""


@dataclass(frozen=True, slots=True)
class _Connections:
    ledger: Ledger
    redis: Redis
    celery: Celery
    bell: Bell


_opened: "weakref.WeakSet[ProducerServers]" = weakref.WeakSet()


class ProducerServers:
    """The settings of a producer, and its connections, which each process opens when it first needs them."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._opening = threading.Lock()
        self._connections: _Connections | None = None
        _opened.add(self)

    @property
    def connections(self) -> _Connections:
        """What is open; of threads that are first at once, one opens it.

        Raises:
            LedgerError: Postgres cannot be reached or has no tables yet.
        """
        with self._opening:
            if self._connections is None:
                self._connections = self._open()
            return self._connections

    def _open(self) -> _Connections:
        servers = open_servers(self.settings)
        ledger = Ledger(open_engine(servers.database_url, silence_seconds=self.settings.silence_seconds))
        try:
            require_migrated(ledger.engine, embedded_in=embedded_database(self.settings))
        except LedgerError:
            ledger.engine.dispose()
            raise
        redis, celery = open_redis(servers.redis_url, BELL_SECONDS), _celery(servers.broker_url)
        bell = Bell(
            redis,
            # The dispatcher rings if this fails, so a producer does not wait for a broker that is away.
            lambda sender, slot: celery.send_task(
                "wecom.deliver", args=[sender, slot], queue="wecom.deliver", retry=False
            ),
            self.settings.deliveries,
            SILENT_SECONDS,
        )
        return _Connections(ledger, redis, celery, bell)

    def begin_anew(self) -> None:
        """Leave what is open to the process from which this one was forked, and open what is needed."""
        self._opening = threading.Lock()  # perhaps a thread held it that is not here
        self._connections = None

    def close(self) -> None:
        """Close the connections; they are opened again when they are needed again."""
        with self._opening:
            connections, self._connections = self._connections, None
        if connections is not None:
            connections.ledger.engine.dispose()
            connections.redis.close()
            connections.celery.close()


def _begin_anew() -> None:
    for servers in _opened:
        servers.begin_anew()


os.register_at_fork(after_in_child=_begin_anew)


def _celery(broker_url: str) -> Celery:
    """Make a Celery app that can only publish; the caller's own app and settings are not touched."""
    app = Celery("wecom-producer", broker=broker_url, set_as_current=False, fixups=[])
    app.conf.update(task_ignore_result=True, task_serializer="json")
    if is_rabbitmq(broker_url):
        app.conf.update(task_create_missing_queue_type="quorum", broker_connection_timeout=BELL_SECONDS)
        app.conf.broker_transport_options = {"read_timeout": BELL_SECONDS, "write_timeout": BELL_SECONDS}
    else:
        app.conf.broker_transport_options = {"socket_timeout": BELL_SECONDS, "socket_connect_timeout": BELL_SECONDS}
    return app
