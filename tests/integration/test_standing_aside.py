"""A machine that alone cannot send for a sender stands aside; the others go on, and the sender is not stopped."""

import socket
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from itertools import count
from urllib.parse import urlsplit

import pytest
from faults.http import HttpConversation, call, json_answer
from faults.proxy import FaultProxy
from faults.rules import Action, Rule
from pydantic import SecretStr
from sqlalchemy import Connection, event, text

from worker import File, Producer, SendRequest, State, Text
from worker.delivery.office import Office, open_office
from worker.delivery.serve import serve
from worker.ledger import Fault, Ledger, WorkerProcess, open_engine
from worker.processes import BEAT, WORKER, CeleryProcess
from worker.settings import Settings
from worker.simulator.control import SimulatorControl

Start = Callable[..., CeleryProcess]
Eventually = Callable[..., None]

SEND = call("POST", "/cgi-bin/message/send")
NOT_TRUSTED = json_answer(b'{"errcode":60020,"errmsg":"not allow to access from your ip, from ip: 203.0.113.9"}')
OTHER_KEY = "A" * 43 + "="


@pytest.fixture
def ways(simulator: SimulatorControl) -> Iterator[tuple[FaultProxy, FaultProxy]]:
    """The ways of two machines to WeCom."""
    address = urlsplit(simulator.base_url)
    with ExitStack() as exits:
        first, second = (
            exits.enter_context(FaultProxy((str(address.hostname), int(address.port or 0)), HttpConversation))
            for _ in range(2)
        )
        yield first, second


def through(way: FaultProxy) -> dict[str, str]:
    return {"WECOM_API_BASE_URL": f"http://127.0.0.1:{way.port}"}


def texts(number: int) -> list[SendRequest]:
    return [SendRequest("hr", Text(content=f"Payslip {n}"), users=[f"user{n}"]) for n in range(number)]


def attempts(ledger: Ledger) -> int:
    with ledger.engine.connect() as connection:
        return int(connection.scalar(text("select count(*) from wecom.attempts")) or 0)


@pytest.fixture
def both_work(
    ways: tuple[FaultProxy, FaultProxy], ledger: Ledger, producer: Producer, start: Start, eventually: Eventually
) -> Callable[..., None]:
    """Start two workers and wait until both have sent something, so that both are known to live."""

    def both_work() -> None:
        counts = [way.watch(SEND) for way in ways]
        for way in ways:
            start(WORKER, **through(way))
        start(BEAT)

        members = count()

        def have_sent() -> bool:
            producer.send("hr", Text(content="Are you there?"), users=[f"warm{next(members)}"])
            return all(way.seen for way in counts)

        eventually(have_sent)
        eventually(lambda: set(ledger.history.counts("hr")) == {State.SENT})

    return both_work


@pytest.mark.parametrize("fault", ["not trusted", "cut off"])
def test_one_sick_machine_of_two_stands_aside_and_the_other_sends_all(
    fault: str,
    both_work: Callable[..., None],
    ways: tuple[FaultProxy, FaultProxy],
    producer: Producer,
    ledger: Ledger,
    simulator: SimulatorControl,
    eventually: Eventually,
) -> None:
    both_work()
    sick, _ = ways
    if fault == "not trusted":
        sick.rules.add(Rule(SEND, Action.ANSWER, answer=NOT_TRUSTED))
    else:
        sick.refuse()
        sick.cut_all()
    tried_before = attempts(ledger)

    ids = producer.send_many(texts(500))
    stopped = []

    def all_sent() -> bool:
        stopped.append(ledger.senders.find("hr").paused_reason)
        return all(producer.status(one).state is State.SENT for one in (ids[0], ids[-1])) and not {
            State.SCHEDULED,
            State.SENDING,
        } & set(ledger.history.counts("hr"))

    eventually(all_sent, 30)
    assert set(stopped) == {None}
    assert attempts(ledger) == tried_before
    served = simulator.served()
    assert Counter(len(served[f"user{n}"]) for n in range(500)) == {1: 500}


def test_two_sick_machines_are_all_there_are_and_the_sender_is_paused_with_the_reason(
    both_work: Callable[..., None],
    ways: tuple[FaultProxy, FaultProxy],
    producer: Producer,
    ledger: Ledger,
    eventually: Eventually,
) -> None:
    both_work()
    for way in ways:
        way.rules.add(Rule(SEND, Action.ANSWER, answer=NOT_TRUSTED))
    producer.send_many(texts(500))
    eventually(lambda: ledger.senders.find("hr").paused_reason)
    paused = ledger.senders.find("hr")
    assert str(paused.paused_reason).startswith("60020: not allow to access from your ip")
    assert paused.paused_until is None
    eventually(lambda: State.SENDING not in ledger.history.counts("hr"))
    assert ledger.asides.now() == [], "a sender that is paused for all is left to nobody"


