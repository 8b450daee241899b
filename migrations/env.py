"""How Alembic reaches the ledger: on the connection `wecom migrate` hands over, or with the project's settings."""

from alembic import context
from sqlalchemy import Connection, create_engine, text

from worker.ledger.schema import SCHEMA, Base


def run(connection: Connection) -> None:
    """Run the migrations on one connection, in one transaction."""
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        version_table_schema=SCHEMA,
        include_schemas=True,
        include_name=lambda name, kind, _: kind != "schema" or name == SCHEMA,
        compare_server_default=True,
    )
    with context.begin_transaction():
        context.run_migrations()


def main() -> None:
    """Use the connection that was handed over, or open one (`alembic revision --autogenerate`)."""
    given = context.config.attributes.get("connection")
    if given is not None:
        run(given)
        return
    from worker.servers import open_servers

    # A user called like the schema would make it the default one, and Alembic would not see its tables.
    engine = create_engine(open_servers().database_url, connect_args={"options": "-c search_path=public"})
    with engine.begin() as connection:
        connection.execute(text(f"create schema if not exists {SCHEMA}"))
        run(connection)


main()
