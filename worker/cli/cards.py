"""`wecom update-card`."""

from typing import BinaryIO

import click

from worker.cli.messages import opened_producer
from worker.cli.output import read_json
from worker.cli.refusals import naming_options
from worker.messages import CardUpdate

OPTIONS = {"replace_name": "--replace-name", "button.replace_name": "--replace-name", "userids": "--user"}
"""The fields that a refusal names, and the options that give their values."""


@click.command("update-card")
@click.argument("message_id", metavar="ID")
@click.option("--replace-name", help="What the used-up button says from now on.")
@click.option("--file", "file", type=click.File("rb"), help="The update in WeCom's own JSON form, for a new card.")
@click.option("--user", "users", multiple=True, help="Userid of a member who sees the change; can be repeated.")
@click.option("--everyone", is_flag=True, help="Change the card for everybody who received it.")
def update_card(
    message_id: str, *, replace_name: str | None, file: BinaryIO | None, users: tuple[str, ...], everyone: bool
) -> None:
    """Change a card that was sent; possible once, within 72 hours."""
    if (replace_name is None) == (file is None):
        raise click.UsageError("give one of --replace-name and --file")
    if replace_name is not None and not (users or everyone):
        raise click.UsageError("nobody is named; give --user or --everyone")
    with naming_options({} if file is not None else OPTIONS), opened_producer() as producer:
        if file is not None:
            update = CardUpdate.from_body(read_json(file))
        else:
            update = CardUpdate(replace_name=replace_name, userids=users or None, atall=1 if everyone else None)
        producer.update_card(message_id, update)
    click.echo(f"A worker updates the card; `wecom status {message_id}` tells what became of it.")
