"""A Flask extension: one producer for each app, with the settings in the app's configuration, and `flask wecom ...`.

from worker.integrations.flask import WeCom

wecom = WeCom()

def create_app():
    app = Flask(__name__)
    wecom.init_app(app)
"""

from typing import Any

import click

from worker.cli import CommandsOnUse
from worker.cli import wecom as commands
from worker.producer import Producer
from worker.producer_servers import ProducerServers
from worker.settings import load_settings, put_into_environment, settings_in, unknown_settings_in_one_line

try:
    from flask import Flask, current_app
except ModuleNotFoundError:
    raise ImportError('Flask is not installed; pip install "wecom-worker[flask]"') from None

NAME = "wecom"


class WeCom(Producer):
    """The producer of the current app: every method of `Producer`, with the servers the app's configuration names.

    The settings have the names in docs/settings.md (`WECOM_DATABASE_URL`); the environment decides where the
    configuration says nothing. Connections are opened when they are first needed, and kept for the life of the app.
    """

    def __init__(self, app: Flask | None = None) -> None:
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Prepare an app; any number of apps in one process can share the extension.

        Raises:
            SettingsError: a setting has a value that cannot be used.
        """
        if warning := unknown_settings_in_one_line(app.config):
            app.logger.warning(warning.removeprefix("warning: "))
        app.extensions[NAME] = ProducerServers(load_settings(**settings_in(app.config)))
        app.cli.add_command(_Commands(NAME, help=commands.help))

    @property
    def _servers(self) -> ProducerServers:
        servers: ProducerServers | None = current_app.extensions.get(NAME)
        if servers is None:
            raise RuntimeError(f"the app {current_app.name!r} is not prepared for WeCom; call wecom.init_app(app)")
        return servers


class _Commands(CommandsOnUse):
    """All commands of `wecom`, with the settings of the app that `flask` has loaded."""

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401 - click's interface
        put_into_environment(current_app.config)
        return super().invoke(ctx)
