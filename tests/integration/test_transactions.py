"""Messages in the transaction of a caller: stored with it or not at all, whatever the caller calls a transaction."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from killed_programs import prove
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb
from psycopg.types.string import TextLoader
from sqlalchemy import Connection, Engine, create_engine, make_url, text
from sqlalchemy.exc import DataError
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from worker import Campaign, InvalidMessage, LedgerError, Producer, SendRequest, State, Text
from worker.embedded import Servers
from worker.ledger import Ledger, Transaction
from worker.messages.sender import Sender
from worker.processes import BEAT, WORKER, CeleryProcess
from worker.simulator.control import SimulatorControl

TESTS = Path(__file__).resolve().parents[1]
HELLO = Text(content="你好, Hello")
KINDS = ("Connection", "Session", "scoped_session", "psycopg", "psycopg, autocommit")


class Caller:
    """A program with a transaction of some kind, and an order that belongs to it."""

    def __init__(self, transaction: Transaction, execute: Callable[[str], object]) -> None:
        self.transaction = transaction
        self._execute = execute

    def order(self, number: int) -> None:
        self._execute(f"insert into orders values ({number})")

    def execute(self, statement: str) -> None:
        self._execute(statement)


class RollBackError(Exception):
    """What makes a caller roll back."""


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    engine = create_engine(make_url(database_url).set(drivername="postgresql+psycopg"))
    with engine.begin() as connection:
        connection.execute(text("create table orders (number integer primary key)"))
    yield engine
    engine.dispose()


@pytest.fixture
def plain_url(database_url: str) -> str:
    return make_url(database_url).set(drivername="postgresql").render_as_string(hide_password=False)


@pytest.fixture
def begin(engine: Engine, plain_url: str) -> Callable[[str], Any]:
    @contextmanager
    def begin(kind: str) -> Iterator[Caller]:
        if kind == "Connection":
            with engine.begin() as connection:
                yield Caller(connection, lambda statement: connection.execute(text(statement)))
        elif kind == "Session":
            with Session(engine) as session, session.begin():
                yield Caller(session, lambda statement: session.execute(text(statement)))
        elif kind == "scoped_session":
            sessions = scoped_session(sessionmaker(engine))
            with sessions.begin():
                yield Caller(sessions, lambda statement: sessions.execute(text(statement)))
            sessions.remove()
        else:
            with psycopg.connect(plain_url, autocommit="autocommit" in kind) as driver, driver.transaction():
                yield Caller(driver, lambda statement: driver.execute(statement.encode()))

    return begin


@pytest.fixture
def orders(engine: Engine) -> Callable[[], set[int]]:
    def orders() -> set[int]:
        with engine.connect() as connection:
            return set(connection.scalars(text("select number from orders")))

    return orders


Begin = Callable[[str], Any]
Orders = Callable[[], set[int]]


@pytest.mark.parametrize("kind", KINDS)
def test_after_the_commit_both_are_there(
    kind: str, begin: Begin, orders: Orders, producer: Producer, ledger: Ledger
) -> None:
    with begin(kind) as caller:
        caller.order(1)
        message_id = producer.send("hr", HELLO, users=["zhangsan"], idempotency_key="1", connection=caller.transaction)
        assert ledger.history.counts("hr") == {}, "not before the commit"
    assert orders() == {1}
    assert producer.status(message_id).body["text"] == {"content": "你好, Hello"}


@pytest.mark.parametrize("kind", KINDS)
def test_after_a_roll_back_neither_is_there(
    kind: str, begin: Begin, orders: Orders, producer: Producer, ledger: Ledger
) -> None:
    with suppress(RollBackError), begin(kind) as caller:
        # The message comes first: that alone must make it a transaction.
        producer.send("hr", HELLO, users=["zhangsan"], connection=caller.transaction)
        caller.order(1)
        raise RollBackError
    assert orders() == set()
    assert ledger.history.counts("hr") == {}


@pytest.mark.parametrize("kind", KINDS)
def test_a_savepoint_takes_back_what_was_sent_in_it(
    kind: str, begin: Begin, orders: Orders, producer: Producer, ledger: Ledger
) -> None:
    with begin(kind) as caller:
        producer.send("hr", HELLO, users=["zhangsan"], connection=caller.transaction)
        caller.execute("savepoint inner_one")
        caller.order(1)
        producer.send("hr", HELLO, users=["lisi"], connection=caller.transaction)
        caller.execute("rollback to savepoint inner_one")
        caller.order(2)
    assert orders() == {2}
    assert ledger.history.counts("hr") == {State.SCHEDULED: 1}


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_refused_leaves_nothing_behind_in_a_transaction_that_goes_on(
    kind: str, begin: Begin, producer: Producer, ledger: Ledger
) -> None:
    refused = [
        SendRequest("hr", HELLO, users=("zhangsan",), idempotency_key="key"),
        SendRequest("hr", HELLO, users=("lisi",), at=datetime(2020, 1, 1, tzinfo=UTC)),
    ]
    with begin(kind) as caller:
        caller.order(1)
        with pytest.raises(InvalidMessage, match="has passed"):
            producer.send_many(refused, connection=caller.transaction)
        again = producer.send("hr", HELLO, users=["zhangsan"], idempotency_key="key", connection=caller.transaction)
    assert ledger.history.counts("hr") == {State.SCHEDULED: 1}
    assert producer.status(again).state is State.SCHEDULED


def test_the_savepoints_of_the_libraries_take_back_what_was_sent_in_them(
    engine: Engine, plain_url: str, producer: Producer, ledger: Ledger
) -> None:
    def send_and_roll_back(connection: Transaction) -> None:
        producer.send("hr", HELLO, users=["zhangsan"], connection=connection)
        raise RollBackError

    with Session(engine) as session, session.begin(), suppress(RollBackError), session.begin_nested():
        send_and_roll_back(session)
    with engine.begin() as connection, suppress(RollBackError), connection.begin_nested():
        send_and_roll_back(connection)
    with psycopg.connect(plain_url) as driver, driver.transaction(), suppress(RollBackError), driver.transaction():
        send_and_roll_back(driver)
    assert ledger.history.counts("hr") == {}


@pytest.mark.parametrize("kind", KINDS)
def test_a_campaign_is_copied_in_the_callers_transaction(
    kind: str, begin: Begin, orders: Orders, producer: Producer, ledger: Ledger
) -> None:
    def campaign(caller: Caller) -> Campaign:
        rows = ({"userid": f"u{n}", "name": f"名字 {n}"} for n in range(3000))
        return producer.campaign(
            "payday", sender="hr", message=Text(content="{{ name }}"), recipients=rows, connection=caller.transaction
        )

    with suppress(RollBackError), begin(kind) as caller:
        assert campaign(caller).created
        raise RollBackError
    assert producer.campaigns() == []
    with begin(kind) as caller:
        caller.order(1)
        assert campaign(caller).created
        assert not campaign(caller).created, "asked again, it is found"
        caller.order(2)
    assert orders() == {1, 2}
    assert ledger.history.counts("hr") == {State.SCHEDULED: 3000}


@pytest.mark.parametrize("kind", KINDS)
def test_a_recall_belongs_to_the_callers_transaction(kind: str, begin: Begin, producer: Producer) -> None:
    message_id = producer.send("hr", HELLO, users=["zhangsan"])
    with suppress(RollBackError), begin(kind) as caller:
        producer.recall(message_id, connection=caller.transaction)
        raise RollBackError
    assert producer.status(message_id).state is State.SCHEDULED
    with begin(kind) as caller:
        producer.recall(message_id, connection=caller.transaction)
    assert producer.status(message_id).state is State.CANCELLED


def test_a_connection_without_a_begun_transaction_begins_one(
    engine: Engine, plain_url: str, producer: Producer, ledger: Ledger
) -> None:
    with engine.connect() as connection, Session(engine) as session, psycopg.connect(plain_url) as driver:
        for transaction in (connection, session, driver):
            producer.send("hr", HELLO, users=["zhangsan"], connection=transaction)
            transaction.rollback()
        assert ledger.history.counts("hr") == {}
        for transaction in (connection, session, driver):
            producer.send("hr", HELLO, users=["zhangsan"], connection=transaction)
            transaction.commit()
    assert ledger.history.counts("hr") == {State.SCHEDULED: 3}


def test_nothing_of_a_borrowed_connection_is_changed_and_none_of_its_ways_disturb_ours(
    plain_url: str, producer: Producer, ledger: Ledger
) -> None:
    """Django has such ways: a cursor that fills in parameters itself, jsonb read as text, no prepared statements."""
    with psycopg.connect(
        plain_url,
        autocommit=True,
        row_factory=dict_row,  # type: ignore[arg-type]
        cursor_factory=psycopg.ClientCursor,
        prepare_threshold=None,
    ) as driver:
        for name in ("jsonb", "timestamptz", "uuid", "bytea", "int4", "text"):
            driver.adapters.register_loader(name, TextLoader)
        before = _ways(driver)
        read = "select '{\"a\": 1}'::jsonb as json, 7 as number"

        with driver.transaction():
            for _ in range(2):  # the second reads what stands for the key
                producer.send("hr", HELLO, users=["zhangsan"], idempotency_key="1", connection=driver)
            for _ in range(2):  # and compares with what is there
                producer.campaign(
                    "payday", sender="hr", message=HELLO, recipients=["zhangsan", "lisi"], connection=driver
                )
            assert driver.execute(read).fetchone() == {"json": '{"a": 1}', "number": "7"}

        assert driver.execute(read).fetchone() == {"json": '{"a": 1}', "number": "7"}
        assert _ways(driver) == before
    assert ledger.history.counts("hr") == {State.SCHEDULED: 2}


def _ways(driver: psycopg.Connection[Any]) -> tuple[object, ...]:
    loaders = [driver.adapters.get_loader(oid, psycopg.pq.Format.TEXT) for oid in (17, 23, 25, 114, 1184, 2950, 3802)]
    dumpers = [driver.adapters.get_dumper(kind, psycopg.adapt.PyFormat.AUTO) for kind in (Jsonb, str, int, bytes, list)]
    return (
        driver.autocommit,
        driver.isolation_level,
        driver.row_factory,
        driver.cursor_factory,
        driver.prepare_threshold,
        driver.info.transaction_status,
        loaders,
        dumpers,
        driver._notice_handlers,  # noqa: SLF001 - SQLAlchemy adds one to its own connections
    )


def test_a_session_rings_once_it_has_committed_and_not_before(
    engine: Engine, producer: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    rung: list[str] = []
    monkeypatch.setattr(
        "worker.delivery.bell.Bell.ring", lambda _bell, sender, times=1: rung.append(f"{sender} {times}")
    )
    with Session(engine) as session:
        for _ in range(2):
            producer.send("hr", HELLO, users=["zhangsan"], connection=session)
        session.begin_nested().commit()
        assert rung == []
        session.commit()
        assert rung == ["hr 1"]
        session.execute(text("select 1"))
        session.commit()
        assert rung == ["hr 1"], "that commit was about nothing of ours"
        producer.send("hr", HELLO, users=["zhangsan"], connection=session)
        session.commit()
    assert rung == ["hr 1", "hr 1"]


async def _asynchronous(url: str, producer: Producer) -> None:
    async with await psycopg.AsyncConnection.connect(url) as driver:
        producer.send("hr", HELLO, users=["zhangsan"], connection=driver)  # type: ignore[arg-type]


def test_an_asynchronous_connection_is_refused_in_a_sentence(producer: Producer, plain_url: str) -> None:
    with pytest.raises(LedgerError, match=r"^connection: a psycopg.AsyncConnection cannot be used; hand over"):
        asyncio.run(_asynchronous(plain_url, producer))


def _autocommit(url: str, closing: ExitStack) -> psycopg.Connection:
    return closing.enter_context(psycopg.connect(url, autocommit=True))


def _closed(url: str, _: ExitStack) -> psycopg.Connection:
    driver = psycopg.connect(url)
    driver.close()
    return driver


def _failed(url: str, closing: ExitStack) -> psycopg.Connection:
    driver = closing.enter_context(psycopg.connect(url))
    with pytest.raises(psycopg.errors.DivisionByZero):
        driver.execute("select 1 / 0")
    return driver


def _failed_session(url: str, closing: ExitStack) -> Session:
    session = _session(url, closing)
    with pytest.raises(DataError):
        session.execute(text("select 1 / 0"))
    return session


def _session(url: str, closing: ExitStack, **options: str) -> Session:
    engine = create_engine(make_url(url).set(drivername="postgresql+psycopg"), execution_options=options)
    closing.callback(engine.dispose)
    return closing.enter_context(Session(engine))


def _autocommit_session(url: str, closing: ExitStack) -> Session:
    return _session(url, closing, isolation_level="AUTOCOMMIT")


def _closed_connection(url: str, closing: ExitStack) -> Connection:
    connection = _session(url, closing).connection()
    connection.close()
    return connection


def _sqlite(_: str, closing: ExitStack) -> Session:
    engine = create_engine("sqlite://")
    closing.callback(engine.dispose)
    return closing.enter_context(Session(engine))


@pytest.mark.parametrize(
    ("lent", "sentence"),
    [
        (lambda *_: object(), "a builtins.object cannot be used; hand over a SQLAlchemy Session"),
        (_sqlite, "a sqlite3.Connection cannot be used"),
        (lambda *_: Session(), "This session is not bound"),
        (_autocommit, "with connection.transaction"),
        (_autocommit_session, "it commits every statement by itself"),
        (_closed, "it is closed"),
        (_closed_connection, "This Connection is closed"),
        (_failed, "roll it back first"),
        (_failed_session, "roll it back first"),
    ],
)
def test_what_cannot_take_part_is_refused_in_a_sentence(
    lent: Callable[[str, ExitStack], Transaction], sentence: str, plain_url: str, producer: Producer, ledger: Ledger
) -> None:
    with ExitStack() as closing:
        transaction = lent(plain_url, closing)
        with pytest.raises(LedgerError, match=r"^connection: ") as caught:
            producer.send("hr", HELLO, users=["zhangsan"], connection=transaction)
    assert sentence in str(caught.value)
    assert "https://" not in str(caught.value)
    assert ledger.history.counts("hr") == {}


def test_a_connection_to_another_database_is_refused_in_a_sentence(producer: Producer, servers: Servers) -> None:
    elsewhere = make_url(servers.database_url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(elsewhere) as driver:
        with pytest.raises(LedgerError, match="its database has no tables of wecom-worker"):
            producer.send("hr", HELLO, users=["zhangsan"], connection=driver)
        driver.rollback()


def test_a_user_needs_the_rights_in_the_documentation_and_no_more(
    producer: Producer, plain_url: str, ledger: Ledger
) -> None:
    def send_and_recall(driver: psycopg.Connection) -> None:
        message_id = producer.send("hr", HELLO, users=["zhangsan"], idempotency_key="1", connection=driver)
        producer.campaign("payday", sender="hr", message=HELLO, recipients=["zhangsan"], connection=driver)
        producer.recall(message_id, connection=driver)

    with psycopg.connect(plain_url) as driver:
        driver.execute("create role guest_of_the_ledger")
        with driver.transaction(force_rollback=True):
            driver.execute("set local role guest_of_the_ledger")
            with pytest.raises(LedgerError, match="permission denied for schema wecom"):
                send_and_recall(driver)
        driver.execute("grant usage on schema wecom to guest_of_the_ledger")
        driver.execute("grant select, insert, update on all tables in schema wecom to guest_of_the_ledger")
        driver.execute("set local role guest_of_the_ledger")
        send_and_recall(driver)
        driver.rollback()
    assert ledger.history.counts("hr") == {}


def test_the_documentation_does_what_it_says(
    producer: Producer, ledger: Ledger, engine: Engine, plain_url: str, orders: Orders
) -> None:
    ledger.senders.add(Sender("hr-notices", "wecom", 1000002, {"corpid": "ww-simulator", "corpsecret": "-"}))
    page = (TESTS.parent / "docs" / "transactions.md").read_text(encoding="utf-8")
    names = {"wecom": producer, "engine": engine, "url": plain_url, "Session": Session, "text": text, "Text": Text}
    for block in page.split("```python\n")[1:]:
        exec(block.split("```")[0], names | {"psycopg": psycopg})
    assert orders() == {1, 2, 3}
    assert ledger.history.counts("hr-notices") == {State.SCHEDULED: 3}


def test_of_hundreds_of_transactions_of_a_program_killed_again_and_again_exactly_the_committed_ones_are_delivered(
    environment: dict[str, str],
    ledger: Ledger,
    simulator: SimulatorControl,
    start: Callable[..., CeleryProcess],
    eventually: Callable[..., None],
) -> None:
    start(WORKER)
    start(BEAT)
    prove(TESTS / "killed_plain.py", environment, ledger, simulator, eventually)
