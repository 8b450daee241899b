"""What `captured()` keeps for the tests of programs that send; no server is started for any of this."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from worker import (
    CampaignConflict,
    CardUpdate,
    IdempotencyConflict,
    Image,
    InvalidMessage,
    MediaFile,
    Producer,
    SendRequest,
    State,
    Text,
    UnknownCampaign,
    UnknownMessage,
)
from worker.testing import CapturedCampaign, Outbox, captured

HELLO = Text(content="你好")
TEMPLATE = Text(content="{{ name }}, your payslip is ready.")
ROWS = [{"userid": "zhangsan", "name": "张三"}, {"userid": "lisi", "name": "李四"}]


@pytest.fixture(autouse=True)
def _no_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no server can be reached, and no embedded one be started."""
    monkeypatch.setenv("WECOM_DATABASE_URL", "postgresql+psycopg://nobody@127.0.0.1:1/nowhere")
    monkeypatch.setenv("WECOM_REDIS_URL", "redis://127.0.0.1:1/0")


@pytest.fixture
def outbox() -> Iterator[Outbox]:
    with captured() as outbox:
        yield outbox


@pytest.fixture
def wecom() -> Producer:
    return Producer()


def test_a_message_is_kept_as_it_was_asked_for(outbox: Outbox, wecom: Producer) -> None:
    at = datetime(2040, 11, 20, 9, tzinfo=UTC)
    message = wecom.send(
        "hr",
        HELLO,
        users=(name for name in ["zhangsan", "LiSi", "lisi"]),
        parties=[2, "3"],
        tags=[7],
        at=at,
        expires=at + timedelta(hours=1),
        urgent=True,
        idempotency_key="hello",
    )
    assert (message.version, outbox[0].sender, len(outbox)) == (7, "hr", 1)
    [kept] = outbox.messages
    assert (kept.id, kept.message) == (message, HELLO)
    assert (kept.users, kept.parties, kept.tags, kept.everyone) == (("zhangsan", "LiSi"), (2, 3), (7,), False)
    assert (kept.at, kept.expires, kept.urgent, kept.idempotency_key) == (at, at + timedelta(hours=1), True, "hello")


def test_a_message_to_everyone_names_nobody(outbox: Outbox, wecom: Producer) -> None:
    wecom.send("hr", HELLO, everyone=True)
    assert (outbox.messages[0].everyone, outbox.messages[0].users, outbox.messages[0].at) == (True, (), None)


def test_messages_and_campaigns_stand_in_the_order_in_which_they_were_asked_for(
    outbox: Outbox, wecom: Producer
) -> None:
    assert not outbox
    wecom.send("hr", HELLO, users=["zhangsan"])
    wecom.campaign("payday", sender="hr", message=HELLO, recipients=["lisi"])
    wecom.send_many([SendRequest("it", HELLO, users=["a"]), SendRequest("it", HELLO, users=["b"])])
    assert [one.sender for one in outbox] == ["hr", "hr", "it", "it"]
    assert [outbox[1]] == outbox.campaigns
    outbox.clear()
    assert outbox == outbox.messages == outbox.campaigns == []


def test_every_producer_of_the_process_is_captured_until_the_block_ends(wecom: Producer) -> None:
    with captured() as outer:
        with captured() as inner:
            wecom.send("hr", HELLO, users=["zhangsan"])
        Producer().send("hr", HELLO, users=["lisi"])
        with pytest.raises(ZeroDivisionError), captured():
            _ = 1 / 0
        wecom.send("hr", HELLO, users=["wangwu"])
    assert [one.users for one in inner.messages] == [("zhangsan",)]
    assert [one.users for one in outer.messages] == [("lisi",), ("wangwu",)]
    assert Producer.capture is None


BAD_SENDS: list[tuple[dict[str, Any], str]] = [
    ({"users": []}, "nobody is named"),
    ({"users": "zhangsan"}, "a list is needed"),
    ({"users": ["a|b"]}, "which no userid has"),
    ({"users": ["@all"]}, "everyone=True"),
    ({"users": ["a"], "at": datetime(2040, 1, 1)}, "no time zone"),  # noqa: DTZ001 - that is the point
    ({"users": ["a"], "at": datetime(2020, 1, 1, tzinfo=UTC)}, "has passed"),
    ({"users": ["a"], "expires": datetime(2020, 1, 1, tzinfo=UTC)}, "not after the time of sending"),
    ({"users": ["a"], "idempotency_key": ""}, "1 to 255 characters"),
    ({"users": ["a"], "message": {"msgtype": "text"}}, "a message like Text"),
    ({"users": ["a"], "message": Image(media_id=MediaFile(path="missing.png"))}, "cannot be read"),
]


