"""How Alembic reaches the ledger: on the connection `wecom migrate` hands over, or with the project's settings.

`alembic upgrade head --sql` prints what is carried out, for `make check` to look through; it needs no database.
"""

from collections.abc import Callable
from typing import Any

from alembic import context
from sqlalchemy import Connection, create_engine, text

from worker.ledger.gentle_changes import BRIEF
from worker.ledger.schema import SCHEMA, Base

SETTINGS: dict[str, Any] = {
    "target_metadata": Base.metadata,
    "version_table_schema": SCHEMA,
    "include_schemas": True,
    "include_name": lambda name, kind, _: kind != "schema" or name == SCHEMA,
    "compare_server_default": True,
    "transaction_per_migration": True,
}
SESSION = (f"set lock_timeout = '{BRIEF}'", "set statement_timeout = 0")


def run(connection: Connection, done: Callable[[str], None] | None = None) -> None:
    """Run the migrations on one connection, each in its transaction."""
    with connection.begin():
        for statement in SESSION:
            connection.execute(text(statement))

    def tell(*, step: Any, **_: object) -> None:  # noqa: ANN401 - Alembic's own
        if done is not None:
            done(f"Done: {step.up_revision.revision} ({step.up_revision.doc.rstrip('.')})")

    context.configure(connection=connection, on_version_apply=tell, **SETTINGS)
    with context.begin_transaction():
        context.run_migrations()


def print_sql() -> None:
    """Print the statements of the migrations."""
    context.configure(dialect_name="postgresql", **SETTINGS)
    for statement in (*SESSION, f"create schema if not exists {SCHEMA}"):
        context.execute(statement)
    with context.begin_transaction():
        context.run_migrations()


def main() -> None:
    """Use the connection that was handed over, or open one (`alembic revision --autogenerate`)."""
    if context.is_offline_mode():
        print_sql()
        return
    given = context.config.attributes.get("connection")
    if given is not None:
        run(given, context.config.attributes["done"])
        return
    from worker.servers import open_servers

    # A user called like the schema would make it the default one, and Alembic would not see its tables.
    engine = create_engine(open_servers().database_url, connect_args={"options": "-c search_path=public"})
    with engine.connect() as connection:
        with connection.begin():
            connection.execute(text(f"create schema if not exists {SCHEMA}"))
        run(connection)


main()
