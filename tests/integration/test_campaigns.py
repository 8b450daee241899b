"""Campaigns: many messages with one purpose, stored whole or not at all, stopped and taken back together."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from worker import (
    Campaign,
    CampaignConflict,
    InvalidMessage,
    Producer,
    State,
    Text,
    TextCard,
    UnknownCampaign,
    UnknownSender,
)
from worker.delivery.deliver import deliver
from worker.delivery.office import Office
from worker.delivery.reap import reap
from worker.delivery.recall import carry_out_recalls
from worker.ledger import Ledger, Priority
from worker.processes import BEAT, WORKER, CeleryProcess
from worker.simulator.control import SimulatorControl

GREETING = Text(content="{{ name }}, your payslip is ready")


def staff(number: int) -> Iterator[dict[str, str]]:
    return ({"userid": f"u{n}", "name": f"Name {n}"} for n in range(number))


def make(producer: Producer, number: int = 10, **asked: Any) -> Campaign:  # noqa: ANN401 - arguments of Producer.campaign
    wanted: dict[str, Any] = {"sender": "hr", "message": GREETING, "recipients": staff(number)}
    return producer.campaign("payday", **(wanted | asked))


def send(office: Office) -> int:
    return deliver(office, "hr", lambda: None).claimed


def send_all(office: Office) -> None:
    while send(office):
        pass


def test_each_of_3000_members_gets_a_message_of_their_own_once(
    producer: Producer,
    start: Callable[..., CeleryProcess],
    simulator: SimulatorControl,
    eventually: Callable[..., None],
) -> None:
    start(WORKER)
    start(BEAT)
    campaign = make(producer, 3000)
    assert (campaign.created, campaign.messages, campaign.recipients, campaign.duplicates) == (True, 3000, 3000, 0)
    eventually(lambda: producer.campaign_status("payday").counts == {State.SENT: 3000})
    assert simulator.served() == {f"u{n}": [f"Name {n}, your payslip is ready"] for n in range(3000)}


def test_a_message_that_is_the_same_for_all_is_folded_into_calls_of_1000(
    producer: Producer, office: Office, simulator: SimulatorControl
) -> None:
    campaign = make(
        producer, message=Text(content="closed on {{ 'Monday' }}"), recipients=(f"u{n}" for n in range(2500))
    )
    assert (campaign.messages, campaign.recipients) == (3, 2500)
    send_all(office)
    assert simulator.served() == {f"u{n}": ["closed on Monday"] for n in range(2500)}


def test_campaigns_are_bulk_and_urgent_ones_go_first(producer: Producer) -> None:
    assert make(producer).priority is Priority.BULK
    assert producer.status(producer.history("u1")[0].id).priority is Priority.BULK
    hurried = producer.campaign("alarm", sender="hr", message=GREETING, recipients=staff(1), urgent=True)
    assert hurried.priority is Priority.URGENT


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ({"userid": "u9"}, "recipient 6: text.content: 'name' is undefined"),
        ({"userid": "u9", "name": "x" * 2048}, "recipient 6: text.content: 2071 bytes of UTF-8, at most 2048"),
        ({"userid": "u9", "name": "a\x07"}, "recipient 6: text.content: control character U+0007"),
        ({"name": "x"}, "recipient 6: userid: is missing"),
        ({"userid": "a|b", "name": "x"}, "recipient 6: userid: 'a|b' holds a "),
        ({"userid": "@all", "name": "x"}, "recipient 6: userid: a campaign names members"),
        (7, "recipient 6: userid: is missing"),
    ],
)
def test_a_row_that_cannot_be_sent_is_named_and_nothing_is_stored(
    producer: Producer, ledger: Ledger, row: object, complaint: str
) -> None:
    with pytest.raises(InvalidMessage) as caught:
        make(producer, recipients=[*staff(5), row, *staff(1500)])
    assert complaint in str(caught.value)
    assert ledger.history.counts("hr") == {}
    assert producer.campaigns() == []
    assert make(producer, 3).created, "the name is free"


def test_nothing_is_stored_when_the_rows_themselves_fail(producer: Producer, ledger: Ledger) -> None:
    def rows() -> Iterator[str]:
        yield from (f"u{n}" for n in range(2500))
        raise OSError("the file is gone")

    with pytest.raises(OSError, match="the file is gone"):
        make(producer, recipients=rows(), message=Text(content="hi"))
    assert ledger.history.counts("hr") == {}


@pytest.mark.parametrize(
    ("asked", "complaint"),
    [
        ({"recipients": []}, "nobody is named"),
        ({"recipients": "u1"}, "a list is needed"),
        ({"message": Text(content="{{ name")}, "text.content: not a template"),
        ({"message": Text(content="{{ name * 9 }}")}, "may not use *"),
        ({"message": {"msgtype": "text", "text": {"contnet": "{{ name }}"}}}, "did you mean content?"),
        ({"at": datetime(2001, 1, 1, tzinfo=UTC)}, "has passed"),
        ({"expires": datetime(2001, 1, 1, tzinfo=UTC)}, "not after the time of sending"),
    ],
)
def test_a_campaign_that_cannot_be_is_refused(producer: Producer, asked: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InvalidMessage) as caught:
        make(producer, **asked)
    assert complaint in str(caught.value)
    assert producer.campaigns() == []


def test_limits_of_cards_hold_for_what_is_filled_in(producer: Producer) -> None:
    card = TextCard(title="{{ name }}", description="d", url="https://example.com/{{userid}}")
    assert make(producer, message=card).messages == 10
    with pytest.raises(InvalidMessage, match=r"recipient 2: textcard\.title: 129 bytes"):
        producer.campaign(
            "other",
            sender="hr",
            message=card,
            recipients=[{"userid": "a", "name": "b"}, {"userid": "b", "name": "x" * 129}],
        )


def test_an_unknown_sender_is_refused(producer: Producer) -> None:
    with pytest.raises(UnknownSender):
        make(producer, sender="payroll")


def test_what_is_stored_is_what_a_single_message_would_be(producer: Producer) -> None:
    awkward = 'tab\there, "quotes", back\\slash, line\nend, {curly}, 张三'
    make(producer, recipients=[{"userid": "a", "name": awkward}, {"userid": "b.c-d@e", "name": "x"}])
    stored = producer.status(producer.history("a")[0].id)
    single = producer.status(producer.send("hr", Text(content=f"{awkward}, your payslip is ready"), users=["a"]))
    interval = stored.body["duplicate_check_interval"]
    assert 600 <= interval < 3600
    assert {**stored.body, "duplicate_check_interval": 0} == {**single.body, "duplicate_check_interval": 0}
    assert producer.history("b.c-d@e")[0].body["text"]["content"] == "x, your payslip is ready"
    assert stored.send_at == stored.requested_at


def test_the_messages_options_are_kept(producer: Producer) -> None:
    make(producer, message=Text(content="{{ name }}", enable_duplicate_check=0, safe=1))
    body = producer.history("u1")[0].body
    assert body == {"msgtype": "text", "text": {"content": "Name 1"}, "enable_duplicate_check": 0, "safe": 1}


@pytest.mark.parametrize("message", [GREETING, Text(content="the same for all")], ids=["personalised", "folded"])
def test_whoever_is_named_twice_gets_one_message(
    producer: Producer, office: Office, simulator: SimulatorControl, message: Text
) -> None:
    again = ({"userid": f"U{n}", "name": "again"} for n in range(0, 1200, 2))
    campaign = make(producer, recipients=[*staff(1200), *again, *staff(3)], message=message)
    assert (campaign.recipients, campaign.duplicates) == (1200, 603)
    send_all(office)
    served = simulator.served()
    assert len(served) == 1200
    assert all(len(messages) == 1 for messages in served.values())


def test_the_same_content_again_finds_the_campaign(producer: Producer, ledger: Ledger) -> None:
    first, second = make(producer, 1500), make(producer, 1500)
    assert (first.id, second.created) == (second.id, False)
    assert second.counts == {State.SCHEDULED: 1500}
    assert ledger.history.counts("hr") == {State.SCHEDULED: 1500}


@pytest.mark.parametrize(
    "other",
    [
        {"message": Text(content="{{ name }}")},
        {"recipients": staff(9)},
        {"recipients": [{"userid": f"u{n}", "name": "other"} for n in range(10)]},
    ],
    ids=["message", "fewer", "values"],
)
def test_other_content_under_the_same_name_is_a_conflict(
    producer: Producer, ledger: Ledger, other: dict[str, Any]
) -> None:
    make(producer)
    with pytest.raises(CampaignConflict, match="hr has a campaign 'payday' with other content"):
        make(producer, **other)
    assert ledger.history.counts("hr") == {State.SCHEDULED: 10}


def test_a_campaign_in_the_callers_transaction_goes_with_it(producer: Producer, ledger: Ledger) -> None:
    with ledger.engine.connect() as connection:
        make(producer, connection=connection)
        connection.rollback()
        assert producer.campaigns() == []
        with pytest.raises(InvalidMessage):
            make(producer, connection=connection, recipients=["nameless"])
        assert make(producer, connection=connection).created, "the refusal left the transaction usable"
        connection.commit()
    assert ledger.history.counts("hr") == {State.SCHEDULED: 10}


def test_due_times_keep_out_of_quiet_windows(ledger: Ledger, database_url: str, redis_url: str) -> None:
    producer = Producer(database_url=database_url, redis_url=redis_url)
    noon = (datetime.now(UTC) + timedelta(days=1)).replace(hour=12, minute=0, second=0, microsecond=0)
    make(producer, 200, at=noon)
    producer.close()
    with ledger.engine.connect() as connection:
        times = set(connection.scalars(text("select send_at from wecom.messages")))
    assert len(times) > 150
    assert all(noon + timedelta(seconds=120) <= time < noon + timedelta(seconds=360) for time in times)


def test_a_paused_campaign_stops_within_a_chunk_and_completes_when_it_is_resumed(
    producer: Producer, office: Office, ledger: Ledger, simulator: SimulatorControl
) -> None:
    make(producer, 700)
    assert send(office) == 200
    paused = producer.pause_campaign("payday")
    assert paused.paused_reason == "paused by hand"
    assert 0 < paused.counts[State.SENT] == 700 - paused.counts[State.SCHEDULED] <= 200
    assert send(office) == 0
    assert ledger.due.senders(100, None) == []
    reap(office)
    assert send(office) == 0
    assert producer.resume_campaign("payday").paused_reason is None
    send_all(office)
    assert producer.campaign_status("payday").counts == {State.SENT: 700}
    assert all(len(messages) == 1 for messages in simulator.served().values())


def test_a_paused_campaign_does_not_hold_up_other_messages(producer: Producer, office: Office) -> None:
    make(producer, 300)
    producer.pause_campaign("payday")
    other = producer.send("hr", Text(content="hello"), users=["zhangsan"])
    assert send(office) == 1
    assert producer.status(other).state is State.SENT


def test_the_reaper_finishes_a_pause_and_a_resumption_that_were_interrupted(
    producer: Producer, office: Office, ledger: Ledger
) -> None:
    make(producer)

    def priorities() -> set[int]:
        with ledger.engine.connect() as connection:
            return set(connection.scalars(text("select priority from wecom.messages")))

    with ledger.engine.begin() as connection:
        connection.execute(text("update wecom.campaigns set paused_reason = 'by hand', aside = true"))
    assert send(office) == 0, "the reason alone stops it"
    reap(office)
    assert priorities() == {Priority.ASIDE}
    with ledger.engine.begin() as connection:
        connection.execute(text("update wecom.campaigns set paused_reason = null"))
    reap(office)
    assert priorities() == {Priority.BULK}
    assert send(office) == 10


def test_a_message_of_unknown_fate_is_cleared_up_although_its_campaign_is_paused(
    producer: Producer, office: Office, ledger: Ledger, simulator: SimulatorControl
) -> None:
    make(producer, 1)
    simulator.add_fault("hang_after", endpoint="send", times=1)
    send(office)
    producer.pause_campaign("payday")
    with ledger.engine.begin() as connection:
        connection.execute(text("update wecom.messages set send_at = now()"))
    assert send(office) == 1
    assert producer.campaign_status("payday").counts == {State.SENT: 1}


def test_a_campaign_of_which_too_many_messages_fail_pauses_by_itself(
    producer: Producer, office: Office, simulator: SimulatorControl
) -> None:
    simulator.add_fault("errcode", endpoint="send", errcode=45002)
    make(producer, 500)
    send(office)
    stopped = producer.campaign_status("payday")
    assert stopped.paused_reason is not None
    assert "messages failed" in stopped.paused_reason
    send_all(office)
    counts = producer.campaign_status("payday").counts
    assert 50 <= counts[State.FAILED] == 500 - counts[State.SCHEDULED] <= 200

    simulator.clear_faults()
    assert producer.retry_campaign("payday").counts == {State.SCHEDULED: 500}
    assert send(office) == 0, "it is still paused"
    producer.resume_campaign("payday")
    send_all(office)
    assert producer.campaign_status("payday").counts == {State.SENT: 500}


def test_failures_that_were_forgiven_do_not_pause_it_again(
    producer: Producer, office: Office, simulator: SimulatorControl
) -> None:
    simulator.add_fault("errcode", endpoint="send", errcode=45002, times=200)
    make(producer, 900)
    send(office)
    producer.resume_campaign("payday")
    simulator.add_fault("errcode", endpoint="send", errcode=45002, times=3)
    send_all(office)
    finished = producer.campaign_status("payday")
    assert finished.paused_reason is None
    assert finished.counts == {State.FAILED: 203, State.SENT: 697}


def test_a_few_failures_do_not_pause_it(producer: Producer, office: Office, simulator: SimulatorControl) -> None:
    simulator.add_fault("errcode", endpoint="send", errcode=45002, times=9)
    make(producer, 400)
    send_all(office)
    assert producer.campaign_status("payday").counts == {State.FAILED: 9, State.SENT: 391}


def test_cancelling_ends_what_is_not_sent(producer: Producer, office: Office) -> None:
    make(producer, 300)
    send(office)
    assert producer.cancel_campaign("payday").counts == {State.SENT: 200, State.CANCELLED: 100}
    assert send(office) == 0


def test_recalling_takes_back_what_is_sent_and_cancels_the_rest(
    producer: Producer, office: Office, simulator: SimulatorControl
) -> None:
    make(producer, 300)
    send(office)
    recalling = producer.recall(campaign="payday")
    assert recalling.counts == {State.RECALLING: 200, State.CANCELLED: 100}
    while carry_out_recalls(office, "hr"):
        pass
    assert producer.campaign_status("payday").counts == {State.RECALLED: 200, State.CANCELLED: 100}
    assert simulator.served(include_recalled=False) == {}


def test_a_recall_during_sending_loses_no_message(
    producer: Producer,
    start: Callable[..., CeleryProcess],
    simulator: SimulatorControl,
    eventually: Callable[..., None],
) -> None:
    simulator.add_fault("latency", endpoint="send", seconds=0.05)
    start(WORKER)
    start(BEAT)
    make(producer, 3000)
    eventually(lambda: simulator.counters().calls.get("send", 0) > 300)
    producer.recall(campaign="payday")
    unfinished = {State.SCHEDULED, State.SENDING, State.SENT, State.RECALLING}
    eventually(lambda: not unfinished & set(producer.campaign_status("payday").counts))
    counts = producer.campaign_status("payday").counts
    assert set(counts) == {State.RECALLED, State.CANCELLED}
    assert sum(counts.values()) == 3000
    assert simulator.served(include_recalled=False) == {}
    assert len(simulator.served()) == counts[State.RECALLED]


def test_messages_too_old_to_be_recalled_are_named(producer: Producer, office: Office, ledger: Ledger) -> None:
    make(producer, 3)
    send(office)
    with ledger.engine.begin() as connection:
        connection.execute(
            text("update wecom.messages set sent_at = sent_at - interval '25 hours' where 'u1' = any (touser)")
        )
    assert producer.recall(campaign="payday").counts == {State.RECALLING: 2, State.SENT: 1}
    [left] = ledger.campaigns.not_taken_back(producer.campaign_status("payday").id, 10)
    assert left.users == ("u1",)
    assert "24 hours" in left.reason


def test_an_unknown_or_ambiguous_name_is_a_clear_error(producer: Producer, ledger: Ledger) -> None:
    with pytest.raises(UnknownCampaign, match="no campaign is named 'payday'"):
        producer.pause_campaign("payday")
    ledger.senders.add(type(ledger.senders.find("hr"))("it", "wecom", 7, {"corpid": "x", "corpsecret": "y"}))
    for sender in ("hr", "it"):
        make(producer, 1, sender=sender)
    with pytest.raises(UnknownCampaign, match="say which: hr/payday, it/payday"):
        producer.campaign_status("payday")
    assert producer.campaign_status("payday", sender="it").sender == "it"
    assert [campaign.sender for campaign in producer.campaigns(sender="it")] == ["it"]


def test_a_value_that_is_none_is_refused_and_can_be_written_away(producer: Producer) -> None:
    rows = [{"userid": "a", "name": "A"}, {"userid": "b", "name": None}]
    with pytest.raises(InvalidMessage, match=r"recipient 2: text\.content: a value is None"):
        producer.campaign("greeting", sender="hr", message=Text(content="{{ name }}, hi"), recipients=rows)
    template = Text(content="{{ name or 'colleague' }}, hi")
    assert producer.campaign("greeting", sender="hr", message=template, recipients=rows).messages == 2
