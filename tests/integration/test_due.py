"""The dispatcher finds every sender with something due, however much waits elsewhere."""

from datetime import UTC, datetime, timedelta

import pytest

from worker import Producer, SendRequest, Text
from worker.ledger import Ledger, due
from worker.ledger.due import DueSender
from worker.messages.sender import Sender

BACKLOG = 20


@pytest.fixture
def behind(ledger: Ledger, producer: Producer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A backlog of one sender that is longer than what is looked at first, and one message of another behind it."""
    monkeypatch.setattr(due, "LOOKED_AT", BACKLOG - 1)
    ledger.senders.add(Sender("sales", "wecom", 1000003, {"corpid": "ww-simulator", "corpsecret": "simulator-secret"}))
    producer.send_many(SendRequest("hr", Text(content=f"{n}"), users=["one"]) for n in range(BACKLOG))
    producer.send("sales", Text(content="behind"), users=["two"])


@pytest.mark.usefixtures("behind")
def test_a_sender_behind_the_backlog_of_another_is_found(ledger: Ledger) -> None:
    assert ledger.due.senders(5, None) == [DueSender("hr", 5), DueSender("sales", 1)]


@pytest.mark.usefixtures("behind")
def test_a_sender_behind_the_backlog_of_a_paused_one_is_found(ledger: Ledger) -> None:
    ledger.senders.pause("hr", "by hand")
    assert ledger.due.senders(5, None) == [DueSender("sales", 1)]


def test_in_a_quiet_window_those_are_found_that_are_urgent_or_cannot_wait(ledger: Ledger, producer: Producer) -> None:
    now = ledger.due.now()
    for name in ("urgent", "pressing", "patient"):
        ledger.senders.add(Sender(name, "wecom", 1000003, {"corpid": "ww", "corpsecret": "s"}))
    producer.send("urgent", Text(content="now"), users=["one"], urgent=True)
    producer.send("pressing", Text(content="soon"), users=["one"], expires=now + timedelta(minutes=1))
    producer.send("patient", Text(content="later"), users=["one"])

    found = ledger.due.senders(5, now + timedelta(minutes=3))

    assert {one.name for one in found} == {"urgent", "pressing"}


def test_what_is_not_due_yet_is_not_found(ledger: Ledger, producer: Producer) -> None:
    producer.send("hr", Text(content="in 2090"), users=["one"], at=datetime(2090, 1, 1, tzinfo=UTC))
    assert ledger.due.senders(5, None) == []


def test_a_paused_sender_is_not_found(ledger: Ledger, producer: Producer) -> None:
    producer.send("hr", Text(content="now"), users=["one"])
    assert ledger.due.senders(5, None) == [DueSender("hr", 1)]
    ledger.senders.pause("hr", "by hand")
    assert ledger.due.senders(5, None) == []
