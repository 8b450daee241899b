"""Schedules of the ledger: every occurrence once, whatever dies, and nothing that cannot be sent is stored."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from serving import serve_all
from sqlalchemy import text

from worker import Image, InvalidMessage, Producer, State, Text, UnknownSender
from worker.delivery.office import Office
from worker.delivery.reap import reap
from worker.delivery.schedules import MOST_ROWS, run_due_schedules
from worker.ledger import Ledger, LedgerError, Schedule, ScheduleExists, UnknownSchedule
from worker.simulator.control import SimulatorControl

BEFORE_NINE = datetime(2031, 3, 5, 0, 59, 30, tzinfo=UTC)  # in Shanghai 8:59:30, a Wednesday
NINE = datetime(2031, 3, 5, 1, 0, tzinfo=UTC)
DAY = timedelta(days=1)
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63f8cfc00000030101"
    "00c9fe92ef0000000049454e44ae426082"
)


@pytest.fixture
def environment(environment: dict[str, str]) -> dict[str, str]:
    """The quiet windows as they are by default."""
    return environment | {"WECOM_QUIET_BEFORE": "60", "WECOM_QUIET_AFTER": "120"}


@pytest.fixture
def add(producer: Producer) -> Callable[..., Schedule]:
    """Store a schedule at nine on weekdays in Shanghai; what is given differs from that."""

    def add(name: str = "standup", **changes: Any) -> Schedule:  # noqa: ANN401 - what Schedules.add takes
        asked: dict[str, Any] = {
            "cron": "0 9 * * 1-5",
            "timezone": "Asia/Shanghai",
            "sender": "hr",
            "message": Text(content="Stand up!"),
        }
        if "recipients" not in changes:
            asked["users"] = ["zhangsan"]
        return producer.schedules.add(name, **(asked | changes))

    return add


@pytest.fixture
def until(set_clock: Callable[[datetime], None], office: Office) -> Callable[[datetime], int]:
    """Let the ledger's time pass until a moment, and carry out what is due."""

    def until(moment: datetime) -> int:
        set_clock(moment)
        return run_due_schedules(office)

    return until


def sent_texts(ledger: Ledger, member: str) -> list[str]:
    return [str(entry.body["text"]["content"]) for entry in ledger.history.of_member(member, 100)]


def test_an_occurrence_becomes_a_message_when_its_time_has_come(
    add: Callable[..., Schedule],
    until: Callable[[datetime], int],
    set_clock: Callable[[datetime], None],
    producer: Producer,
    bells: list[tuple[str, int]],
) -> None:
    set_clock(BEFORE_NINE)
    stored = add()
    assert stored.next_at == NINE
    assert until(NINE - timedelta(seconds=5)) == 0
    assert until(NINE) == 1
    assert until(NINE + timedelta(seconds=5)) == 0
    found = producer.schedules.find("standup")
    assert (found.last_at, found.next_at) == (NINE, NINE + DAY)
    message = producer.status(found.last_id)
    assert message.state is State.SCHEDULED
    assert NINE <= message.requested_at <= NINE + timedelta(seconds=2)
    assert "hr" in {sender for sender, _ in bells}


def test_a_campaign_gets_a_name_of_its_own_for_each_occurrence(
    add: Callable[..., Schedule],
    until: Callable[[datetime], int],
    set_clock: Callable[[datetime], None],
    producer: Producer,
    ledger: Ledger,
) -> None:
    set_clock(BEFORE_NINE)
    rows = [{"userid": "a", "name": "A"}, {"userid": "b", "name": "B"}]
    add(
        "report",
        message=Text(content="{{ name }}, your report"),
        recipients=iter(rows),
        expires_after=timedelta(hours=8),
    )
    assert (until(NINE), until(NINE + DAY)) == (1, 1)
    found = {one.name: one for one in producer.campaigns()}
    assert set(found) == {"report 2031-03-05T09:00+08:00", "report 2031-03-06T09:00+08:00"}
    assert [one.recipients for one in found.values()] == [2, 2]
    assert found["report 2031-03-05T09:00+08:00"].expires_at == NINE + timedelta(hours=8)
    assert producer.schedules.find("report").last_id == found["report 2031-03-06T09:00+08:00"].id
    assert sent_texts(ledger, "a") == ["A, your report"] * 2


def test_in_a_quiet_window_an_occurrence_goes_behind_it_unless_it_is_urgent(
    add: Callable[..., Schedule],
    set_clock: Callable[[datetime], None],
    until: Callable[[datetime], int],
    producer: Producer,
) -> None:
    set_clock(BEFORE_NINE)
    add()
    add("alarm", urgent=True)
    assert until(NINE) == 2
    standup, alarm = (producer.status(producer.schedules.find(name).last_id) for name in ("standup", "alarm"))
    assert NINE + timedelta(minutes=2) <= standup.send_at < NINE + timedelta(minutes=6)
    assert alarm.send_at == alarm.requested_at


