"""`wecom migrate`."""

import click

from worker import ledger
from worker.ledger import LedgerError, open_engine, require_migrated
from worker.servers import open_servers
from worker.settings import settings


@click.command
def migrate() -> None:
    """Create the tables, or bring them up to this release.

    Run it before the workers of a new release are started; doing it twice, or in several places at once, is harmless.
    """
    engine = open_engine(open_servers(settings()).database_url)
    try:
        try:
            require_migrated(engine)
            done = "Nothing to do: the tables are those of this release."
        except LedgerError:
            # If Postgres does not answer, the migration says so in its turn.
            ledger.migrate(engine)
            require_migrated(engine)
            done = "Done: the tables are those of this release now."
    finally:
        engine.dispose()
    click.echo(done)
