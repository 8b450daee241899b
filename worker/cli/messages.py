"""`wecom send`, `wecom status` and `wecom recall`."""

import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, BinaryIO, NoReturn
from uuid import UUID

import click

from worker.cli import story
from worker.cli.errors import InDoubtError
from worker.cli.ledger import opened_ledger
from worker.cli.numbers import Number, WholeNumber
from worker.cli.output import console, json_option, print_facts, print_json, read_json
from worker.cli.refusals import naming_options
from worker.cli.story import kept_away
from worker.cli.times import moment, when
from worker.ledger import LedgerError, MessageStatus, PerhapsStored, RecallStatus, State
from worker.messages import Content, Text, content_from_body, recipients_of_body
from worker.producer import Producer
from worker.settings import settings

LOOK_AGAIN_SECONDS = 0.2
OPTIONS = (
    ("text", "text.content", "--text"),
    ("users", "users", "--user"),
    ("parties", "party", "--party"),
    ("tags", "tag", "--tag"),
    ("everyone", "everyone", "--everyone"),
    ("at", "at", "--at"),
    ("expires", "expires", "--expires"),
    ("key", "idempotency_key", "--key"),
    ("message_id", "message_id", "--id"),
)
"""What `send` is given, the field that a refusal of it names, and its option."""
TAKEN_BACK = frozenset({State.CANCELLED, State.RECALLED})
UNDER_WAY = frozenset({State.SCHEDULED, State.SENDING, State.RECALLING})
IN_WORDS = {
    State.SCHEDULED: "it may have been sent; it is taken back once a worker knows",
    State.SENDING: "it is being sent just now and is taken back as soon as WeCom has answered",
    State.SENT: "not taken back",
    State.RECALLING: "a worker is taking it back",
    State.RECALLED: "taken back",
    State.CANCELLED: "cancelled before it was sent",
    State.EXPIRED: "not taken back: it expired and was never sent",
    State.FAILED: "not taken back: it failed and was never sent",
    State.UNCONFIRMED: "not taken back: nobody here knows whether it was sent, and WeCom named no msgid",
}


@click.command
@click.argument("sender")
@click.option("--text", help="A text to send, at most 2048 bytes; - reads standard input.")
@click.option("--file", "file", type=click.File("rb"), help="A message of any type in WeCom's own JSON form.")
@click.option("--user", "users", multiple=True, help="Userid of a member; can be repeated, as the next two.")
@click.option("--party", "parties", type=WholeNumber(min=0), multiple=True, help="Id of a department.")
@click.option("--tag", "tags", type=WholeNumber(min=0), multiple=True, help="Id of a tag.")
@click.option("--everyone", is_flag=True, help="Reach every member the app can see (@all).")
@click.option("--at", metavar="TIME", callback=moment, help="When, as 2026-11-20T09:00:00+08:00; otherwise now.")
@click.option("--expires", metavar="TIME", callback=moment, help="When sending has no use any more.")
@click.option("--urgent", is_flag=True, help="Before everything else, and around minute 0 and 30 too.")
@click.option("--key", help="Your own name for the message: asking again with it sends nothing.")
@click.option(
    "--id", "message_id", type=click.UUID, help="Ask again for a message that was perhaps stored under this id."
)
@json_option
def send(  # noqa: PLR0913 - what Producer.send takes, all by name
    sender: str,
    *,
    text: str | None,
    file: BinaryIO | None,
    users: tuple[str, ...],
    parties: tuple[int, ...],
    tags: tuple[int, ...],
    everyone: bool,
    at: datetime | None,
    expires: datetime | None,
    urgent: bool,
    key: str | None,
    message_id: UUID | None,
    as_json: bool,
) -> None:
    """Hand over a message; a worker sends it.

    Give --text or --file. In a file, recipients may stand as in WeCom's examples ("touser": "a|b").
    """
    given = {"users": users, "parties": parties, "tags": tags, "everyone": everyone, "at": at, "expires": expires}
    said = {name: value for name, value in given.items() if value} | {
        "text": text,
        "key": key,
        "message_id": message_id,
    }
    with naming_options({field: option for name, field, option in OPTIONS if said.get(name) is not None}):
        message, named = read_message(text, file)
        named |= {name: said[name] for name in ("users", "parties", "tags", "everyone") if name in said}
        if not any(named.values()):
            raise click.UsageError("nobody is named; give --user, --party, --tag or --everyone")
        with opened_producer() as producer:
            try:
                sent = producer.send(
                    sender,
                    message,
                    **named,
                    at=at,
                    expires=expires,
                    urgent=urgent,
                    idempotency_key=key,
                    message_id=message_id,
                )
            except PerhapsStored as error:
                _tell_how_to_ask_again(error, as_json=as_json)
            _tell_of_stored(producer, sent, as_json=as_json)


