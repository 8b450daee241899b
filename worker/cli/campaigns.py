"""`wecom campaign`: one message to many, watched, stopped and taken back as a whole."""

import sys
import time
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Any, BinaryIO

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from worker.cli.ledger import opened_ledger
from worker.cli.messages import opened_producer
from worker.cli.output import console, json_option, print_facts, print_json, print_table, some_of
from worker.cli.recipients_file import FileRow, check_encoding, rows_of
from worker.cli.times import moment, when
from worker.ledger import Campaign, NotTakenBack, Priority, State
from worker.ledger.campaigns import UNDER_WAY
from worker.messages import InvalidMessage
from worker.producer import Producer

FIELDS = ("name", "sender", "message", "expires", "urgent")
LOOK_AGAIN_SECONDS = 1.0
NAMED = 20
TALLY = (State.SENT, State.FAILED, State.UNCONFIRMED, State.EXPIRED, State.CANCELLED, State.RECALLING, State.RECALLED)


def _text_encoding(_context: click.Context, _option: click.Parameter, value: str) -> str:
    try:
        check_encoding(value)
    except InvalidMessage as error:
        raise click.BadParameter(str(error).removeprefix("encoding: ")) from None
    return value


encoding_option = click.option(
    "--encoding",
    default="utf-8",
    show_default=True,
    callback=_text_encoding,
    help="Of the CSV; gbk for what Excel saves as CSV.",
)
one_campaign = click.argument("campaign_name", metavar="[SENDER/]NAME")


@click.group
def campaign() -> None:
    """Send one message to many members, personalised or not, and keep hold of it."""


@campaign.command
@click.argument("file", type=click.File("rb"), metavar="FILE.toml")
@click.option(
    "--recipients",
    "recipients",
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="CSV whose first line names the columns, userid among them.",
)
@encoding_option
@click.option("--at", metavar="TIME", callback=moment, help="When, as 2026-11-20T09:00:00+08:00; otherwise now.")
@click.option("--dry-run", is_flag=True, help="Check every row and store nothing.")
@click.option("--test-to", metavar="USER", help="Send the first row's message to this member, and nothing else.")
@json_option
def create(
    file: BinaryIO,
    *,
    recipients: Path,
    encoding: str,
    at: datetime | None,
    dry_run: bool,
    test_to: str | None,
    as_json: bool,
) -> None:
    """Store a campaign; nothing is sent until every row is there and valid.

    FILE.toml has name, sender and [message], the message in WeCom's own form. Its texts may be templates: {{ name }}
    stands for the column "name". The same call again stores nothing and tells how far the campaign is.
    """
    asked = read_campaign_file(file)
    with opened_producer() as producer, _rows(recipients, encoding) as rows:
        if dry_run or test_to is not None:
            _rehearse(producer, asked, rows, test_to, as_json=as_json)
            return
        stored = producer.campaign(**asked, recipients=rows, at=at)
    if as_json:
        print_json(_as_json(stored))
        return
    if not stored.created:
        click.echo(f"{_full_name(stored)} is stored already; nothing was added.")
    else:
        left_out = f"; {stored.duplicates} rows named somebody twice" if stored.duplicates else ""
        due = when(stored.requested_at, datetime.now(UTC))
        click.echo(
            f"Stored {_full_name(stored)}: {stored.recipients} members, {stored.messages} messages, "
            f"due {due}{left_out}."
        )
    click.echo(f"`wecom campaign status {_full_name(stored)} --watch` shows how it goes.")


@campaign.command("list")
@click.option("--sender", help="Only those of this sender.")
@json_option
def list_campaigns(*, sender: str | None, as_json: bool) -> None:
    """List the newest campaigns."""
    with opened_producer() as producer:
        found = producer.campaigns(sender=sender)
    if as_json:
        print_json([_as_json(one) for one in found])
        return
    print_table(
        ("campaign", "members", "messages", "finished", "failed", "state"),
        (
            (
                _full_name(one),
                str(one.recipients),
                str(one.messages),
                _share(one),
                str(one.counts.get(State.FAILED, 0)),
                _standing(one),
            )
            for one in found
        ),
    )


@campaign.command
@one_campaign
@click.option("--watch", is_flag=True, help="Go on until it is finished or paused.")
@json_option
def status(campaign_name: str, *, watch: bool, as_json: bool) -> None:
    """Tell how far a campaign is."""
    with opened_producer() as producer:
        name, sender = _named(campaign_name)
        found = producer.campaign_status(name, sender=sender)
        if watch:
            found = _watched(producer, found)
    _tell(found, as_json=as_json)


