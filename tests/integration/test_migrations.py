"""Migrating while workers and producers of an earlier release go on; and again, after it was interrupted."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from catalog import catalog
from earlier_releases import ADD_SENDER, FILL, FIRST, Running, driver_url, release_of, running
from sqlalchemy import Connection, Engine, event, make_url, text

from worker.ledger import LedgerError, migrate, open_engine, standing
from worker.ledger.migrating import MIGRATION_LOCK

RELEASED = (Path(__file__).parents[1] / "released_schemas.txt").read_text()
REVISIONS = [line.removeprefix("= ") for line in RELEASED.splitlines() if line.startswith("= ")]
MESSAGES = 20_000


def released_schema(revision: str) -> list[str]:
    """The catalog as the migrations made it when they were released, each in one transaction and in plain words."""
    lines = set[str]()
    for line in RELEASED.splitlines():
        if line.startswith("= ") and line[2:] > revision:
            break
        {"+": lines.add, "-": lines.remove, "=": lambda _: None}[line[0]](line[2:])
    return sorted(lines)


def catalog_of(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return catalog(connection)


@pytest.fixture
def database(template: Engine) -> Iterator[Callable[..., Engine]]:
    """Make databases: without tables, or copies of another."""
    engines: list[Engine] = []

    def make(copied: str = "template0") -> Engine:
        name = f"wecom_test_{uuid4().hex[:12]}"
        with template.connect() as connection:
            connection.execute(text(f"create database {name} template {copied} strategy file_copy"))
        engines.append(open_engine(make_url(template.url).set(database=name).render_as_string(hide_password=False)))
        return engines[-1]

    yield make
    for engine in engines:
        engine.dispose()
        with template.connect() as connection:
            connection.execute(text(f"drop database {engine.url.database} with (force)"))


def url_of(engine: Engine) -> str:
    return engine.url.render_as_string(hide_password=False)


def with_messages(engine: Engine, revision: str, messages: int = MESSAGES) -> None:
    migrate(engine, revision)
    with psycopg.connect(driver_url(url_of(engine)), autocommit=True) as connection:
        connection.execute(ADD_SENDER)
        connection.execute(FILL, {"messages": messages})


@contextmanager
def in_background(act: Callable[[], object], *holders: psycopg.Connection[Any]) -> Iterator[Future[object]]:
    """Do something that may wait for these connections; a test that fails closes them, so that it ends."""
    with ThreadPoolExecutor(1) as pool:
        try:
            yield pool.submit(act)
        except BaseException:
            for holder in holders:
                holder.close()
            raise


def test_each_revision_makes_what_it_made_when_it_was_released(database: Callable[..., Engine]) -> None:
    stepwise, at_once = database(), database()
    for revision in REVISIONS:
        migrate(stepwise, revision)
        assert catalog_of(stepwise) == released_schema(revision)
    migrate(at_once)
    assert catalog_of(at_once) == catalog_of(stepwise)


@pytest.mark.parametrize("revision", REVISIONS[:-1])
def test_programs_of_an_earlier_release_lose_nothing_and_wait_for_no_lock_longer_than_a_second(
    database: Callable[..., Engine], revision: str
) -> None:
    engine = database()
    with_messages(engine, revision)
    with running(release_of(revision), url_of(engine)) as programs:
        assert programs.looked.acquire(timeout=30)
        before = len(programs.stored)
        migrate(engine)
        assert programs.looked.acquire(timeout=30)
        assert len(programs.stored) > before
    assert programs.errors == []
    with engine.connect() as connection:
        found = connection.execute(
            text("select id, state, attempt from wecom.messages where id = any(:ids)"), {"ids": programs.stored}
        ).all()
    assert {row.id for row in found} == set(programs.stored)
    assert {(row.state, row.attempt) for row in found} == {("sent", 1)}
    assert catalog_of(engine) == released_schema(REVISIONS[-1])


def blocked(admin: psycopg.Connection[Any], holder: int) -> tuple[int, str] | None:
    """Who of the migration waits for a process of Postgres, and with which statement."""
    return admin.execute(
        """
        select pid, query from pg_stat_activity
        where %s = any(pg_blocking_pids(pid)) and application_name = 'wecom-worker'
        """,
        [holder],
    ).fetchone()


def waits(admin: psycopg.Connection[Any], process: int) -> bool:
    found = admin.execute("select wait_event_type = 'Lock' from pg_stat_activity where pid = %s", [process])
    return found.fetchone() == (True,)


# What two programs hold that commit late, one has written messages, the other senders.
WRITES_MESSAGES = ("update wecom.messages set error = error",)
WRITES_SENDERS = (
    "update wecom.senders set park_seconds = park_seconds",
    "select from wecom.campaigns, wecom.media, wecom.schedules",
)


@pytest.mark.parametrize(
    ("held", "revisions"),
    [
        (WRITES_MESSAGES, {"0001", "0002", "0003", "0004", "0005", "0009"}),
        (WRITES_SENDERS, {"0001", "0003", "0007", "0008", "0009", "0010"}),
    ],
    ids=["messages", "senders"],
)
def test_behind_every_step_that_waits_for_somebody_all_others_go_on(
    database: Callable[..., Engine], held: tuple[str, ...], revisions: set[str]
) -> None:
    engine = database()
    with_messages(engine, "0001", 100)
    url = driver_url(url_of(engine))
    programs = Running(FIRST, url, 0)
    seen = set[tuple[str | None, str]]()

    def hold(holder: psycopg.Connection[Any]) -> None:
        for statement in held:
            holder.execute(statement)

    with (
        psycopg.connect(url, autocommit=True) as admin,
        psycopg.connect(url) as one,
        psycopg.connect(url) as another,
        psycopg.connect(url, autocommit=True, options="-c lock_timeout=1s") as other,
        ThreadPoolExecutor(1) as pool,
    ):
        holder, following = one, another
        hold(holder)
        with in_background(lambda: migrate(engine), one, another) as migrated:
            while not migrated.done():
                waiting = blocked(admin, holder.info.backend_pid)
                if waiting is None:
                    time.sleep(0.005)
                    continue
                step = (standing(engine).revision, waiting[1])
                if step not in seen:
                    seen.add(step)
                    programs.produce(other)
                    programs.deliver(other)
                    programs.look(other)
                # The next one holds it as soon as the migration has had it, so that no step finds nobody.
                next_one = pool.submit(hold, following)
                while not next_one.done() and not waits(admin, following.info.backend_pid):
                    time.sleep(0.005)
                holder.commit()
                next_one.result(30)
                holder, following = following, holder
            holder.rollback()
            migrated.result()
    assert catalog_of(engine) == released_schema(REVISIONS[-1])
    assert {revision for revision, _ in seen} == revisions


def test_a_vacuum_is_waited_for_without_holding_up_anybody(
    database: Callable[..., Engine], eventually: Callable[..., None]
) -> None:
    engine = database()
    with_messages(engine, "0009", 100)
    url = driver_url(url_of(engine))
    programs = Running(release_of("0009"), url, 0)
    with (
        psycopg.connect(url, autocommit=True) as admin,
        psycopg.connect(url) as vacuum,
        psycopg.connect(url, autocommit=True, options="-c lock_timeout=1ms") as other,
    ):
        vacuum.execute("lock table wecom.messages in share update exclusive mode")  # what VACUUM holds
        with in_background(lambda: migrate(engine), vacuum) as migrated:
            eventually(lambda: blocked(admin, vacuum.info.backend_pid))
            programs.produce(other)
            programs.deliver(other)
            programs.look(other)
            assert blocked(admin, vacuum.info.backend_pid)
            vacuum.commit()
            migrated.result(60)
    assert catalog_of(engine) == released_schema(REVISIONS[-1])


def test_a_migration_that_dies_at_any_step_is_run_again_and_ends_alike(
    database: Callable[..., Engine], template: Engine
) -> None:
    engine = database()
    with_messages(engine, "0001", 100)
    left = deaths = 0

    @event.listens_for(engine, "after_cursor_execute")
    def _kill(connection: Connection, _: object, statement: str, *__: object) -> None:
        nonlocal left
        if not any(word in statement.lower() for word in ("concurrently", "validate constraint", "version_num=")):
            return  # what is done in a transaction is undone with it
        left -= 1
        if left == 0:
            driver: Any = connection.connection.driver_connection
            with template.connect() as admin:
                admin.execute(text("select pg_terminate_backend(:pid, 5000)"), {"pid": driver.info.backend_pid})

    for revision in REVISIONS[1:]:
        for steps in range(1, 10):
            left = steps
            try:
                migrate(engine, revision)
            except LedgerError as error:
                assert "Postgres cannot be reached" in str(error)  # noqa: PT017 - or it was done before it was killed
                deaths += 1
            else:
                break
        assert catalog_of(engine) == released_schema(revision)
    assert deaths > 20


def test_an_index_that_was_left_invalid_is_built_anew(
    database: Callable[..., Engine], eventually: Callable[..., None]
) -> None:
    engine = database()
    with_messages(engine, "0002", 100)
    url = driver_url(url_of(engine))
    with psycopg.connect(url, autocommit=True) as admin, psycopg.connect(url) as holder:
        holder.execute("update wecom.messages set error = error")
        with in_background(lambda: migrate(engine, "0003"), holder) as migrated:
            eventually(lambda: blocked(admin, holder.info.backend_pid))
            process, _ = blocked(admin, holder.info.backend_pid) or (0, "")
            admin.execute("select pg_terminate_backend(%s, 5000)", [process])
            with pytest.raises(LedgerError, match="Postgres cannot be reached"):
                migrated.result()
        holder.rollback()
    assert [line for line in catalog_of(engine) if line.endswith("INVALID")]
    migrate(engine, "0003")
    assert catalog_of(engine) == released_schema("0003")


def test_a_migration_says_whom_it_waits_for_and_a_second_one_that_it_waits_for_the_first(
    database: Callable[..., Engine], eventually: Callable[..., None]
) -> None:
    engine = database()
    with_messages(engine, "0002", 100)
    url = driver_url(url_of(engine))
    first_said, second_said = list[str](), list[str]()
    with psycopg.connect(url, application_name="slow-report") as holder:
        holder.execute("update wecom.messages set error = error")
        waits = f"Waiting for process {holder.info.backend_pid} of Postgres (slow-report, "
        with in_background(lambda: migrate(engine, say=first_said.append), holder) as first:
            eventually(lambda: any(words.startswith(waits) for words in first_said))
            with in_background(lambda: migrate(engine, say=second_said.append), holder) as second:
                # An index that is built would wait for one who waits inside of a statement.
                eventually(lambda: second_said)
                assert not first.done()
                holder.rollback()
                first.result(60)
                second.result(60)
    assert second_said == ["Another migration is under way; this one waits for its end."]
    assert catalog_of(engine) == released_schema(REVISIONS[-1])


def test_who_holds_the_tables_for_too_long_is_named_and_what_is_done_stays_done(
    database: Callable[..., Engine],
) -> None:
    engine = database()
    with_messages(engine, "0007", 100)
    with psycopg.connect(driver_url(url_of(engine)), application_name="slow-report") as holder:
        holder.execute("select from wecom.schedules")
        process = holder.info.backend_pid
        with pytest.raises(LedgerError, match=rf"process {process} of Postgres \(slow-report, .*run `wecom migrate`"):
            migrate(engine, patience=0.5)
        assert standing(engine).revision == "0007"
    migrate(engine)
    assert catalog_of(engine) == released_schema(REVISIONS[-1])


def test_nothing_of_a_migration_stays_behind_on_the_connections_of_a_program(database: Callable[..., Engine]) -> None:
    engine = database()
    migrate(engine)
    with engine.connect() as connection:
        assert connection.scalar(text("show lock_timeout")) == "0"
        held = "locktype = 'advisory' and database = (select oid from pg_database where datname = current_database())"
        assert connection.scalar(text(f"select count(*) from pg_locks where {held}")) == 0
    assert MIGRATION_LOCK == 0x7765636F6D  # releases before and after this one wait for each other by it
