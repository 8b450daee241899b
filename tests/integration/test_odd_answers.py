"""Whatever a provider hands over: one odd answer costs neither the others of its batch nor itself."""

from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import orjson
import pytest
from raw_server import Asked, RawServer, ok
from sqlalchemy import text

from worker import Producer, SendRequest, State, Text
from worker.delivery.deliver import deliver
from worker.delivery.office import open_office
from worker.ledger import ClaimedMessage, Ledger, Settlement
from worker.messages.recipients import InvalidRecipients
from worker.settings import Settings

ODD = "u7"


@pytest.fixture
def claimed(ledger: Ledger, producer: Producer) -> list[ClaimedMessage]:
    """Messages to twenty members, claimed by a worker."""
    producer.send_many(SendRequest("hr", Text(content="hello"), users=[f"u{n}"]) for n in range(20))
    return ledger.deliveries.claim("hr", 20, 60, None)


def sent(message: ClaimedMessage) -> Settlement:
    return Settlement(
        message.id,
        message.attempt,
        State.SENT,
        at=message.claimed_at + timedelta(seconds=1),
        category="accepted",
        retries=0,
        msgid=f"msgid of {message.recipients.users[0]}",
    )


def odd_of(claimed: list[ClaimedMessage]) -> UUID:
    [message] = [one.id for one in claimed if one.recipients.users == (ODD,)]
    return message


@pytest.mark.parametrize(
    ("answer", "kept"),
    [
        ({"invaliduser": "x" * 12_000}, "invalid"),
        ({"invaliduser": "|".join(f"somebody{n}" for n in range(20_000))}, "invalid"),
        ({"msgid": "m" * 200_000}, "msgid"),
        ({"response_code": "r" * 12_000}, "response_code"),
        ({"invaliduser": "\x00half of a character"}, None),
    ],
    ids=["long userid", "many userids", "long msgid", "long response_code", "NUL"],
)
def test_an_odd_answer_of_wecom_costs_no_other_and_is_not_sent_again(
    ledger: Ledger, producer: Producer, chosen: Settings, answer: dict[str, str], kept: str | None
) -> None:
    def wecom(asked: Asked) -> bool:
        content = {"errcode": 0, "errmsg": "ok", "msgid": f"m{asked.number}"}
        if "gettoken" in asked.line:
            content |= {"access_token": "token", "expires_in": 7200}
        elif orjson.loads(asked.body)["touser"] == ODD:
            content |= answer
        asked.wire.sendall(ok(orjson.dumps(content)))
        return True

    ids = producer.send_many(SendRequest("hr", Text(content="hello"), users=[f"u{n}"]) for n in range(20))
    with RawServer(wecom) as server:
        office = open_office(chosen.model_copy(update={"api_base_url": server.address}), lambda _sender, _slot: None)
        try:
            deliver(office, "hr", lambda: None)
            deliver(office, "hr", lambda: None)
        finally:
            office.close()
    sends = [orjson.loads(one.body)["touser"] for one in server.asked if "send" in one.line]
    assert sorted(sends) == sorted(f"u{n}" for n in range(20))
    assert ledger.history.counts("hr") == {State.SENT: 20}
    odd = producer.status(ids[7])
    if kept:
        assert kept in str(odd.error)
    assert len(odd.invalid.users) <= 1200


@pytest.mark.parametrize(
    ("refused", "kept"), [("msgid not like '%u7'", None), ("response_code <> 'odd'", "msgid of u7")]
)
def test_an_answer_that_postgres_refuses_is_stored_alone_without_what_is_odd_about_it(
    ledger: Ledger, producer: Producer, claimed: list[ClaimedMessage], refused: str, kept: str | None
) -> None:
    with ledger.engine.begin() as connection:
        connection.execute(text(f"alter table wecom.messages add constraint refused check ({refused})"))
    answers = [replace(sent(one), response_code="odd" if one.recipients.users == (ODD,) else None) for one in claimed]
    ledger.deliveries.settle("hr", answers)

    assert ledger.history.counts("hr") == {State.SENT: 20}
    odd = producer.status(odd_of(claimed))
    assert (odd.msgid, odd.attempts) == (kept, ())
    assert "stored without all that WeCom said" in str(odd.error)
    other = producer.status(next(one.id for one in claimed if one.id != odd.id))
    assert (other.error, other.attempts) == (None, ())


@pytest.mark.parametrize(
    "odd",
    [
        {"reason": "w" * 3_000_000},
        {"reason": "half \ud800 of a character, and \x00"},
        {"errcode": 2**40},
        {"http_status": 99_999},
        {"msgid": "\x00"},
        {"response_code": "\udfff"},
        {"invalid": InvalidRecipients(users=("\ud800", "x" * 9_000, "\x00"), tags=("t" * 9_000,))},
    ],
    ids=str,
)
def test_what_no_column_can_hold_is_bounded_before_it_meets_one(
    ledger: Ledger, claimed: list[ClaimedMessage], odd: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    settlements = [
        replace(sent(message), **odd) if message.recipients.users == (ODD,) else sent(message)  # type: ignore[arg-type]
        for message in claimed
    ]
    ledger.deliveries.settle("hr", settlements)
    assert ledger.history.counts("hr") == {State.SENT: 20}
    assert "stored one by one" not in caplog.text


def test_a_late_answer_is_noted_once_however_often_it_is_stored(
    ledger: Ledger, producer: Producer, claimed: list[ClaimedMessage]
) -> None:
    message = odd_of(claimed)
    with ledger.engine.begin() as connection:
        connection.execute(text("update wecom.messages set lease_until = now() where id = :id"), {"id": message})
    ledger.reaper.reap(0)
    settlements = [sent(one) for one in claimed]
    for _ in range(3):
        ledger.deliveries.settle("hr", settlements)
    assert [one.category for one in producer.status(message).attempts] == ["uncertain", "accepted"]
    assert ledger.history.counts("hr") == {State.SENT: 19, State.SCHEDULED: 1}
    other = next(one.id for one in claimed if one.id != message)
    assert producer.status(other).attempts == ()


def test_a_failure_that_is_stored_twice_is_noted_once(
    ledger: Ledger, producer: Producer, claimed: list[ClaimedMessage]
) -> None:
    failed = [replace(sent(one), state=State.FAILED, category="content", errcode=45002) for one in claimed]
    for _ in range(2):
        ledger.deliveries.settle("hr", failed)
    assert {len(producer.status(one.id).attempts) for one in claimed} == {1}
