"""How Alembic reaches the ledger: on the connection `wecom migrate` hands over, or with the project's settings."""

from alembic import context
from sqlalchemy import Connection

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
    from worker.ledger.connection import open_engine
    from worker.servers import open_servers

    with open_engine(open_servers().database_url).begin() as connection:
        run(connection)


main()
