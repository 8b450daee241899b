"""Changes of tables that are in use: what the revisions in `migrations/` are made of.

Rules of a revision, so that nobody who writes waits longer than a second and an interrupted one can be run again:

- What takes the longer the larger a table is comes first, outside of a transaction, and beside the writes:
  `build_index`, `remove_index`, `validate`. Each of them, done again, finds what is done.
- What is left is one transaction, with the number of the revision, so that it is done as a whole or not at all. It
  takes the locks on existing tables with `lock_briefly`, all at once, before anything else, and then does only what
  does not read or write the rows of a table.
- If something long needs what only a transaction can make, for instance an index on a new column, that transaction
  comes first, and says `if not exists` and `if exists` throughout.
- Code must work with the tables before and after the revision, and in the middle of it.

Locks are waited for in two ways. One behind which nobody has to wait is waited for as long as it takes: autovacuum
holds it too, and gives way to who has waited for a second. One behind which others wait is given up after
`BRIEF`, and `migrate` tries the revision again later. That is less than the second after which Postgres looks for
deadlocks, so that no worker is chosen to end one.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import sqlalchemy as sa
from alembic import op

from worker.ledger.schema import SCHEMA

BRIEF = "200ms"
Mode = Literal["share row exclusive", "access exclusive"]
"""Nobody changes its rows, as a new foreign key to it needs; or nobody even reads them, as all else needs."""

LOCK_ORDER = ("senders", "campaigns", "media", "schedules", "messages")
"""Tables that are locked together are locked in this order."""

_IS_INVALID = sa.text("select not indisvalid from pg_index where indexrelid = to_regclass(:name)")


def lock_briefly(modes: Mapping[str, Mode]) -> None:
    """Lock tables until the revision ends, or give up in a moment.

    First comes the lock that only autovacuum and other migrations hold; with it, none of them can come between.

    Raises:
        OperationalError: somebody holds one of them; the revision is to be tried again.
    """
    tables = sorted(modes, key=LOCK_ORDER.index)
    op.execute("set local lock_timeout = 0")
    for table in tables:
        op.execute(f"lock table {SCHEMA}.{table} in share update exclusive mode")
    op.execute(f"set local lock_timeout = '{BRIEF}'")
    for table in tables:
        op.execute(f"lock table {SCHEMA}.{table} in {modes[table]} mode")


def build_index(name: str, table: str, columns: Sequence[str | sa.TextClause], **options: Any) -> None:  # noqa: ANN401 - Alembic's own
    """Build an index beside the writes, unless it is there; what an interrupted try has left is built anew.

    Commits what the revision has done so far. Takes until every transaction has ended that is open now.
    """
    with _patiently():
        if _is_invalid(name):
            _drop(name)
        op.create_index(
            name, table, list(columns), schema=SCHEMA, if_not_exists=True, postgresql_concurrently=True, **options
        )


def remove_index(name: str) -> None:
    """Remove an index beside the writes, if it is there. Commits what the revision has done so far."""
    with _patiently():
        _drop(name)


def validate(table: str, constraint: str) -> None:
    """Check the rows of a table for a constraint that is `not valid`, beside the writes.

    Commits what the revision has done so far.
    """
    with _patiently():
        op.execute(f"alter table {SCHEMA}.{table} validate constraint {constraint}")


@contextmanager
def _patiently() -> Iterator[None]:
    """Run each statement in a transaction of its own, and wait for locks as long as it takes: nobody waits behind."""
    with op.get_context().autocommit_block():
        op.execute("set lock_timeout = 0")
        yield
        op.execute(f"set lock_timeout = '{BRIEF}'")


def _is_invalid(index: str) -> bool:
    context = op.get_context()
    if context.as_sql:
        return False
    return bool(op.get_bind().scalar(_IS_INVALID, {"name": f"{SCHEMA}.{index}"}))


def _drop(index: str) -> None:
    op.execute(f"drop index concurrently if exists {SCHEMA}.{index}")
