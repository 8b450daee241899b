"""What docs/security.md says of the broker, on a real Redis with real processes."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from celery import Celery
from faults.addresses import redis_upstream
from faults.proxy import FaultProxy
from redis import Redis
from redis.exceptions import NoPermissionError

from worker import State
from worker.ledger import Ledger
from worker.processes import BEAT, WORKER, CeleryProcess

CANARY = "canary-text-77b1"
HELLO = {"sender": "hr", "message": {"msgtype": "text", "text": {"content": CANARY}}, "users": ["a"]}
PAGE = Path(__file__).parents[2] / "docs" / "security.md"


@pytest.fixture
def address(redis_url: str) -> Iterator[str]:
    """The address of Redis for the user whose rights the page tells."""
    [order] = [line for line in PAGE.read_text().splitlines() if line.startswith("ACL SETUSER ")]
    with Redis.from_url(redis_url) as redis, FaultProxy(redis_upstream(redis_url)) as proxy:
        redis.execute_command(order)
        name, _, password = order.split()[2:5]
        yield f"redis://{name}:{password.removeprefix('>')}@127.0.0.1:{proxy.port}/0"
        redis.acl_deluser(name)


def test_a_program_that_may_only_enqueue_can_do_that_and_nothing_else(
    address: str, ledger: Ledger, start: Callable[..., CeleryProcess], eventually: Callable[..., None]
) -> None:
    with Celery("shop", broker=address, set_as_current=False) as app:
        app.send_task("wecom.send", kwargs=HELLO, queue="wecom")
    with Redis.from_url(address) as redis:
        for forbidden in (
            ("LRANGE", "wecom", 0, -1),
            ("RPOP", "wecom"),
            ("DEL", "wecom"),
            ("LPUSH", "wecom.deliver", "x"),
            ("KEYS", "*"),
            ("HGETALL", "unacked"),
            ("GET", "wecom:token:x"),
            ("PUBLISH", "/0.celery.pidbox", "x"),
            ("EVAL", "return 1", 0),
            ("CONFIG", "GET", "*"),
            ("FLUSHALL",),
        ):
            with pytest.raises(NoPermissionError):
                redis.execute_command(*forbidden)
    start(WORKER)
    start(BEAT)
    eventually(lambda: ledger.history.counts("hr") == {State.SENT: 1})


def test_nobody_who_reaches_the_broker_can_stop_a_worker(
    redis_url: str,
    address: str,
    ledger: Ledger,
    start: Callable[..., CeleryProcess],
    eventually: Callable[..., None],
) -> None:
    worker = start(WORKER)
    start(BEAT)
    master = f"redis://127.0.0.1:{address.rpartition(':')[2]}"
    assert redis_url
    with Celery("anybody", broker=master, set_as_current=False) as app:
        app.send_task("wecom.send", kwargs=HELLO, queue="wecom")
        eventually(lambda: ledger.history.counts("hr") == {State.SENT: 1})
        app.control.broadcast("shutdown")
        assert app.control.ping(timeout=1) == []
        app.send_task("wecom.send", kwargs=HELLO, queue="wecom")
    eventually(lambda: ledger.history.counts("hr") == {State.SENT: 2})
    assert worker.running()


def test_no_text_to_a_member_is_in_a_log_even_at_debug(
    address: str,
    ledger: Ledger,
    start: Callable[..., CeleryProcess],
    eventually: Callable[..., None],
    tmp_path: Path,
) -> None:
    start(WORKER, WECOM_LOG_LEVEL="DEBUG")
    start(BEAT, WECOM_LOG_LEVEL="DEBUG")
    with Celery("shop", broker=address, set_as_current=False) as app:
        app.send_task("wecom.send", kwargs=HELLO, queue="wecom")
        app.send_task("wecom.sendd", kwargs=HELLO, queue="wecom")
        app.send_task("wecom.deliver", args=["nobody", CANARY], queue="wecom")
    eventually(lambda: ledger.history.counts("hr") == {State.SENT: 1} and ledger.rejected.count() == 1)
    logs = [path.read_text() for path in tmp_path.glob("*.log")]
    assert any("DEBUG" in log for log in logs)
    assert not any(CANARY in log for log in logs)
