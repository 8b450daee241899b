"""What a producer may ask for, and what the ledger holds afterwards."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import make_url, text

from worker import (
    IdempotencyConflict,
    InvalidMessage,
    Producer,
    SendRequest,
    State,
    Text,
    UnknownMessage,
    UnknownSender,
)
from worker.delivery.deliver import deliver
from worker.delivery.office import open_office
from worker.delivery.requests import LATEST
from worker.ledger import Ledger, LedgerError
from worker.settings import Settings, SettingsError
from worker.simulator.control import SimulatorControl

HELLO = Text(content="hello")
TOMORROW = datetime.now(UTC) + timedelta(days=1)


def test_a_message_is_a_row_before_anybody_is_told(producer: Producer) -> None:
    status = producer.status(producer.send("hr", HELLO, users=["zhangsan"], parties=[2], tags=[7]))
    assert status.state is State.SCHEDULED
    assert (status.recipients.users, status.recipients.parties, status.recipients.tags) == (
        ("zhangsan",),
        ("2",),
        ("7",),
    )
    assert status.send_at == status.requested_at


def test_a_message_for_later_waits_until_then(producer: Producer) -> None:
    status = producer.status(producer.send("hr", HELLO, users=["zhangsan"], at=TOMORROW))
    assert status.requested_at == TOMORROW


def test_an_audience_of_2500_becomes_three_messages_found_through_the_first(producer: Producer) -> None:
    first = producer.status(producer.send("hr", HELLO, users=[f"u{n}" for n in range(2500)]))
    others = [producer.status(part) for part in first.parts]
    assert [len(one.recipients.users) for one in (first, *others)] == [1000, 1000, 500]
    assert others[0].parts == (first.id, others[1].id)


def test_an_unknown_sender_is_refused_with_the_known_ones(producer: Producer) -> None:
    with pytest.raises(UnknownSender, match="no sender named 'payroll'; known senders: hr"):
        producer.send("payroll", HELLO, users=["zhangsan"])


def test_a_message_that_is_none_is_refused_in_one_line(producer: Producer) -> None:
    with pytest.raises(InvalidMessage, match=r'^message: a message like Text\(content="..."\) is needed, not str$'):
        producer.send("hr", "plain text", users=["a"])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("asked", "complaint"),
    [
        ({"at": "tomorrow"}, "at: a datetime with a time zone is needed, not str"),
        ({"expires": "tomorrow"}, "expires: a datetime with a time zone is needed, not str"),
        ({"at": datetime(2031, 1, 1)}, "at: 2031-01-01T00:00:00 has no time zone"),  # noqa: DTZ001
        ({"at": datetime(2001, 1, 1, tzinfo=UTC)}, "has passed"),
        ({"expires": datetime(2031, 1, 1)}, "expires: 2031-01-01T00:00:00 has no time zone"),  # noqa: DTZ001
        ({"expires": datetime(2001, 1, 1, tzinfo=UTC)}, "not after the time of sending"),
        ({"at": TOMORROW, "expires": TOMORROW}, "not after the time of sending"),
        ({"users": []}, "nobody is named"),
        ({"users": ["@all"]}, "everyone=True"),
        ({"idempotency_key": ""}, "1 to 255 characters"),
        ({"idempotency_key": "k" * 256}, "1 to 255 characters"),
    ],
)
def test_what_cannot_be_sent_is_refused_and_leaves_nothing_behind(
    producer: Producer, ledger: Ledger, asked: dict[str, object], complaint: str
) -> None:
    with pytest.raises(InvalidMessage) as caught:
        producer.send("hr", HELLO, **({"users": ["zhangsan"]} | asked))  # type: ignore[arg-type]
    assert complaint in str(caught.value)
    assert ledger.history.counts("hr") == {}


def test_of_many_messages_all_are_stored_or_none(producer: Producer, ledger: Ledger) -> None:
    requests = [SendRequest("hr", HELLO, users=[f"u{n}"]) for n in range(1500)] + [SendRequest("hr", HELLO)]
    with pytest.raises(InvalidMessage):
        producer.send_many(requests)
    assert ledger.history.counts("hr") == {}

    assert len(set(producer.send_many(requests[:-1]))) == 1500
    assert ledger.history.counts("hr") == {State.SCHEDULED: 1500}


def test_the_same_key_and_message_are_stored_once(producer: Producer, ledger: Ledger) -> None:
    first, second = (producer.send("hr", HELLO, users=["zhangsan"], idempotency_key="payday") for _ in range(2))
    assert first == second
    assert ledger.history.counts("hr") == {State.SCHEDULED: 1}


@pytest.mark.parametrize(
    "other", [{"message": Text(content="other")}, {"users": ["lisi"]}], ids=["other content", "other recipients"]
)
def test_the_same_key_for_another_message_is_a_conflict(
    producer: Producer, ledger: Ledger, other: dict[str, object]
) -> None:
    asked: dict[str, object] = {"message": HELLO, "users": ["zhangsan"]}
    producer.send("hr", **asked, idempotency_key="payday")  # type: ignore[arg-type]
    with pytest.raises(IdempotencyConflict, match="used for another message"):
        producer.send("hr", **(asked | other), idempotency_key="payday")  # type: ignore[arg-type]
    assert ledger.history.counts("hr") == {State.SCHEDULED: 1}


def test_a_key_can_be_used_again_once_it_has_expired(producer: Producer, ledger: Ledger) -> None:
    producer.send("hr", HELLO, users=["zhangsan"], idempotency_key="payday")
    with ledger.engine.begin() as connection:
        connection.execute(text("update wecom.idempotency_keys set expires_at = now()"))
    producer.send("hr", Text(content="next month"), users=["zhangsan"], idempotency_key="payday")
    assert ledger.history.counts("hr") == {State.SCHEDULED: 2}


def test_two_messages_that_say_the_same_are_two_requests(producer: Producer) -> None:
    bodies = [producer.status(producer.send("hr", HELLO, users=["zhangsan"])).body for _ in range(5)]
    intervals = {body["duplicate_check_interval"] for body in bodies}
    assert len(intervals) > 1, "WeCom would take them for repetitions of one message"
    assert all(600 <= interval < 3600 for interval in intervals)


def test_a_message_in_the_callers_transaction_goes_with_it(producer: Producer, ledger: Ledger) -> None:
    with ledger.engine.connect() as connection:
        producer.send("hr", HELLO, users=["zhangsan"], connection=connection)
        connection.rollback()
        assert ledger.history.counts("hr") == {}
        producer.send("hr", HELLO, users=["zhangsan"], connection=connection)
        connection.commit()
    assert ledger.history.counts("hr") == {State.SCHEDULED: 1}


@pytest.mark.parametrize("asked", ["nonsense", "", None, "01a1f85b-87ae-723f-8650-d5ce96ae60a0"])
def test_an_unknown_message_is_a_clear_error(producer: Producer, asked: str) -> None:
    with pytest.raises(UnknownMessage, match="message"):
        producer.status(asked)
    with pytest.raises(UnknownMessage, match="message"):
        producer.recall(asked)


def test_a_database_that_is_down_is_a_clear_error_without_its_address() -> None:
    producer = Producer(
        database_url="postgresql+psycopg://someone:pass-word@127.0.0.1:1/wecom", redis_url="redis://127.0.0.1:1"
    )
    with pytest.raises(LedgerError, match="Postgres cannot be reached") as caught:
        producer.send("hr", HELLO, users=["zhangsan"])
    assert "pass-word" not in str(caught.value)


@pytest.mark.parametrize("url", ["oracle://me:pass-word@host/x", "postgresql+psycopg://:::pass-word"])
def test_a_database_url_that_cannot_be_read_is_a_clear_error(url: str) -> None:
    with pytest.raises(LedgerError, match="WECOM_DATABASE_URL cannot be read") as caught:
        Producer(database_url=url, redis_url="redis://127.0.0.1:1").send("hr", HELLO, users=["zhangsan"])
    assert "pass-word" not in str(caught.value)


def test_a_database_url_as_other_programs_write_it_is_understood(database_url: str, ledger: Ledger) -> None:
    assert ledger.history.counts("hr") == {}
    producer = Producer(
        database_url=database_url.replace("postgresql+psycopg://", "postgresql://"), redis_url="redis://127.0.0.1:1"
    )
    producer.send("hr", HELLO, users=["zhangsan"])
    producer.close()
    assert ledger.history.counts("hr") == {State.SCHEDULED: 1}


def test_a_server_that_is_not_named_by_a_url_is_a_clear_error() -> None:
    with pytest.raises(SettingsError, match="WECOM_REDIS_URL: must begin with redis://"):
        Producer(redis_url="pass-word")
    with pytest.raises(SettingsError, match="WECOM_DATABASE_URL: must be a URL"):
        Producer(database_url="pass-word")


def test_asking_again_is_answered_even_when_the_time_asked_for_has_passed(
    producer: Producer, ledger: Ledger, set_clock: Callable[[datetime], None]
) -> None:
    first = producer.send("hr", HELLO, users=["zhangsan"], at=TOMORROW, idempotency_key="payday")
    set_clock(TOMORROW + timedelta(hours=1))
    assert producer.send("hr", HELLO, users=["zhangsan"], at=TOMORROW, idempotency_key="payday") == first
    assert ledger.history.counts("hr") == {State.SCHEDULED: 1}


def test_producers_with_the_same_keys_in_another_order_do_not_block_each_other(
    producer: Producer, ledger: Ledger
) -> None:
    keys = [f"key-{n}" for n in range(60)]

    def send(order: list[str]) -> list[UUID]:
        return producer.send_many(SendRequest("hr", HELLO, users=[key], idempotency_key=key) for key in order)

    with ThreadPoolExecutor(2) as pool:
        forwards, backwards = pool.submit(send, keys), pool.submit(send, keys[::-1])
        assert forwards.result() == backwards.result()[::-1]
    assert ledger.history.counts("hr") == {State.SCHEDULED: 60}


@pytest.mark.parametrize("key", ["with\0nul", "with \ud800 surrogate"])
def test_a_key_that_cannot_be_stored_is_refused(producer: Producer, key: str) -> None:
    with pytest.raises(InvalidMessage, match="idempotency_key"):
        producer.send("hr", HELLO, users=["zhangsan"], idempotency_key=key)


@pytest.mark.parametrize("name", ["h\0r", "h\ud800r"])
def test_a_sender_whose_name_cannot_be_one_is_unknown(producer: Producer, name: str) -> None:
    with pytest.raises(UnknownSender):
        producer.send(name, HELLO, users=["zhangsan"])


def test_without_a_duplicate_check_the_ledger_says_so(producer: Producer) -> None:
    body = producer.status(
        producer.send("hr", Text(content="again", enable_duplicate_check=0), users=["zhangsan"])
    ).body
    assert body["enable_duplicate_check"] == 0
    assert "duplicate_check_interval" not in body


def test_a_request_has_no_say_in_the_id_of_its_message() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'id'"):
        SendRequest("hr", HELLO, users=["zhangsan"], id=UUID(int=1))  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"everyone": "no"}, "everyone: True or False is needed"),
        ({"everyone": 1}, "everyone: True or False is needed"),
        ({"urgent": "no"}, "urgent: True or False is needed"),
        ({"idempotency_key": 5}, "idempotency_key: 1 to 255 characters are needed, not "),
        ({"at": datetime(9999, 12, 31, 23, 59, tzinfo=timezone(timedelta(hours=-12)))}, "at: .* not a time that can"),
        ({"at": datetime.max.replace(tzinfo=UTC)}, "at: .* not a time that can"),
        ({"expires": datetime.max.replace(tzinfo=UTC)}, "expires: .* not a time that can"),
    ],
)
def test_what_is_no_flag_key_or_time_is_refused_by_name(
    producer: Producer, changes: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(InvalidMessage, match=complaint):
        producer.send("hr", Text(content="hello"), **{"users": ["zhangsan"]} | changes)


def test_a_sender_that_is_no_name_is_refused(producer: Producer) -> None:
    with pytest.raises(InvalidMessage, match="sender: the name of a sender is needed"):
        producer.send(None, Text(content="hello"), users=["zhangsan"])  # type: ignore[arg-type]


def test_the_latest_time_there_is_stops_no_worker_whose_database_shows_other_hours(
    database_url: str, chosen: Settings, ledger: Ledger, simulator: SimulatorControl
) -> None:
    with ledger.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(f"alter database {make_url(database_url).database} set timezone = 'Asia/Shanghai'")
    ledger.engine.dispose()
    with closing(Producer(settings=chosen)) as producer:
        producer.send("hr", HELLO, users=["a"], expires=LATEST)
        producer.send("hr", HELLO, users=["b"])
    office = open_office(chosen, lambda *_: None)
    deliver(office, "hr", lambda: None)
    office.close()
    assert set(simulator.served()) == {"a", "b"}
