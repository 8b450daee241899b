"""What the doctor asks the servers: Postgres, Redis, the broker."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kombu import Connection
from kombu.exceptions import ChannelError
from kombu.exceptions import ConnectionError as BrokerConnectionError
from kombu.exceptions import OperationalError as BrokerError
from psycopg.errors import InsufficientPrivilege
from redis import Redis, RedisError
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError, OperationalError

from worker.celery import app
from worker.cli.findings import Finding, fault, fault_of, fine, warning
from worker.ledger import Ledger, LedgerError, require_migrated, unreachable

OLDEST_POSTGRES = (14,)
OLDEST_REDIS = (6, 2)
CLOCK_SECONDS = 5
PATIENCE_SECONDS = 3


def postgres(engine: Engine, *, embedded_in: Path | None) -> Iterator[Finding]:
    """See whether Postgres answers, is new enough, has this release's tables, can write, and tells the time.

    Unless it has tables that can be read, the last finding is a fault.
    """
    try:
        with engine.connect() as connection:
            release = connection.dialect.server_version_info or ()
    except OperationalError as error:
        yield fault_of("postgres", "Postgres", LedgerError(unreachable(error)))
        return
    name = ".".join(map(str, release))
    if release < OLDEST_POSTGRES:
        yield fault("postgres.release", "Postgres", f"answers, but is {name}", "use 14 or newer")
    yield fine("postgres", "Postgres", f"{name} answers", release=name)
    try:
        require_migrated(engine, embedded_in=embedded_in)
    except LedgerError as error:
        yield fault_of("tables", "Tables", error)
        return
    ledger = Ledger(engine)
    yield _writes(ledger)
    yield _clocks(ledger)
    yield fine("tables", "Tables", "those of this release")


def redis(connection: Redis, *, is_broker: bool) -> Iterator[Finding]:
    """See whether Redis answers, is new enough, is a single one, and keeps what it is given."""
    try:
        facts = connection.info()
    except RedisError as error:
        yield fault("redis", "Redis", f"does not answer ({error})", "check WECOM_REDIS_URL and that the server runs")
        return
    name = str(facts["redis_version"])
    if tuple(int(part) for part in name.split(".")[:2]) < OLDEST_REDIS:
        yield fault("redis.release", "Redis", f"answers, but is {name}", "use 6.2 or newer")
    yield fine("redis", "Redis", f"{name} answers", release=name)
    if facts.get("redis_mode") == "cluster" or facts.get("cluster_enabled"):
        yield fault(
            "redis.cluster",
            "Redis",
            "is a Redis Cluster, which cannot work: the keys of a limit and of a wake-up lie on several nodes",
            "name a single Redis in WECOM_REDIS_URL, with a replica if it must not go away",
        )
    policy = facts.get("maxmemory_policy", "unknown")
    if policy != "noeviction":
        yield fault(
            "redis.eviction",
            "Redis",
            f"maxmemory-policy is {policy}, so that a full Redis loses tasks",
            "set it to noeviction",
            policy=policy,
        )
    if is_broker and not facts.get("aof_enabled"):
        yield warning(
            "redis.append-only",
            "Redis",
            "keeps no append-only file: what programs sent through Celery alone is lost if it dies",
            "set appendonly to yes",
        )


def broker() -> Iterator[Finding]:
    """See whether the broker answers, and what waits there."""
    try:
        with app.connection_for_read() as connection:
            connection.ensure_connection(max_retries=1, interval_start=0, timeout=PATIENCE_SECONDS)
            waiting = {name: _waiting(connection, name) for name in app.amqp.queues}
    except (BrokerError, BrokerConnectionError, ChannelError, RedisError, OSError) as error:
        advice = "check WECOM_BROKER_URL and that the server runs"
        yield fault("broker", "Broker", f"does not answer ({error})", advice)
        return
    lengths = ", ".join(f"{number} in {name}" for name, number in waiting.items())
    yield fine("broker", "Broker", f"answers; tasks waiting: {lengths}", waiting=waiting)


def _writes(ledger: Ledger) -> Finding:
    check, subject = "postgres.writes", "Postgres"
    try:
        ledger.examination.try_to_write()
    except DBAPIError as error:
        said = str(error.orig).strip().splitlines()[0]
        if isinstance(error.orig, InsufficientPrivilege):
            return warning(check, subject, f"was not asked to write: {said}", "ask as the user of the workers")
        return fault(
            check,
            subject,
            f"cannot write ({said}); nothing is accepted and nothing is sent",
            "if the disk is full make room; if it is a standby or read-only, name the primary in WECOM_DATABASE_URL",
        )
    return fine(check, subject, "can write")


def _clocks(ledger: Ledger) -> Finding:
    apart = abs((ledger.due.now() - datetime.now(UTC)).total_seconds())
    if apart > CLOCK_SECONDS:
        return fault(
            "clocks",
            "Clocks",
            f"this machine's and Postgres's are {apart:.0f} s apart",
            "let both machines keep their time by NTP; due times are judged by Postgres's clock",
            seconds=apart,
        )
    return fine("clocks", "Clocks", "this machine's and Postgres's agree")


def _waiting(connection: Connection, queue: str) -> int:
    """Count the tasks in a queue; one that no worker has opened yet is empty."""
    # One of its own, as RabbitMQ closes a channel that asked for a queue that is not there.
    channel: Any = connection.channel()  # the stubs know the methods of no transport
    try:
        return int(channel.queue_declare(queue, passive=True).message_count)
    except ChannelError:
        return 0
    finally:
        channel.close()
