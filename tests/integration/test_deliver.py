"""One worker's delivery against every kind of answer; the office runs in the test's own process."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from worker import MiniProgramNotice, Producer, SendRequest, State, Text
from worker.delivery.deliver import Delivery, deliver
from worker.delivery.office import Office
from worker.delivery.outcome import Sent
from worker.delivery.settlement import settlement
from worker.ledger import Ledger
from worker.messages.sender import Sender
from worker.providers.base import Answer, Category
from worker.providers.wecom import replies
from worker.simulator.control import SimulatorControl


@pytest.fixture
def send(producer: Producer) -> Callable[..., UUID]:
    """Store a message for `zhangsan`, or for whom is named."""
    return lambda *users: producer.send("hr", Text(content="hello"), users=users or ["zhangsan"])


def run(office: Office) -> Delivery:
    return deliver(office, "hr", lambda: None)


def make_due(ledger: Ledger) -> None:
    """Let the time until the next try pass."""
    with ledger.engine.begin() as connection:
        connection.execute(text("update wecom.messages set send_at = now() - interval '1 s' where state = 'scheduled'"))
        connection.execute(
            text("update wecom.senders set paused_until = now() - interval '1 s' where paused_until is not null")
        )


def test_an_accepted_message_is_sent_and_named(
    office: Office, producer: Producer, send: Callable[..., UUID], simulator: SimulatorControl
) -> None:
    message_id = send()
    assert run(office) == Delivery(claimed=1, more_due=False)
    status = producer.status(message_id)
    assert (status.state, status.attempts) == (State.SENT, ())
    assert status.msgid == simulator.deliveries()[0].msgid


def test_invalid_and_unlicensed_recipients_are_kept(
    office: Office, producer: Producer, simulator: SimulatorControl
) -> None:
    message_id = producer.send(
        "hr", Text(content="hi"), users=["zhangsan", "Ghost1", "unlicensed2"], parties=[2, 9001], tags=[9002]
    )
    run(office)
    invalid = producer.status(message_id).invalid
    assert (invalid.users, invalid.parties, invalid.tags, invalid.unlicensed) == (
        ("ghost1",),
        ("9001",),
        ("9002",),
        ("unlicensed2",),
    )
    assert set(simulator.served()) == {"zhangsan", "party:2"}


def test_a_message_nobody_can_receive_has_failed_with_the_reason(
    office: Office, producer: Producer, send: Callable[..., UUID]
) -> None:
    message_id = send("ghost1")
    run(office)
    status = producer.status(message_id)
    assert (status.state, status.errcode, status.invalid.users) == (State.FAILED, 81013, ("ghost1",))
    assert [attempt.category for attempt in status.attempts] == ["recipient"]


def test_a_busy_server_is_tried_three_more_times_and_then_the_message_has_failed(
    office: Office, ledger: Ledger, producer: Producer, send: Callable[..., UUID], simulator: SimulatorControl
) -> None:
    simulator.add_fault("errcode", endpoint="send", errcode=-1)
    message_id = send()
    for _ in range(5):
        run(office)
        make_due(ledger)
    status = producer.status(message_id)
    assert (status.state, status.errcode, len(status.attempts)) == (State.FAILED, -1, 4)
    assert simulator.counters().calls["send"] == 4


@pytest.mark.parametrize("fault", ["reset_after", "hang_after", "cut", "reset_before", "hang_before", "cut_before"])
def test_a_message_of_unknown_fate_is_sent_again_and_served_once(
    office: Office,
    ledger: Ledger,
    producer: Producer,
    send: Callable[..., UUID],
    simulator: SimulatorControl,
    fault: str,
) -> None:
    simulator.add_fault(fault, endpoint="send", times=1)
    message_id = send()
    run(office)
    doubtful = producer.status(message_id)
    assert (doubtful.state, doubtful.attempts[0].category) == (State.SCHEDULED, "uncertain")

    make_due(ledger)
    run(office)

    assert producer.status(message_id).state is State.SENT
    assert simulator.served() == {"zhangsan": ["hello"]}


@pytest.mark.parametrize("fault", [{"kind": "http", "status": 502}, {"kind": "http", "status": 500}, {"kind": "html"}])
@pytest.mark.parametrize("processed", [True, False])
def test_an_unreadable_answer_is_an_unknown_fate_not_a_crash(
    office: Office,
    ledger: Ledger,
    producer: Producer,
    send: Callable[..., UUID],
    simulator: SimulatorControl,
    fault: dict[str, object],
    processed: bool,  # noqa: FBT001
) -> None:
    simulator.add_fault(**fault, endpoint="send", times=1, processed=processed)  # type: ignore[arg-type]
    message_id = send()
    run(office)
    assert producer.status(message_id).state is State.SCHEDULED
    make_due(ledger)
    run(office)
    assert producer.status(message_id).state is State.SENT
    assert simulator.served() == {"zhangsan": ["hello"]}


def test_an_unknown_fate_past_the_duplicate_check_waits_for_a_person_and_is_not_sent_again(
    office: Office, ledger: Ledger, producer: Producer, send: Callable[..., UUID], simulator: SimulatorControl
) -> None:
    simulator.add_fault("hang_after", endpoint="send", times=1)
    message_id = send()
    run(office)
    with ledger.engine.begin() as connection:
        connection.execute(text("update wecom.messages set resend_until = now()"))
    make_due(ledger)

    assert run(office).claimed == 0
    ledger.reaper.reap(office.settings.lease_seconds)

    assert producer.status(message_id).state is State.UNCONFIRMED
    assert simulator.counters().calls["send"] == 1


def test_too_many_calls_park_the_sender_and_count_against_no_message(
    office: Office, ledger: Ledger, producer: Producer, simulator: SimulatorControl
) -> None:
    simulator.add_fault("errcode", endpoint="send", errcode=45009)
    ids = producer.send_many(SendRequest("hr", Text(content="hi"), users=[f"u{n}"]) for n in range(20))
    run(office)
    assert {producer.status(one).state for one in ids} == {State.SCHEDULED}
    sender = ledger.senders.find("hr")
    assert sender.park_seconds == 60
    assert sender.paused_reason is not None
    assert sender.paused_reason.startswith("45009")
    assert run(office).claimed == 0

    make_due(ledger)
    run(office)
    assert ledger.senders.find("hr").park_seconds == 120

    simulator.clear_faults()
    make_due(ledger)
    run(office)
    assert {producer.status(one).state for one in ids} == {State.SENT}
    assert ledger.senders.find("hr").park_seconds == 0


def test_a_fault_of_the_configuration_pauses_the_sender_and_its_messages_wait_for_resume(
    office: Office, ledger: Ledger, producer: Producer, send: Callable[..., UUID], simulator: SimulatorControl
) -> None:
    simulator.add_fault("errcode", endpoint="send", errcode=60020, times=1)
    message_id = send()
    run(office)
    paused = ledger.senders.find("hr")
    assert (paused.paused_until, producer.status(message_id).state) == (None, State.SCHEDULED)
    assert paused.paused_reason is not None
    assert "60020" in paused.paused_reason
    assert "from ip" in paused.paused_reason
    assert run(office).claimed == 0

    ledger.senders.resume("hr")
    run(office)
    assert producer.status(message_id).state is State.SENT


def test_a_mini_program_notice_of_an_app_without_a_mini_program_fails_and_stops_nothing(
    office: Office, ledger: Ledger, producer: Producer, send: Callable[..., UUID], simulator: SimulatorControl
) -> None:
    simulator.add_fault("errcode", endpoint="send", errcode=48002, match={"msgtype": "miniprogram_notice"})
    notice = producer.send("hr", MiniProgramNotice(appid="wx123", title="Approved"), users=["zhangsan"])
    others = [send(f"u{n}") for n in range(10)]
    run(office)
    run(office)
    status = producer.status(notice)
    assert (status.state, status.errcode) == (State.FAILED, 48002)
    assert {producer.status(other).state for other in others} == {State.SENT}
    assert ledger.senders.find("hr").paused_reason is None


def test_an_app_that_may_send_nothing_at_all_is_paused(
    office: Office, ledger: Ledger, producer: Producer, send: Callable[..., UUID], simulator: SimulatorControl
) -> None:
    simulator.add_fault("errcode", endpoint="send", errcode=48002)
    message_id = send()
    run(office)
    assert producer.status(message_id).state is State.SCHEDULED
    assert str(ledger.senders.find("hr").paused_reason).startswith("48002")


def test_a_wrong_secret_pauses_the_sender_after_one_single_gettoken(
    office: Office, ledger: Ledger, producer: Producer, simulator: SimulatorControl
) -> None:
    ledger.senders.replace_credentials("hr", 1000002, {"corpid": "ww-simulator", "corpsecret": "wrong"})
    producer.send_many(SendRequest("hr", Text(content="hi"), users=[f"u{n}"]) for n in range(20))
    for _ in range(5):
        run(office)
    assert simulator.counters().calls["gettoken"] == 1
    assert ledger.history.counts("hr") == {State.SCHEDULED: 20}
    reason = ledger.senders.find("hr").paused_reason
    assert reason is not None
    assert reason.startswith("40001")


@pytest.mark.parametrize("errcode", [40014, 42001])
def test_a_token_that_died_early_is_replaced_once_and_every_message_still_goes_out(
    office: Office, ledger: Ledger, producer: Producer, simulator: SimulatorControl, errcode: int
) -> None:
    producer.send("hr", Text(content="first"), users=["first"])
    run(office)
    simulator.invalidate_tokens(errcode)
    producer.send_many(SendRequest("hr", Text(content="hi"), users=[f"u{n}"]) for n in range(100))
    run(office)
    assert ledger.history.counts("hr") == {State.SENT: 101}
    assert simulator.counters().calls["gettoken"] == 2


def test_an_invalid_secret_answered_by_a_business_call_renews_the_token_once(
    office: Office, ledger: Ledger, send: Callable[..., UUID], simulator: SimulatorControl
) -> None:
    simulator.add_fault("errcode", endpoint="send", errcode=40001, times=1)
    send()
    run(office)
    assert ledger.history.counts("hr") == {State.SENT: 1}


def test_a_token_refused_again_and_again_pauses_the_sender(
    office: Office, ledger: Ledger, send: Callable[..., UUID], simulator: SimulatorControl
) -> None:
    simulator.add_fault("token_expired", endpoint="send")
    send()
    for _ in range(4):
        run(office)
        make_due(ledger)
    assert simulator.counters().calls["gettoken"] == 6
    reason = ledger.senders.find("hr").paused_reason
    assert reason is not None
    assert "a new token was refused too" in reason
    assert ledger.history.counts("hr") == {State.SCHEDULED: 1}


def test_two_tokens_that_die_in_a_row_are_bad_luck_and_no_reason_to_stop(
    office: Office, ledger: Ledger, send: Callable[..., UUID], simulator: SimulatorControl
) -> None:
    simulator.add_fault("token_expired", endpoint="send", times=2)
    send()
    run(office)
    assert ledger.history.counts("hr") == {State.SCHEDULED: 1}
    make_due(ledger)
    run(office)
    assert ledger.history.counts("hr") == {State.SENT: 1}


def test_without_a_connection_nothing_is_lost_and_the_sender_rests(
    office: Office, ledger: Ledger, producer: Producer, send: Callable[..., UUID], simulator: SimulatorControl
) -> None:
    send("first")
    run(office)
    for pool in office.providers["wecom"]._client._adapter.poolmanager.pools._container.values():  # type: ignore[attr-defined]  # noqa: SLF001
        pool.close()
    office.providers["wecom"]._client._base_url = "http://127.0.0.1:1"  # type: ignore[attr-defined]  # noqa: SLF001
    ids = producer.send_many(SendRequest("hr", Text(content="hi"), users=[f"u{n}"]) for n in range(150))
    run(office)
    statuses = [producer.status(one) for one in ids]
    assert {status.state for status in statuses} == {State.SCHEDULED}
    assert {attempt.category for status in statuses for attempt in status.attempts} == {"unreachable"}
    assert sum(len(status.attempts) for status in statuses) < 150, "the rest of the chunk was tried in vain"
    assert ledger.senders.find("hr").park_seconds == 5
    assert len(simulator.served()) == 1


def test_a_late_answer_changes_nothing_but_is_kept(
    office: Office, ledger: Ledger, producer: Producer, send: Callable[..., UUID], simulator: SimulatorControl
) -> None:
    message_id = send()
    claimed = ledger.deliveries.claim("hr", 1, 0.0, None)
    ledger.reaper.reap(0)
    run(office)
    first_msgid = producer.status(message_id).msgid

    late = settlement(
        claimed[0],
        Answer(Category.ACCEPTED, msgid="late"),
        Sent(),
        now=claimed[0].claimed_at,
        lease_seconds=0,
        quiet=office.quiet,
    )
    ledger.deliveries.settle("hr", [late])

    status = producer.status(message_id)
    assert (status.state, status.msgid) == (State.SENT, first_msgid)
    assert [attempt.category for attempt in status.attempts] == ["uncertain", "accepted"]
    assert len(simulator.deliveries()) == 1


def test_a_worker_that_must_stop_gives_back_what_it_has_not_sent(
    office: Office,
    ledger: Ledger,
    producer: Producer,
    simulator: SimulatorControl,
    eventually: Callable[..., None],
) -> None:
    simulator.add_fault("latency", endpoint="send", seconds=0.5)
    ids = producer.send_many(SendRequest("hr", Text(content="hi"), users=[f"u{n}"]) for n in range(200))
    with ThreadPoolExecutor() as beside:
        running = beside.submit(run, office)
        eventually(lambda: simulator.counters().deliveries > 0)
        office.stopping.set()
        running.result()
    counts = ledger.history.counts("hr")
    assert counts[State.SENT] == len(simulator.served())
    assert counts[State.SCHEDULED] == 200 - counts[State.SENT] > 0
    assert {producer.status(one).attempts for one in ids} == {()}


def test_urgent_messages_go_first(office: Office, producer: Producer, simulator: SimulatorControl) -> None:
    producer.send_many(SendRequest("hr", Text(content="normal"), users=[f"u{n}"]) for n in range(300))
    producer.send("hr", Text(content="urgent"), users=["boss"], urgent=True)
    run(office)
    assert "boss" in simulator.served()
    assert len(simulator.served()) == 200


def test_an_expired_message_is_not_sent(
    office: Office, ledger: Ledger, producer: Producer, send: Callable[..., UUID], simulator: SimulatorControl
) -> None:
    message_id = send()
    with ledger.engine.begin() as connection:
        connection.execute(text("update wecom.messages set expires_at = now()"))
    assert run(office).claimed == 0
    assert ledger.reaper.reap(7).expired == 1
    assert producer.status(message_id).state is State.EXPIRED
    assert simulator.served() == {}


def test_an_outage_does_not_use_up_the_tries_of_a_busy_server(
    office: Office, ledger: Ledger, producer: Producer, send: Callable[..., UUID], simulator: SimulatorControl
) -> None:
    simulator.add_fault("reset_before", endpoint="send", times=4)
    simulator.add_fault("errcode", endpoint="send", errcode=-1, times=3)
    message_id = send()
    for _ in range(8):
        run(office)
        make_due(ledger)
    status = producer.status(message_id)
    assert [attempt.category for attempt in status.attempts] == ["uncertain"] * 4 + ["transient"] * 3
    assert status.state is State.SENT


def test_a_message_that_may_have_arrived_is_never_said_to_have_failed_for_a_busy_server(
    office: Office, ledger: Ledger, producer: Producer, send: Callable[..., UUID], simulator: SimulatorControl
) -> None:
    simulator.add_fault("hang_after", endpoint="send", times=1)
    simulator.add_fault("errcode", endpoint="send", errcode=-1)
    message_id = send()
    for _ in range(6):
        run(office)
        make_due(ledger)
    assert simulator.served() == {"zhangsan": ["hello"]}
    assert producer.status(message_id).state is State.UNCONFIRMED


def test_a_gettoken_that_fails_amid_sending_is_no_doubt_about_the_message(
    office: Office, ledger: Ledger, producer: Producer, send: Callable[..., UUID], simulator: SimulatorControl
) -> None:
    send("first")
    run(office)
    simulator.invalidate_tokens(42001)
    simulator.add_fault("http", endpoint="gettoken", status=502, times=2)
    message_id = send()
    run(office)
    status = producer.status(message_id)
    assert (status.state, [attempt.category for attempt in status.attempts]) == (State.SCHEDULED, ["unreachable"])
    for _ in range(3):
        make_due(ledger)
        run(office)
    assert producer.status(message_id).state is State.SENT


def test_a_token_that_takes_too_long_to_renew_does_not_let_a_call_outlive_its_lease(
    office: Office,
    ledger: Ledger,
    producer: Producer,
    send: Callable[..., UUID],
    simulator: SimulatorControl,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    send("first")
    run(office)
    monkeypatch.setattr("worker.providers.wecom.provider.RENEWAL_SECONDS", 0)
    simulator.invalidate_tokens(42001)
    message_id = send()
    run(office)
    assert simulator.served() == {"first": ["hello"]}
    assert [attempt.category for attempt in producer.status(message_id).attempts] == ["unreachable"]
    make_due(ledger)
    run(office)
    assert producer.status(message_id).state is State.SENT


def test_one_malformed_answer_costs_nothing_but_its_own_message(
    office: Office,
    ledger: Ledger,
    producer: Producer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run(office)  # the token is there before answers become odd
    genuine = replies._json_object  # noqa: SLF001
    odd = iter(
        [
            b'{"errcode":81013,"errmsg":"no\\u0000body","invaliduser":"gh\\u0000ost"}',
            b'{"errcode":99999999999,"errmsg":"large"}',
            b'{"errcode":0,"msgid":["not","text"]}',
            b'{"errcode":0,"msgid":12345}',
            b"[1]",
        ]
    )
    monkeypatch.setattr(replies, "_json_object", lambda content: genuine(next(odd, content)))
    producer.send_many(SendRequest("hr", Text(content="hi"), users=[f"u{n}"]) for n in range(20))
    run(office)
    counts = ledger.history.counts("hr")
    assert State.SENDING not in counts
    assert counts[State.SENT] >= 15


def test_a_database_that_is_away_for_a_moment_costs_no_answer(
    office: Office,
    ledger: Ledger,
    producer: Producer,
    simulator: SimulatorControl,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    simulator.add_fault("errcode", endpoint="send", errcode=60020, after=10)
    producer.send_many(SendRequest("hr", Text(content="hi"), users=[f"u{n}"]) for n in range(30))
    away = {"settle": 1, "release": 1, "pause": 1}

    def failing_first(subject: object, name: str) -> None:
        genuine = getattr(subject, name)

        def call(*arguments: object) -> object:
            if away[name]:
                away[name] -= 1
                raise OperationalError("statement", {}, Exception("the database system is shutting down"))
            return genuine(*arguments)

        monkeypatch.setattr(subject, name, call)

    failing_first(office.ledger.deliveries, "settle")
    failing_first(office.ledger.deliveries, "release")
    failing_first(office.ledger.senders, "pause")
    run(office)

    assert away == {"settle": 0, "release": 0, "pause": 0}
    counts = ledger.history.counts("hr")
    assert counts == {State.SENT: len(simulator.served()), State.SCHEDULED: 30 - len(simulator.served())}
    assert str(ledger.senders.find("hr").paused_reason).startswith("60020")


def test_what_had_not_left_goes_back_at_once_when_answers_cannot_be_stored(
    office: Office,
    ledger: Ledger,
    producer: Producer,
    simulator: SimulatorControl,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    simulator.change_settings(latency=0.2)
    ids = producer.send_many(SendRequest("hr", Text(content="hi"), users=[f"u{n}"]) for n in range(200))
    monkeypatch.setattr(office.ledger.deliveries, "settle", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(office)
    left = simulator.counters().deliveries
    assert 0 < left < len(ids)
    assert ledger.history.counts("hr") == {State.SENDING: left, State.SCHEDULED: len(ids) - left}
    assert not any(producer.status(one).attempts for one in ids)


def test_a_slow_sender_does_not_hold_up_the_urgent_message_of_another(
    office: Office, ledger: Ledger, producer: Producer, simulator: SimulatorControl, eventually: Callable[..., None]
) -> None:
    simulator.add_app("ww-other", "other-secret", 77)
    ledger.senders.add(Sender("other", "wecom", 77, {"corpid": "ww-other", "corpsecret": "other-secret"}))
    simulator.add_fault("latency", endpoint="send", seconds=0.4, match={"agentid": 1000002})
    producer.send_many(SendRequest("hr", Text(content="slow"), users=[f"u{n}"]) for n in range(200))
    with ThreadPoolExecutor() as beside:
        slow = beside.submit(run, office)
        eventually(lambda: simulator.counters().deliveries > 0)
        producer.send("other", Text(content="urgent"), users=["boss"], urgent=True)
        deliver(office, "other", lambda: None)
        assert ledger.history.counts("other") == {State.SENT: 1}
        assert not slow.done(), "the slow sender was not slow enough to prove anything"
        office.stopping.set()
