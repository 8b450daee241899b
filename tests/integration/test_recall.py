"""Taking messages back, whatever state they are in."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import text

from worker import Producer, State, Text
from worker.delivery.deliver import deliver
from worker.delivery.office import Office, open_office
from worker.delivery.recall import carry_out_recalls
from worker.delivery.serve import serve
from worker.ledger import Calls, Ledger
from worker.simulator.control import SimulatorControl


@pytest.fixture
def message_id(producer: Producer) -> UUID:
    """A message for `zhangsan`, stored but not sent."""
    return producer.send("hr", Text(content="the wrong salary"), users=["zhangsan"])


def send(office: Office) -> None:
    deliver(office, "hr", lambda: None)


def make_due(ledger: Ledger) -> None:
    with ledger.engine.begin() as connection:
        connection.execute(text("update wecom.messages set send_at = now(), lease_until = null"))


def test_an_unsent_message_is_cancelled_at_once_and_never_sent(
    office: Office, producer: Producer, message_id: UUID, simulator: SimulatorControl
) -> None:
    assert [status.state for status in producer.recall(message_id)] == [State.CANCELLED]
    send(office)
    assert simulator.served() == {}


def test_a_sent_message_is_recalled_by_a_worker(
    office: Office, producer: Producer, message_id: UUID, simulator: SimulatorControl
) -> None:
    send(office)
    assert [status.state for status in producer.recall(message_id)] == [State.RECALLING]
    assert carry_out_recalls(office, "hr") == 1
    status = producer.status(message_id)
    assert status.state is State.RECALLED
    assert status.recalled_at is not None
    assert simulator.deliveries()[0].recalled_at is not None


def test_all_parts_of_a_large_audience_are_recalled_through_the_first(
    office: Office, producer: Producer, simulator: SimulatorControl
) -> None:
    first = producer.send("hr", Text(content="oops"), users=[f"u{n}" for n in range(2500)])
    send(office)
    assert [status.state for status in producer.recall(first)] == [State.RECALLING] * 3
    carry_out_recalls(office, "hr")
    assert simulator.counters().recalled == 3
    assert simulator.served(include_recalled=False) == {}


def test_recalling_twice_recalls_once(
    office: Office, producer: Producer, message_id: UUID, simulator: SimulatorControl
) -> None:
    send(office)
    for _ in range(2):
        producer.recall(message_id)
        carry_out_recalls(office, "hr")
    assert producer.recall(message_id)[0].state is State.RECALLED
    assert simulator.counters().calls["recall"] == 1


def test_a_recall_that_meets_a_message_on_its_way_is_carried_out_when_the_answer_is_in(
    office: Office,
    ledger: Ledger,
    producer: Producer,
    message_id: UUID,
    simulator: SimulatorControl,
    eventually: Callable[..., None],
) -> None:
    simulator.add_fault("latency", endpoint="send", seconds=0.7)
    delivering = office.senders_at_work.submit(send, office)
    eventually(lambda: producer.status(message_id).state is State.SENDING)
    assert [status.state for status in producer.recall(message_id)] == [State.SENDING]
    delivering.result()
    assert producer.status(message_id).state is State.RECALLING
    carry_out_recalls(office, "hr")
    assert simulator.served(include_recalled=False) == {}
    assert ledger.history.counts("hr") == {State.RECALLED: 1}


def test_a_recall_of_a_message_on_its_way_that_was_not_sent_cancels_it(
    ledger: Ledger, producer: Producer, message_id: UUID
) -> None:
    claimed = ledger.deliveries.claim("hr", 1, 60, None)
    producer.recall(message_id)
    ledger.deliveries.release("hr", claimed)
    assert producer.status(message_id).state is State.CANCELLED


def test_a_message_of_unknown_fate_is_sent_again_to_learn_its_msgid_and_then_recalled(
    office: Office, ledger: Ledger, producer: Producer, message_id: UUID, simulator: SimulatorControl
) -> None:
    simulator.add_fault("hang_after", endpoint="send", times=1)
    send(office)
    assert [status.state for status in producer.recall(message_id)] == [State.SCHEDULED]
    make_due(ledger)
    send(office)
    carry_out_recalls(office, "hr")
    assert producer.status(message_id).state is State.RECALLED
    assert len(simulator.served()) == 1
    assert simulator.served(include_recalled=False) == {}


def test_a_message_older_than_a_day_stays_sent_and_says_why(
    office: Office,
    ledger: Ledger,
    producer: Producer,
    message_id: UUID,
    simulator: SimulatorControl,
    set_clock: Callable[[datetime], None],
) -> None:
    send(office)
    set_clock(datetime.now(UTC) + timedelta(hours=24, minutes=1))
    statuses = producer.recall(message_id)
    assert [status.state for status in statuses] == [State.SENT]
    assert "24 hours" in str(statuses[0].recall_error)
    assert simulator.counters().calls.get("recall", 0) == 0
    assert ledger.due.senders_with_errands() == []


def test_a_recall_wecom_refuses_leaves_the_message_sent_with_the_reason(
    office: Office, producer: Producer, message_id: UUID, simulator: SimulatorControl
) -> None:
    send(office)
    producer.recall(message_id)
    simulator.add_fault("errcode", endpoint="recall", errcode=42052, times=1)
    carry_out_recalls(office, "hr")
    status = producer.status(message_id)
    assert status.state is State.SENT
    assert str(status.recall_error).startswith("42052")
    assert producer.recall(message_id)[0].state is State.RECALLING, "one may try again"


@pytest.mark.parametrize("fault", ["hang_before", "reset_after", "cut"])
def test_a_recall_without_an_answer_is_tried_again(
    office: Office, ledger: Ledger, producer: Producer, message_id: UUID, simulator: SimulatorControl, fault: str
) -> None:
    send(office)
    producer.recall(message_id)
    simulator.add_fault(fault, endpoint="recall", times=1)
    carry_out_recalls(office, "hr")
    assert producer.status(message_id).state is State.RECALLING
    assert carry_out_recalls(office, "hr") == 0, "not before a few seconds have passed"
    make_due(ledger)
    carry_out_recalls(office, "hr")
    assert producer.status(message_id).state is State.RECALLED


def test_a_recall_under_a_paused_sender_waits(
    office: Office, ledger: Ledger, producer: Producer, message_id: UUID
) -> None:
    send(office)
    producer.recall(message_id)
    ledger.senders.pause("hr", "by hand")
    assert carry_out_recalls(office, "hr") == 0
    ledger.senders.resume("hr")
    assert carry_out_recalls(office, "hr") == 1


def test_a_recall_refused_for_the_configuration_does_not_stop_the_senders_messages(
    office: Office, ledger: Ledger, producer: Producer, message_id: UUID, simulator: SimulatorControl
) -> None:
    send(office)
    simulator.add_fault("errcode", endpoint="recall", errcode=48002)
    producer.recall(message_id)
    carry_out_recalls(office, "hr")
    status = producer.status(message_id)
    assert (status.state, str(status.recall_error)[:5]) == (State.SENT, "48002")
    assert ledger.senders.find("hr").paused_reason is None


def test_a_recall_refused_with_an_errcode_nobody_has_described_ends(
    office: Office, producer: Producer, message_id: UUID, simulator: SimulatorControl
) -> None:
    send(office)
    simulator.add_fault("errcode", endpoint="recall", errcode=987654)
    producer.recall(message_id)
    carry_out_recalls(office, "hr")
    assert producer.status(message_id).state is State.SENT


def test_a_recall_that_finds_no_answer_for_a_day_ends(
    office: Office,
    ledger: Ledger,
    producer: Producer,
    message_id: UUID,
    simulator: SimulatorControl,
    set_clock: Callable[[datetime], None],
) -> None:
    send(office)
    simulator.add_fault("reset_before", endpoint="recall")
    producer.recall(message_id)
    carry_out_recalls(office, "hr")
    assert producer.status(message_id).state is State.RECALLING
    set_clock(datetime.now(UTC) + timedelta(hours=24, minutes=1))
    carry_out_recalls(office, "hr")
    status = producer.status(message_id)
    assert status.state is State.SENT
    assert "24 hours" in str(status.recall_error)
    assert "may be recalled after all" in str(status.recall_error)
    assert ledger.due.senders_with_errands() == []


def test_a_refused_repetition_of_a_recall_without_an_answer_says_that_it_may_have_worked(
    office: Office, ledger: Ledger, producer: Producer, message_id: UUID, simulator: SimulatorControl
) -> None:
    send(office)
    producer.recall(message_id)
    simulator.add_fault("hang_after", endpoint="recall", times=1)
    simulator.add_fault("errcode", endpoint="recall", errcode=40058)
    carry_out_recalls(office, "hr")
    make_due(ledger)
    carry_out_recalls(office, "hr")
    assert "may be recalled after all" in str(producer.status(message_id).recall_error)


def test_a_remembered_recall_of_a_message_without_a_msgid_says_so(
    office: Office, ledger: Ledger, producer: Producer, message_id: UUID, simulator: SimulatorControl
) -> None:
    simulator.change_settings(duplicate_answer="none")
    simulator.add_fault("hang_after", endpoint="send", times=1)
    send(office)
    producer.recall(message_id)
    make_due(ledger)
    send(office)
    status = producer.status(message_id)
    assert (status.state, status.msgid) == (State.SENT, None)
    assert "no msgid" in str(status.recall_error)


def parked(ledger: Ledger) -> list[tuple[str, str]]:
    """Which calls wait, and why, in short."""
    return [(one.calls, one.reason[:5]) for one in ledger.parked_calls.waiting()]


def let_parkings_end(ledger: Ledger) -> None:
    with ledger.engine.begin() as connection:
        connection.execute(text("update wecom.parked_calls set until = now()"))
        connection.execute(text("update wecom.messages set lease_until = null where state = 'recalling'"))


def test_a_limit_of_calls_that_a_recall_meets_stops_recalls_and_no_message(
    office: Office, ledger: Ledger, producer: Producer, message_id: UUID, simulator: SimulatorControl
) -> None:
    send(office)
    producer.recall(message_id)
    simulator.add_fault("errcode", endpoint="recall", errcode=45009)
    carry_out_recalls(office, "hr")
    assert parked(ledger) == [("recalls", "45009")]
    assert ledger.due.senders_with_errands() == []
    assert carry_out_recalls(office, "hr") == 0
    assert ledger.senders.find("hr").paused_reason is None

    other = producer.send("hr", Text(content="something else"), users=["lisi"])
    send(office)
    assert producer.status(other).state is State.SENT


def test_recalls_wait_twice_as_long_each_time_until_one_succeeds(
    office: Office, ledger: Ledger, producer: Producer, message_id: UUID, simulator: SimulatorControl
) -> None:
    send(office)
    producer.recall(message_id)
    simulator.add_fault("errcode", endpoint="recall", errcode=45009)
    waited = []
    for _ in range(8):
        carry_out_recalls(office, "hr")
        waited.append(ledger.parked_calls.last("hr", Calls.RECALLS))
        let_parkings_end(ledger)
    assert waited == [60, 120, 240, 480, 960, 1920, 3600, 3600]
    simulator.clear_faults()
    carry_out_recalls(office, "hr")
    assert producer.status(message_id).state is State.RECALLED
    assert ledger.parked_calls.last("hr", Calls.RECALLS) == 0


def test_a_recall_goes_on_while_messages_wait_for_a_limit_of_their_own(
    office: Office, ledger: Ledger, producer: Producer, message_id: UUID, simulator: SimulatorControl
) -> None:
    send(office)
    simulator.add_fault("errcode", endpoint="send", errcode=45009)
    producer.send("hr", Text(content="too many"), users=["lisi"])
    send(office)
    assert ledger.senders.find("hr").park_seconds == 60

    producer.recall(message_id)
    assert ledger.due.senders_with_errands() == ["hr"]
    serve(office, "hr", 0)
    assert producer.status(message_id).state is State.RECALLED


def test_recalls_that_reach_nobody_rest_without_stopping_messages(
    office: Office, ledger: Ledger, producer: Producer, message_id: UUID, simulator: SimulatorControl
) -> None:
    send(office)
    producer.recall(message_id)
    nobody = open_office(
        office.settings.model_copy(update={"api_base_url": "http://127.0.0.1:1"}), lambda _sender, _slot: None
    )
    try:
        carry_out_recalls(nobody, "hr")
    finally:
        nobody.close()
    assert ledger.parked_calls.last("hr", Calls.RECALLS) == 5
    assert ledger.senders.find("hr").paused_reason is None
    let_parkings_end(ledger)
    carry_out_recalls(office, "hr")
    assert (producer.status(message_id).state, producer.status(message_id).recall_error) == (State.RECALLED, None)
    assert simulator.counters().recalled == 1


def test_a_person_who_resumes_a_sender_lets_its_recalls_go_on_at_once(
    office: Office, ledger: Ledger, producer: Producer, message_id: UUID, simulator: SimulatorControl
) -> None:
    send(office)
    producer.recall(message_id)
    simulator.add_fault("errcode", endpoint="recall", errcode=45009, times=1)
    carry_out_recalls(office, "hr")
    ledger.senders.resume("hr")
    assert parked(ledger) == []


def test_a_recall_whose_worker_died_before_it_stored_the_answer_is_remembered_as_doubtful(
    office: Office, ledger: Ledger, producer: Producer, message_id: UUID, simulator: SimulatorControl
) -> None:
    send(office)
    producer.recall(message_id)
    assert len(ledger.recalls.claim("hr", 1, 0.0)) == 1
    simulator.add_fault("errcode", endpoint="recall", errcode=40058)
    carry_out_recalls(office, "hr")
    status = producer.status(message_id)
    assert status.state is State.SENT
    assert "may be recalled after all" in str(status.recall_error)
