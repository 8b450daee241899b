"""The tables: models and migrations agree, and migrating is safe at any time."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, inspect, make_url, text

from worker.ledger import LedgerError, migrate, open_engine, require_migrated
from worker.ledger.migrating import downgrade
from worker.ledger.revisions import MIGRATIONS
from worker.ledger.schema import SCHEMA, Base


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """An engine on this test's migrated database.

    The embedded user is called `wecom` like the schema, which would make it the default one and hide it from Alembic.
    """
    engine = create_engine(database_url, connect_args={"options": "-c search_path=public"})
    yield engine
    engine.dispose()


def differences(connection: Connection) -> list[object]:
    context = MigrationContext.configure(
        connection,
        opts={
            "include_schemas": True,
            "include_name": lambda name, kind, _: kind != "schema" or name == SCHEMA,
            "version_table_schema": SCHEMA,
            "compare_server_default": True,
        },
    )
    return list(compare_metadata(context, Base.metadata))


def tables(engine: Engine) -> set[str]:
    return set(inspect(engine).get_table_names(schema=SCHEMA))


def test_the_models_are_what_the_migrations_make(engine: Engine) -> None:
    with engine.connect() as connection:
        assert differences(connection) == []


def test_a_column_that_no_migration_makes_would_be_noticed(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("alter table wecom.messages drop column recall_error"))
    with engine.connect() as connection:
        assert [change[0] for change in differences(connection)] == ["add_column"]  # type: ignore[index]


def test_there_is_one_newest_migration() -> None:
    assert len(ScriptDirectory(str(MIGRATIONS)).get_heads()) == 1


def test_every_migration_can_be_undone_and_done_again(engine: Engine) -> None:
    before = tables(engine)
    downgrade(engine, "base")
    assert tables(engine) <= {"alembic_version"}
    with engine.connect() as connection:
        assert connection.scalar(text("select count(*) from pg_proc where pronamespace = 'wecom'::regnamespace")) == 0
    migrate(engine)
    assert tables(engine) == before
    with engine.connect() as connection:
        assert differences(connection) == []


def test_many_may_migrate_at_once(engine: Engine) -> None:
    downgrade(engine, "base")
    with ThreadPoolExecutor(5) as pool:
        list(pool.map(lambda _: migrate(engine), range(5)))
    require_migrated(engine)


def test_a_database_without_tables_says_how_to_make_them(engine: Engine) -> None:
    downgrade(engine, "base")
    with pytest.raises(LedgerError, match="run `wecom migrate`"):
        require_migrated(engine)


def test_tables_of_a_newer_release_are_no_error(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("update wecom.alembic_version set version_num = '9999'"))
    require_migrated(engine)


def test_a_user_without_rights_is_told_so(engine: Engine, database_url: str) -> None:
    downgrade(engine, "base")
    role = f"nobody_{make_url(database_url).database}"
    with engine.begin() as connection:
        connection.execute(text("drop schema wecom cascade"))
        connection.execute(text(f"create role {role} login"))
    poor = open_engine(make_url(database_url).set(username=role).render_as_string(hide_password=False))
    try:
        with pytest.raises(LedgerError, match="may not make tables"):
            migrate(poor)
    finally:
        poor.dispose()
        with engine.begin() as connection:
            connection.execute(text(f"drop role {role}"))
