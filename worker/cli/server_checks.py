"""What the doctor asks the servers: Postgres, Redis, the broker, and who works."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kombu import Connection
from kombu.exceptions import ChannelError
from kombu.exceptions import ConnectionError as BrokerConnectionError
from kombu.exceptions import OperationalError as BrokerError
from redis import Redis, RedisError
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from worker.celery import app
from worker.cli.findings import Finding, fine, note, problem, problem_of
from worker.cli.schedule_checks import schedules
from worker.ledger import Ledger, LedgerError, require_migrated, unreachable
from worker.presence import workers_present

OLDEST_POSTGRES = (14,)
OLDEST_REDIS = (6, 2)
CLOCK_SECONDS = 5
PATIENCE_SECONDS = 3


def postgres(engine: Engine, *, embedded_in: Path | None) -> Iterator[Finding]:
    """See whether Postgres answers, is new enough, has this release's tables, tells the time, and stops no schedule."""
    try:
        with engine.connect() as connection:
            release = connection.dialect.server_version_info or ()
    except OperationalError as error:
        yield problem_of("Postgres", LedgerError(unreachable(error)))
        return
    name = ".".join(map(str, release))
    if release < OLDEST_POSTGRES:
        yield problem("Postgres", f"answers, but is {name}", "use 14 or newer")
    else:
        yield fine("Postgres", f"{name} answers")
    try:
        require_migrated(engine, embedded_in=embedded_in)
    except LedgerError as error:
        yield problem_of("Tables", error)
        return
    yield fine("Tables", "those of this release")
    ledger = Ledger(engine)
    yield _clocks(ledger)
    if rejected := ledger.rejected.count():
        yield note(
            "Requests",
            f"{rejected} of programs that know only Celery were rejected and wait for a decision",
            "`wecom rejected list` says why",
        )
    yield from schedules(ledger)


def redis(connection: Redis, *, is_broker: bool) -> Iterator[Finding]:
    """See whether Redis answers, is new enough, and keeps what it is given."""
    try:
        facts = connection.info()
    except RedisError as error:
        yield problem("Redis", f"does not answer ({error})", "check WECOM_REDIS_URL and that the server runs")
        return
    name = str(facts["redis_version"])
    if tuple(int(part) for part in name.split(".")[:2]) < OLDEST_REDIS:
        yield problem("Redis", f"answers, but is {name}", "use 6.2 or newer")
    else:
        yield fine("Redis", f"{name} answers")
    policy = facts.get("maxmemory_policy", "unknown")
    if policy != "noeviction":
        yield problem(
            "Redis", f"maxmemory-policy is {policy}, so that a full Redis loses tasks", "set it to noeviction"
        )
    if is_broker and not facts.get("aof_enabled"):
        yield note(
            "Redis",
            "keeps no append-only file: what programs sent through Celery alone is lost if it dies",
            "set appendonly to yes",
        )


def broker() -> Finding:
    """See whether the broker answers, and what waits there."""
    try:
        with app.connection_for_read() as connection:
            connection.ensure_connection(max_retries=1, interval_start=0, timeout=PATIENCE_SECONDS)
            waiting = {name: _waiting(connection, name) for name in app.amqp.queues}
    except (BrokerError, BrokerConnectionError, ChannelError, RedisError, OSError) as error:
        return problem("Broker", f"does not answer ({error})", "check WECOM_BROKER_URL and that the server runs")
    lengths = ", ".join(f"{number} in {name}" for name, number in waiting.items())
    return fine("Broker", f"answers; tasks waiting: {lengths}")


def workers(connection: Redis) -> Iterator[Finding]:
    """See who works; each worker notes it in Redis every few seconds."""
    try:
        names = workers_present(connection)
    except RedisError:
        return  # that Redis does not answer is a finding already
    if names:
        yield fine("Workers", f"{len(names)} at work: {', '.join(names)}")
    else:
        yield problem("Workers", "none is at work", "start `wecom up` or `celery -A worker worker`")


def _clocks(ledger: Ledger) -> Finding:
    apart = abs((ledger.due.now() - datetime.now(UTC)).total_seconds())
    if apart > CLOCK_SECONDS:
        return problem(
            "Clocks",
            f"this machine's and Postgres's are {apart:.0f} s apart",
            "let both machines keep their time by NTP; due times are judged by Postgres's clock",
        )
    return fine("Clocks", "this machine's and Postgres's agree")


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