@campaign.command
@one_campaign
@click.option("--reason", default="paused by hand", show_default=True, help="Why, for those who look at it later.")
@json_option
def pause(campaign_name: str, *, reason: str, as_json: bool) -> None:
    """Stop sending; what is on its way still arrives."""
    with opened_producer() as producer:
        name, sender = _named(campaign_name)
        _tell(producer.pause_campaign(name, sender=sender, reason=reason), as_json=as_json)


@campaign.command
@one_campaign
@json_option
def resume(campaign_name: str, *, as_json: bool) -> None:
    """Let a paused campaign go on."""
    with opened_producer() as producer:
        name, sender = _named(campaign_name)
        _tell(producer.resume_campaign(name, sender=sender), as_json=as_json)


@campaign.command
@one_campaign
@json_option
def cancel(campaign_name: str, *, as_json: bool) -> None:
    """Cancel what is not sent yet; what is sent stays."""
    with opened_producer() as producer:
        name, sender = _named(campaign_name)
        _tell(producer.cancel_campaign(name, sender=sender), as_json=as_json)


@campaign.command
@one_campaign
@json_option
def retry(campaign_name: str, *, as_json: bool) -> None:
    """Send failed messages again; a paused campaign must be resumed as well."""
    with opened_producer() as producer:
        name, sender = _named(campaign_name)
        _tell(producer.retry_campaign(name, sender=sender), as_json=as_json)


@campaign.command
@one_campaign
@json_option
def recall(campaign_name: str, *, as_json: bool) -> None:
    """Take everything back: cancel what is not sent, recall what is, within the 24 hours WeCom allows.

    The messages that cannot be recalled are named; the exit status is then 1.
    """
    with opened_producer() as producer:
        name, sender = _named(campaign_name)
        found = producer.recall(campaign=name, sender=sender)
    with opened_ledger() as ledger:
        left = ledger.campaigns.not_taken_back(found.id, NAMED)
    _tell(found, as_json=as_json, left=left)
    if left:
        raise click.exceptions.Exit(1)


def read_campaign_file(file: BinaryIO) -> dict[str, Any]:
    """Read what a campaign is from TOML: the arguments of `Producer.campaign` but for recipients.

    Raises:
        click.UsageError: it cannot be read.
    """
    try:
        asked = tomllib.load(file)
    except (ValueError, RecursionError) as error:  # also numbers without end, and lists within lists within lists
        raise click.UsageError(f"{file.name}: no TOML ({' '.join(str(error).split())})") from None
    for name in asked:
        if name not in FIELDS:
            nearest = get_close_matches(name, FIELDS, n=1)
            meant = f"; did you mean {nearest[0]}?" if nearest else f"; known are {', '.join(FIELDS)}"
            raise click.UsageError(f"{file.name}: {name}: unknown field{meant}")
    for name, kind, words in (("name", str, "text"), ("sender", str, "text"), ("message", dict, "table, [message]")):
        if not isinstance(asked.get(name), kind):
            raise click.UsageError(f"{file.name}: {name}: a {words} is needed")
    expires = asked.get("expires")
    if expires is not None and not (isinstance(expires, datetime) and expires.tzinfo is not None):
        raise click.UsageError(f"{file.name}: expires: a time with its zone is needed, like 2026-11-20T18:00:00+08:00")
    if not isinstance(asked.get("urgent", False), bool):
        raise click.UsageError(f"{file.name}: urgent: true or false is needed")
    return asked


@contextmanager
def _rows(path: Path, encoding: str) -> Iterator[Iterator[FileRow]]:
    """Open the recipients, with a bar of how much of the file is read where somebody looks."""
    with _progress() as progress:
        task = progress.add_task(f"Reading {path.name}", total=path.stat().st_size)
        yield rows_of(path, encoding, lambda read: progress.advance(task, read))


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
        transient=True,
    )


