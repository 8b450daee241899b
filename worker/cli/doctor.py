"""`wecom doctor`."""

from collections.abc import Iterable, Iterator
from contextlib import closing

import click

from worker.broker import is_rabbitmq
from worker.cli import sender_checks, server_checks
from worker.cli.findings import Finding, Verdict, fine, note, problem, problem_of
from worker.cli.machine_checks import (
    default_sender_settings,
    embedded_wheels,
    misspelt_settings,
    python_and_packages,
    secret_keys,
)
from worker.cli.output import console, json_option, print_json, shown
from worker.cli.up_lock import beside_local_wecom
from worker.embedded import EmbeddedError
from worker.encryption import load_key_ring
from worker.ledger import Ledger, LedgerError, open_engine
from worker.redis_connection import open_redis
from worker.servers import Servers, embedded_database, open_servers
from worker.settings import Settings, SettingsError, settings

STYLES = {Verdict.OK: "green", Verdict.NOTE: "yellow", Verdict.SKIPPED: "yellow", Verdict.PROBLEM: "bold red"}


@click.command
@json_option
def doctor(*, as_json: bool) -> None:
    """Check everything a worker depends on, and say what is wrong and what to do.

    Each sender that is not paused fetches a token, unless a worker holds one already. Embedded servers are started
    for the check if they do not run. The exit status is 1 if there is a problem.
    """
    findings = examine()
    if not as_json:
        findings = _printed(findings)
    found = list(findings)
    well = all(finding.verdict is not Verdict.PROBLEM for finding in found)
    if as_json:
        print_json({"ok": well, "checks": found})
    if not well:
        raise click.exceptions.Exit(1)


def examine() -> Iterator[Finding]:
    """Check one thing after another; each check comes to an end whatever it finds."""
    yield from python_and_packages()
    yield from misspelt_settings()
    try:
        chosen = settings()
    except SettingsError as error:
        yield problem("Settings", str(error), "correct it in the environment or in .env")
        return
    yield fine("Settings", "can be read")
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
        yield problem_of("Embedded servers", error)
        return
    if chosen.database_url is None or chosen.redis_url is None:
        yield fine("Embedded servers", f"in {chosen.home}: joined, or started for this check alone")
    yield from _servers_and_senders(chosen, servers, keys_usable=keys.verdict is Verdict.OK)


def _servers_and_senders(chosen: Settings, servers: Servers, *, keys_usable: bool) -> Iterator[Finding]:
    try:
        engine = open_engine(servers.database_url)
    except LedgerError as error:
        yield problem_of("Postgres", error)
        return
    try:
        redis = open_redis(servers.redis_url)
    except ValueError:
        yield problem("Redis", "WECOM_REDIS_URL cannot be read", "write it as redis://:password@host:6379/0")
        return
    with closing(redis):
        yield from server_checks.postgres(engine, embedded_in=embedded_database(chosen))
        yield from server_checks.redis(redis, is_broker=not is_rabbitmq(servers.broker_url))
        yield server_checks.broker()
        yield from server_checks.workers(redis)
        calling = beside_local_wecom(chosen)
        if calling is not chosen:
            yield note(
                "WeCom", f"what follows looks at the local WeCom of `wecom up --simulator`, {calling.api_base_url}"
            )
        yield sender_checks.wecom(calling)
        if keys_usable:
            key_ring = load_key_ring(chosen)
            yield from sender_checks.senders(calling, Ledger(engine, key_ring), redis, key_ring)
    engine.dispose()


def _printed(findings: Iterable[Finding]) -> Iterator[Finding]:
    """Print each finding as soon as it is there."""
    screen = console()
    for finding in findings:
        line = shown(f"{finding.verdict:8}", STYLES[finding.verdict])
        screen.print(line.append_text(shown(f"{finding.subject}: {finding.words}")))
        if finding.advice:
            screen.print(shown(f"{'':8}-> {finding.advice}"))
        yield finding
