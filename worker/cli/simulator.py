"""`wecom simulator`."""

import click

from worker.cli.numbers import WholeNumber
from worker.simulator.apps import App, app_from_text
from worker.simulator.service import run

HIGHEST_PORT = 65_535


def _read_apps(_context: click.Context, _parameter: click.Parameter, texts: tuple[str, ...]) -> list[App]:
    try:
        return [app_from_text(text) for text in texts]
    except ValueError:
        raise click.BadParameter("an app is written corpid:secret:agentid[:account_cap]") from None


@click.command
@click.option("--port", type=WholeNumber(0, HIGHEST_PORT), default=0, help="0, the default, lets the system choose.")
@click.option(
    "--app",
    "apps",
    callback=_read_apps,
    metavar="CORPID:SECRET:AGENTID[:CAP]",
    multiple=True,
    help="Know this app as well; can be repeated.",
)
def simulator(port: int, apps: list[App]) -> None:
    """Run a local WeCom to develop and test against, until Ctrl-C; it invents everything and reaches nobody."""
    try:
        run(port, apps=apps)
    except OSError as error:
        raise click.ClickException(f"the simulator cannot listen on port {port}: {error.strerror}") from None
