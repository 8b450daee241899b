"""RabbitMQ as the broker: nothing is lost and nothing doubled, whoever is killed.

WECOM_TEST_RABBITMQ_URL names a virtual host for these tests alone: what is in it is deleted. Without it they make one
where `rabbitmqctl` may, which it may for root beside the server. Elsewhere they are skipped.
"""

import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import broker_strategies
import pytest
from celery import Celery
from hypothesis import Phase, given
from hypothesis import settings as trials
from hypothesis import strategies as st
from kombu import Connection

from worker import Producer, State, Text
from worker.ledger import Ledger
from worker.processes import BEAT, WORKER, CeleryProcess
from worker.settings import load_settings
from worker.simulator.control import SimulatorControl

IMPATIENT = """
from worker.delivery import rejections

rejections.PATIENCE_SECONDS = rejections.LOOK_AGAIN_SECONDS = 0.2
"""
QUEUES = ("wecom", "wecom.deliver", "wecom.housekeeping")
HELLO = {"msgtype": "text", "text": {"content": "from afar"}}
NAMED = os.environ.get("WECOM_TEST_RABBITMQ_URL")
ELSEWHERE = """
import sys
from celery import Celery

app = Celery(broker=sys.argv[1])
app.conf.task_create_missing_queue_type = "quorum"
app.conf.broker_transport_options = {"confirm_publish": True}
for number in range(int(sys.argv[2])):
    message = {"msgtype": "text", "text": {"content": f"Number {number}"}}
    app.send_task(
        "wecom.send", kwargs={"sender": "hr", "message": message, "users": [f"user{number}"]}, queue="wecom"
    )
assert not [name for name in sys.modules if name.partition(".")[0] == "worker"]
"""


def rabbitmqctl(*arguments: str) -> bool:
    command = shutil.which("rabbitmqctl")
    if command is None:
        return False
    done = subprocess.run([command, "--quiet", *arguments], capture_output=True, check=False, timeout=60)
    return done.returncode == 0


@pytest.fixture(scope="module")
def virtual_host() -> Iterator[str]:
    """The address of a virtual host of these tests' own."""
    if NAMED:
        yield NAMED
        return
    name = f"wecom-test-{uuid4().hex[:8]}"
    if not (rabbitmqctl("add_vhost", name) and rabbitmqctl("set_permissions", "-p", name, "guest", ".*", ".*", ".*")):
        pytest.skip("no RabbitMQ: WECOM_TEST_RABBITMQ_URL is not set, and rabbitmqctl cannot make a virtual host")
    yield f"amqp://guest:guest@127.0.0.1:5672/{name}"
    rabbitmqctl("delete_vhost", name)


@pytest.fixture
def broker_url(virtual_host: str, environment: dict[str, str]) -> Iterator[str]:
    """The address of an empty broker, which this test's processes use."""
    environment["WECOM_BROKER_URL"] = virtual_host
    _delete_queues(virtual_host)
    yield virtual_host
    _delete_queues(virtual_host)


def _delete_queues(address: str) -> None:
    with Connection(address) as connection:
        for queue in QUEUES:
            connection.channel().queue_delete(queue)


@pytest.fixture
def app(broker_url: str) -> Iterator[Celery]:
    """A Celery app that knows nothing of this package."""
    with Celery("elsewhere", broker=broker_url, set_as_current=False) as app:
        app.conf.task_create_missing_queue_type = "quorum"
        yield app


def waiting(broker_url: str, queue: str) -> int:
    with Connection(broker_url) as connection:
        return int(connection.default_channel.queue_declare(queue, passive=True).message_count)


def execute(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "worker.cli", *arguments]
    return subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, check=False, timeout=60
    )


def send_from_elsewhere(broker_url: str, messages: int) -> None:
    subprocess.run([sys.executable, "-c", ELSEWHERE, broker_url, str(messages)], check=True, timeout=60)


def test_no_message_is_lost_or_doubled_when_workers_are_killed(
    broker_url: str,
    ledger: Ledger,
    start: Callable[..., CeleryProcess],
    simulator: SimulatorControl,
    eventually: Callable[..., None],
) -> None:
    send_from_elsewhere(broker_url, 500)
    worker = start(WORKER)
    start(BEAT)
    for part in (60, 180, 300, 420):
        eventually(lambda part=part: sum(ledger.history.counts("hr").values()) >= part)
        worker.kill()
        worker = start(WORKER)
    eventually(lambda: ledger.history.counts("hr") == {State.SENT: 500}, 120)
    served = Counter((user, content) for user, contents in simulator.served().items() for content in contents)
    assert served == {(f"user{number}", f"Number {number}"): 1 for number in range(500)}
    eventually(lambda: waiting(broker_url, "wecom") == 0)


@pytest.mark.usefixtures("broker_url")
def test_a_bell_alone_has_a_message_sent(
    ledger: Ledger,
    start: Callable[..., CeleryProcess],
    environment: dict[str, str],
    eventually: Callable[..., None],
) -> None:
    start(WORKER)  # no beat: nobody else would find the message
    chosen = load_settings(**{name.removeprefix("WECOM_").lower(): value for name, value in environment.items()})
    producer = Producer(settings=chosen)
    producer.send("hr", Text(content="x"), users=["a"])
    eventually(lambda: ledger.history.counts("hr") == {State.SENT: 1})
    producer.close()


def test_a_task_that_is_not_due_holds_up_nobody_and_is_sent_in_time(
    app: Celery, ledger: Ledger, start: Callable[..., CeleryProcess], eventually: Callable[..., None]
) -> None:
    start(WORKER)
    for number in range(20):  # more than a worker may hold
        kwargs = {"sender": "hr", "message": HELLO, "users": [f"late{number}"]}
        app.send_task("wecom.send", kwargs=kwargs, queue="wecom", countdown=3600)
    app.send_task("wecom.send", kwargs={"sender": "hr", "message": HELLO, "users": ["now"]}, queue="wecom")
    eventually(lambda: ledger.history.counts("hr") == {State.SENT: 1, State.SCHEDULED: 20})


