"""`wecom unconfirmed list|resend|settle`."""

from datetime import UTC, datetime

import click

from worker.cli.ledger import opened_ledger
from worker.cli.output import json_option, print_facts, print_json
from worker.cli.story import named
from worker.cli.times import when
from worker.ledger import LedgerError, UnconfirmedMessage
from worker.producer import message_uuid


@click.group
def unconfirmed() -> None:
    """Messages of which nobody here knows whether they were sent.

    Ask a recipient, then decide: `settle` stores what you found out, `resend` sends it again, perhaps a second time.
    """


@unconfirmed.command("list")
@click.argument("sender", required=False)
@click.option("--most", type=click.IntRange(1, 10_000), default=100, show_default=True, help="How many to list.")
@json_option
def list_them(sender: str | None, *, most: int, as_json: bool) -> None:
    """List the messages that wait for a decision."""
    with opened_ledger() as ledger:
        if sender is not None:
            ledger.senders.find(sender)
        waiting = ledger.unconfirmed.list(sender, most)
    if as_json:
        print_json({"messages": waiting})
    elif waiting:
        print_facts((str(one.id), _told(one)) for one in waiting)
    else:
        click.echo("No message waits for a decision.")


@unconfirmed.command
@click.argument("message_id", metavar="ID")
def resend(message_id: str) -> None:
    """Send a message again; whoever received it the first time receives it twice."""
    with opened_ledger() as ledger:
        if not ledger.unconfirmed.resend(message_uuid(message_id)):
            raise LedgerError(f"{message_id} does not wait for a decision; `wecom status {message_id}` tells more")
    click.echo(f"It is sent again; `wecom status {message_id}` tells what becomes of it.")


@unconfirmed.command
@click.argument("message_id", metavar="ID")
@click.option("--as", "found", type=click.Choice(("sent", "not-sent")), required=True, help="What you found out.")
def settle(message_id: str, *, found: str) -> None:
    """Store that a message had been sent, or had not."""
    sent = found == "sent"
    with opened_ledger() as ledger:
        if not ledger.unconfirmed.settle(message_uuid(message_id), sent=sent):
            raise LedgerError(f"{message_id} does not wait for a decision; `wecom status {message_id}` tells more")
    click.echo(f"Stored as {'sent' if sent else 'failed'}.")


def _told(one: UnconfirmedMessage) -> str:
    return f"{one.sender}, to {named(one.recipients)}, tried {when(one.tried_at, datetime.now(UTC))}: {one.reason}"