@pytest.fixture
def offices(
    ways: tuple[FaultProxy, FaultProxy], ledger: Ledger, chosen: Settings, bells: list[tuple[str, int]]
) -> Iterator[tuple[Office, Office]]:
    """Two workers in the test's own process, each with its own way to WeCom; both live."""
    opened = []
    for way in ways:
        settings = chosen.model_copy(update={"api_base_url": f"http://127.0.0.1:{way.port}"})
        opened.append(open_office(settings, lambda sender, slot: bells.append((sender, slot))))
        ledger.workers.sign(opened[-1].worker)
    yield opened[0], opened[1]
    for office in opened:
        office.close()


def refuse(way: FaultProxy, path: str = "/cgi-bin/message/send") -> Rule:
    return way.rules.add(Rule(call("POST", path), Action.ANSWER, answer=NOT_TRUSTED))


def let_time_pass(ledger: Ledger) -> None:
    """Let whoever stands aside try again."""
    with ledger.engine.begin() as connection:
        connection.execute(text("update wecom.standing_aside set until = wecom.clock()"))


def silence(ledger: Ledger, office: Office) -> None:
    """Let a worker have been killed a while ago."""
    with ledger.engine.begin() as connection:
        connection.execute(
            text("update wecom.workers set seen_at = wecom.clock() - interval '3 minutes' where id = :id"),
            {"id": office.worker.id},
        )


def test_what_the_sick_machine_had_in_hand_is_due_again_at_once_and_the_wake_up_is_passed_on(
    offices: tuple[Office, Office],
    ways: tuple[FaultProxy, FaultProxy],
    bells: list[tuple[str, int]],
    producer: Producer,
    ledger: Ledger,
) -> None:
    sick, well = offices
    refuse(ways[0])
    ids = producer.send_many(texts(100))
    bells.clear()
    serve(sick, "hr", 0)
    assert bells == [("hr", 0)]
    assert ledger.history.counts("hr") == {State.SCHEDULED: 100}
    [aside] = ledger.asides.now()
    assert (aside.sender, aside.worker) == ("hr", sick.worker)
    assert aside.reason.startswith("60020: ")
    assert (aside.until - aside.since).total_seconds() == pytest.approx(60, abs=1)

    assert serve(sick, "hr", 0) == 0, "it stands aside"
    assert serve(well, "hr", 0) == 100
    statuses = [producer.status(one) for one in ids]
    assert {status.state for status in statuses} == {State.SENT}
    assert {status.attempts for status in statuses} == {()}


def test_a_machine_whose_fault_is_mended_tries_with_one_message_and_goes_on(
    offices: tuple[Office, Office], ways: tuple[FaultProxy, FaultProxy], producer: Producer, ledger: Ledger
) -> None:
    sick, _ = offices
    rule = refuse(ways[0])
    producer.send_many(texts(60))
    serve(sick, "hr", 0)
    let_time_pass(ledger)
    fired = rule.fired
    serve(sick, "hr", 0)
    assert rule.fired == fired + 1, "it tries again with a single message"
    [aside] = ledger.asides.now()
    assert (aside.until - aside.since).total_seconds() > 120, "and waits twice as long as before"

    ways[0].rules.clear()
    let_time_pass(ledger)
    assert serve(sick, "hr", 0) == 60
    assert ledger.asides.now() == []
    assert ledger.history.counts("hr") == {State.SENT: 60}


def test_one_machine_is_everybody_and_so_are_two_of_which_one_was_killed(
    offices: tuple[Office, Office], ways: tuple[FaultProxy, FaultProxy], producer: Producer, ledger: Ledger
) -> None:
    sick, killed = offices
    silence(ledger, killed)
    refuse(ways[0])
    producer.send_many(texts(10))
    serve(sick, "hr", 0)
    assert str(ledger.senders.find("hr").paused_reason).startswith("60020: ")
    ways[0].rules.clear()
    ledger.senders.resume("hr")
    serve(sick, "hr", 0)
    assert ledger.history.counts("hr") == {State.SENT: 10}


