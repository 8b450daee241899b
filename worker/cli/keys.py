"""`wecom secrets`: the keys that encrypt credentials."""

import click
from cryptography.fernet import Fernet

from worker.cli.ledger import opened_ledger


@click.group
def secrets() -> None:
    """Make and change the keys that encrypt credentials (WECOM_SECRET_KEYS)."""


@secrets.command
def generate() -> None:
    """Print a new key."""
    click.echo(Fernet.generate_key())
    click.echo(
        "Put it first in WECOM_SECRET_KEYS (older keys stay behind it, separated by commas), restart the workers, run "
        "`wecom secrets rotate`, then drop the older keys. Keep it apart from the database.",
        err=True,
    )


@secrets.command
def rotate() -> None:
    """Encrypt all credentials anew with the first key.

    The workers go on meanwhile.
    """
    with opened_ledger(with_keys=True) as ledger:
        number = ledger.senders.reencrypt()
    click.echo(f"The credentials of {number} sender{'' if number == 1 else 's'} are encrypted with the first key now.")
