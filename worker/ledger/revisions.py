"""Which revision the tables have, which there are, and whether the tables are those this release knows."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import OperationalError

from worker.layout import located
from worker.ledger.connection import LedgerError, unreachable
from worker.ledger.schema import SCHEMA

MIGRATIONS = located("migrations")


class Age(StrEnum):
    """How old the tables are, compared with this release."""

    NONE = "none"
    OLDER = "older"
    CURRENT = "current"
    NEWER = "newer"


@dataclass(frozen=True, slots=True)
class Standing:
    """The revision of the tables beside those this release has.

    Attributes:
        revision: that of the tables; None without tables.
        known: the revisions of this release, the oldest first.
    """

    revision: str | None
    known: tuple[str, ...]

    @property
    def newest(self) -> str:
        """The revision this release needs."""
        return self.known[-1]

    @property
    def age(self) -> Age:
        """How old the tables are. A revision this release does not know is one of a newer release."""
        if self.revision is None:
            return Age.NONE
        if self.revision == self.newest:
            return Age.CURRENT
        return Age.OLDER if self.revision in self.known else Age.NEWER

    def missing(self, revision: str) -> tuple[str, ...]:
        """Return the revisions between the tables and the named one, the oldest first; it is the last."""
        done = 0 if self.revision is None else self.known.index(self.revision) + 1
        return self.known[done : self.known.index(revision) + 1]


def standing(engine: Engine) -> Standing:
    """Return how the tables stand; nothing is written.

    Raises:
        LedgerError: the database cannot be reached.
    """
    try:
        with engine.connect() as connection:
            return standing_on(connection)
    except OperationalError as error:
        raise LedgerError(unreachable(error)) from None


def standing_on(connection: Connection) -> Standing:
    """Return how the tables stand, as a connection sees them."""
    context = MigrationContext.configure(connection, opts={"version_table_schema": SCHEMA})
    scripts = ScriptDirectory(str(MIGRATIONS))
    known = [script.revision for script in scripts.walk_revisions()]
    return Standing(context.get_current_revision(), tuple(reversed(known)))


def require_migrated(engine: Engine, *, embedded_in: Path | None = None) -> None:
    """Check that the tables are there and not older than this release.

    Newer ones are fine: a migration works with the release before it.

    Args:
        engine: the database.
        embedded_in: the directory of the embedded database if it is one, which was perhaps made only now.

    Raises:
        LedgerError: `wecom migrate` is due, or the database cannot be reached.
    """
    found = standing(engine)
    if found.age is Age.NONE:
        raise LedgerError(_without_tables(embedded_in))
    if found.age is Age.OLDER:
        raise LedgerError(f"the tables are those of an older release ({found.revision}); run `wecom migrate`")


def _without_tables(embedded_in: Path | None) -> str:
    if embedded_in is None:
        return "the database has no tables of wecom-worker yet; run `wecom migrate`"
    return (
        f"the embedded database in {embedded_in} has no tables yet; is `wecom up` running in another directory? go "
        "there or set WECOM_HOME, or begin here with `wecom up`"
    )
