"""How a secret comes in: asked for, or from a file or the environment; never as an argument others can see."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click


def secret_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Let a command take a secret, as `secret_file` and `secret_env`."""
    command = click.option("--secret-env", metavar="VARIABLE", help="Read the secret from this variable.")(command)
    return click.option(
        "--secret-file", type=click.Path(dir_okay=False, allow_dash=True), help="Read it from this file; - is a pipe."
    )(command)


def read_secret(file: str | None, variable: str | None) -> str:
    """Return the secret from where it was said to be, or ask for it.

    Raises:
        click.UsageError: there is none there, or nobody to ask.
    """
    if file is not None and variable is not None:
        raise click.UsageError("give --secret-file or --secret-env, not both")
    if variable is not None:
        return _usable(os.environ.get(variable, ""), "--secret-env: that variable")
    if file == "-":
        return _usable(sys.stdin.read(), "--secret-file: standard input")
    if file is not None:
        return _usable(_content(Path(file)), "--secret-file: that file")
    if not sys.stdin.isatty():
        raise click.UsageError("there is no terminal to ask for the secret on; use --secret-file or --secret-env")
    return _usable(click.prompt("Secret (not shown)", hide_input=True, err=True), "the answer")


def _content(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise click.UsageError(f"--secret-file: {path} cannot be read ({reason})") from None


def _usable(text: str, place: str) -> str:
    secret = text.strip()
    if not secret:
        raise click.UsageError(f"{place} holds no secret")
    if not secret.isascii() or not secret.isprintable() or " " in secret:
        raise click.UsageError(f"{place} holds something that is no secret: one word on one line is needed")
    return secret