def test_a_restart_of_the_well_machine_pauses_nobody(
    offices: tuple[Office, Office], ways: tuple[FaultProxy, FaultProxy], producer: Producer, ledger: Ledger
) -> None:
    sick, well = offices
    refuse(ways[0])
    producer.send_many(texts(10))
    serve(sick, "hr", 0)
    ledger.workers.leave(well.worker)
    let_time_pass(ledger)
    serve(sick, "hr", 0)
    assert ledger.senders.find("hr").paused_reason is None
    silence(ledger, well)
    let_time_pass(ledger)
    serve(sick, "hr", 0)
    assert ledger.senders.find("hr").paused_reason is not None, "it has not come back"


def test_of_two_that_meet_a_fault_at_once_the_second_knows_of_the_first(
    ledger: Ledger, database_url: str, eventually: Eventually
) -> None:
    first, second = WorkerProcess("a", "web-1", 1), WorkerProcess("b", "web-2", 2)
    for worker in (first, second):
        ledger.workers.sign(worker)

    def meet(ledger: Ledger, worker: WorkerProcess) -> bool:
        return ledger.asides.meet("hr", worker, Fault.REFUSED, "60020", first=60, longest=600)

    waiting = text(
        "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    )
    others = Ledger(open_engine(database_url))
    with ThreadPoolExecutor(1) as thread, others.engine.connect() as looking:
        looking.execution_options(isolation_level="AUTOCOMMIT")  # else it would see the same again and again
        met: list[Future[bool]] = []

        def before_the_first_commits(_: Connection) -> None:
            met.append(thread.submit(meet, others, second))
            eventually(lambda: met[0].done() or looking.execute(waiting).scalar_one())

        event.listen(ledger.engine, "commit", before_the_first_commits, once=True)
        assert meet(ledger, first), "the other one may be able to send"
        assert not met[0].result(30), "nobody is left"
    others.engine.dispose()


def test_a_worker_that_answers_no_wake_ups_is_nobody_to_leave_a_sender_to(
    offices: tuple[Office, Office], ways: tuple[FaultProxy, FaultProxy], producer: Producer, ledger: Ledger
) -> None:
    sick, clerk = offices
    with ledger.engine.begin() as connection:
        connection.execute(text("update wecom.workers set delivers = false where id = :id"), {"id": clerk.worker.id})
    refuse(ways[0])
    producer.send_many(texts(1))
    serve(sick, "hr", 0)
    assert ledger.senders.find("hr").paused_reason is not None


def test_two_that_meet_different_faults_stop_nobody_else(
    offices: tuple[Office, Office], ways: tuple[FaultProxy, FaultProxy], producer: Producer, ledger: Ledger
) -> None:
    first, second = offices
    producer.send_many(texts(20))
    refuse(ways[0])
    serve(first, "hr", 0)
    ways[1].refuse()
    serve(second, "hr", 0)
    assert ledger.senders.find("hr").paused_reason is None
    assert {aside.worker for aside in ledger.asides.now()} == {first.worker, second.worker}


def test_when_no_machine_reaches_wecom_the_sender_is_parked_as_ever(
    offices: tuple[Office, Office], ways: tuple[FaultProxy, FaultProxy], producer: Producer, ledger: Ledger
) -> None:
    producer.send_many(texts(20))
    for office, way in zip(offices, ways, strict=True):
        way.refuse()
        serve(office, "hr", 0)
    parked = ledger.senders.find("hr")
    assert (parked.paused_reason, parked.park_seconds) == ("no connection to WeCom", 5)
    assert parked.paused_until is not None


def test_a_machine_that_is_cut_off_leaves_a_single_message_to_the_other_one(
    offices: tuple[Office, Office], ways: tuple[FaultProxy, FaultProxy], producer: Producer
) -> None:
    sick, well = offices
    producer.send_many(texts(1))
    assert serve(sick, "hr", 0) == 1
    ways[0].refuse()
    ways[0].cut_all()
    message = producer.send("hr", Text(content="only one"), users=["zhangsan"])
    serve(sick, "hr", 0)
    assert serve(well, "hr", 0) == 1, "it is due again at once"
    status = producer.status(message)
    assert (status.state, status.attempts) == (State.SENT, ())


def test_one_connection_that_is_not_made_parks_no_sender_of_the_only_machine(
    offices: tuple[Office, Office], ways: tuple[FaultProxy, FaultProxy], producer: Producer, ledger: Ledger
) -> None:
    only, gone = offices
    silence(ledger, gone)
    producer.send_many(texts(1))
    serve(only, "hr", 0)
    ways[0].refuse()
    ways[0].cut_all()
    producer.send("hr", Text(content="only one"), users=["zhangsan"])
    serve(only, "hr", 0)
    assert ledger.senders.find("hr").paused_reason is None


def test_a_machine_with_another_key_stands_aside(
    offices: tuple[Office, Office], chosen: Settings, producer: Producer, ledger: Ledger
) -> None:
    producer.send_many(texts(5))
    with closing(open_office(chosen.model_copy(update={"secret_keys": SecretStr(OTHER_KEY)}), print)) as sick:
        assert serve(sick, "hr", 0) == 0
        [aside] = ledger.asides.now()
        assert aside.worker == sick.worker
        assert "encrypted with another key" in aside.reason
    assert ledger.senders.find("hr").paused_reason is None
    assert ledger.parked_calls.waiting() == []
    assert serve(offices[1], "hr", 0) == 5


def test_a_recall_that_a_sick_machine_takes_up_is_made_by_another_one(
    offices: tuple[Office, Office], ways: tuple[FaultProxy, FaultProxy], producer: Producer, ledger: Ledger
) -> None:
    sick, well = offices
    message = producer.send("hr", Text(content="The wrong salary"), users=["zhangsan"])
    serve(well, "hr", 0)
    producer.recall(message)
    refused = refuse(ways[0], "/cgi-bin/message/recall")
    serve(sick, "hr", 0)
    assert refused.fired == 1
    assert producer.status(message).state is State.RECALLING
    assert [aside.worker for aside in ledger.asides.now()] == [sick.worker]
    serve(well, "hr", 0)
    status = producer.status(message)
    assert (status.state, status.recall_error) == (State.RECALLED, None)


def test_an_upload_that_a_sick_machine_begins_is_made_by_another_one_at_once(
    offices: tuple[Office, Office],
    ways: tuple[FaultProxy, FaultProxy],
    producer: Producer,
    ledger: Ledger,
    eventually: Eventually,
) -> None:
    sick, well = offices
    refused = refuse(ways[0], "/cgi-bin/media/upload")
    message = producer.send("hr", File(data=b"a file", filename="a.txt"), users=["zhangsan"])
    serve(sick, "hr", 0)
    refused.wait()
    eventually(ledger.asides.now)

    def sent() -> bool:
        serve(well, "hr", 0)
        return producer.status(message).state is State.SENT

    eventually(sent, 4)  # before the second try of an upload that failed would come


def test_a_refused_address_is_not_told_to_other_machines(
    offices: tuple[Office, Office], ways: tuple[FaultProxy, FaultProxy], producer: Producer, ledger: Ledger
) -> None:
    sick, well = offices
    ways[0].rules.add(Rule(call("GET", "/cgi-bin/gettoken"), Action.ANSWER, answer=NOT_TRUSTED))
    producer.send_many(texts(5))
    serve(sick, "hr", 0)
    assert serve(well, "hr", 0) == 5
    assert ledger.senders.find("hr").paused_reason is None


def test_a_person_who_resumes_the_sender_lets_a_machine_try_at_once(
    offices: tuple[Office, Office], ways: tuple[FaultProxy, FaultProxy], producer: Producer, ledger: Ledger
) -> None:
    sick, _ = offices
    refuse(ways[0])
    producer.send_many(texts(30))
    serve(sick, "hr", 0)
    ways[0].rules.clear()
    ledger.senders.resume("hr")
    assert serve(sick, "hr", 0) == 30


def test_a_worker_of_other_queues_says_that_it_answers_no_wake_ups(
    start: Start, ledger: Ledger, eventually: Eventually
) -> None:
    assert ledger.senders.names() == ["hr"]
    start((*WORKER, "-Q", "wecom.housekeeping"))
    eventually(ledger.workers.all)
    assert [sign.delivers for sign in ledger.workers.all()] == [False]


def test_a_worker_shows_that_it_lives_and_leaves_no_sign_when_it_stops(
    start: Start, producer: Producer, ledger: Ledger, eventually: Eventually
) -> None:
    worker = start(WORKER)
    producer.send_many(texts(1))
    eventually(lambda: set(ledger.history.counts("hr")) == {State.SENT})
    [sign] = ledger.workers.all()
    assert (sign.worker.pid, sign.worker.machine) == (worker.pid, socket.gethostname())
    assert sign.lives
    assert sign.delivers
    worker.stop()
    assert ledger.workers.all() == []
