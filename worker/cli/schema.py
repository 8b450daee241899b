"""`wecom schema`."""

import click

from worker.cli.output import print_json
from worker.messages import json_schema


@click.command
def schema() -> None:
    """Print the JSON Schema (draft 2020-12) of a message, for programs in other languages."""
    print_json(json_schema())
