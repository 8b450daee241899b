"""`wecom history`."""

from dataclasses import asdict

import click

from worker.cli.messages import opened_producer
from worker.cli.numbers import WholeNumber
from worker.cli.output import json_option, print_json, print_table
from worker.cli.times import local
from worker.ledger import HistoryEntry, State

NOT_SERVED = {"user": "no such member, or out of the app's range", "unlicensed": "without an interface licence"}
LONGEST_CONTENT = 60


@click.command
@click.argument("userid")
@click.option("--limit", type=WholeNumber(min=1, max=10_000), default=50, show_default=True, help="At most so many.")
@json_option
def history(userid: str, *, limit: int, as_json: bool) -> None:
    """List what a member was sent by name, the newest first.

    Messages to departments, to tags and to everyone name nobody and are not among them.
    """
    with opened_producer() as producer:
        found = producer.history(userid, limit=limit)
    if as_json:
        print_json([asdict(entry) for entry in found])
        return
    if not found:
        click.echo(f"No message names {userid}.")
        return
    print_table(
        ("when", "sender", "campaign", "answer", "content", "id"),
        (
            (
                local(entry.sent_at or entry.send_at),
                entry.sender,
                entry.campaign or "",
                answer(entry),
                content(entry),
                str(entry.id),
            )
            for entry in found
        ),
    )


def answer(entry: HistoryEntry) -> str:
    """Say in a few words what became of a message to this member."""
    if entry.not_served and entry.state in {State.SENT, State.RECALLING, State.RECALLED}:
        return f"not served: {NOT_SERVED[entry.not_served[0]]}"
    if entry.state is State.FAILED:
        return f"failed: {entry.errcode or ''} {entry.error or ''}".strip()
    return entry.state.value


def content(entry: HistoryEntry) -> str:
    """Return the begin of the words of a message, or its type."""
    msgtype = entry.body.get("msgtype", "")
    fields = entry.body.get(msgtype, {})
    words = fields.get("content") or fields.get("title") or msgtype
    line = " ".join(str(words).split())
    return line if len(line) <= LONGEST_CONTENT else f"{line[: LONGEST_CONTENT - 1]}…"
