"""The main job as its users meet it: a producer, real worker processes, and the local WeCom."""

from collections import Counter
from collections.abc import Callable

from redis import Redis

from worker import Producer, SendRequest, State, Text
from worker.ledger import Ledger
from worker.processes import BEAT, WORKER, CeleryProcess
from worker.settings import load_settings
from worker.simulator.control import SimulatorControl

Start = Callable[..., CeleryProcess]
Eventually = Callable[..., None]


def settled(ledger: Ledger, messages: int) -> bool:
    counts = ledger.history.counts("hr")
    return counts.get(State.SCHEDULED, 0) + counts.get(State.SENDING, 0) == 0 and sum(counts.values()) == messages


def payslips(number: int) -> list[SendRequest]:
    return [SendRequest("hr", Text(content=f"Payslip {n}: ready"), users=[f"user{n}"]) for n in range(number)]


def test_two_hundred_texts_are_all_settled_by_three_workers_that_fetch_one_token(
    producer: Producer, ledger: Ledger, simulator: SimulatorControl, start: Start, eventually: Eventually
) -> None:
    for _ in range(3):
        start(WORKER)
    start(BEAT)
    requests = payslips(190) + [
        SendRequest("hr", Text(content=f"With a ghost {n}"), users=[f"member{n}", f"Ghost{n}"]) for n in range(10)
    ]

    ids = producer.send_many(requests)
    eventually(lambda: settled(ledger, 200))

    statuses = [producer.status(message_id) for message_id in ids]
    assert {status.state for status in statuses} == {State.SENT}
    assert {status.msgid for status in statuses} == {delivery.msgid for delivery in simulator.deliveries()}
    assert [status.invalid.users for status in statuses[190:]] == [(f"ghost{n}",) for n in range(10)]
    assert not any(status.invalid for status in statuses[:190])
    assert simulator.counters().calls["gettoken"] == 1
    assert Counter(map(len, simulator.served().values())) == {1: 200}


def test_a_sent_message_is_recalled_by_its_id(
    producer: Producer, ledger: Ledger, simulator: SimulatorControl, start: Start, eventually: Eventually
) -> None:
    start(WORKER)
    start(BEAT)  # a bell may be lost
    message_id = producer.send("hr", Text(content="The wrong salary"), users=["zhangsan"])
    eventually(lambda: settled(ledger, 1))

    producer.recall(message_id)
    eventually(lambda: producer.status(message_id).state is State.RECALLED)

    assert simulator.served(include_recalled=False) == {}
    assert simulator.served() == {"zhangsan": ["The wrong salary"]}


def test_what_is_sent_while_redis_is_away_goes_out_once_it_is_back(
    producer: Producer,
    ledger: Ledger,
    simulator: SimulatorControl,
    start: Start,
    eventually: Eventually,
    database_url: str,
) -> None:
    away = {"redis_url": "unix:///nowhere/redis.sock", "broker_url": "redis+socket:///nowhere/redis.sock"}
    lonely = Producer(settings=load_settings(database_url=database_url, quiet_before=0, quiet_after=0, **away))
    message_id = lonely.send("hr", Text(content="Redis is away"), users=["lisi"])
    lonely.close()
    assert producer.status(message_id).state is State.SCHEDULED

    start(WORKER)
    start(BEAT)
    eventually(lambda: settled(ledger, 1))

    assert simulator.served() == {"lisi": ["Redis is away"]}


def test_a_worker_killed_amid_two_thousand_sends_loses_and_doubles_nothing(
    producer: Producer, ledger: Ledger, simulator: SimulatorControl, start: Start, eventually: Eventually
) -> None:
    simulator.add_fault("latency", endpoint="send", seconds=0.05)
    worker = start(WORKER)
    producer.send_many(payslips(2000))
    eventually(lambda: simulator.counters().deliveries > 300)

    worker.kill()
    served_before = len(simulator.served())
    start(WORKER)
    start(BEAT)
    eventually(lambda: settled(ledger, 2000))

    assert served_before < 2000, "the worker was killed too late to prove anything"
    assert ledger.history.counts("hr") == {State.SENT: 2000}
    assert Counter(map(len, simulator.served().values())) == {1: 2000}


def test_flushing_redis_amid_two_thousand_sends_loses_and_doubles_nothing(
    producer: Producer,
    ledger: Ledger,
    simulator: SimulatorControl,
    start: Start,
    eventually: Eventually,
    redis_url: str,
) -> None:
    simulator.add_fault("latency", endpoint="send", seconds=0.05)
    start(WORKER)
    start(BEAT)
    producer.send_many(payslips(2000))
    eventually(lambda: simulator.counters().deliveries > 300)

    with Redis.from_url(redis_url) as redis:
        redis.flushall()
    served_before = len(simulator.served())
    eventually(lambda: settled(ledger, 2000))

    assert served_before < 2000, "Redis was flushed too late to prove anything"
    assert ledger.history.counts("hr") == {State.SENT: 2000}
    assert Counter(map(len, simulator.served().values())) == {1: 2000}
