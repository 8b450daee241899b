"""Cards that can be updated after they were sent."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import text

from worker import ButtonInteraction, CardUpdate, InvalidMessage, Producer, State, Text, TextNotice, UnknownMessage
from worker.delivery.card_update import carry_out_card_updates
from worker.delivery.deliver import deliver
from worker.delivery.office import Office
from worker.delivery.recall import carry_out_recalls
from worker.ledger import Calls, CardUpdateState, Ledger
from worker.messages import Button, CardAction, MainTitle
from worker.simulator.control import SimulatorControl

LEAVE = ButtonInteraction(
    main_title=MainTitle(title="Leave on Friday?"),
    task_id="leave-1",
    button_list=[Button(text="Approve", key="yes"), Button(text="Refuse", key="no")],
)
APPROVED = CardUpdate(replace_name="Approved", atall=1)


@pytest.fixture
def card(office: Office, producer: Producer) -> UUID:
    """A card with buttons, sent to `boss`."""
    message_id = producer.send("hr", LEAVE, users=["boss"])
    deliver(office, "hr", lambda: None)
    return message_id


def update_again(ledger: Ledger) -> None:
    with ledger.engine.begin() as connection:
        connection.execute(text("update wecom.card_updates set lease_until = null"))


def test_a_button_is_used_up_after_the_click(
    office: Office, producer: Producer, card: UUID, simulator: SimulatorControl
) -> None:
    producer.update_card(card, APPROVED)
    assert carry_out_card_updates(office, "hr") == 1
    [update] = simulator.card_updates()
    assert (update.replace_name, update.targets) == ("Approved", ["boss"])
    assert [one.state for one in producer.status(card).card_updates] == [CardUpdateState.UPDATED]


def test_a_whole_card_is_replaced(office: Office, producer: Producer, card: UUID, simulator: SimulatorControl) -> None:
    new = TextNotice(main_title=MainTitle(title="Approved"), card_action=CardAction(type=1, url="https://example.com"))
    producer.update_card(card, CardUpdate(template_card=new, userids=["boss"]))
    carry_out_card_updates(office, "hr")
    assert "Approved" in str(simulator.card_updates()[0].template_card)


def test_those_who_cannot_see_the_update_are_kept(office: Office, producer: Producer) -> None:
    message_id = producer.send("hr", LEAVE, users=["boss", "Ghost1"])
    deliver(office, "hr", lambda: None)
    producer.update_card(message_id, CardUpdate(replace_name="Approved", userids=["boss", "Ghost1"]))
    carry_out_card_updates(office, "hr")
    [update] = producer.status(message_id).card_updates
    assert (update.state, update.invalid_users) == (CardUpdateState.UPDATED, ("ghost1",))


def test_a_card_is_updated_once(
    office: Office, ledger: Ledger, producer: Producer, card: UUID, simulator: SimulatorControl
) -> None:
    producer.update_card(card, APPROVED)
    with pytest.raises(InvalidMessage, match="updated before"):
        producer.update_card(card, CardUpdate(replace_name="Refused", atall=1))
    for _ in range(3):
        carry_out_card_updates(office, "hr")
    assert simulator.counters().calls["update_card"] == 1
    assert ledger.due.senders_with_errands() == []


def test_a_response_code_past_its_life_is_refused_before_the_call(
    producer: Producer, card: UUID, simulator: SimulatorControl, set_clock: Callable[[datetime], None]
) -> None:
    set_clock(datetime.now(UTC) + timedelta(hours=72, minutes=1))
    with pytest.raises(InvalidMessage, match="72 hours"):
        producer.update_card(card, APPROVED)
    assert simulator.counters().calls.get("update_card", 0) == 0


def test_an_update_that_waited_too_long_fails_without_a_call(
    office: Office,
    producer: Producer,
    card: UUID,
    simulator: SimulatorControl,
    set_clock: Callable[[datetime], None],
) -> None:
    producer.update_card(card, APPROVED)
    set_clock(datetime.now(UTC) + timedelta(hours=72, minutes=1))
    carry_out_card_updates(office, "hr")
    assert producer.status(card).card_updates[0].state is CardUpdateState.FAILED
    assert simulator.counters().calls.get("update_card", 0) == 0


def test_an_update_without_an_answer_is_made_again_and_may_stay_unconfirmed(
    office: Office, ledger: Ledger, producer: Producer, card: UUID, simulator: SimulatorControl
) -> None:
    simulator.add_fault("hang_after", endpoint="update_card", times=1)
    producer.update_card(card, APPROVED)
    carry_out_card_updates(office, "hr")
    assert producer.status(card).card_updates[0].state is CardUpdateState.SCHEDULED
    update_again(ledger)
    carry_out_card_updates(office, "hr")
    assert producer.status(card).card_updates[0].state is CardUpdateState.UNCONFIRMED


def test_an_update_that_did_not_arrive_is_made_again(
    office: Office, ledger: Ledger, producer: Producer, card: UUID, simulator: SimulatorControl
) -> None:
    simulator.add_fault("reset_before", endpoint="update_card", times=1)
    producer.update_card(card, APPROVED)
    carry_out_card_updates(office, "hr")
    update_again(ledger)
    carry_out_card_updates(office, "hr")
    assert producer.status(card).card_updates[0].state is CardUpdateState.UPDATED


def test_a_refused_update_says_why_and_stops_no_sender(
    office: Office, ledger: Ledger, producer: Producer, card: UUID, simulator: SimulatorControl
) -> None:
    simulator.add_fault("errcode", endpoint="update_card", errcode=42015)
    producer.update_card(card, APPROVED)
    carry_out_card_updates(office, "hr")
    [update] = producer.status(card).card_updates
    assert (update.state, str(update.error)[:5]) == (CardUpdateState.FAILED, "42015")
    assert ledger.senders.find("hr").paused_reason is None


def test_what_is_no_updatable_card_is_refused(office: Office, producer: Producer) -> None:
    text_message = producer.send("hr", Text(content="no card"), users=["a"])
    with pytest.raises(InvalidMessage, match="this message is scheduled"):
        producer.update_card(text_message, APPROVED)
    deliver(office, "hr", lambda: None)
    assert producer.status(text_message).state is State.SENT
    with pytest.raises(InvalidMessage, match="gave no response_code"):
        producer.update_card(text_message, APPROVED)
    with pytest.raises(UnknownMessage):
        producer.update_card("01a1f85b-87ae-723f-8650-d5ce96ae60a0", APPROVED)


def test_texts_longer_than_wecom_suggests_are_told_in_the_status(producer: Producer) -> None:
    card = LEAVE.model_copy(update={"main_title": MainTitle(title="a very long title " * 10)})
    [warning, *_] = producer.status(producer.send("hr", card, users=["boss"])).warnings
    assert warning.startswith("template_card.main_title.title")


def test_a_limit_of_calls_that_an_update_meets_stops_updates_and_neither_messages_nor_recalls(
    office: Office, ledger: Ledger, producer: Producer, card: UUID, simulator: SimulatorControl
) -> None:
    simulator.add_fault("errcode", endpoint="update_card", errcode=45009, times=1)
    producer.update_card(card, APPROVED)
    carry_out_card_updates(office, "hr")
    assert [(one.sender, one.calls) for one in ledger.parked_calls.waiting()] == [("hr", Calls.CARD_UPDATES)]
    assert ledger.senders.find("hr").paused_reason is None
    recalled = producer.send("hr", Text(content="hello"), users=["a"])
    deliver(office, "hr", lambda: None)
    producer.recall(recalled)
    assert ledger.due.senders_with_errands() == ["hr"], "for the recall"
    carry_out_recalls(office, "hr")
    assert producer.status(recalled).state is State.RECALLED

    ledger.senders.resume("hr")
    update_again(ledger)
    carry_out_card_updates(office, "hr")
    [update] = producer.status(card).card_updates
    assert (update.state, update.error) == (CardUpdateState.UPDATED, None)


def test_an_update_that_certainly_did_not_arrive_leaves_no_doubt(
    office: Office, ledger: Ledger, producer: Producer, card: UUID, simulator: SimulatorControl
) -> None:
    simulator.add_fault("errcode", endpoint="update_card", errcode=45033, times=1)
    simulator.add_fault("errcode", endpoint="update_card", errcode=60140)
    producer.update_card(card, APPROVED)
    carry_out_card_updates(office, "hr")
    ledger.senders.resume("hr")
    update_again(ledger)
    carry_out_card_updates(office, "hr")
    assert producer.status(card).card_updates[0].state is CardUpdateState.FAILED


def test_an_update_whose_worker_died_before_it_stored_the_answer_stays_unconfirmed(
    office: Office, ledger: Ledger, producer: Producer, card: UUID, simulator: SimulatorControl
) -> None:
    producer.update_card(card, APPROVED)
    [claimed] = ledger.card_updates.claim("hr", 1, 0.0)
    simulator.add_fault("errcode", endpoint="update_card", errcode=60140)
    carry_out_card_updates(office, "hr")
    [update] = producer.status(card).card_updates
    assert (update.state, claimed.doubt) == (CardUpdateState.UNCONFIRMED, None)
    assert "not stored an answer" in str(update.error)
