"""Sending again what has failed."""

from contextlib import suppress
from uuid import UUID

import pytest
from sqlalchemy import text

from worker import Producer, State, Text, UnknownMessage
from worker.ledger import Ledger

HELLO = Text(content="hello")


def fail_everything(ledger: Ledger) -> None:
    with ledger.engine.begin() as connection:
        connection.execute(text("update wecom.messages set state = 'failed', errcode = 81013, error = 'unreachable'"))


def the_message(ledger: Ledger) -> UUID:
    with ledger.engine.connect() as connection:
        message: UUID = connection.scalars(text("select id from wecom.messages")).one()
    return message


def test_a_failed_message_is_sent_again_with_all_its_parts_and_only_once(producer: Producer, ledger: Ledger) -> None:
    message = producer.send("hr", HELLO, users=[f"user{number}" for number in range(1001)])
    assert not producer.retry(message)
    fail_everything(ledger)
    assert producer.retry(str(message))
    assert ledger.history.counts("hr") == {State.SCHEDULED: 2}
    assert not producer.retry(message)


def test_a_retry_takes_part_in_the_transaction_of_the_caller(producer: Producer, ledger: Ledger) -> None:
    message = producer.send("hr", HELLO, users=["zhangsan"])
    fail_everything(ledger)
    with suppress(ZeroDivisionError), ledger.engine.begin() as connection:
        assert producer.retry(message, connection=connection)
        raise ZeroDivisionError
    assert producer.status(message).state is State.FAILED


def test_a_failed_message_of_a_cancelled_campaign_stays_failed_until_the_campaign_goes_on(
    producer: Producer, ledger: Ledger
) -> None:
    producer.campaign("payday", sender="hr", message=HELLO, recipients=["zhangsan"])
    fail_everything(ledger)
    producer.cancel_campaign("payday")
    message = the_message(ledger)
    assert not producer.retry(message)
    assert producer.status(message).state is State.FAILED
    producer.resume_campaign("payday")
    assert producer.retry(message)


@pytest.mark.parametrize("unknown", [UUID(int=1), "no id at all"])
def test_what_was_never_sent_cannot_be_sent_again(producer: Producer, unknown: UUID | str) -> None:
    with pytest.raises(UnknownMessage):
        producer.retry(unknown)
