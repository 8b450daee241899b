"""Two beats with entries that send through WeCom, driven through an hour: every moment once, and the same in both."""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from celery import Celery
from celery.beat import BeatLazyFunc, SchedulingError
from celery.exceptions import ImproperlyConfigured
from celery.schedules import BaseSchedule, crontab, schedule
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.beat import RESTART, OnceEntry, OnceScheduler
from worker.settings import Settings

BEGIN = datetime(2026, 11, 20, 0, 58, 7, 250_000, tzinfo=UTC)
HELLO = {"msgtype": "text", "text": {"content": "hello"}}


class Clock:
    """The time that schedules and beats look at."""

    def __init__(self) -> None:
        self.now = BEGIN

    def __call__(self) -> datetime:
        return self.now


class Beat(OnceScheduler):
    """A beat whose broker is a list, and is away now and then."""

    sent: list[tuple[str, list[Any], dict[str, Any]]]
    broker_is_away = False

    def send_task(self, name: str, args: list[Any], kwargs: dict[str, Any], **_: object) -> None:
        if self.broker_is_away:
            raise ConnectionError("the broker is away")
        self.sent.append((name, args, kwargs))

    def apply_entry(self, entry: OnceEntry, producer: object = None) -> None:
        with suppress(SchedulingError):  # Celery logs it with two tracebacks
            self.apply_async(entry, producer=producer, advance=False)

    def named(self) -> list[str]:
        return [kwargs["idempotency_key"] for _, _, kwargs in self.sent]

    def tick_until_idle(self) -> None:
        while self.tick() == 0:
            pass


@pytest.fixture(scope="module")
def app() -> Iterator[Celery]:
    with Celery("shop", broker="memory://", set_as_current=False) as app:
        app.conf.result_expires = None
        yield app


@pytest.fixture(scope="module")
def start(app: Celery) -> Callable[..., Beat]:
    """Start a beat with these entries."""

    def start(other: Celery | None = None, **entries: dict[str, Any]) -> Beat:
        chosen = other or app
        chosen.conf.beat_schedule = entries
        beat = Beat(chosen)
        beat.sent = []
        return beat

    return start


def entry(when: BaseSchedule, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - what an entry may hold
    return {"task": "wecom.send", "schedule": when, "kwargs": {"sender": "hr", "message": HELLO}} | changes


def moments(beats: list[Beat], name: str) -> Counter[datetime]:
    prefix = f"beat:{beats[0].app.main}:{name}:"
    keys = [key for beat in beats for key in beat.named() if key.startswith(prefix)]
    return Counter(datetime.fromisoformat(key.removeprefix(prefix)) for key in keys)


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 2**32))
def test_in_fifty_minutes_two_beats_that_lag_and_restart_name_every_moment_and_no_other(
    app: Celery, start: Callable[..., Beat], seed: int
) -> None:
    random, clock = Random(seed), Clock()
    entries = {
        "each-minute": entry(crontab(nowfun=clock, app=app)),
        "nine": entry(crontab(minute="0,10", hour="1", nowfun=clock, app=app)),
        "each-90-s": entry(schedule(timedelta(seconds=90), nowfun=clock, app=app)),
    }
    running = [start(**entries), start(**entries)]
    all_beats = list(running)
    end = BEGIN + timedelta(minutes=50)
    while clock.now < end:
        clock.now += timedelta(seconds=random.uniform(0.01, 9))
        which = random.randrange(2)
        if random.random() < 0.02:
            running[which] = start(**entries)
            all_beats.append(running[which])
        running[which].broker_is_away = random.random() < 0.05
        running[which].tick_until_idle()
        running[which].broker_is_away = False
    for beat in running:
        beat.tick_until_idle()

    first = BEGIN.replace(second=0, microsecond=0)
    minutes = {first + timedelta(minutes=n) for n in range(51) if first + timedelta(minutes=n) <= clock.now}
    assert set(moments(all_beats, "each-minute")) == {m for m in minutes if m > BEGIN - RESTART}
    assert set(moments(all_beats, "nine")) == {datetime(2026, 11, 20, 1, m, tzinfo=UTC) for m in (0, 10)}
    each_90 = moments(all_beats, "each-90-s")
    assert all(one.timestamp() % 90 == 0 for one in each_90)
    assert len(each_90) in {33, 34, 35}
    for beat in all_beats:
        assert max(Counter(beat.named()).values(), default=1) == 1, "one beat names no moment twice"
    if len(all_beats) == 2:
        assert sum(moments(all_beats, "each-minute").values()) > len(minutes), "without keys they would send twice"


def test_a_beat_that_was_stopped_for_long_sends_only_the_last_moment_it_missed(
    app: Celery, start: Callable[..., Beat]
) -> None:
    clock = Clock()
    beat = start(hourly=entry(crontab(minute="0", nowfun=clock, app=app)))
    clock.now += timedelta(hours=5)
    beat.tick_until_idle()
    assert list(moments([beat], "hourly")) == [datetime(2026, 11, 20, 5, tzinfo=UTC)]


