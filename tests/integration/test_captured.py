"""What `captured()` answers is what the ledger answers: the same calls to both, and the same words back."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from worker import InvalidMessage, LedgerError, Producer, SendRequest, Text
from worker.testing import captured

HELLO = Text(content="你好")
TEMPLATE = Text(content="{{ name }}, your payslip is ready.")
ROWS = [{"userid": "zhangsan", "name": "张三"}, {"userid": "lisi", "name": "李四"}, {"userid": "LiSi", "name": "x"}]
LATER = datetime(2040, 11, 20, 9, 10, tzinfo=UTC)

Call = Callable[[Producer], object]


def campaign(producer: Producer, **changes: object) -> object:
    asked: dict[str, Any] = {"name": "payday", "sender": "hr", "message": TEMPLATE, "recipients": ROWS} | changes
    stored = producer.campaign(**asked)
    return stored.created, stored.messages, stored.recipients, stored.duplicates, stored.counts, stored.content_hash


def sent(producer: Producer, *requests: SendRequest) -> object:
    ids = producer.send_many(requests)
    return [ids.index(one) for one in ids], [told(producer, one) for one in ids]


def told(producer: Producer, message: object) -> object:
    status = producer.status(str(message))
    body = {name: value for name, value in status.body.items() if name != "duplicate_check_interval"}
    return status.state, status.priority, status.expires_at, status.recipients, body, len(status.parts), status.warnings


def recalled(producer: Producer) -> object:
    message = producer.send("hr", HELLO, users=[f"user{number}" for number in range(1001)])
    return [(one.sender, one.state, one.recall_error) for one in producer.recall(message)], told(producer, message)


def twice(producer: Producer, *contents: Text) -> object:
    return sent(producer, *(SendRequest("hr", content, users=["a"], idempotency_key="k") for content in contents))


CALLS: dict[str, Call] = {
    "a message": lambda producer: sent(producer, SendRequest("hr", HELLO, ["a", "A", "b"], [2], ["7"], urgent=True)),
    "everyone": lambda producer: sent(producer, SendRequest("hr", HELLO, everyone=True, at=LATER)),
    "several": lambda producer: sent(producer, SendRequest("hr", HELLO, ["a"]), SendRequest("hr", HELLO, ["b"])),
    "many members": lambda producer: sent(producer, SendRequest("hr", HELLO, [str(n) for n in range(2500)])),
    "nobody": lambda producer: sent(producer, SendRequest("hr", HELLO)),
    "a past": lambda producer: sent(
        producer, SendRequest("hr", HELLO, ["a"], expires=datetime(2020, 1, 1, tzinfo=UTC))
    ),
    "a key twice": lambda producer: twice(producer, HELLO, HELLO),
    "a key for two": lambda producer: twice(producer, HELLO, Text(content="再见")),
    "a recall": recalled,
    "an unknown id": lambda producer: producer.status("019a9f3e-6c1b-7c3a-9d52-0b5f3c1e2a77"),
    "no id": lambda producer: producer.recall("x"),
    "a campaign": campaign,
    "a campaign twice": lambda producer: (campaign(producer), campaign(producer)),
    "a campaign of one text": lambda producer: campaign(producer, message=HELLO, recipients=["a", "b"]),
    "another content": lambda producer: (campaign(producer), campaign(producer, message=HELLO)),
    "a row without a name": lambda producer: campaign(producer, recipients=[*ROWS, {"userid": "wangwu"}]),
    "no rows": lambda producer: campaign(producer, recipients=[]),
    "a recalled campaign": lambda producer: (campaign(producer), producer.recall(campaign="payday").counts),
}


def outcome(call: Call, producer: Producer) -> object:
    """What a call returns or raises; ids and times differ from one to the other."""
    try:
        return call(producer)
    except (InvalidMessage, LedgerError) as error:
        return type(error), re.sub(r"[0-9a-f]{8}-[-0-9a-f]{27}|\d{4}-\d\d-\d\dT\S+", "...", str(error))


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_captured_call_answers_as_the_ledger_does(producer: Producer, call: Call) -> None:
    with captured():
        from_the_outbox = outcome(call, producer)
    assert from_the_outbox == outcome(call, producer)