@pytest.mark.parametrize(("arguments", "words"), BAD_SENDS, ids=[words for _, words in BAD_SENDS])
def test_what_cannot_be_sent_is_refused_and_not_kept(
    outbox: Outbox, wecom: Producer, arguments: dict[str, Any], words: str
) -> None:
    with pytest.raises(InvalidMessage, match=words):
        wecom.send(**{"sender": "hr", "message": HELLO} | arguments)
    with pytest.raises(InvalidMessage, match=words):
        wecom.send_many(
            [SendRequest("hr", HELLO, users=["a"]), SendRequest(**{"sender": "hr", "message": HELLO} | arguments)]
        )
    assert outbox == []


def test_a_key_stands_for_one_message_of_one_sender(outbox: Outbox, wecom: Producer) -> None:
    first = wecom.send("hr", HELLO, users=["zhangsan"], idempotency_key="k")
    assert wecom.send("hr", HELLO, users=["zhangsan"], idempotency_key="k") == first
    assert wecom.send("it", HELLO, users=["zhangsan"], idempotency_key="k") != first
    with pytest.raises(IdempotencyConflict, match="'k' was used for another message"):
        wecom.send("hr", HELLO, users=["lisi"], idempotency_key="k")
    twice = SendRequest("hr", HELLO, users=["a"], idempotency_key="twice")
    assert len(set(wecom.send_many([twice, twice]))) == 1
    assert len(outbox) == 3


def test_a_campaign_is_kept_with_what_each_recipient_would_get(outbox: Outbox, wecom: Producer) -> None:
    campaign = wecom.campaign("payday", sender="hr", message=TEMPLATE, recipients=iter([*ROWS, ROWS[0]]), urgent=True)
    assert (campaign.created, campaign.messages, campaign.recipients, campaign.duplicates) == (True, 2, 2, 1)
    [kept] = outbox.campaigns
    assert (kept.name, kept.sender, kept.message, kept.urgent) == ("payday", "hr", TEMPLATE, True)
    assert kept.messages == {
        "zhangsan": Text(content="张三, your payslip is ready."),
        "lisi": Text(content="李四, your payslip is ready."),
    }


def test_a_campaign_of_one_text_takes_a_call_for_a_thousand_members(outbox: Outbox, wecom: Producer) -> None:
    campaign = wecom.campaign("all", sender="hr", message=HELLO, recipients=[f"user{n}" for n in range(1001)])
    assert (campaign.messages, campaign.recipients, campaign.counts) == (2, 1001, {State.SCHEDULED: 2})
    assert len(outbox.campaigns[0].messages) == 1001


BAD_CAMPAIGNS: list[tuple[dict[str, Any], str]] = [
    ({"recipients": []}, "nobody is named"),
    ({"recipients": "zhangsan"}, "a list is needed"),
    ({"recipients": [*ROWS, {"userid": "wangwu"}]}, "recipient 3: text.content: 'name' is undefined"),
    ({"recipients": [{"name": "x"}]}, "recipient 1: userid: is missing"),
    ({"message": Text(content="{{ name")}, "not a template"),
    ({"name": "a/b"}, "printable characters"),
    ({"at": datetime(2020, 1, 1, tzinfo=UTC)}, "has passed"),
]


@pytest.mark.parametrize(("arguments", "words"), BAD_CAMPAIGNS, ids=[words for _, words in BAD_CAMPAIGNS])
def test_a_campaign_that_cannot_be_sent_is_refused_and_not_kept(
    outbox: Outbox, wecom: Producer, arguments: dict[str, Any], words: str
) -> None:
    with pytest.raises(InvalidMessage, match=words):
        wecom.campaign(**{"name": "payday", "sender": "hr", "message": TEMPLATE, "recipients": ROWS} | arguments)
    assert outbox == []


