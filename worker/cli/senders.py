"""`wecom senders`: who can send."""

import re
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import click

from worker.cli.credential_trial import refused, try_credentials
from worker.cli.credentials import read_secret, secret_options
from worker.cli.ledger import opened_ledger
from worker.cli.numbers import WholeNumber
from worker.cli.output import json_option, print_facts, print_json, print_table
from worker.cli.times import when
from worker.encryption import SecretKeyError
from worker.ledger import Ledger, Parking, StandingAside, State
from worker.messages.sender import Sender
from worker.providers import CREDENTIAL_NAMES, same_app
from worker.providers.base import Category

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
ERRCODE = re.compile(r"-?[0-9]+: ")
"""How a reason begins that WeCom gave."""
SENDING, PARKED, PAUSED = "sending", "parked", "paused"
ASIDE = "stands aside"


def _valid_name(_context: click.Context, _parameter: click.Parameter, name: str) -> str:
    if not NAME.fullmatch(name):
        raise click.BadParameter("a name has 1 to 64 letters, digits, - _ or . and begins with a letter or digit")
    return name


def _not_blank(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    if not value.strip():
        raise click.BadParameter("it is empty")
    return value.strip()


@click.group
def senders() -> None:
    """Add and look after the apps that messages are sent through."""


@senders.command
@click.argument("name", callback=_valid_name)
@click.option("--provider", type=click.Choice(list(CREDENTIAL_NAMES)), default="wecom", show_default=True)
@click.option("--corpid", required=True, callback=_not_blank, help="The corp's id (企业ID).")
@click.option("--agentid", type=WholeNumber(min=1), required=True, help="The app's AgentId.")
@click.option("--account-cap", type=WholeNumber(min=1), help="The corp's account cap, which sets its daily limit.")
@click.option("--replace", is_flag=True, help="Give these credentials to a sender that exists, and resume it.")
@secret_options
def add(
    name: str,
    *,
    provider: str,
    corpid: str,
    agentid: int,
    account_cap: int | None,
    replace: bool,
    secret_file: str | None,
    secret_env: str | None,
) -> None:
    """Add a sender, or give one other credentials.

    Its secret is asked for, or read from a file or a variable of the environment.
    """
    if replace and account_cap is not None:
        raise click.UsageError("--replace changes credentials only; leave --account-cap out")
    credentials = {"corpid": corpid, "corpsecret": read_secret(secret_file, secret_env)}
    with opened_ledger(with_keys=True) as ledger:
        sender = Sender(name, provider, agentid, credentials, account_cap)
        if replace:
            another_app = _is_another_app(ledger, sender)
            ledger.senders.replace_credentials(name, agentid, credentials, another_app=another_app)
        else:
            ledger.senders.add(sender)
    click.echo(f"{name} has new credentials and sends." if replace else f"{name} is added and can send.")
    click.echo("`wecom doctor` tells whether WeCom accepts the secret.", err=True)


def _is_another_app(ledger: Ledger, sender: Sender) -> bool:
    """Whether a sender is to be another app than it is; by its agentid alone where the key of before is lost."""
    try:
        return not same_app(ledger.senders.open(sender.name)[0], sender)
    except SecretKeyError:
        return ledger.senders.find(sender.name).agentid != sender.agentid


@senders.command("list")
@json_option
def list_all(*, as_json: bool) -> None:
    """List all senders."""
    with opened_ledger() as ledger:
        now, found = ledger.due.now(), ledger.senders.all()
        parked, asides = ledger.parked_calls.waiting(), ledger.asides.now()
    if as_json:
        print_json({"senders": [_facts(sender, now, parked, asides) for sender in found]})
    elif found:
        rows = [
            (sender.name, sender.provider, str(sender.agentid or ""), standing(sender, now, parked, asides))
            for sender in found
        ]
        print_table(("NAME", "PROVIDER", "AGENTID", "STATE"), rows)
    else:
        click.echo("There are no senders yet; add one with `wecom senders add`.")


@senders.command
@click.argument("name")
@json_option
def show(name: str, *, as_json: bool) -> None:
    """Show a sender and how many of its messages stand where."""
    with opened_ledger(with_keys=True) as ledger:
        sender, now = ledger.senders.open(name)
        counts, parked, asides = ledger.history.counts(name), ledger.parked_calls.waiting(), ledger.asides.now()
    corpid = sender.credentials.get("corpid")
    if as_json:
        messages = {state.value: counts.get(state, 0) for state in State}
        print_json(_facts(sender, now, parked, asides) | {"corpid": corpid, "messages": messages})
    else:
        print_facts(
            (
                ("Sender", sender.name),
                ("Provider", sender.provider),
                ("Corpid", corpid or ""),
                ("Agentid", str(sender.agentid or "")),
                ("Account cap", "not set" if sender.account_cap is None else str(sender.account_cap)),
                *((name, str(number)) for name, number in _own_limits(sender) if number is not None),
                ("State", standing(sender, now, parked, asides)),
                ("Messages", _counted(counts)),
            )
        )


@senders.command
@click.argument("name")
@click.option("--reason", required=True, callback=_not_blank, help="Why; whoever looks at the sender reads it.")
def pause(name: str, reason: str) -> None:
    """Stop a sender until it is resumed; its messages wait."""
    with opened_ledger() as ledger:
        ledger.senders.pause(name, reason)
    click.echo(f"{name} is paused; `wecom senders resume {name}` lets it go on.")


@senders.command
@click.argument("name")
@click.option("--force", is_flag=True, help="Do not try its credentials first.")
def resume(name: str, *, force: bool) -> None:
    """Let a paused or parked sender send again.

    Every worker that stands aside for it tries again, too.

    Its credentials are tried first, once. If WeCom refuses them, the sender stays as it is and the exit status is 1. If
    WeCom cannot be asked from here, the sender is resumed, as its workers may well reach it.
    """
    with opened_ledger() as ledger:
        found = ledger.senders.find(name)
        stopped = found.paused(ledger.due.now())
    answer = None if force else try_credentials(name)
    if answer is not None and refused(answer):
        stays = f"{name} stays {PAUSED if found.paused_until is None else PARKED}" if stopped else f"{name} is sick"
        raise click.ClickException(
            f"{stays}: WeCom refuses its credentials: {answer.said}; `wecom senders add {name} --replace ...` gives it "
            "others, --force resumes it all the same"
        )
    with opened_ledger() as ledger:
        ledger.senders.resume(name)
    tried = answer is not None and answer.category is Category.ACCEPTED
    if not stopped:
        click.echo(f"{name} was not stopped, and sends." if tried else f"{name} was not stopped.")
    else:
        click.echo(f"{name} sends again." if tried else f"{name} is resumed.")
    if answer is not None and not tried:
        click.echo(f"Whether WeCom accepts its credentials could not be found out here: {answer.said}", err=True)
    if stopped and found.paused_until is None and ERRCODE.match(found.paused_reason or ""):
        click.echo(f"It was paused by {found.paused_reason}. If that still holds, it is paused again.", err=True)


@senders.command
@click.argument("name")
@click.option("--account-cap", type=WholeNumber(min=0), help="The corp's account cap: 200 person-times a day for each.")
@click.option("--calls-per-minute", type=WholeNumber(min=0), help="Calls in any 60 seconds.")
@click.option("--calls-at-once", type=WholeNumber(min=0), help="Calls under way at once, over all workers.")
def limit(name: str, *, account_cap: int | None, calls_per_minute: int | None, calls_at_once: int | None) -> None:
    """Set limits of a sender.

    0 takes one away, and what is not given stays. WeCom's own limits for each member are always kept.
    """
    given = {"account_cap": account_cap, "calls_per_minute": calls_per_minute, "calls_at_once": calls_at_once}
    if all(number is None for number in given.values()):
        raise click.UsageError("give at least one of --account-cap, --calls-per-minute and --calls-at-once")
    with opened_ledger() as ledger:
        sender = ledger.senders.find(name)
        limits = {
            limit: (getattr(sender, limit) if number is None else number or None) for limit, number in given.items()
        }
        ledger.senders.limit(name, **limits)
    told = ", ".join(f"{limit.replace('_', ' ')} {number}" for limit, number in limits.items() if number)
    click.echo(f"{name}: {told or 'no limits of its own'}.")


@senders.command
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
def remove(name: str, *, yes: bool) -> None:
    """Remove a sender that has no messages, with its credentials."""
    if not yes and not sys.stdin.isatty():
        raise click.UsageError("there is no terminal to ask on; say --yes")
    with opened_ledger() as ledger:
        ledger.senders.find(name)
        if not yes and not click.confirm(f"Remove {name} and its credentials?", err=True):
            raise click.ClickException("nothing was removed")
        ledger.senders.remove(name)
    click.echo(f"{name} is removed.")


def standing(
    sender: Sender, now: datetime, parked: Sequence[Parking] = (), asides: Sequence[StandingAside] = ()
) -> str:
    """Say in words whether a sender sends, which of its other calls wait, and which machines leave it to others."""
    waiting = "".join(
        f"; {one.calls} {PARKED} until {when(one.until, now)}: {one.reason}"
        for one in parked
        if one.sender == sender.name
    )
    waiting += "".join(
        f"; {one.worker.machine} (process {one.worker.pid}) {ASIDE} since {when(one.since, now)}: {one.reason}"
        for one in asides
        if one.sender == sender.name
    )
    if not sender.paused(now):
        return f"{SENDING}{waiting}"
    if sender.paused_until is None:
        return f"{PAUSED}: {sender.paused_reason}"
    return f"{PARKED} until {when(sender.paused_until, now)}: {sender.paused_reason}{waiting}"


def _facts(sender: Sender, now: datetime, parked: Sequence[Parking], asides: Sequence[StandingAside]) -> dict[str, Any]:
    paused = sender.paused(now)
    stopped = PAUSED if sender.paused_until is None else PARKED
    return {
        "name": sender.name,
        "provider": sender.provider,
        "agentid": sender.agentid,
        "account_cap": sender.account_cap,
        "calls_per_minute": sender.calls_per_minute,
        "calls_at_once": sender.calls_at_once,
        "state": stopped if paused else SENDING,
        "reason": sender.paused_reason if paused else None,
        "until": sender.paused_until if paused else None,
        "parked_calls": [
            {"calls": one.calls, "reason": one.reason, "until": one.until}
            for one in parked
            if one.sender == sender.name
        ],
        "standing_aside": [
            {
                "machine": one.worker.machine,
                "pid": one.worker.pid,
                "reason": one.reason,
                "since": one.since,
                "until": one.until,
            }
            for one in asides
            if one.sender == sender.name
        ],
    }


def _own_limits(sender: Sender) -> tuple[tuple[str, int | None], ...]:
    return ("Calls a minute", sender.calls_per_minute), ("Calls at once", sender.calls_at_once)


def _counted(counts: Mapping[State, int]) -> str:
    return ", ".join(f"{counts[state]} {state}" for state in State if state in counts) or "none"