def _tell_how_to_ask_again(error: PerhapsStored, *, as_json: bool) -> NoReturn:
    [message] = error.ids
    if as_json:
        print_json({"perhaps_stored": [message]})
    raise InDoubtError(
        f"perhaps stored as {message}: Postgres was asked to commit and did not answer. Give the same command again "
        f"with --id {message}: what was stored is found, and nothing is stored twice"
    ) from None


def _tell_of_stored(producer: Producer, message: UUID, *, as_json: bool) -> None:
    """Say under which ids a message was stored; if its parts cannot be looked up any more, at least under which."""
    try:
        stored = producer.status(message)
    except LedgerError:
        stored = None
    if as_json:
        print_json({"ids": [message, *(stored.parts if stored else ())]})
        return
    when_due = ""
    if stored is not None:
        parts = f", in {len(stored.parts) + 1} parts" if stored.parts else ""
        away = kept_away(stored)
        due = f"{away}: due" if away else "due"
        when_due = f"{parts}; {due} {when(stored.send_at, datetime.now(UTC))}"
    click.echo(f"Stored as {message}{when_due}.")
    click.echo(f"`wecom status {message}` tells what became of it.")


@click.command
@click.argument("message_id", metavar="ID")
@json_option
def status(message_id: str, *, as_json: bool) -> None:
    """Tell what became of a message."""
    with opened_producer() as producer:
        found = producer.status(message_id)
    if as_json:
        print_json(_as_json(found))
        return
    with opened_ledger() as ledger:
        sender, now = ledger.senders.find(found.sender), ledger.due.now()
    print_facts(story.facts(found, sender, now))
    console().print()
    print_facts(story.events(found, sender, now))


@click.command
@click.argument("message_id", metavar="ID")
@click.option("--wait", type=Number(min=0), help="Wait so many seconds for WeCom's answer.")
@json_option
def recall(message_id: str, *, wait: float | None, as_json: bool) -> None:
    """Take a message back, with all parts of its audience.

    What is not sent yet is cancelled at once; what is sent is recalled by a worker, within the 24 hours WeCom allows.
    The exit status is 1 if nothing could be taken back, or with --wait if that is not over in time.
    """
    with opened_producer() as producer:
        parts = producer.recall(message_id)
        if wait is not None:
            parts = _after_waiting(producer, parts, wait)
    if as_json:
        print_json({"parts": [asdict(part) for part in parts]})
    else:
        print_facts((str(part.id), _told(part)) for part in parts)
    states = {part.state for part in parts}
    taken_back, under_way = states & TAKEN_BACK, states & UNDER_WAY
    if (wait is not None and under_way) or not (taken_back or under_way):
        raise click.exceptions.Exit(1)


def read_message(text: str | None, file: BinaryIO | None) -> tuple[Content, dict[str, Any]]:
    """Read what is to be sent, and the recipients a file names."""
    if (text is None) == (file is None):
        raise click.UsageError("give one of --text and --file")
    if file is None:
        return Text(content=sys.stdin.read().removesuffix("\n") if text == "-" else text), {}
    body = read_json(file)
    return content_from_body(body), recipients_of_body(body)


@contextmanager
def opened_producer() -> Iterator[Producer]:
    """Open a producer for one command, once the tables and the sender `default` are known to be there."""
    with opened_ledger():
        pass
    with closing(Producer(settings=settings())) as producer:
        yield producer


def _after_waiting(producer: Producer, parts: list[RecallStatus], seconds: float) -> list[RecallStatus]:
    """Look at the unfinished parts until all are finished or the time is over."""
    until = time.monotonic() + seconds
    while any(part.state in UNDER_WAY for part in parts) and time.monotonic() < until:
        time.sleep(LOOK_AGAIN_SECONDS)
        parts = [_looked_at_again(producer, part) if part.state in UNDER_WAY else part for part in parts]
    return parts


def _looked_at_again(producer: Producer, part: RecallStatus) -> RecallStatus:
    found = producer.status(part.id)
    return RecallStatus(part.id, part.sender, found.state, found.recall_error)


def _told(part: RecallStatus) -> str:
    return f"{IN_WORDS[part.state]}: {part.recall_error}" if part.recall_error else IN_WORDS[part.state]


def _as_json(found: MessageStatus) -> dict[str, object]:
    return asdict(found) | {"priority": found.priority.name.lower()}
