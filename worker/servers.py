"""Which Postgres and Redis this process works with: named ones, or the embedded ones."""

from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from worker.embedded import EmbeddedServers
from worker.settings import Settings, settings


@dataclass(frozen=True, slots=True)
class Servers:
    """Addresses of the servers; they may hold passwords and are never part of the representation."""

    database_url: str = field(repr=False)
    redis_url: str = field(repr=False)
    broker_url: str = field(repr=False)


def open_servers(chosen: Settings | None = None) -> Servers:
    """Return the named servers, starting or joining the embedded ones for what is not named.

    The embedded servers run as long as any process uses them; this one lets go of them when it exits.

    Raises:
        EmbeddedError: the embedded servers cannot be started; the text says what to do.
    """
    chosen = chosen or settings()
    database_url = chosen.database_url.get_secret_value() if chosen.database_url else None
    redis_url = chosen.redis_url.get_secret_value() if chosen.redis_url else None
    if database_url is None or redis_url is None:
        embedded = _embedded(chosen)
        database_url = database_url or embedded.database_url
        redis_url = redis_url or embedded.redis_url
    broker_url = chosen.broker_url.get_secret_value() if chosen.broker_url else broker_form(redis_url)
    return Servers(database_url, redis_url, broker_url)


def embedded_database(chosen: Settings) -> Path | None:
    """Return the directory of the embedded database; None if a database is named."""
    return chosen.home.absolute() if chosen.database_url is None else None


def broker_form(redis_url: str) -> str:
    """Write a redis-py URL the way Celery reads it: only sockets are spelt differently."""
    if not redis_url.startswith("unix://"):
        return redis_url
    path, _, query = redis_url.removeprefix("unix://").partition("?")
    database = query.removeprefix("db=") if query.startswith("db=") else "0"
    return f"redis+socket://{path}?virtual_host={database}"


@cache
def _embedded(chosen: Settings) -> "Servers":
    started = EmbeddedServers(chosen.home.absolute()).start()
    return Servers(started.database_url, started.redis_url, broker_form(started.redis_url))
