"""Due times keep out of the minutes around :00 and :30."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.delivery.stagger import QuietWindows

QUIET = QuietWindows()
NOON = datetime(2031, 3, 5, 12, 0, tzinfo=UTC)
MOMENTS = st.datetimes(
    min_value=datetime(2026, 1, 1),  # noqa: DTZ001 - hypothesis adds the zone
    max_value=datetime(2036, 1, 1),  # noqa: DTZ001
    timezones=st.just(UTC),
)


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


@pytest.mark.parametrize("offset", [-60, -1, 0, 1, 119.999])
@pytest.mark.parametrize("half_hour", [0, 30])
def test_the_minute_before_and_two_minutes_after_a_half_hour_are_quiet(half_hour: int, offset: float) -> None:
    middle = NOON + timedelta(minutes=half_hour)
    assert QUIET.window(middle + seconds(offset)) == (middle - seconds(60), middle + seconds(120))


@pytest.mark.parametrize("offset", [-60.001, 120, 900])
def test_other_times_are_not_quiet(offset: float) -> None:
    assert QUIET.window(NOON + seconds(offset)) is None


def test_a_due_time_outside_the_windows_stays_as_asked() -> None:
    at = NOON + timedelta(minutes=10)
    assert QUIET.stagger(at, now=NOON, message=uuid4()) == at


@given(at=MOMENTS, message=st.uuids())
def test_every_due_time_ends_up_outside_of_quiet_windows(at: datetime, message: UUID) -> None:
    due = QUIET.stagger(at, now=at, message=message)
    assert QUIET.window(due) is None
    assert at <= due <= at + seconds(60 + 120 + 240)


@given(at=MOMENTS, wait=st.integers(1, 900), ahead=st.integers(0, 3600), message=st.uuids())
def test_a_due_time_never_passes_the_latest_moment_nor_the_present(
    at: datetime, wait: int, ahead: int, message: UUID
) -> None:
    now, latest = at - seconds(ahead), at + seconds(wait)
    due = QUIET.stagger(at, now=now, message=message, latest=latest)
    assert now <= due < latest


def test_messages_are_spread_over_the_four_minutes_behind_the_window() -> None:
    dues = sorted(QUIET.stagger(NOON, now=NOON, message=uuid4()) for _ in range(2000))
    by_minute = [sum(120 + 60 * n <= (due - NOON).total_seconds() < 180 + 60 * n for due in dues) for n in range(4)]
    assert sum(by_minute) == 2000
    assert all(380 < number < 620 for number in by_minute)


def test_the_same_message_always_moves_to_the_same_time() -> None:
    message = uuid4()
    assert len({QUIET.stagger(NOON, now=NOON, message=message) for _ in range(10)}) == 1


def test_a_message_that_would_expire_goes_before_the_window() -> None:
    due = QUIET.stagger(NOON, now=NOON - timedelta(hours=1), message=uuid4(), latest=NOON + seconds(100))
    assert NOON - seconds(60 + 1 + 240) <= due < NOON - seconds(60)


def test_a_message_that_would_expire_is_sent_as_asked_once_the_window_is_on() -> None:
    assert QUIET.stagger(NOON, now=NOON - seconds(30), message=uuid4(), latest=NOON + seconds(100)) == NOON


def test_windows_of_no_length_move_nothing() -> None:
    off = QuietWindows(before=0, after=0)
    assert off.stagger(NOON, now=NOON, message=uuid4()) == NOON
    assert off.waiting_until(NOON) is None


def test_inside_a_window_messages_wait_until_the_last_of_them_has_been_spread() -> None:
    assert QUIET.waiting_until(NOON) == NOON + seconds(120 + 240)
    assert QUIET.waiting_until(NOON + seconds(120)) is None
