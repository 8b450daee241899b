"""`wecom schedule`: what is sent again and again."""

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any, BinaryIO

import click

from worker.cli.campaigns import encoding_option, read_campaign_file
from worker.cli.messages import OPTIONS, opened_producer, read_message
from worker.cli.numbers import WholeNumber
from worker.cli.output import json_option, print_facts, print_json, print_table, some_of
from worker.cli.recipients_file import rows_of
from worker.cli.refusals import naming_options
from worker.cli.times import amount, duration, when
from worker.delivery.office import quiet_windows
from worker.delivery.timetable import occurrence_name, read_timetable
from worker.ledger import Schedule
from worker.schedules import PAUSED_BY_HAND
from worker.settings import settings

NOT_LATE = timedelta(minutes=1)
"""What `--missed skip` still sends: workers look once a second, and a restart takes a few."""
FIELDS = {"cron": "--cron", "timezone": "--tz", "late_within": "--late-within", "expires_after": "--expires-after"}

one_schedule = click.argument("name")


@click.group
def schedule() -> None:
    """Messages and campaigns that are sent again and again, by workers, while a beat runs."""


@schedule.command
@one_schedule
@click.option("--cron", required=True, help='Minute, hour, day of month, month, day of week: "0 9 * * 1-5".')
@click.option("--tz", "timezone", required=True, help="The time zone, like Asia/Shanghai.")
@click.option("--sender", help="Who sends it; a campaign's file says so itself.")
@click.option("--text", help="A text to send, at most 2048 bytes; - reads standard input.")
@click.option("--file", "file", type=click.File("rb"), help="A message of any type in WeCom's own JSON form.")
@click.option("--user", "users", multiple=True, help="Userid of a member; can be repeated, as the next two.")
@click.option("--party", "parties", type=WholeNumber(min=0), multiple=True, help="Id of a department.")
@click.option("--tag", "tags", type=WholeNumber(min=0), multiple=True, help="Id of a tag.")
@click.option("--everyone", is_flag=True, help="Reach every member the app can see (@all).")
@click.option("--campaign", "campaign", type=click.File("rb"), metavar="FILE.toml", help="A campaign instead.")
@click.option(
    "--recipients",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Of the campaign: CSV as for `wecom campaign create`, read now and kept.",
)
@encoding_option
@click.option("--urgent", is_flag=True, help="Before everything else, and around minute 0 and 30 too.")
@click.option(
    "--missed",
    type=click.Choice(("late", "skip")),
    default="late",
    show_default=True,
    help="What was missed while everything was down: its last occurrence is sent late, or none.",
)
@click.option("--late-within", callback=duration, help="Send late only so much later, like 2h; otherwise however late.")
@click.option("--expires-after", callback=duration, help="So long after its time sending has no use, like 8h.")
@click.option("--replace", is_flag=True, help="Take the place of the schedule of this name.")
@json_option
def add(name: str, *, missed: str, late_within: timedelta | None, as_json: bool, **given: Any) -> None:  # noqa: ANN401 - as click gives them
    """Store a schedule: --text or --file with recipients, or --campaign with --recipients.

    It is first due at its next occurrence. The recipients of a campaign are read now, at most 5000, and kept with the
    schedule; docs/schedules.md tells how to send to fresh ones.
    """
    if missed == "skip" and late_within is not None:
        raise click.UsageError("--late-within is for --missed late; leave one of them out")
    late_within = NOT_LATE if missed == "skip" else late_within
    campaign, recipients = given.pop("campaign"), given.pop("recipients")
    encoding = given.pop("encoding")
    if (campaign is None) != (recipients is None):
        raise click.UsageError("--campaign and --recipients go together")
    named = {field: option for option_name, field, option in OPTIONS if given.get(option_name)}
    with naming_options(named | FIELDS), opened_producer() as producer:
        asked = _campaign(campaign, recipients, encoding, given) if campaign is not None else _message(given)
        common = {option: given[option] for option in ("cron", "timezone", "expires_after", "replace")}
        found = producer.schedules.add(name, late_within=late_within, **common, **asked)
        coming = producer.schedules.next(name, 1)
    if as_json:
        print_json(_as_json(found))
        return
    click.echo(f"Stored {name}, next due {_due(coming[0], found)}.")
    click.echo(f"`wecom schedule next {name}` tells when it comes after that.")


@schedule.command("list")
@json_option
def list_schedules(*, as_json: bool) -> None:
    """List all schedules."""
    with opened_producer() as producer:
        found = producer.schedules.all()
    if as_json:
        print_json([_as_json(one) for one in found])
        return
    print_table(
        ("schedule", "sender", "cron", "zone", "to", "last sent", "next"),
        ((one.name, one.sender, one.cron, one.timezone, _audience(one), _last(one), _standing(one)) for one in found),
    )


@schedule.command
@one_schedule
@json_option
def show(name: str, *, as_json: bool) -> None:
    """Tell all about a schedule."""
    with opened_producer() as producer:
        found = producer.schedules.find(name)
    _tell(found, as_json=as_json)


