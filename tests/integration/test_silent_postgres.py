"""A Postgres that falls silent without closing a connection: nobody waits for it in vain, and nobody who works is cut.

The proxy acknowledges whatever it is sent, as a machine does whose Postgres is stopped. What Linux itself notices is in
test_dropped_packets.py.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial

import pytest
from faults.addresses import database_upstream, proxied_database_url
from faults.conversation import Request
from faults.postgres import PostgresConversation, statement_with
from faults.proxy import FaultProxy
from faults.rules import Action, Rule
from pydantic import SecretStr
from sqlalchemy import Engine, make_url, text
from sqlalchemy.exc import OperationalError

from worker import LedgerError, PerhapsStored, Producer, Text
from worker.ledger import Ledger, is_passing, open_engine
from worker.settings import Settings

pytestmark = pytest.mark.long

SILENCE = 2.0
"""Seconds; the shortest the setting allows."""
IN_TIME = 2 * SILENCE + 4
"""Seconds, on a busy machine; libpq takes no time-out below two for a connection."""
HELLO = Text(content="Your payslip is ready.")
PERSONAL = Text(content="{{ name }}, your payslip is ready.")


@pytest.fixture
def postgres(database_url: str) -> Iterator[FaultProxy]:
    with FaultProxy(database_upstream(database_url), PostgresConversation) as proxy:
        yield proxy


def behind(chosen: Settings, database_url: str, proxy: FaultProxy) -> Settings:
    """The same settings for what speaks to Postgres through a proxy."""
    url = proxied_database_url(database_url, proxy)
    return chosen.model_copy(update={"database_url": SecretStr(url), "silence_seconds": SILENCE})


def fall_silent_at(proxy: FaultProxy, statement: str | None) -> None:
    """Fall silent now, or once a statement with these words has been carried out."""
    if statement is None:
        proxy.silence()
        return

    def everything_after(request: Request) -> bool:
        nonlocal reached
        reached = reached or statement in request.text.lower()
        return reached

    reached = False
    proxy.rules.add(Rule(everything_after, Action.WITHHOLD_ANSWER))


@pytest.fixture
def engine(database_url: str, postgres: FaultProxy) -> Iterator[Engine]:
    engine = open_engine(proxied_database_url(database_url, postgres), connections=1, silence_seconds=SILENCE)
    with engine.connect() as connection:
        connection.execute(text("select"))
    yield engine
    postgres.rules.clear()
    postgres.resume()
    engine.dispose()


def test_a_statement_whose_answer_does_not_come_fails_and_the_next_connection_works(
    engine: Engine, postgres: FaultProxy
) -> None:
    for action in (Action.SILENCE, Action.WITHHOLD_ANSWER):
        postgres.rules.add(Rule(statement_with("1 + 1"), action, times=1))
        began = time.monotonic()
        with engine.connect() as connection, pytest.raises(OperationalError, match="does not answer") as fault:
            connection.execute(text("select 1 + 1"))
        assert time.monotonic() - began < IN_TIME
        assert is_passing(fault.value)
        with engine.connect() as connection:
            assert connection.scalar(text("select 2 + 2")) == 4


def test_a_server_that_is_silent_again_and_again_is_given_up_each_time(engine: Engine, postgres: FaultProxy) -> None:
    for _ in range(2):
        with engine.connect() as connection:
            postgres.silence()
            began = time.monotonic()
            with pytest.raises(OperationalError):
                connection.execute(text("select 1"))
            assert time.monotonic() - began < IN_TIME
        began = time.monotonic()
        with pytest.raises(OperationalError):
            engine.connect()
        assert time.monotonic() - began < IN_TIME
        postgres.resume()
        with engine.connect() as connection:
            assert connection.scalar(text("select 1")) == 1


def test_a_statement_that_works_for_long_is_left_alone(engine: Engine) -> None:
    with engine.connect() as connection:
        assert connection.scalar(text(f"select 1 from pg_sleep({2 * SILENCE})")) == 1


def test_a_statement_that_waits_for_a_lock_is_left_alone(engine: Engine, database_url: str) -> None:
    other = open_engine(database_url)
    with other.begin() as holder, engine.connect() as connection:
        holder.execute(text("select pg_advisory_xact_lock(1)"))
        end = threading.Timer(2 * SILENCE, holder.rollback)
        end.start()
        connection.execute(text("select pg_advisory_xact_lock(1)"))
        end.join()
    other.dispose()


def test_what_comes_slowly_comes(engine: Engine, postgres: FaultProxy) -> None:
    postgres.rules.add(Rule(statement_with("1 + 1"), Action.DRIP_ANSWER, times=1, seconds=0.04))
    with engine.connect() as connection:
        began = time.monotonic()
        assert connection.scalar(text("select 1 + 1, repeat('x', 60)")) == 2
        assert time.monotonic() - began > 2 * SILENCE


def test_a_campaign_that_meets_silence_fails_and_nothing_of_it_is_stored(
    ledger: Ledger, chosen: Settings, database_url: str, postgres: FaultProxy
) -> None:
    assert ledger.senders.names() == ["hr"]
    producer = Producer(settings=behind(chosen, database_url, postgres))

    def recipients() -> Iterator[dict[str, str]]:
        yield from ({"userid": f"u{number}", "name": str(number)} for number in range(5000))
        postgres.silence()
        yield {"userid": "last", "name": "last"}

    began = time.monotonic()
    with closing(producer), pytest.raises(LedgerError, match="cannot be reached"):
        producer.campaign("payday", sender="hr", message=PERSONAL, recipients=recipients())
    assert time.monotonic() - began < IN_TIME + 5
    postgres.cut_all()
    with ledger.engine.connect() as connection:
        assert connection.scalar(text("select count(*) from wecom.messages")) == 0


def test_rows_by_copy_that_take_their_time_arrive(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(text("create temporary table rows (content text check (pg_sleep(0.5) is not null))"))
        with connection.connection.cursor().copy("copy rows from stdin") as copy:  # type: ignore[attr-defined]
            for _ in range(int(4 * SILENCE)):
                copy.write(b"row\n")
        assert connection.scalar(text("select count(*) from rows")) == 4 * SILENCE


def test_what_the_address_says_wins(database_url: str, postgres: FaultProxy) -> None:
    url = make_url(proxied_database_url(database_url, postgres)).update_query_dict(
        {
            "keepalives_idle": "77",
            "connect_timeout": "9",
            "application_name": "mine",
            "options": "-c lock_timeout=77s -c tcp_user_timeout=88s",
        }
    )
    engine = open_engine(url.render_as_string(hide_password=False), lock_seconds=1)
    with engine.connect() as connection:
        given = connection.connection.driver_connection.info.get_parameters()  # type: ignore[attr-defined]
        assert (given["keepalives_idle"], given["connect_timeout"], given["application_name"]) == ("77", "9", "mine")
        assert given["keepalives_count"] == "3"
        assert connection.scalar(text("show lock_timeout")) == "77s"
    engine.dispose()


def test_postgres_itself_ends_the_session_of_a_client_that_vanished(engine: Engine) -> None:
    with engine.connect() as connection:
        kept = [connection.scalar(text(f"show {name}")) for name in ("tcp_keepalives_idle", "tcp_user_timeout")]
        over_tcp = connection.scalar(text("select inet_server_addr() is not null"))
    assert kept == (["15", "30s"] if over_tcp else ["0", "0"])


def test_a_producer_is_told_in_time_and_what_it_repeats_is_stored_once(
    ledger: Ledger, chosen: Settings, database_url: str, postgres: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Silent before anything is asked, amid the message, and at the COMMIT, again and again."""
    monkeypatch.setattr("worker.ledger.transactions.ANSWER_SECONDS", 1)
    monkeypatch.setattr("worker.ledger.transactions.DOUBT_SECONDS", 3)
    assert ledger.senders.names() == ["hr"]
    moments = (None, None, "insert into wecom.messages", "insert into wecom.messages", "commit")
    with closing(Producer(settings=behind(chosen, database_url, postgres))) as producer:
        producer.campaigns()  # connected
        for number, moment in enumerate(moments):
            send = partial(producer.send, "hr", HELLO, users=["zhangsan"], idempotency_key=str(number))
            fall_silent_at(postgres, moment)
            began = time.monotonic()
            with pytest.raises(LedgerError) as told:
                send()
            assert time.monotonic() - began < IN_TIME + 5
            assert isinstance(told.value, PerhapsStored) == (moment == "commit")
            postgres.rules.clear()
            postgres.resume()
            postgres.cut_all()  # Postgres hears as well that nobody is there any more
            assert send() == send()
    with ledger.engine.connect() as connection:
        assert connection.scalar(text("select count(*) from wecom.messages")) == len(moments)
