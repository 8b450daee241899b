"""`wecom demo`: the main job on real servers, in about a minute."""

import signal
import sys
from types import FrameType
from typing import NoReturn

import click

from worker.cli import INTERRUPTED
from worker.demo import StageError, perform
from worker.demo.telling import open_console
from worker.settings import load_settings


@click.command()
def demo() -> None:
    """Send 3,000 texts through a local WeCom that misbehaves, and check every one of them.

    Servers, workers and data are the demo's own, under WECOM_HOME; the exit status is 1 if the ledger and the local
    WeCom's record differ.
    """
    signal.signal(signal.SIGTERM, _like_ctrl_c)
    try:
        agreed = perform(load_settings().home.absolute() / "demo", open_console())
    except StageError as error:
        raise click.ClickException(str(error)) from None
    except KeyboardInterrupt:
        click.echo("\nstopped; nothing is left running")
        sys.exit(INTERRUPTED)
    sys.exit(0 if agreed else 1)


def _like_ctrl_c(_number: int, _frame: FrameType | None) -> NoReturn:
    """Stop everything in order, whoever asks."""
    raise KeyboardInterrupt
