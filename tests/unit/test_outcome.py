"""Every category of answers leads to the outcome the design names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.delivery.outcome import (
    Outcome,
    PauseSender,
    Reject,
    Retry,
    Sent,
    Unknown,
    decide,
    next_parking,
)
from worker.providers.base import Answer, Category
from worker.providers.wecom.errcodes import ERRCODES, category_of

MIDDLE = 0.5


def outcome_of(errcode: int, retries: int = 0) -> Outcome:
    return decide(Answer(category_of(errcode), errcode), retries, MIDDLE)


def test_an_accepted_message_is_sent() -> None:
    assert outcome_of(0) == Sent()


@pytest.mark.parametrize(("retries", "seconds"), [(0, 1), (1, 2), (2, 4)])
def test_a_busy_server_is_tried_again_soon(retries: int, seconds: int) -> None:
    assert outcome_of(-1, retries) == Retry(seconds)


def test_a_server_busy_four_times_is_a_rejection() -> None:
    assert outcome_of(-1, retries=3) == Reject()


def test_too_many_calls_park_the_sender_for_a_minute_and_too_many_at_once_for_seconds() -> None:
    assert outcome_of(45009) == PauseSender(60)
    assert outcome_of(45033) == PauseSender(5)


@pytest.mark.parametrize("errcode", [60020, 40013, 301002, 40001, 50003, 48002])
def test_a_fault_of_the_configuration_stops_the_sender_until_a_person_acts(errcode: int) -> None:
    assert outcome_of(errcode) == PauseSender(None)


@pytest.mark.parametrize("errcode", [43012, 60204, 60206, 60207, 90206, 90208])
def test_a_fault_of_one_message_type_does_not_stop_the_sender(errcode: int) -> None:
    assert outcome_of(errcode) == Reject()


@pytest.mark.parametrize("errcode", [81013, 44004, 40033, 45002, 60111])
def test_invalid_recipients_and_content_are_rejected_at_once(errcode: int) -> None:
    assert outcome_of(errcode) == Reject()


def test_a_token_that_stays_refused_after_its_renewal_stops_the_sender() -> None:
    assert outcome_of(42001) == PauseSender(None)


def test_an_errcode_nobody_has_described_is_tried_once_more() -> None:
    assert outcome_of(987654) == Retry(60)
    assert outcome_of(987654, retries=1) == Reject()


def test_without_a_connection_tries_go_on_and_are_not_counted() -> None:
    assert decide(Answer(Category.UNREACHABLE), 30_000, MIDDLE) == Retry(5, counted=False)


@pytest.mark.parametrize(("doubtful", "seconds"), [(0, 5), (5, 5), (10, 10), (25, 25), (500, 30)])
def test_an_unknown_fate_is_asked_about_ever_more_rarely(doubtful: float, seconds: int) -> None:
    assert decide(Answer(Category.UNCERTAIN), 0, MIDDLE, doubtful) == Unknown(seconds)


@pytest.mark.parametrize("category", Category)
@pytest.mark.parametrize("retries", [0, 1, 3, 100])
def test_every_category_has_an_outcome(category: Category, retries: int) -> None:
    assert isinstance(decide(Answer(category), retries, MIDDLE), Outcome)


@pytest.mark.parametrize("errcode", sorted(ERRCODES))
def test_no_errcode_but_success_counts_as_sent(errcode: int) -> None:
    assert outcome_of(errcode) != Sent()


@given(retries=st.integers(0, 32_000), share=st.floats(0, 1), category=st.sampled_from(Category))
def test_waits_are_positive_and_at_most_three_minutes(retries: int, share: float, category: Category) -> None:
    match decide(Answer(category), retries, share):
        case Retry(seconds) | Unknown(seconds):
            assert 0 < seconds <= 180
        case _:
            pass


def test_each_parking_lasts_twice_as_long_as_the_one_before_up_to_an_hour() -> None:
    lasted, parkings = 0, []
    for _ in range(8):
        lasted = next_parking(60, lasted)
        parkings.append(lasted)
    assert parkings == [60, 120, 240, 480, 960, 1920, 3600, 3600]
    assert next_parking(5, 40, longest=60) == 60