def test_of_many_who_carry_out_what_is_due_one_does_each_occurrence(
    add: Callable[..., Schedule], set_clock: Callable[[datetime], None], office: Office, ledger: Ledger
) -> None:
    set_clock(BEFORE_NINE)
    for number in range(10):
        add(f"schedule {number}", users=[f"user{number}"])
    set_clock(NINE)
    with ThreadPoolExecutor(6) as pool:
        ran = list(pool.map(lambda _: run_due_schedules(office), range(6)))
    assert sum(ran) == 10
    assert ledger.history.counts("hr") == {State.SCHEDULED: 10}


def test_a_crash_between_claim_and_send_neither_loses_nor_doubles_an_occurrence(
    add: Callable[..., Schedule],
    set_clock: Callable[[datetime], None],
    office: Office,
    ledger: Ledger,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_clock(BEFORE_NINE)
    add()
    set_clock(NINE)

    def die(*_: object, **__: object) -> None:
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr("worker.delivery.schedules.move_schedule_on", die)
        with pytest.raises(SystemExit):
            run_due_schedules(office)
    assert ledger.history.counts("hr") == {}
    assert run_due_schedules(office) == 1
    assert ledger.history.counts("hr") == {State.SCHEDULED: 1}


@pytest.mark.parametrize(
    ("late_within", "back_after", "sent"),
    [
        (None, 2 * DAY + timedelta(hours=5), 1),
        (timedelta(hours=1), 2 * DAY + timedelta(minutes=59), 1),
        (timedelta(hours=1), 2 * DAY + timedelta(minutes=61), 0),
    ],
)
def test_what_was_missed_while_everything_was_down_is_sent_once_or_not_at_all(
    add: Callable[..., Schedule],
    until: Callable[[datetime], int],
    set_clock: Callable[[datetime], None],
    producer: Producer,
    ledger: Ledger,
    late_within: timedelta | None,
    back_after: timedelta,
    sent: int,
) -> None:
    set_clock(BEFORE_NINE)
    add(late_within=late_within)
    until(NINE + back_after)
    assert sum(ledger.history.counts("hr").values()) == sent
    found = producer.schedules.find("standup")
    assert found.last_at == (NINE + 2 * DAY if sent else None)
    assert found.next_at == datetime(2031, 3, 10, 1, 0, tzinfo=UTC), "Saturday and Sunday are no weekdays"


def test_an_occurrence_that_would_have_expired_is_not_sent_and_stops_nothing(
    add: Callable[..., Schedule],
    until: Callable[[datetime], int],
    set_clock: Callable[[datetime], None],
    producer: Producer,
    ledger: Ledger,
) -> None:
    set_clock(BEFORE_NINE)
    add(expires_after=timedelta(hours=2))
    until(NINE + timedelta(hours=3))
    found = producer.schedules.find("standup")
    assert (found.paused_reason, found.next_at) == (None, NINE + DAY)
    assert ledger.history.counts("hr") == {}


def test_a_paused_schedule_sends_nothing_and_goes_on_with_the_next_occurrence(
    add: Callable[..., Schedule],
    until: Callable[[datetime], int],
    set_clock: Callable[[datetime], None],
    producer: Producer,
    ledger: Ledger,
) -> None:
    set_clock(BEFORE_NINE)
    add()
    assert producer.schedules.pause("standup", "holidays").paused_reason == "holidays"
    assert producer.schedules.next("standup") == []
    assert until(NINE + DAY) == 0
    assert producer.schedules.resume("standup").next_at == NINE + 2 * DAY
    assert until(NINE + DAY + timedelta(minutes=1)) == 0
    assert ledger.history.counts("hr") == {}
    assert until(NINE + 2 * DAY) == 1


def test_a_program_that_stores_its_schedules_again_resumes_none_that_was_paused_unless_it_changed(
    add: Callable[..., Schedule], producer: Producer
) -> None:
    add()
    producer.schedules.pause("standup", "wrong text")
    assert add(replace=True).paused_reason == "wrong text"
    assert add(replace=True, message=Text(content="the right text")).paused_reason is None


def test_a_removed_schedule_is_gone_and_what_it_sent_stays(
    add: Callable[..., Schedule],
    until: Callable[[datetime], int],
    set_clock: Callable[[datetime], None],
    producer: Producer,
    ledger: Ledger,
) -> None:
    set_clock(BEFORE_NINE)
    add()
    until(NINE)
    producer.schedules.remove("standup")
    assert until(NINE + DAY) == 0
    assert ledger.history.counts("hr") == {State.SCHEDULED: 1}
    for call in (
        producer.schedules.find,
        producer.schedules.remove,
        producer.schedules.resume,
        producer.schedules.pause,
    ):
        with pytest.raises(UnknownSchedule, match="wecom schedule list"):
            call("standup")


def test_one_that_can_be_sent_no_more_is_paused_with_the_reason_and_holds_up_no_other(
    add: Callable[..., Schedule],
    until: Callable[[datetime], int],
    set_clock: Callable[[datetime], None],
    producer: Producer,
    ledger: Ledger,
) -> None:
    set_clock(BEFORE_NINE)
    add("a first")
    add("then another", users=["lisi"])
    with ledger.engine.begin() as connection:
        connection.execute(text("""update wecom.schedules set body = '{"msgtype": "txt"}' where name = 'a first'"""))
    assert until(NINE) == 2
    assert "'txt' is not known" in (producer.schedules.find("a first").paused_reason or "")
    assert sent_texts(ledger, "lisi") == ["Stand up!"]
    assert until(NINE + DAY) == 1, "the paused one is not tried again"


def test_storing_a_schedule_again_neither_loses_nor_repeats_the_occurrence_that_is_due_just_then(
    add: Callable[..., Schedule],
    until: Callable[[datetime], int],
    set_clock: Callable[[datetime], None],
    producer: Producer,
    ledger: Ledger,
) -> None:
    set_clock(BEFORE_NINE)
    add()
    with pytest.raises(ScheduleExists, match="'standup' exists already"):
        add()
    set_clock(NINE + timedelta(seconds=1))
    add(message=Text(content="Stand up, please!"), replace=True)
    until(NINE + timedelta(seconds=2))
    add(message=Text(content="Stand up!"), replace=True)
    until(NINE + timedelta(seconds=3))
    assert sent_texts(ledger, "zhangsan") == ["Stand up, please!"]
    assert add(cron="0 10 * * *", replace=True).next_at == NINE + timedelta(hours=1)
    assert producer.schedules.next("standup", 2) == [NINE + timedelta(hours=1), NINE + timedelta(hours=25)]


def test_each_occurrence_of_a_schedule_shows_its_file_and_uploads_it_when_wecom_has_it_no_more(
    add: Callable[..., Schedule],
    until: Callable[[datetime], int],
    set_clock: Callable[[datetime], None],
    office: Office,
    ledger: Ledger,
    simulator: SimulatorControl,
) -> None:
    set_clock(BEFORE_NINE)
    add(cron="0 9 * * *", message=Image(data=PIXEL, filename="a.png"))
    for days in (0, 1, 4):  # a media_id lives for three days
        assert until(NINE + days * DAY) == 1
        set_clock(NINE + days * DAY + timedelta(minutes=10))  # past the quiet window
        serve_all(office)
    assert ledger.history.counts("hr") == {State.SENT: 3}
    assert len(simulator.uploads()) == 2
    assert len(simulator.served()["zhangsan"]) == 3


def test_a_file_is_kept_as_long_as_a_schedule_shows_it(
    add: Callable[..., Schedule],
    until: Callable[[datetime], int],
    set_clock: Callable[[datetime], None],
    producer: Producer,
    office: Office,
    ledger: Ledger,
) -> None:
    set_clock(BEFORE_NINE)
    [reference] = add(cron="0 9 5 3 *", message=Image(data=PIXEL, filename="a.png")).files
    assert until(NINE) == 1
    set_clock(NINE + 200 * DAY)
    reap(office)
    assert ledger.media.read(reference) is not None
    assert until(NINE + 366 * DAY) == 1
    assert producer.schedules.find("standup").paused_reason is None
    assert ledger.history.counts("hr") == {State.SCHEDULED: 2}
    producer.schedules.remove("standup")
    set_clock(NINE + 800 * DAY)
    reap(office)
    assert ledger.media.read(reference) is None


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"cron": "0 25 * * *"}, "cron: .*bad hour"),
        ({"cron": "0 0 31 2 *"}, "cron: .*none that these months have"),
        ({"timezone": "Asia/Shangai"}, "timezone: .*did you mean Asia/Shanghai"),
        ({"message": Text(content="x" * 2048), "users": []}, "nobody is named"),
        ({"message": {"msgtype": "text", "text": {"content": "x" * 3000}}}, "text.content: 3000 bytes"),
        ({"users": ["@all"]}, "say everyone=True"),
        ({"users": ["a"], "recipients": ["b"]}, "recipients: a campaign has rows"),
        ({"recipients": []}, "nobody is named"),
        ({"recipients": [{"userid": "a"}], "message": Text(content="{{ name }}")}, "'name' is undefined"),
        ({"recipients": [{"userid": "a", "x": "\0"}]}, "NUL character"),
        ({"recipients": [{"userid": "a", "x": "\ud800"}]}, "cannot be kept as JSON"),
        ({"recipients": (f"user{n}" for n in range(MOST_ROWS + 1))}, "docs/schedules.md"),
        ({"recipients": [{"userid": "a", "x": "x" * 5_000_000}]}, "4882 KiB are too many"),
        ({"name": "a/b"}, "name: 1 to 100 printable characters"),
        ({"late_within": timedelta(0)}, "late_within: a second to 366 days"),
    ],
)
def test_what_could_not_be_sent_is_refused_when_it_is_added(
    add: Callable[..., Schedule], producer: Producer, changes: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(InvalidMessage, match=complaint):
        add(changes.pop("name", "standup"), **changes)
    assert producer.schedules.all() == []


def test_a_sender_must_be_there_and_stays_as_long_as_schedules_name_it(
    add: Callable[..., Schedule], ledger: Ledger
) -> None:
    with pytest.raises(UnknownSender, match="no sender named 'payroll'"):
        add(sender="payroll")
    add()
    with pytest.raises(LedgerError, match="has messages or schedules"):
        ledger.senders.remove("hr")
