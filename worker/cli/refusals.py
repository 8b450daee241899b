"""Says what cannot be sent in the words of the command line: the option, where an option gave the value."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import click

from worker.cli.errors import in_one_line
from worker.messages import InvalidMessage

HINTS = {"everyone=True (--everyone)": "--everyone", "shorten it or send it in parts (Text.split)": "shorten it"}
"""Advice for programs, and what it is here."""


@contextmanager
def naming_options(options: Mapping[str, str]) -> Iterator[None]:
    """Let a refused message name options.

    Args:
        options: the field that a refusal names, and the option that gave its value.

    Raises:
        click.ClickException: the message was refused.
    """
    try:
        yield
    except InvalidMessage as error:
        sentence = in_one_line(error) or str(error)
        field, colon, reason = sentence.partition(": ")
        field = field.partition("[")[0]  # of several values the first is named like all
        if not colon or field not in options:
            raise
        for hint, words in HINTS.items():
            reason = reason.replace(hint, words)
        raise click.ClickException(f"{options[field]}: {reason}") from None
