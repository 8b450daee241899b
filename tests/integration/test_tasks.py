"""Programs that know only Celery: `app.send_task("wecom.send", ...)`."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from template_bombs import BOMBS

from worker import Producer, State, Text
from worker.ledger import Ledger
from worker.processes import WORKER, CeleryProcess
from worker.servers import broker_form
from worker.simulator.control import SimulatorControl

SMALL_BOMBS = (
    "loops that show nothing",
    "a text twice as long in each loop",
    "a list twice as long in each loop",
    "round with any precision",
    "round with the precision of a row",
    "filters within filters",
    "signs within signs",
    "a sum of many",
    "many names",
)
"""More than a worker has threads."""
HELLO = {"msgtype": "text", "text": {"content": "from afar"}}


@pytest.fixture
def app(redis_url: str) -> Iterator[Celery]:
    """A Celery app that knows nothing of this package."""
    with Celery("elsewhere", broker=broker_form(redis_url), set_as_current=False) as app:
        yield app


@pytest.fixture
def _worker(ledger: Ledger, start: Callable[..., CeleryProcess]) -> None:
    assert ledger.senders.names() == ["hr"]
    start(WORKER)


@pytest.mark.usefixtures("_worker")
def test_a_message_handed_over_by_name_is_delivered(
    app: Celery, ledger: Ledger, simulator: SimulatorControl, eventually: Callable[..., None]
) -> None:
    app.send_task("wecom.send", kwargs={"sender": "hr", "message": HELLO, "users": ["zhangsan"]}, queue="wecom")
    eventually(lambda: ledger.history.counts("hr") == {State.SENT: 1})
    assert simulator.served() == {"zhangsan": ["from afar"]}


@pytest.mark.usefixtures("_worker")
def test_the_same_task_delivered_twice_by_the_broker_is_one_message(
    app: Celery, ledger: Ledger, simulator: SimulatorControl, eventually: Callable[..., None]
) -> None:
    for task_id, user in (("one", "a"), ("one", "a"), ("two", "b")):
        kwargs = {"sender": "hr", "message": HELLO, "users": [user], "idempotency_key": None}
        app.send_task("wecom.send", kwargs=kwargs, queue="wecom", task_id=task_id)
    eventually(lambda: ledger.history.counts("hr") == {State.SENT: 2})
    assert simulator.served() == {"a": ["from afar"], "b": ["from afar"]}


@pytest.mark.usefixtures("_worker")
def test_a_message_is_recalled_by_name(
    app: Celery, producer: Producer, ledger: Ledger, eventually: Callable[..., None]
) -> None:
    message_id = producer.send("hr", Text(content="oops"), users=["zhangsan"])
    eventually(lambda: ledger.history.counts("hr") == {State.SENT: 1})
    app.send_task("wecom.recall", kwargs={"message_id": str(message_id)}, queue="wecom")
    eventually(lambda: producer.status(message_id).state is State.RECALLED)


@pytest.mark.usefixtures("_worker")
def test_a_recall_that_is_not_due_is_refused_and_none_holds_up_a_worker(
    app: Celery, producer: Producer, ledger: Ledger, eventually: Callable[..., None]
) -> None:
    message_id = producer.send("hr", Text(content="stays"), users=["zhangsan"])
    eventually(lambda: ledger.history.counts("hr") == {State.SENT: 1})
    app.send_task("wecom.recall", kwargs={"message_id": str(message_id)}, queue="wecom", countdown=3600)
    eventually(lambda: ledger.rejected.count() == 1)
    [kept] = ledger.rejected.list()
    assert kept.reason.startswith("eta: a recall is carried out at once")
    assert producer.status(message_id).state is State.SENT
    due = datetime.now(UTC) - timedelta(seconds=1)
    app.send_task("wecom.recall", kwargs={"message_id": str(message_id)}, queue="wecom", eta=due)
    eventually(lambda: producer.status(message_id).state is State.RECALLED)


@pytest.mark.usefixtures("_worker")
@pytest.mark.parametrize(
    ("kwargs", "complaint"),
    [
        ({"sender": "payroll", "message": HELLO, "users": ["a"]}, "no sender named 'payroll'"),
        ({"sender": "hr", "message": "hello", "users": ["a"]}, "message: an object is needed"),
        ({"sender": "hr", "message": HELLO}, "nobody is named"),
        ({"sender": "hr", "message": HELLO, "users": ["a"], "at": "tomorrow"}, "no ISO 8601 time"),
        ({"sender": "hr", "message": HELLO, "users": ["a"], "at": "2031-01-01T09:00:00"}, "has no time zone"),
        ({"sender": "hr", "message": HELLO, "user": ["a"]}, "user"),
        ({"message": HELLO, "users": ["a"]}, "sender"),
    ],
)
def test_a_refused_request_is_one_clear_line_in_the_workers_log(
    app: Celery,
    ledger: Ledger,
    tmp_path: Path,
    eventually: Callable[..., None],
    kwargs: dict[str, Any],
    complaint: str,
) -> None:
    app.send_task("wecom.send", kwargs=kwargs, queue="wecom")

    def refusals() -> list[str]:
        log = (tmp_path / "worker-0.log").read_text()
        return [line for line in log.splitlines() if "is refused" in line]

    eventually(refusals)
    assert complaint in refusals()[0]
    assert "Traceback" not in (tmp_path / "worker-0.log").read_text()
    assert ledger.history.counts("hr") == {}


@pytest.mark.usefixtures("_worker")
def test_a_due_time_that_passed_in_the_queue_means_now(
    app: Celery, ledger: Ledger, eventually: Callable[..., None]
) -> None:
    kwargs = {"sender": "hr", "message": HELLO, "users": ["a"], "at": "2021-01-01T09:00:00+08:00"}
    app.send_task("wecom.send", kwargs=kwargs, queue="wecom")
    eventually(lambda: ledger.history.counts("hr") == {State.SENT: 1})


@pytest.mark.usefixtures("_worker")
def test_recipients_may_stand_in_the_message_as_wecoms_examples_have_them(
    app: Celery, ledger: Ledger, simulator: SimulatorControl, eventually: Callable[..., None]
) -> None:
    message = {**HELLO, "touser": "a | b", "toparty": "2", "agentid": 1}
    app.send_task("wecom.send", kwargs={"sender": "hr", "message": message}, queue="wecom")
    eventually(lambda: ledger.history.counts("hr") == {State.SENT: 1})
    assert set(simulator.served()) == {"a", "b", "party:2"}


@pytest.mark.usefixtures("_worker")
def test_templates_that_ask_for_too_much_hold_up_nobody(
    app: Celery, producer: Producer, ledger: Ledger, simulator: SimulatorControl, eventually: Callable[..., None]
) -> None:
    for number, bomb in enumerate(BOMBS[name] for name in SMALL_BOMBS):
        message = {"msgtype": "text", "text": {"content": bomb.template}}
        rows = [bomb.row | {"userid": "zhangsan"}]
        kwargs = {"sender": "hr", "name": f"bomb {number}", "message": message, "recipients": rows}
        app.send_task("wecom.campaign", kwargs=kwargs, queue="wecom")
    producer.send("hr", Text(content="in between"), users=["lisi"])
    eventually(lambda: simulator.served() == {"lisi": ["in between"]})
    eventually(lambda: ledger.rejected.count() == len(SMALL_BOMBS))
