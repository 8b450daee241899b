"""What an answer makes of a message."""

from datetime import UTC, datetime, timedelta
from uuid import uuid4

from worker.delivery.outcome import PauseSender, Reject, Retry, Sent, Unknown
from worker.delivery.settlement import SLACK_SECONDS, doubtful_seconds, settlement
from worker.delivery.stagger import QuietWindows
from worker.ledger import ClaimedMessage, Priority, Settlement, State
from worker.messages.recipients import Recipients
from worker.providers.base import Answer, Category

CLAIMED = datetime(2031, 3, 5, 12, 10, tzinfo=UTC)
LEASE = 60
BODY = {"msgtype": "text", "enable_duplicate_check": 1, "duplicate_check_interval": 600}


def claimed(**changes: object) -> ClaimedMessage:
    fields: dict[str, object] = {
        "id": uuid4(),
        "attempt": 1,
        "retries": 0,
        "priority": Priority.NORMAL,
        "requested_at": CLAIMED,
        "send_at": CLAIMED,
        "expires_at": None,
        "claimed_at": CLAIMED,
        "resend_until": None,
        "recipients": Recipients(("zhangsan",)),
        "body": BODY,
    }
    return ClaimedMessage(**(fields | changes))  # type: ignore[arg-type]


def settle(
    message: ClaimedMessage,
    outcome: object,
    now: datetime = CLAIMED,
    category: Category = Category.UNCERTAIN,
    **answer: object,
) -> Settlement:
    return settlement(
        message,
        Answer(category, **answer),  # type: ignore[arg-type]
        outcome,  # type: ignore[arg-type]
        now=now,
        lease_seconds=LEASE,
        quiet=QuietWindows(),
    )


def test_a_sent_message_keeps_what_wecom_answered() -> None:
    settled = settle(claimed(), Sent(), msgid="m1", response_code="r1")
    assert (settled.state, settled.msgid, settled.response_code) == (State.SENT, "m1", "r1")


def test_sent_ends_all_doubt() -> None:
    assert settle(claimed(resend_until=CLAIMED), Sent()).resend_until is None


def test_a_retry_counts_and_waits() -> None:
    settled = settle(claimed(), Retry(4))
    assert (settled.state, settled.retries) == (State.SCHEDULED, 1)
    assert settled.send_at == CLAIMED + timedelta(seconds=4)


def test_a_retry_keeps_out_of_the_quiet_window_and_an_urgent_one_does_not() -> None:
    now = datetime(2031, 3, 5, 12, 28, 58, tzinfo=UTC)
    assert settle(claimed(), Retry(4), now=now).send_at >= datetime(2031, 3, 5, 12, 32, tzinfo=UTC)
    assert settle(claimed(priority=Priority.URGENT), Retry(4), now=now).send_at == now + timedelta(seconds=4)


def test_a_stopped_sender_costs_the_message_nothing() -> None:
    settled = settle(claimed(), PauseSender(60))
    assert (settled.state, settled.retries, settled.send_at) == (State.SCHEDULED, 0, None)


def test_a_rejected_message_has_failed() -> None:
    assert settle(claimed(), Reject()).state is State.FAILED


def test_an_unknown_fate_is_cleared_up_while_the_duplicate_check_covers_it() -> None:
    settled = settle(claimed(), Unknown(5))
    assert settled.state is State.SCHEDULED
    assert settled.resend_until == CLAIMED + timedelta(seconds=600 - LEASE - SLACK_SECONDS)


def test_the_first_doubt_sets_the_limit_for_all_later_ones() -> None:
    limit = CLAIMED + timedelta(seconds=100)
    assert settle(claimed(resend_until=limit), Unknown(5)).resend_until == limit


def test_past_the_limit_only_a_person_can_know() -> None:
    settled = settle(claimed(resend_until=CLAIMED + timedelta(seconds=3)), Unknown(5))
    assert (settled.state, settled.send_at) == (State.UNCONFIRMED, None)


def test_without_a_duplicate_check_an_unknown_fate_is_unconfirmed_at_once() -> None:
    assert settle(claimed(body={"msgtype": "text"}), Unknown(5)).state is State.UNCONFIRMED


def test_doubt_outlives_a_later_answer_that_proves_nothing_about_the_first() -> None:
    limit = CLAIMED + timedelta(seconds=100)
    assert settle(claimed(resend_until=limit), PauseSender(60)).resend_until == limit
    assert settle(claimed(resend_until=limit), Retry(1)).resend_until == limit


def test_only_tries_that_wecom_answered_are_counted() -> None:
    assert settle(claimed(), Retry(5, counted=False)).retries == 0
    assert settle(claimed(), Unknown(5)).retries == 0


def test_a_last_try_in_vain_leaves_the_doubt_about_an_earlier_one() -> None:
    doubtful = claimed(resend_until=CLAIMED + timedelta(seconds=100))
    assert settle(doubtful, Reject(), category=Category.TRANSIENT).state is State.UNCONFIRMED
    assert settle(doubtful, Reject(), category=Category.UNLISTED).state is State.UNCONFIRMED


def test_a_refusal_of_the_request_itself_ends_all_doubt() -> None:
    doubtful = claimed(resend_until=CLAIMED + timedelta(seconds=100))
    assert settle(doubtful, Reject(), category=Category.RECIPIENT).state is State.FAILED
    assert settle(doubtful, Reject(), category=Category.CONTENT).state is State.FAILED


def test_a_card_refused_for_a_used_task_id_may_have_used_it_itself() -> None:
    doubtful = claimed(resend_until=CLAIMED + timedelta(seconds=100))
    taken = settle(doubtful, Reject(), category=Category.CONTENT, errcode=42014)
    assert taken.state is State.UNCONFIRMED
    assert settle(claimed(), Reject(), category=Category.CONTENT, errcode=42014).state is State.FAILED


def test_a_doubtful_message_is_not_staggered_past_its_last_resend() -> None:
    now = datetime(2031, 3, 5, 12, 28, 58, tzinfo=UTC)
    limit = now + timedelta(seconds=200)
    assert settle(claimed(resend_until=limit), Retry(4), now=now).send_at < limit


def test_the_doubt_is_as_old_as_the_first_attempt_of_unknown_fate() -> None:
    first = claimed()
    limit = settle(first, Unknown(5)).resend_until
    later = CLAIMED + timedelta(seconds=77)
    assert doubtful_seconds(claimed(resend_until=limit, claimed_at=later), later, LEASE) == 77
    assert doubtful_seconds(first, later, LEASE) == 0