@schedule.command("next")
@one_schedule
@click.option("-n", "number", type=WholeNumber(1, 1000), default=5, show_default=True, help="How many.")
@json_option
def next_occurrences(name: str, *, number: int, as_json: bool) -> None:
    """Tell when a schedule comes next, in its own zone.

    What is due around minute 0 and 30 is sent some minutes later, unless it is urgent.
    """
    with opened_producer() as producer:
        found, coming = producer.schedules.find(name), producer.schedules.next(name, number)
    if as_json:
        print_json(coming)
        return
    for occurrence in coming:
        click.echo(_due(occurrence, found))
    if found.paused_reason is not None:
        click.echo(f"{name} is paused: {found.paused_reason}; `wecom schedule resume {name}`", err=True)


@schedule.command
@one_schedule
@click.option("--reason", default=PAUSED_BY_HAND, show_default=True, help="Why, for those who look at it later.")
@json_option
def pause(name: str, *, reason: str, as_json: bool) -> None:
    """Send nothing more until it is resumed; what is stored already still goes out."""
    with opened_producer() as producer:
        _tell(producer.schedules.pause(name, reason), as_json=as_json)


@schedule.command
@one_schedule
@json_option
def resume(name: str, *, as_json: bool) -> None:
    """Go on with the next occurrence; what came meanwhile is not made up for."""
    with opened_producer() as producer:
        _tell(producer.schedules.resume(name), as_json=as_json)


@schedule.command
@one_schedule
def remove(name: str) -> None:
    """Forget a schedule; what is stored already still goes out."""
    with opened_producer() as producer:
        producer.schedules.remove(name)
    click.echo(f"Removed {name}.")


def _message(given: Mapping[str, Any]) -> dict[str, Any]:
    if given["sender"] is None:
        raise click.UsageError("--sender is missing")
    content, named = read_message(given["text"], given["file"])
    named |= {option: given[option] for option in ("users", "parties", "tags", "everyone") if given[option]}
    if not any(named.values()):
        raise click.UsageError("nobody is named; give --user, --party, --tag or --everyone")
    return {"sender": given["sender"], "message": content, "urgent": given["urgent"], **named}


def _campaign(file: BinaryIO, recipients: Path, encoding: str, given: Mapping[str, Any]) -> dict[str, Any]:
    for option in ("text", "file", "users", "parties", "tags", "everyone"):
        if given[option]:
            raise click.UsageError("a campaign has --recipients; --text, --file and whom they go to are left out")
    asked = read_campaign_file(file)
    if given["sender"] not in {None, asked["sender"]}:
        raise click.UsageError(f"--sender: {file.name} names {asked['sender']}; leave --sender out")
    if "expires" in asked:
        raise click.UsageError(f"{file.name}: expires: is one moment; give --expires-after instead")
    return {
        "sender": asked["sender"],
        "message": asked["message"],
        "urgent": given["urgent"] or asked.get("urgent", False),
        "recipients": rows_of(recipients, encoding),
    }


def _tell(found: Schedule, *, as_json: bool) -> None:
    if as_json:
        print_json(_as_json(found))
    else:
        print_facts(_facts(found))


def _facts(found: Schedule) -> Iterator[tuple[str, str]]:
    now = datetime.now(UTC)
    yield "Schedule", found.name
    yield "Sender", found.sender
    yield "Cron", f"{found.cron} ({found.timezone})"
    yield "To", _audience(found)
    yield "Next", _standing(found)
    if found.last_at is not None:
        yield "Last sent", f"for {when(found.last_at, now)}: `{_asking_about(found, found.last_at)}`"
    yield "If missed", "sent late" if found.late_within is None else f"sent up to {amount(found.late_within)} late"
    if found.expires_after is not None:
        yield "Expires", f"{amount(found.expires_after)} after its time"
    if found.urgent:
        yield "Priority", "urgent"


def _asking_about(found: Schedule, occurrence: datetime) -> str:
    if found.rows is None:
        return f"wecom status {found.last_id}"
    name = occurrence_name(found.name, occurrence.astimezone(_zone(found)))
    return f"wecom campaign status {shlex.quote(f'{found.sender}/{name}')}"


def _zone(found: Schedule) -> tzinfo:
    return read_timetable(found.cron, found.timezone).zone


def _standing(found: Schedule) -> str:
    if found.paused_reason is not None:
        return f"paused: {found.paused_reason}"
    return _due(found.next_at.astimezone(_zone(found)), found)


def _due(occurrence: datetime, found: Schedule) -> str:
    """Write an occurrence in its zone, and when its messages go if that is not at once."""
    written = f"{occurrence:%a %Y-%m-%d %H:%M %z}"
    window = None if found.urgent else quiet_windows(settings()).window(occurrence)
    if window is None:
        return written
    first = window[1].astimezone(occurrence.tzinfo)
    last = first + timedelta(seconds=settings().quiet_spread)
    return f"{written}, sent from {first:%H:%M} to {last:%H:%M}"


def _audience(found: Schedule) -> str:
    if found.named is None:
        return f"a campaign of {found.rows} rows"
    if found.named["everyone"]:
        return "everyone"
    parts = [*found.named["users"]]
    parts += [f"{kind} {one}" for kind, group in (("party", "parties"), ("tag", "tags")) for one in found.named[group]]
    return some_of(parts)


def _last(found: Schedule) -> str:
    return "never" if found.last_at is None else when(found.last_at, datetime.now(UTC))


def _as_json(found: Schedule) -> dict[str, object]:
    durations = {name: getattr(found, name) for name in ("late_within", "expires_after")}
    seconds = {name: None if length is None else length.total_seconds() for name, length in durations.items()}
    return asdict(found) | seconds
