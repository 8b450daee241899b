"""When schedules are due, by property: cron, the hours that come twice or not at all, and what was missed."""

from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise, takewhile
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker import InvalidMessage
from worker.delivery.timetable import Timetable, occurrence_name, read_timetable, take_turn

ZONES = ("America/New_York", "Europe/Berlin", "Asia/Shanghai", "Australia/Lord_Howe", "UTC")
MINUTE = timedelta(minutes=1)

moments = st.datetimes(datetime(2024, 1, 1), datetime(2034, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis adds the zone


def fields(low: int, high: int) -> st.SearchStrategy[list[int]]:
    return st.lists(st.integers(low, high), min_size=1, max_size=3, unique=True).map(sorted)


@st.composite
def timetables(draw: st.DrawFn) -> tuple[Timetable, dict[str, set[int] | None]]:
    """A timetable, and the values each of its fields allows; None allows all."""
    allowed = {
        "minute": draw(st.one_of(st.none(), fields(0, 59))),
        "hour": draw(st.one_of(st.none(), fields(0, 23))),
        "weekday": draw(st.one_of(st.none(), fields(0, 6))),
    }
    written = {name: "*" if values is None else ",".join(map(str, values)) for name, values in allowed.items()}
    cron = f"{written['minute']} {written['hour']} * * {written['weekday']}"
    timetable = read_timetable(cron, draw(st.sampled_from(ZONES)))
    return timetable, {name: None if values is None else set(values) for name, values in allowed.items()}


def matches(local: datetime, allowed: dict[str, set[int] | None]) -> bool:
    found = {"minute": local.minute, "hour": local.hour, "weekday": local.isoweekday() % 7}
    return all(values is None or found[name] in values for name, values in allowed.items())


def follows_a_gap(local: datetime) -> bool:
    before = (local.astimezone(UTC) - MINUTE).astimezone(local.tzinfo)
    return local.utcoffset() > before.utcoffset()  # type: ignore[operator]


def in_utc(local: datetime) -> datetime:
    return local.astimezone(UTC)


def by_intervals(timetable: Timetable) -> bool:
    minute, hour, *_ = timetable.cron.split()
    return minute == "*" or hour == "*"


@settings(deadline=None, max_examples=60)
@given(timetables(), moments)
def test_occurrences_come_one_after_another_at_the_times_their_fields_say(
    both: tuple[Timetable, dict[str, set[int] | None]], moment: datetime
) -> None:
    timetable, allowed = both
    found = list(islice(timetable.after(moment), 20))
    instants = [one.astimezone(UTC) for one in found]
    assert moment < instants[0]
    assert all(earlier < later for earlier, later in pairwise(instants))
    for one in found:
        assert one.second == one.microsecond == 0
        assert matches(one, allowed) or (follows_a_gap(one) and not by_intervals(timetable))


@settings(deadline=None, max_examples=60)
@given(timetables(), moments)
def test_no_minute_that_matches_is_left_out(
    both: tuple[Timetable, dict[str, set[int] | None]], moment: datetime
) -> None:
    timetable, allowed = both
    begin = moment.replace(second=0, microsecond=0)
    minutes = [(begin + n * MINUTE).astimezone(timetable.zone) for n in range(1, 26 * 60)]
    found = set(takewhile(lambda one: one <= begin + len(minutes) * MINUTE, map(in_utc, timetable.after(begin))))
    for local in minutes:
        repeated = local.fold == 1 and not by_intervals(timetable)
        if matches(local, allowed) and not repeated:
            assert local.astimezone(UTC) in found


@settings(deadline=None, max_examples=60)
@given(timetables(), moments, st.timedeltas(timedelta(0), timedelta(days=9)))
def test_the_latest_is_the_last_of_all_that_came(
    both: tuple[Timetable, dict[str, set[int] | None]], after: datetime, length: timedelta
) -> None:
    timetable, _ = both
    until = after + min(length, timedelta(days=9) if not by_intervals(timetable) else timedelta(hours=7))
    came = []
    for one in timetable.after(after):
        if one.astimezone(UTC) > until:
            break
        came.append(one)
    assert timetable.latest(after=after, until=until) == (came[-1] if came else None)


@pytest.mark.parametrize(
    ("zone", "cron", "after", "expected"),
    [
        # Clocks go forward from 2:00 to 3:00: what is skipped comes at 3:00, once.
        ("America/New_York", "30 2 * * *", "2026-03-08T00:00-05:00", ["03-08 03:00 -0400", "03-09 02:30 -0400"]),
        ("America/New_York", "0,30 2 * * *", "2026-03-08T00:00-05:00", ["03-08 03:00 -0400", "03-09 02:00 -0400"]),
        ("America/New_York", "0 2,3 * * *", "2026-03-08T00:00-05:00", ["03-08 03:00 -0400", "03-09 02:00 -0400"]),
        ("Europe/Berlin", "15 2 * * *", "2026-03-29T00:00+01:00", ["03-29 03:00 +0200", "03-30 02:15 +0200"]),
        # An interval has nothing in the skipped hour.
        ("Europe/Berlin", "30 * * * *", "2026-03-29T01:00+01:00", ["03-29 01:30 +0100", "03-29 03:30 +0200"]),
        # Clocks go back from 2:00 to 1:00: a time of day comes the first time only, an interval both times.
        ("America/New_York", "30 1 * * *", "2026-11-01T00:00-04:00", ["11-01 01:30 -0400", "11-02 01:30 -0500"]),
        ("America/New_York", "30 1 * * *", "2026-11-01T01:10-05:00", ["11-02 01:30 -0500"]),
        ("America/New_York", "30 * * * *", "2026-11-01T01:00-04:00", ["11-01 01:30 -0400", "11-01 01:30 -0500"]),
        ("Europe/Berlin", "30 2 * * *", "2026-10-25T00:00+02:00", ["10-25 02:30 +0200", "10-26 02:30 +0100"]),
        # China has none of it.
        ("Asia/Shanghai", "30 2 * * *", "2026-03-08T00:00+08:00", ["03-08 02:30 +0800", "03-09 02:30 +0800"]),
        ("Asia/Shanghai", "0 9 * * 1-5", "2026-11-20T09:00+08:00", ["11-23 09:00 +0800", "11-24 09:00 +0800"]),
        # A day of the month or of the week, where both are given.
        ("UTC", "0 9 1 * 1", "2026-11-20T09:00+00:00", ["11-23 09:00 +0000", "11-30 09:00 +0000", "12-01 09:00 +0000"]),
    ],
)
def test_hours_that_are_skipped_or_repeated_are_those_of_debian_cron(
    zone: str, cron: str, after: str, expected: list[str]
) -> None:
    found = islice(read_timetable(cron, zone).after(datetime.fromisoformat(after)), len(expected))
    assert [f"{one:%m-%d %H:%M %z}" for one in found] == expected


def test_times_of_one_zone_are_compared_by_what_has_passed_not_by_their_digits() -> None:
    new_york = ZoneInfo("America/New_York")
    timetable = read_timetable("40 * * * *", "America/New_York")
    first, second = (datetime(2026, 11, 1, 1, 50, tzinfo=new_york, fold=fold) for fold in (0, 1))
    latest = timetable.latest(after=first, until=second)
    assert latest is not None
    assert latest.astimezone(UTC) == datetime(2026, 11, 1, 6, 40, tzinfo=UTC)
    assert timetable.latest(after=second, until=first) is None


EVERY_NINE = read_timetable("0 9 * * *", "Asia/Shanghai")
NINE = datetime(2026, 11, 20, 1, 0, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("late", "late_within", "occurrence"),
    [
        (timedelta(seconds=1), None, NINE),
        (timedelta(hours=23), None, NINE),
        (3 * DAY + timedelta(hours=1), None, NINE + 3 * DAY),
        (timedelta(minutes=59), timedelta(hours=1), NINE),
        (timedelta(minutes=61), timedelta(hours=1), None),
        (3 * DAY + timedelta(minutes=5), timedelta(hours=1), NINE + 3 * DAY),
        (3 * DAY + timedelta(hours=5), timedelta(hours=1), None),
    ],
)
def test_of_what_was_missed_the_last_is_sent_if_it_is_not_too_late(
    late: timedelta, late_within: timedelta | None, occurrence: datetime | None
) -> None:
    turn = take_turn(EVERY_NINE, NINE, NINE + late, late_within)
    assert turn.occurrence == occurrence
    assert NINE + late < turn.next_at <= NINE + late + DAY


@settings(deadline=None, max_examples=60)
@given(timetables(), moments, st.timedeltas(timedelta(0), timedelta(hours=30)))
def test_an_occurrence_is_never_decided_about_twice(
    both: tuple[Timetable, dict[str, set[int] | None]], moment: datetime, down: timedelta
) -> None:
    timetable, _ = both
    due_at = timetable.next(moment)
    turn = take_turn(timetable, due_at, due_at + down, None)
    assert turn.occurrence is not None
    assert due_at <= turn.occurrence <= due_at + down < turn.next_at


@pytest.mark.parametrize(
    ("cron", "complaint"),
    [
        ("0 9 * *", "has not five fields"),
        ("0 0 9 * * 1", "has not five fields"),
        ("0 25 * * *", "bad hour"),
        ("0 9 * * 1-8", "bad day-of-week"),
        ("0 0 31 2 *", "bad day-of-month, or none that these months have"),
        ("@daily", "has not five fields"),
    ],
)
def test_what_is_no_cron_is_refused_with_an_example(cron: str, complaint: str) -> None:
    with pytest.raises(InvalidMessage, match=f"cron: .*{complaint}.*0 9 \\* \\* 1-5"):
        read_timetable(cron, "UTC")


def test_a_day_that_never_comes_is_refused() -> None:
    with pytest.raises(InvalidMessage, match="never comes"):
        read_timetable("0 0 */9 2 1#5", "UTC").next(NINE)


@pytest.mark.parametrize("zone", ["Asia/Shangai", "Asia", "../etc/passwd", "", "CST+8"])
def test_what_is_no_zone_is_refused(zone: str) -> None:
    with pytest.raises(InvalidMessage, match="timezone: "):
        read_timetable("0 9 * * *", zone)


def test_a_zone_that_is_nearly_one_is_named() -> None:
    with pytest.raises(InvalidMessage, match="did you mean Asia/Shanghai"):
        read_timetable("0 9 * * *", "Asia/Shangai")


def test_the_two_occurrences_of_a_repeated_hour_have_names_of_their_own() -> None:
    twice = islice(read_timetable("30 * * * *", "America/New_York").after(datetime(2026, 11, 1, 5, tzinfo=UTC)), 2)
    assert [occurrence_name("hourly", one) for one in twice] == [
        "hourly 2026-11-01T01:30-04:00",
        "hourly 2026-11-01T01:30-05:00",
    ]
