"""Nothing that can wait reaches WeCom around minute 0 and minute 30."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from worker import Producer, SendRequest, State, Text
from worker.ledger import Ledger
from worker.processes import BEAT, WORKER, CeleryProcess
from worker.simulator.control import SimulatorControl

NINE = datetime(2031, 3, 5, 9, 0, tzinfo=UTC)
WINDOW_ENDS = NINE + timedelta(minutes=2)
EVERYTHING_IS_DUE = NINE + timedelta(minutes=6, seconds=1)


@pytest.fixture
def environment(environment: dict[str, str]) -> dict[str, str]:
    """The quiet windows as they are by default."""
    return environment | {"WECOM_QUIET_BEFORE": "60", "WECOM_QUIET_AFTER": "120"}


def test_from_half_a_minute_before_nine_only_urgent_messages_go_and_all_others_after_two_past(
    producer: Producer,
    ledger: Ledger,
    simulator: SimulatorControl,
    start: Callable[..., CeleryProcess],
    eventually: Callable[..., None],
    set_clock: Callable[[datetime], None],
) -> None:
    set_clock(NINE - timedelta(minutes=5))
    backlog = producer.send("hr", Text(content="was due long before"), users=["early"])
    set_clock(NINE - timedelta(seconds=30))
    waiting = producer.send_many(SendRequest("hr", Text(content="can wait"), users=[f"user{n}"]) for n in range(50))
    start(WORKER)
    start(BEAT)

    for n in range(3):
        producer.send("hr", Text(content="cannot wait"), users=[f"urgent{n}"], urgent=True)
        eventually(lambda n=n: f"urgent{n}" in simulator.served())

    assert set(simulator.served()) == {"urgent0", "urgent1", "urgent2"}
    assert all(WINDOW_ENDS <= producer.status(one).send_at < EVERYTHING_IS_DUE for one in waiting)

    set_clock(EVERYTHING_IS_DUE)
    eventually(lambda: ledger.history.counts("hr") == {State.SENT: 54})

    first = min(one.at for one in simulator.deliveries() if one.content == "can wait")
    assert first >= WINDOW_ENDS.timestamp()
    assert producer.status(backlog).sent_at >= WINDOW_ENDS


def test_a_message_that_expires_before_the_window_ends_is_not_held_back_by_it(
    producer: Producer,
    simulator: SimulatorControl,
    start: Callable[..., CeleryProcess],
    eventually: Callable[..., None],
    set_clock: Callable[[datetime], None],
) -> None:
    set_clock(NINE + timedelta(seconds=10))
    start(WORKER)

    producer.send("hr", Text(content="only good now"), users=["zhangsan"], expires=NINE + timedelta(seconds=100))

    eventually(lambda: simulator.served() == {"zhangsan": ["only good now"]})