def test_a_beat_that_starts_makes_up_for_the_last_minute_and_no_more(app: Celery, start: Callable[..., Beat]) -> None:
    for seconds, made_up_for in ((59, 1), (61, 0)):
        clock = Clock()
        clock.now = datetime(2026, 11, 20, 1, 0, tzinfo=UTC) + timedelta(seconds=seconds)
        beat = start(nine=entry(crontab(minute="0", hour="1", nowfun=clock, app=app)))
        beat.tick_until_idle()
        assert len(beat.sent) == made_up_for


def test_what_the_broker_did_not_take_is_handed_over_once_it_is_back(app: Celery, start: Callable[..., Beat]) -> None:
    clock = Clock()
    beat = start(nine=entry(crontab(minute="0", hour="1", nowfun=clock, app=app)))
    beat.broker_is_away = True
    clock.now = datetime(2026, 11, 20, 1, 0, 2, tzinfo=UTC)
    beat.tick_until_idle()
    beat.broker_is_away = False
    clock.now += timedelta(seconds=6)
    beat.tick_until_idle()
    assert beat.named() == ["beat:shop:nine:2026-11-20T01:00:00+00:00"]


def test_a_repeated_hour_has_moments_of_its_own_and_both_days_must_fit(start: Callable[..., Beat]) -> None:
    clock = Clock()
    clock.now = datetime(2026, 11, 1, 5, 0, tzinfo=UTC)
    with Celery("ny", broker="memory://", set_as_current=False, timezone="America/New_York") as app:
        beat = start(
            app,
            hourly=entry(crontab(minute="30", nowfun=clock, app=app)),
            first_monday=entry(crontab("0", "9", day_of_month="1-7", day_of_week="mon", nowfun=clock, app=app)),
        )
        for _ in range(15 * 24):
            beat.tick_until_idle()
            clock.now += timedelta(hours=1)
        assert {datetime(2026, 11, 1, hour, 30, tzinfo=UTC) for hour in (5, 6)} <= set(moments([beat], "hourly"))
        # The clock has been put back by then, so nine there is 14:00 in UTC.
        assert set(moments([beat], "first_monday")) == {datetime(2026, 11, 2, 14, tzinfo=UTC)}


def test_a_campaign_is_named_by_its_moment_and_an_own_key_is_kept(app: Celery, start: Callable[..., Beat]) -> None:
    clock = Clock()
    nine = crontab(minute="0", hour="1", nowfun=clock, app=app)
    beat = start(
        by_name=entry(nine, task="wecom.campaign", kwargs={"name": "payday"}),
        by_place=entry(nine, task="wecom.campaign", args=("report", "hr"), kwargs={}),
        lazily=entry(nine, task="wecom.campaign", kwargs={"name": BeatLazyFunc(lambda: "lazy")}),
        own_key=entry(nine, kwargs={"idempotency_key": "mine"}),
    )
    clock.now = datetime(2026, 11, 20, 1, 0, 2, tzinfo=UTC)
    beat.tick_until_idle()
    names = {kwargs.get("name") or kwargs.get("idempotency_key") or args[0] for _, args, kwargs in beat.sent}
    assert names == {
        "payday 2026-11-20T01:00+00:00",
        "report 2026-11-20T01:00+00:00",
        "lazy 2026-11-20T01:00+00:00",
        "mine:2026-11-20T01:00:00+00:00",
    }


def test_entries_that_name_other_tasks_are_left_to_celery(app: Celery, start: Callable[..., Beat]) -> None:
    clock = Clock()
    beat = start(own=entry(schedule(timedelta(seconds=10), nowfun=clock, app=app), task="shop.own", kwargs={"a": 1}))
    clock.now += timedelta(seconds=11)
    beat.tick_until_idle()
    assert beat.sent == [("shop.own", [], {"a": 1})]


def test_a_schedule_whose_moments_nobody_else_could_know_is_refused(app: Celery, start: Callable[..., Beat]) -> None:
    class AtSunset(BaseSchedule):
        """Some schedule of somebody."""

    with pytest.raises(ImproperlyConfigured, match=r"sunset: wecom\.send needs a crontab or an interval"):
        start(sunset=entry(AtSunset(app=app)))
    with pytest.raises(ImproperlyConfigured, match="needs a crontab or an interval"):
        start(never=entry(schedule(timedelta(0), app=app)))


def test_a_key_is_remembered_longer_than_a_starting_beat_looks_back() -> None:
    [shortest] = [limit.ge for limit in Settings.model_fields["idempotency_seconds"].metadata if hasattr(limit, "ge")]
    assert timedelta(seconds=shortest) >= RESTART


def test_the_entry_of_the_documentation_is_due_at_nine_in_shanghai() -> None:
    text = (Path(__file__).parents[2] / "docs" / "schedules.md").read_text()
    [example] = [block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "beat_schedule" in block]
    names: dict[str, Any] = {}
    exec(example, names)
    with names["app"] as app:
        assert app.conf.beat_scheduler == f"{OnceScheduler.__module__}:{OnceScheduler.__name__}"
        [standup] = [one for one in OnceScheduler(app).schedule.values() if one.task == "wecom.send"]
        assert standup.moments.next(BEGIN) == datetime(2026, 11, 20, 1, 0, tzinfo=UTC)
        assert standup.moments.next(standup.moments.next(BEGIN)) == datetime(2026, 11, 23, 1, 0, tzinfo=UTC)
