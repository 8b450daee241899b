"""`wecom migrate`."""

import click

from worker import ledger
from worker.ledger import Age, Standing, open_engine, standing
from worker.servers import open_servers
from worker.settings import settings

BEHIND, NEWER = 3, 4
"""Exit statuses of `--check`; 1 is that it could not be asked, 2 is click's own, for wrong usage."""


@click.command
@click.option("--to", "revision", metavar="REVISION", help="Go no further than this revision, such as 0008.")
@click.option(
    "--check",
    is_flag=True,
    help=f"Only tell how the tables stand. Exit status 0: as this release needs them, {BEHIND}: older, {NEWER}: newer.",
)
def migrate(revision: str | None, *, check: bool) -> None:
    """Create the tables, or bring them up to this release.

    Run it before the workers of a new release are started. Those of the release before go on meanwhile, as do
    programs that send. It may be interrupted, and run again; of several at once, one works and the others wait.
    """
    if check and revision is not None:
        raise click.UsageError("--check changes nothing, so it takes no --to")
    engine = open_engine(open_servers(settings()).database_url, silence_seconds=settings().silence_seconds)
    try:
        found = standing(engine)
        if check:
            click.echo(_in_words(found))
            click.get_current_context().exit(_status(found))
        if revision is None and found.age in (Age.CURRENT, Age.NEWER):
            click.echo(f"Nothing to do: {_in_words(found)}")
            return
        ledger.migrate(engine, revision, say=lambda sentence: click.echo(sentence, err=True))
        click.echo(f"Done: {_in_words(standing(engine))}")
    finally:
        engine.dispose()


def _in_words(found: Standing) -> str:
    match found.age:
        case Age.CURRENT:
            return f"the tables are those of this release ({found.newest})."
        case Age.NEWER:
            return f"the tables are those of a newer release ({found.revision}); this one works with them."
        case Age.OLDER:
            return f"the tables are at {found.revision}; this release needs {found.newest}: run `wecom migrate`."
        case Age.NONE:
            return f"there are no tables; this release needs {found.newest}: run `wecom migrate`."


def _status(found: Standing) -> int:
    return {Age.CURRENT: 0, Age.NEWER: NEWER}.get(found.age, BEHIND)