def _rehearse(
    producer: Producer, asked: Mapping[str, Any], rows: Iterator[FileRow], test_to: str | None, *, as_json: bool
) -> None:
    rehearsed = producer.rehearse_campaign(
        asked["name"], sender=asked["sender"], message=asked["message"], recipients=rows
    )
    test = producer.send(asked["sender"], rehearsed.first, users=[test_to]) if test_to is not None else None
    if as_json:
        amounts = {"messages": rehearsed.messages, "recipients": rehearsed.recipients}
        print_json({**amounts, "duplicates": rehearsed.duplicates, "first": rehearsed.first.body(), "test": test})
        return
    click.echo(
        f"Every row is valid: {rehearsed.recipients} members, {rehearsed.messages} messages, "
        f"{rehearsed.duplicates} rows named somebody twice. Nothing of the campaign was stored."
    )
    if test is not None:
        click.echo(f"The first row's message goes to {test_to}; `wecom status {test}` tells what became of it.")


def _watched(producer: Producer, found: Campaign) -> Campaign:
    """Look again and again until nothing is under way or the campaign is paused."""
    with _progress() as progress:
        task = progress.add_task(_full_name(found), total=found.messages, completed=found.finished)
        while found.counts.keys() & UNDER_WAY and not _held(found):
            time.sleep(LOOK_AGAIN_SECONDS)
            found = producer.campaign_status(found.name, sender=found.sender)
            progress.update(task, completed=found.finished)
            if progress.disable:
                click.echo(f"{found.finished} of {found.messages} messages finished ({_share(found)})", err=True)
    return found


def _held(found: Campaign) -> bool:
    return found.paused_reason is not None and not found.counts.keys() & {State.SENDING, State.RECALLING}


def _tell(found: Campaign, *, as_json: bool, left: list[NotTakenBack] | None = None) -> None:
    if as_json:
        more = {} if left is None else {"not_recalled": [asdict(one) for one in left]}
        print_json(_as_json(found) | more)
        return
    print_facts(_facts(found))
    if left:
        console().print()
        print_facts((str(one.id), f"{some_of(one.users)}: {one.reason}") for one in left)
        console().print(f"These could not be taken back, the first {NAMED} are shown.")


def _facts(found: Campaign) -> Iterator[tuple[str, str]]:
    now = datetime.now(UTC)
    yield "Campaign", _full_name(found)
    yield "State", _standing(found)
    yield "Progress", f"{found.finished} of {found.messages} messages finished ({_share(found)})"
    if any(state in found.counts for state in UNDER_WAY) and found.paused_reason is None:
        yield "Time left", time_left(found, now)
    for state in (State.SCHEDULED, State.SENDING, *TALLY):
        if state in found.counts:
            yield state.value, str(found.counts[state])
    yield "Members", f"{found.recipients}{_left_out(found)}"
    yield "Due", when(found.requested_at, now)
    if found.expires_at is not None:
        yield "Expires", when(found.expires_at, now)
    if found.priority is not Priority.BULK:
        yield "Priority", found.priority.name.lower()


def time_left(found: Campaign, now: datetime) -> str:
    """Estimate when a campaign will be finished, from what it has done since it was due."""
    seconds = (now - found.requested_at).total_seconds()
    if found.finished == 0 or seconds <= 0:
        return "not known before the first messages are sent"
    left = seconds / found.finished * (found.messages - found.finished)
    if left < 90:
        return f"about {max(1, round(left))} seconds"
    if left < 5400:
        return f"about {round(left / 60)} minutes"
    return f"about {round(left / 3600)} hours"


def _standing(found: Campaign) -> str:
    if found.paused_reason is not None and found.cancelled_at is None:
        return f"paused: {found.paused_reason}" if found.counts.keys() & UNDER_WAY else found.paused_reason
    if found.cancelled_at is not None:
        return "cancelled"
    return "under way" if found.counts.keys() & UNDER_WAY else "finished"


def _left_out(found: Campaign) -> str:
    return f" ({found.duplicates} rows named somebody twice)" if found.duplicates else ""


def _share(found: Campaign) -> str:
    return f"{100 * found.finished // max(1, found.messages)}%"


def _full_name(found: Campaign) -> str:
    return f"{found.sender}/{found.name}"


def _named(campaign_name: str) -> tuple[str, str | None]:
    sender, _, name = campaign_name.rpartition("/")
    return name, sender or None


def _as_json(found: Campaign) -> dict[str, object]:
    whole = asdict(found) | {"priority": found.priority.name.lower(), "finished": found.finished}
    whole["counts"] = {state.value: number for state, number in found.counts.items()}
    del whole["content_hash"], whole["created"]
    return whole | {"created": found.created}
