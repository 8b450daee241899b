"""The command `wecom`, also reachable as `celery wecom`.

A command is imported when it is used, so that `wecom --help` answers at once and `celery` starts no slower.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Any, NamedTuple

import click

INTERRUPTED = 130
"""What a shell reports for a program that Ctrl-C ended."""


class Entry(NamedTuple):
    """Where a command is, and its line in `wecom --help`."""

    place: str
    help: str


COMMANDS: Mapping[str, Entry] = MappingProxyType(
    {
        "up": Entry("worker.cli.up:up", "Servers, worker and beat in one terminal."),
        "demo": Entry("worker.cli.demo:demo", "The main job on real servers, checked, in a minute."),
        "migrate": Entry("worker.cli.migrate:migrate", "Create the tables, or bring them up to this release."),
        "senders": Entry("worker.cli.senders:senders", "Who can send: add, list, show, limit, pause, resume, remove."),
        "send": Entry("worker.cli.messages:send", "Hand over a message."),
        "status": Entry("worker.cli.messages:status", "What became of a message."),
        "recall": Entry("worker.cli.messages:recall", "Take a message back."),
        "campaign": Entry(
            "worker.cli.campaigns:campaign", "One message to many: create, list, status, pause, recall ..."
        ),
        "schedule": Entry(
            "worker.cli.schedules:schedule", "What is sent again and again: add, list, next, pause, resume ..."
        ),
        "history": Entry("worker.cli.history:history", "What a member was sent, and with what answer."),
        "unconfirmed": Entry("worker.cli.unconfirmed:unconfirmed", "Messages of unknown fate: list, resend, settle."),
        "rejected": Entry(
            "worker.cli.rejected:rejected", "Refused requests of Celery programs: list, show, retry, remove."
        ),
        "update-card": Entry("worker.cli.cards:update_card", "Change a card that was sent."),
        "media": Entry("worker.cli.media:media", "Upload a file by hand."),
        "schema": Entry("worker.cli.schema:schema", "The JSON Schema of all messages, for other languages."),
        "doctor": Entry("worker.cli.doctor:doctor", "Check everything a worker depends on, and say what to do."),
        "explain": Entry("worker.cli.explain:explain", "What an errcode of WeCom means and what to do about it."),
        "simulator": Entry("worker.cli.simulator:simulator", "Run a local WeCom to develop and test against."),
        "secrets": Entry("worker.cli.keys:secrets", "The keys that encrypt credentials: generate, rotate."),
    }
)


class CommandsOnUse(click.Group):
    """A group that imports a command when it is used, and tells every expected error in one line."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's interface
        """Name the commands, in the order in which they are first needed."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's interface
        """Import one command."""
        entry = COMMANDS.get(cmd_name)
        return _imported(entry.place) if entry else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 - click's
        """List the commands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - click's interface
        """Run a command; an error a person can act upon is one line on standard error and exit status 1 or 3."""
        try:
            return super().invoke(ctx)
        except (KeyboardInterrupt, click.Abort):
            ctx.exit(INTERRUPTED)
        except (click.ClickException, click.exceptions.Exit):
            raise
        except Exception as error:
            in_words: Callable[[Exception], click.ClickException | None] = _imported("worker.cli.errors:in_words")
            failure = in_words(error)
            if failure is None:
                raise
            raise failure from None


def _imported(place: str) -> Any:  # noqa: ANN401 - whatever stands there
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)


@click.group(cls=CommandsOnUse)
@click.version_option(package_name="wecom-worker", prog_name="wecom-worker")
def wecom() -> None:
    """Send messages through WeCom (企业微信), and know what became of them.

    The settings are the variables WECOM_* of the environment or of the file .env. The exit status is 0, 1 if it
    failed, 2 if it was used wrongly, 3 if Postgres took it and did not answer: the text says how to ask again.
    """


def main() -> None:
    """Run `wecom` and leave the process with its exit status."""
    wecom(prog_name="wecom")