def test_a_campaign_asked_for_again_is_found_and_with_other_content_refused(outbox: Outbox, wecom: Producer) -> None:
    first = wecom.campaign("payday", sender="hr", message=TEMPLATE, recipients=ROWS)
    again = wecom.campaign("payday", sender="hr", message=TEMPLATE, recipients=ROWS)
    assert (again.id, again.created) == (first.id, False)
    with pytest.raises(CampaignConflict, match="has a campaign 'payday' with other content"):
        wecom.campaign("payday", sender="hr", message=TEMPLATE, recipients=ROWS[:1])
    assert len(outbox) == 1


def test_a_captured_message_can_be_looked_up_and_recalled(outbox: Outbox, wecom: Producer) -> None:
    message = wecom.send("hr", HELLO, users=[f"user{n}" for n in range(1001)])
    status = wecom.status(message)
    assert (status.id, status.state, status.sent_at) == (message, State.SCHEDULED, None)
    assert status.body["text"] == {"content": "你好"}
    assert (len(status.recipients.users), len(status.parts)) == (1000, 1)
    assert [one.state for one in wecom.recall(str(message))] == [State.CANCELLED] * 2
    assert outbox[0].recalled
    assert wecom.status(message).state is State.CANCELLED


def test_a_captured_campaign_can_be_looked_up_and_recalled(outbox: Outbox, wecom: Producer) -> None:
    wecom.campaign("payday", sender="hr", message=TEMPLATE, recipients=ROWS)
    assert wecom.campaign_status("payday").counts == {State.SCHEDULED: 2}
    assert wecom.recall(campaign="payday", sender="hr").counts == {State.CANCELLED: 2}
    assert outbox[0].recalled
    assert wecom.campaign_status("payday").cancelled_at is not None


def test_what_was_never_sent_is_unknown(outbox: Outbox, wecom: Producer) -> None:
    for ask in (wecom.status, wecom.recall, wecom.retry):
        with pytest.raises(UnknownMessage, match="no message has the id"):
            ask(UUID(int=1))
    for ask_campaign in (wecom.campaign_status, lambda name: wecom.recall(campaign=name)):
        with pytest.raises(UnknownCampaign, match="the outbox holds no campaign 'payday'"):
            ask_campaign("payday")
    for sender in ("hr", "it"):
        wecom.campaign("payday", sender=sender, message=HELLO, recipients=["a"])
    with pytest.raises(UnknownCampaign, match="several senders"):
        wecom.campaign_status("payday")
    assert isinstance(outbox[0], CapturedCampaign)


def test_nothing_that_was_captured_has_failed_and_could_be_sent_again(outbox: Outbox, wecom: Producer) -> None:
    message = wecom.send("hr", HELLO, users=["zhangsan"])
    assert not wecom.retry(message)
    assert len(outbox) == 1


NEED_A_LEDGER: list[Callable[[Producer], object]] = [
    lambda wecom: wecom.history("zhangsan"),
    lambda wecom: wecom.campaigns(),
    lambda wecom: wecom.pause_campaign("payday"),
    lambda wecom: wecom.resume_campaign("payday"),
    lambda wecom: wecom.cancel_campaign("payday"),
    lambda wecom: wecom.retry_campaign("payday"),
    lambda wecom: wecom.update_card(UUID(int=1), CardUpdate(replace_name="Done", atall=1)),
]


@pytest.mark.parametrize("ask", NEED_A_LEDGER)
def test_what_needs_a_ledger_says_so(outbox: Outbox, wecom: Producer, ask: Callable[[Producer], object]) -> None:
    with pytest.raises(NotImplementedError, match=r"docs/testing\.md"):
        ask(wecom)
    assert outbox == []


def test_what_was_perhaps_stored_is_found_by_its_id(producer: Producer) -> None:
    with captured() as outbox:
        message = producer.send("hr", Text(content="hello"), users=["zhangsan"])
        again = producer.send("hr", Text(content="hello"), users=["zhangsan"], message_id=message)
        with pytest.raises(IdempotencyConflict, match="stands for another message"):
            producer.send("hr", Text(content="other"), users=["zhangsan"], message_id=message)
    assert again == message
    assert len(outbox) == 1
