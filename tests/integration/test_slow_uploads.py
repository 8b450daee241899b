"""Large files over a slow link: other messages go on meanwhile, and whoever stops or dies does no harm."""

import time
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest
from slow_link import SlowLink

from worker import File, Producer, State, Text
from worker.ledger import Ledger
from worker.processes import BEAT, WORKER, CeleryProcess
from worker.simulator.control import SimulatorControl

pytestmark = pytest.mark.long

Start = Callable[..., CeleryProcess]
Eventually = Callable[..., None]

LARGE = bytes(range(256)) * (18 * 1024 * 4)
"""18 MiB."""
SIXTEEN_MBIT = 2_000_000
"""A second, in bytes: 18 MiB take over nine seconds, longer than the lease of these tests."""


@pytest.fixture
def link(simulator: SimulatorControl) -> Iterator[SlowLink]:
    """The way to the local WeCom, at 16 Mbit/s."""
    address = urlsplit(simulator.base_url)
    with SlowLink((str(address.hostname), int(address.port or 80)), SIXTEEN_MBIT) as link:
        yield link


def test_a_large_file_goes_out_while_texts_of_the_same_sender_arrive_at_once(
    producer: Producer, simulator: SimulatorControl, link: SlowLink, start: Start, eventually: Eventually
) -> None:
    start(WORKER, WECOM_API_BASE_URL=link.base_url)
    start(BEAT)
    large = producer.send("hr", File(data=LARGE, filename="handbook.pdf"), users=["reader"])
    eventually(lambda: link.carried > SIXTEEN_MBIT)

    sent_at = {}
    for number in range(20):
        sent_at[f"text {number}"] = time.time()
        producer.send("hr", Text(content=f"text {number}"), users=[f"user{number}"])
        time.sleep(0.1)  # a colleague writes one after the other
    eventually(lambda: producer.status(large).state is State.SENT)

    late = {
        delivery.content: delivery.at - sent_at[delivery.content]
        for delivery in simulator.deliveries()
        if delivery.msgtype == "text" and delivery.at - sent_at[delivery.content] > 2
    }
    assert late == {}
    assert len(simulator.served()) == 21
    assert [upload.size for upload in simulator.uploads()] == [len(LARGE)]


def test_an_upload_longer_than_the_lease_is_made_once_by_one_of_two_workers_and_leaves_no_doubt(
    producer: Producer, simulator: SimulatorControl, link: SlowLink, start: Start, eventually: Eventually
) -> None:
    for _ in range(2):
        start(WORKER, WECOM_API_BASE_URL=link.base_url)
    start(BEAT)

    ids = [producer.send("hr", File(data=LARGE, filename="a.pdf"), users=[f"user{n}"]) for n in range(20)]
    eventually(lambda: all(producer.status(message).state is State.SENT for message in ids))

    assert [producer.status(message).attempts for message in ids] == [()] * 20
    assert simulator.counters().calls["upload"] == 1
    assert [len(contents) for contents in simulator.served().values()] == [1] * 20


def test_another_worker_uploads_what_a_killed_one_had_begun(
    producer: Producer, simulator: SimulatorControl, link: SlowLink, start: Start, eventually: Eventually
) -> None:
    dying = start(WORKER, WECOM_API_BASE_URL=link.base_url)
    start(BEAT)
    message = producer.send("hr", File(data=LARGE, filename="a.pdf"), users=["reader"])
    eventually(lambda: link.carried > SIXTEEN_MBIT)

    dying.kill()
    start(WORKER, WECOM_API_BASE_URL=link.base_url)
    eventually(lambda: producer.status(message).state is State.SENT)

    assert producer.status(message).attempts == ()
    assert [len(contents) for contents in simulator.served().values()] == [1]


def test_a_worker_that_is_stopped_breaks_its_upload_off_and_another_can_make_it_at_once(
    producer: Producer,
    ledger: Ledger,
    simulator: SimulatorControl,
    link: SlowLink,
    start: Start,
    eventually: Eventually,
) -> None:
    link.bytes_a_second = 300_000  # a minute
    stopping = start(WORKER, WECOM_API_BASE_URL=link.base_url, WECOM_CONNECT_TIMEOUT="5", WECOM_LEASE_SECONDS="60")
    beat = start(BEAT)
    message = producer.send("hr", File(data=LARGE, filename="a.pdf"), users=["reader"])
    eventually(lambda: link.carried > 300_000)
    beat.stop()

    begun = time.monotonic()
    assert stopping.stop() == 0
    assert time.monotonic() - begun < 10  # the machine may be busy; the upload alone would take a minute
    assert ledger.due.senders_with_errands() == ["hr"]

    start(WORKER)
    start(BEAT)
    eventually(lambda: producer.status(message).state is State.SENT)
    assert producer.status(message).attempts == ()
    assert [len(contents) for contents in simulator.served().values()] == [1]
