"""`manage.py wecom ...`: the command `wecom` with the settings of the Django project."""

import os
from argparse import REMAINDER
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import IO, Any

import click
from django.core.management.base import BaseCommand, CommandError, CommandParser, handle_default_options

from worker.cli import wecom
from worker.integrations.django.configuration import configured, project_settings
from worker.settings import PREFIX, SettingsError, put_into_environment, settings


class Command(BaseCommand):
    """Hands everything behind `manage.py wecom` over to the command `wecom`."""

    help = "Messages through WeCom: migrate, senders, send, status, recall, doctor ...; `manage.py wecom` lists all."
    requires_system_checks: tuple[str, ...] = ()

    def run_from_argv(self, argv: list[str]) -> None:
        """Run as from a terminal: help, errors and the exit status are those of `wecom`."""
        parser = CommandParser(add_help=False, allow_abbrev=False)
        parser.add_argument("--settings")
        parser.add_argument("--pythonpath")
        options, arguments = parser.parse_known_args(argv[2:])
        handle_default_options(options)
        try:
            with _settings_of_project():
                wecom.main(arguments, prog_name=f"{Path(argv[0]).name} {argv[1]}")
        except SettingsError as error:
            raise SystemExit(f"Error: {error}") from None

    def add_arguments(self, parser: CommandParser) -> None:
        """Take what `call_command("wecom", ...)` hands over."""
        parser.add_argument("arguments", nargs=REMAINDER)

    def handle(self, *, arguments: list[str], **options: Any) -> None:  # noqa: ANN401 - Django's interface
        """Run for `call_command`, which wants errors as exceptions.

        Raises:
            CommandError: the command failed; the text is its error.
        """
        try:
            with _settings_of_project(), _written_to(options.get("stdout")):
                status = wecom.main(arguments, prog_name="wecom", standalone_mode=False)
        except (click.ClickException, SettingsError) as error:
            raise CommandError(error.format_message() if isinstance(error, click.ClickException) else error) from None
        if isinstance(status, int) and status:
            raise CommandError(f"wecom {' '.join(arguments)} ended with status {status}", returncode=status)


@contextmanager
def _settings_of_project() -> Iterator[None]:
    """Let this process, and those it starts, have the settings of the project as long as the command runs."""
    chosen, given = configured(), project_settings()
    if chosen.alias is not None and chosen.settings.database_url is not None:
        given["DATABASE_URL"] = chosen.settings.database_url.get_secret_value()
    before = dict(os.environ)
    put_into_environment({f"{PREFIX}{name}": value for name, value in given.items()})
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)
        settings.cache_clear()


@contextmanager
def _written_to(output: IO[str] | None) -> Iterator[None]:
    """Have what is printed written to an object of the caller's; `wecom` prints bytes, which not all of them take."""
    if output is None:
        yield
        return
    printed = BytesIO()
    with TextIOWrapper(printed, encoding="utf-8", write_through=True) as standard_output:
        with redirect_stdout(standard_output):
            yield
        output.write(printed.getvalue().decode())
