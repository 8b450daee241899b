"""How commands answer: tables and sentences for people, one line of JSON for programs."""

import sys
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any, BinaryIO

import click
import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

WIDEST = 100_000
"""Columns where nobody looks: a pipe gets whole lines, which can be searched."""
BOLD = "bold"

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
REORDERING = frozenset(("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"))
"""Classes of characters that have a terminal show words in another order than they stand (Unicode annex 9)."""


def print_json(value: object) -> None:
    """Print a value as one line of JSON on standard output."""
    click.echo(orjson.dumps(value))


def print_facts(facts: Iterable[tuple[str, str]]) -> None:
    """Print names and what is to be said about each, side by side."""
    table = Table.grid(padding=(0, 2))
    for name, words in facts:
        table.add_row(Text(name, style=BOLD), shown(words))
    console().print(table)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table."""
    table = Table(*columns, box=None, pad_edge=False, header_style=BOLD)
    for row in rows:
        table.add_row(*(shown(cell) for cell in row))
    console().print(table)


def console() -> Console:
    """Return the way to standard output; colours and line breaks are for terminals only."""
    return Console(highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else WIDEST)


def shown(words: str, style: str = "") -> Text:
    """Make words printable: what could take over a terminal, or show words in another order, is spelt out."""
    return Text("".join(_spelt_out(character) for character in words), style=style)


def some_of(values: Sequence[str], most: int = 3) -> str:
    """Name the first few of many."""
    named = ", ".join(values[:most])
    return f"{named} and {len(values) - most} more" if len(values) > most else named


def _spelt_out(character: str) -> str:
    if character in "\n\t":
        return character
    if unicodedata.category(character) in {"Cc", "Cs"} or unicodedata.bidirectional(character) in REORDERING:
        return character.encode("unicode_escape").decode()
    return character


def read_json(file: BinaryIO) -> dict[str, Any]:
    """Read a JSON object from a file.

    Raises:
        click.UsageError: it is none.
    """
    try:
        value = orjson.loads(file.read())
    except orjson.JSONDecodeError as error:
        raise click.UsageError(f"{file.name}: no JSON ({error})") from None
    if not isinstance(value, dict):
        raise click.UsageError(f"{file.name}: a JSON object is needed")
    return value
