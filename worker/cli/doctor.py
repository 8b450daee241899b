"""`wecom doctor`."""

from collections.abc import Iterator, Sequence
from contextlib import closing

import click
from redis import Redis
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from worker.broker import is_rabbitmq
from worker.cli import sender_checks, server_checks
from worker.cli.findings import WORST_FIRST, Finding, Level, fault, fault_of, fine
from worker.cli.machine_checks import (
    default_sender_settings,
    embedded_wheels,
    misspelt_settings,
    python_and_packages,
    secret_keys,
)
from worker.cli.message_checks import messages
from worker.cli.output import console, json_option, print_json, shown
from worker.cli.schedule_checks import schedules
from worker.cli.up_lock import beside_local_wecom
from worker.cli.worker_checks import workers
from worker.embedded import EmbeddedError
from worker.encryption import load_key_ring
from worker.ledger import Ledger, LedgerError, open_engine
from worker.redis_connection import open_redis
from worker.servers import Servers, embedded_database, open_servers
from worker.settings import Settings, SettingsError, settings

STYLES = {Level.OK: "green", Level.WARNING: "yellow", Level.FAULT: "bold red"}


@click.command
@click.option("--all", "with_all", is_flag=True, help="Also tell what is well.")
@json_option
def doctor(*, with_all: bool, as_json: bool) -> None:
    """Say what is wrong with all a worker depends on, the worst first, and what to do.

    Each sender that is not stopped fetches a token. Embedded servers are started for the check if they do not run. The
    exit status is 1 if there is a fault, 0 if there are at most warnings.
    """
    found = list(examine())
    well = all(finding.level is not Level.FAULT for finding in found)
    if as_json:
        print_json({"ok": well, "findings": found})
    else:
        _print(found, with_all=with_all)
    if not well:
        raise click.exceptions.Exit(1)


def examine() -> Iterator[Finding]:
    """Check one thing after another; each check comes to an end whatever it finds."""
    yield from python_and_packages()
    yield from misspelt_settings()
    try:
        chosen = settings()
    except SettingsError as error:
        yield fault("settings", "Settings", str(error), "correct it in the environment or in .env")
        return
    yield fine("settings", "Settings", "can be read")
    yield from default_sender_settings(chosen)
    without_wheels = list(embedded_wheels(chosen))
    yield from without_wheels
    keys = secret_keys(chosen)
    yield keys
    if without_wheels:
        return
    try:
        servers = open_servers(chosen)
    except EmbeddedError as error:
        yield fault_of("embedded", "Embedded servers", error)
        return
    if chosen.database_url is None or chosen.redis_url is None:
        yield fine("embedded", "Embedded servers", f"in {chosen.home}: joined, or started for this check alone")
    yield from _servers_and_senders(chosen, servers, keys_usable=keys.level is Level.OK)


def _servers_and_senders(chosen: Settings, servers: Servers, *, keys_usable: bool) -> Iterator[Finding]:
    try:
        engine = open_engine(servers.database_url)
    except LedgerError as error:
        yield fault_of("postgres", "Postgres", error)
        return
    try:
        redis = open_redis(servers.redis_url)
    except ValueError:
        yield fault("redis", "Redis", "WECOM_REDIS_URL cannot be read", "write it as redis://:password@host:6379/0")
        return
    with closing(redis):
        *before, last = server_checks.postgres(engine, embedded_in=embedded_database(chosen))
        yield from [*before, last]
        if last.level is Level.OK:
            yield from _ledger(engine, chosen)
        yield from server_checks.redis(redis, is_broker=not is_rabbitmq(servers.broker_url))
        yield from server_checks.broker()
        yield from _wecom(engine, redis, chosen, keys_usable=keys_usable)
    engine.dispose()


def _ledger(engine: Engine, chosen: Settings) -> Iterator[Finding]:
    """Check what the ledger knows, as far as Postgres answers."""
    ledger = Ledger(engine)
    try:
        yield from workers(ledger, chosen)
        yield from messages(ledger, chosen)
        yield from schedules(ledger)
    except DBAPIError as error:
        said = str(error.orig).strip().splitlines()[0]
        yield fault("ledger", "Ledger", f"cannot be read ({said})", "see what is said of Postgres")


def _wecom(engine: Engine, redis: Redis, chosen: Settings, *, keys_usable: bool) -> Iterator[Finding]:
    calling = beside_local_wecom(chosen)
    if calling is not chosen:
        yield fine(
            "wecom.local",
            "WeCom",
            f"what is said of it looks at the local WeCom of `wecom up --simulator`, {calling.api_base_url}",
        )
    yield sender_checks.wecom(calling)
    if keys_usable:
        key_ring = load_key_ring(chosen)
        yield from sender_checks.senders(calling, Ledger(engine, key_ring), redis, key_ring)


def _print(found: Sequence[Finding], *, with_all: bool) -> None:
    screen = console()
    for level in WORST_FIRST:
        if level is Level.OK and not with_all:
            continue
        for finding in found:
            if finding.level is not level:
                continue
            line = shown(f"{level:8}", STYLES[level])
            screen.print(line.append_text(shown(f"{finding.subject}: {finding.words}")))
            if finding.advice:
                screen.print(shown(f"{'':8}-> {finding.advice}"))
    well = sum(finding.level is Level.OK for finding in found)
    if not with_all:
        screen.print(shown(f"{'ok':8}", STYLES[Level.OK]).append_text(shown(f"{well} findings; --all lists them")))