def test_a_task_waits_for_postgres_without_leaving_the_broker(
    app: Celery,
    broker_url: str,
    ledger: Ledger,
    start: Callable[..., CeleryProcess],
    tmp_path: Path,
    postgres_accepts: Callable[..., None],
    eventually: Callable[..., None],
) -> None:
    (tmp_path / "impatient.py").write_text(IMPATIENT)
    worker = start((*WORKER, "--include", "impatient"), PYTHONPATH=str(tmp_path), WECOM_LOG_LEVEL="DEBUG")
    log = tmp_path / "worker-0.log"
    eventually(lambda: "ready" in log.read_text())
    postgres_accepts(connections=False)
    for number in range(9):
        kwargs = {"sender": "hr", "message": HELLO, "users": [f"user{number}"]}
        app.send_task("wecom.send", kwargs=kwargs, queue="wecom", countdown=3600 if number == 0 else None)
    eventually(lambda: log.read_text().count("waits for Postgres") > 50)  # each several times anew
    worker.kill()
    eventually(lambda: waiting(broker_url, "wecom") >= 9)
    postgres_accepts(connections=True)
    start(WORKER)
    eventually(lambda: ledger.history.counts("hr") == {State.SENT: 8, State.SCHEDULED: 1})


@pytest.mark.skipif(bool(NAMED), reason="only rabbitmqctl can break off connections")
def test_workers_and_producers_go_on_after_their_connections_broke_off(
    app: Celery,
    broker_url: str,
    ledger: Ledger,
    start: Callable[..., CeleryProcess],
    environment: dict[str, str],
    eventually: Callable[..., None],
) -> None:
    worker = start(WORKER)
    start(BEAT)  # it finds what could not be rung for
    chosen = load_settings(**{name.removeprefix("WECOM_").lower(): value for name, value in environment.items()})
    producer = Producer(settings=chosen)
    producer.send("hr", Text(content="before"), users=["a"])
    eventually(lambda: ledger.history.counts("hr") == {State.SENT: 1})
    for number in range(50):
        kwargs = {"sender": "hr", "message": HELLO, "users": [f"user{number}"]}
        app.send_task("wecom.send", kwargs=kwargs, queue="wecom")
    virtual_host = broker_url.rpartition("/")[2]
    assert rabbitmqctl("close_all_connections", "--vhost", virtual_host, "a test")
    eventually(lambda: ledger.history.counts("hr") == {State.SENT: 51})
    producer.send("hr", Text(content="after"), users=["b"])
    eventually(lambda: ledger.history.counts("hr") == {State.SENT: 52})
    producer.close()
    assert worker.running()


def test_the_doctor_understands_it(
    broker_url: str,
    ledger: Ledger,
    start: Callable[..., CeleryProcess],
    environment: dict[str, str],
    tmp_path: Path,
    eventually: Callable[..., None],
) -> None:
    assert ledger.senders.names() == ["hr"]
    broken = execute(environment | {"WECOM_BROKER_URL": broker_url.replace("guest:guest", "guest:s3cret")}, "doctor")
    assert "Broker: does not answer" in broken.stdout
    assert "s3cret" not in broken.stdout + broken.stderr
    fresh = execute(environment, "doctor", "--all").stdout
    assert "Broker: answers; tasks waiting: 0 in wecom, 0 in wecom.deliver, 0 in wecom.housekeeping" in fresh
    assert "append-only" not in fresh
    start(WORKER)
    eventually(lambda: "ready" in (tmp_path / "worker-0.log").read_text())
    assert "Workers: 1 live" in execute(environment, "doctor", "--all").stdout


MALFORMED = 60
ODD_PROPERTIES = ("correlation_id", "reply_to", "type", "message_id", "content_type", "content_encoding")


def test_no_message_of_any_queue_ends_a_worker(
    app: Celery,
    broker_url: str,
    ledger: Ledger,
    start: Callable[..., CeleryProcess],
    eventually: Callable[..., None],
    tmp_path: Path,
) -> None:
    worker = start(WORKER)
    start(BEAT)
    eventually(lambda: "ready" in (tmp_path / "worker-0.log").read_text())
    with Connection(broker_url) as connection:
        producer = connection.Producer(auto_declare=False)

        @trials(max_examples=MALFORMED, phases=[Phase.reuse, Phase.generate], deadline=None)
        @given(
            headers=broker_strategies.headers(broker_strategies.ODD),
            body=broker_strategies.bodies(broker_strategies.ODD),
            properties=st.dictionaries(st.sampled_from(ODD_PROPERTIES), st.text(max_size=5), max_size=2),
            json_alike=st.booleans(),
        )
        def publish(headers: dict[str, Any], body: bytes, properties: dict[str, str], *, json_alike: bool) -> None:
            told = {"content_type": "application/json", "content_encoding": "utf-8"} if json_alike else {}
            for queue in QUEUES:
                message = {"content_type": "a/b", "content_encoding": "binary", **told, **properties}
                producer.publish(body, routing_key=queue, headers=headers, compression=None, **message)

        publish()
    app.send_task("wecom.send", kwargs={"sender": "hr", "message": HELLO, "users": ["last"]}, queue="wecom")
    eventually(lambda: ledger.history.counts("hr") == {State.SENT: 1} or not worker.running(), 120)
    eventually(lambda: not any(waiting(broker_url, queue) for queue in QUEUES) or not worker.running())
    assert worker.running()
    assert ledger.rejected.count() > 0
