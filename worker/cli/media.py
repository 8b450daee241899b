"""`wecom media upload`."""

from pathlib import Path

import click

from worker.cli.ledger import opened_ledger
from worker.cli.output import json_option, print_json
from worker.cli.up_lock import beside_local_wecom
from worker.encryption import load_key_ring
from worker.ledger import LedgerError
from worker.messages import check_media
from worker.providers import open_providers
from worker.providers.base import ProviderError
from worker.redis_connection import open_redis
from worker.servers import open_servers
from worker.settings import settings

ARTICLE = "article"
KINDS = ("image", "voice", "video", "file", ARTICLE)


@click.group
def media() -> None:
    """Upload a file by hand; files that a message shows are uploaded by the worker."""


@media.command
@click.argument("sender")
@click.argument("path", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--type",
    "kind",
    type=click.Choice(KINDS),
    default="file",
    show_default=True,
    help="What it is; an article's picture gets a lasting address for the inside of mpnews.",
)
@json_option
def upload(sender: str, path: Path, *, kind: str, as_json: bool) -> None:
    """Upload a file and print its media_id, which lives for three days."""
    content = path.read_bytes()
    check_media("image" if kind == ARTICLE else kind, path.name, content)
    chosen = settings()
    with opened_ledger(with_keys=True) as ledger:
        opened, _ = ledger.senders.open(sender)
    with open_redis(open_servers(chosen).redis_url) as redis:
        provider = open_providers(beside_local_wecom(chosen), redis, load_key_ring(chosen))[opened.provider]
        try:
            uploaded = provider.open(opened).upload(kind, path.name, content)
        except ProviderError as error:
            raise LedgerError(f"{sender} cannot authenticate: {error.answer.said}") from None
    if uploaded.media_id is None:
        raise LedgerError(f"WeCom did not take {path.name}: {uploaded.answer.said}")
    if as_json:
        print_json({"media_id": uploaded.media_id})
    else:
        click.echo(uploaded.media_id)
