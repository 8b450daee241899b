"""Every COMMIT of a worker is carried out once with its answer lost: nothing is doubled, lost or misjudged by that."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from time import monotonic
from typing import Any
from uuid import UUID

import pytest
from faults.addresses import database_upstream, proxied_database_url
from faults.postgres import PostgresConversation, statement
from faults.proxy import FaultProxy
from faults.rules import Action, Rule
from pydantic import SecretStr
from redis import Redis
from sqlalchemy import text

from worker import ButtonInteraction, CardUpdate, Producer, SendRequest, State, Text
from worker.delivery import patience
from worker.delivery.deliver import deliver
from worker.delivery.dispatch import dispatch
from worker.delivery.office import Office, open_office
from worker.delivery.reap import reap
from worker.delivery.rejections import carry_out
from worker.delivery.schedules import run_due_schedules
from worker.delivery.serve import serve
from worker.delivery.task_requests import TaskRequest
from worker.ledger import CardUpdateState, Ledger, is_passing
from worker.messages import Button, MainTitle
from worker.settings import Settings
from worker.simulator.control import SimulatorControl

COMMIT = statement("commit")
LEASE_SECONDS = 60
LONG_BEFORE_THE_LEASE_ENDS = 20
KEPT = ("senders", "alembic_version")

Round = Callable[[Office], None]


@pytest.fixture
def postgres(database_url: str) -> Iterator[FaultProxy]:
    with FaultProxy(database_upstream(database_url), PostgresConversation) as proxy:
        yield proxy


@pytest.fixture
def rounds(
    ledger: Ledger,
    chosen: Settings,
    database_url: str,
    postgres: FaultProxy,
    simulator: SimulatorControl,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[Round], int]:
    """Play a round again and again on new tables, the n-th time with the n-th COMMIT's answer lost.

    Returns how many COMMITs were lost, the last round having none to lose.
    """
    monkeypatch.setattr(patience, "AGAIN_SECONDS", 0.02)
    lease = {"database_url": SecretStr(proxied_database_url(database_url, postgres)), "lease_seconds": LEASE_SECONDS}
    settings = chosen.model_copy(update=lease)

    def play(round_: Round) -> int:
        lost = 0
        while True:
            _clear(ledger, settings, simulator)
            office = open_office(settings, lambda _sender, _slot: None)
            postgres.rules.clear()
            try:
                rule = postgres.rules.add(Rule(COMMIT, Action.LOSE_ANSWER, after=lost, times=1))
                round_(office)
            finally:
                postgres.rules.clear()
                office.close()
            if not rule.fired:
                return lost
            lost += 1

    return play


def _clear(ledger: Ledger, settings: Settings, simulator: SimulatorControl) -> None:
    simulator.reset()
    with Redis.from_url(settings.redis_url.get_secret_value()) as redis:  # type: ignore[union-attr]
        redis.flushdb()
    with ledger.engine.begin() as connection:
        found = connection.scalars(text("select tablename from pg_tables where schemaname = 'wecom'"))
        tables = ", ".join(f"wecom.{name}" for name in found if name not in KEPT)
        connection.execute(text(f"truncate {tables}"))
    ledger.senders.resume("hr")


def work(office: Office, *steps: Callable[[Office], object], until: Callable[[], bool]) -> None:
    """Do these steps of a beat and those of a worker, again and again; what Postgres spoils ends as a task would."""
    began = monotonic()
    while not until():
        assert monotonic() - began < LONG_BEFORE_THE_LEASE_ENDS, "something waits out a lease under which nobody works"
        for step in (*steps, lambda office: serve(office, "hr", 0)):
            try:
                step(office)
            except Exception as error:
                if not is_passing(error):
                    raise


def served_once(simulator: SimulatorControl) -> dict[str, int]:
    """Return how often each member was shown something; every send that reached WeCom was shown."""
    served = {member: len(contents) for member, contents in simulator.served().items()}
    assert simulator.counters().duplicates == 0
    return served


def attempts(ledger: Ledger) -> list[str]:
    """Return the categories of all attempts that were noted."""
    with ledger.engine.connect() as connection:
        return list(connection.scalars(text("select category from wecom.attempts order by category")))


def invalid(ledger: Ledger) -> list[str]:
    with ledger.engine.connect() as connection:
        return list(connection.scalars(text("select value from wecom.invalid_recipients order by value")))


def unchecked(name: str, **more: Any) -> SendRequest:  # noqa: ANN401 - what SendRequest takes
    """A message that WeCom would not recognise when it comes twice, so that doubt about it ends with a person."""
    return SendRequest("hr", Text(content=f"for {name}", enable_duplicate_check=0), users=[name], **more)


def test_messages_are_sent_once_and_judged_by_their_answers(
    ledger: Ledger, producer: Producer, simulator: SimulatorControl, rounds: Callable[[Round], int]
) -> None:
    expected = {State.SENT: 33, State.FAILED: 1, State.SCHEDULED: 2}

    def round_(office: Office) -> None:
        producer.send_many([unchecked("zhangsan"), unchecked("lisi"), unchecked("ghost1")])
        producer.send("hr", Text(content="to some", enable_duplicate_check=0), users=["wangwu", "Ghost2"])
        producer.send_many(replace(unchecked("busy"), message=Text(content=f"news {n}")) for n in range(32))
        work(office, until=lambda: ledger.history.counts("hr") == expected)
        assert served_once(simulator) == {"zhangsan": 1, "lisi": 1, "wangwu": 1, "busy": 30}
        assert simulator.counters().calls["send"] == 34
        assert attempts(ledger) == ["recipient"]
        assert invalid(ledger) == ["ghost1", "ghost2"]

    assert rounds(round_) >= 3


def test_messages_that_a_paused_sender_held_are_not_in_doubt(
    ledger: Ledger, producer: Producer, simulator: SimulatorControl, rounds: Callable[[Round], int]
) -> None:
    members = [f"u{n}" for n in range(40)]

    def round_(office: Office) -> None:
        simulator.add_fault("errcode", endpoint="send", errcode=60020, after=10)
        producer.send_many(unchecked(member) for member in members)
        work(office, until=lambda: ledger.senders.find("hr").stopped)
        refused = simulator.counters().answers["send"][60020]
        simulator.clear_faults()
        ledger.senders.resume("hr")
        work(office, until=lambda: ledger.history.counts("hr") == {State.SENT: 40})
        assert served_once(simulator) == dict.fromkeys(members, 1)
        # On a busy machine a connection may not come about in a second; that leaves no doubt either.
        assert [one for one in attempts(ledger) if one != "unreachable"] == ["config"] * refused

    assert rounds(round_) >= 5


def test_messages_are_recalled_once(
    ledger: Ledger, producer: Producer, simulator: SimulatorControl, rounds: Callable[[Round], int]
) -> None:
    def round_(office: Office) -> None:
        sent = producer.send_many([unchecked("zhangsan"), unchecked("lisi"), unchecked("wangwu")])
        work(office, until=lambda: ledger.history.counts("hr") == {State.SENT: 3})
        for message in sent:
            producer.recall(message)
        work(office, until=lambda: ledger.history.counts("hr") == {State.RECALLED: 3})
        assert simulator.served(include_recalled=False) == {}
        assert simulator.counters().calls["recall"] == 3
        assert attempts(ledger) == []
        assert [producer.status(message).recall_error for message in sent] == [None] * 3

    assert rounds(round_) >= 4


def test_cards_are_updated_once(
    ledger: Ledger, producer: Producer, simulator: SimulatorControl, rounds: Callable[[Round], int]
) -> None:
    def round_(office: Office) -> None:
        leave = ButtonInteraction(
            main_title=MainTitle(title="Leave on Friday?"), task_id="leave-1", button_list=[Button(text="Yes", key="y")]
        )
        card = producer.send("hr", leave, users=["boss"])
        work(office, until=lambda: ledger.history.counts("hr") == {State.SENT: 1})
        producer.update_card(card, CardUpdate(replace_name="Approved", atall=1))
        work(office, until=lambda: producer.status(card).card_updates[0].state is not CardUpdateState.SCHEDULED)
        [update] = producer.status(card).card_updates
        assert (update.state, update.error) == (CardUpdateState.UPDATED, None)
        assert simulator.counters().calls["update_card"] == 1

    assert rounds(round_) >= 4


def test_an_occurrence_of_a_schedule_is_sent_once(
    ledger: Ledger, producer: Producer, simulator: SimulatorControl, rounds: Callable[[Round], int]
) -> None:
    def round_(office: Office) -> None:
        hello = Text(content="hello", enable_duplicate_check=0)
        producer.schedules.add("s", cron="0 9 * * *", timezone="UTC", sender="hr", message=hello, users=["zhangsan"])
        with ledger.engine.begin() as connection:
            connection.execute(text("update wecom.schedules set next_at = next_at - interval '1 day'"))
        work(office, dispatch, run_due_schedules, until=lambda: ledger.history.counts("hr") == {State.SENT: 1})
        assert served_once(simulator) == {"zhangsan": 1}

    assert rounds(round_) >= 3


def test_a_task_is_carried_out_or_kept_once(
    ledger: Ledger, simulator: SimulatorControl, rounds: Callable[[Round], int]
) -> None:
    hello = {"msgtype": "text", "text": {"content": "from afar"}, "enable_duplicate_check": 0}

    def round_(office: Office) -> None:
        known = {"sender": "hr", "message": hello, "users": ["zhangsan"]}
        assert carry_out(office, TaskRequest("wecom.send", "task-1", [], known))
        assert carry_out(office, TaskRequest("wecom.send", "task-2", [], known | {"sender": "nobody"}))
        work(office, until=lambda: ledger.history.counts("hr") == {State.SENT: 1})
        assert served_once(simulator) == {"zhangsan": 1}
        assert [kept.task_id for kept in ledger.rejected.list()] == ["task-2"]

    assert rounds(round_) >= 4


def test_a_message_of_a_dead_worker_is_reopened_once(
    ledger: Ledger, producer: Producer, simulator: SimulatorControl, rounds: Callable[[Round], int]
) -> None:
    def round_(office: Office) -> None:
        producer.send("hr", Text(content="hello"), users=["zhangsan"])
        assert len(ledger.deliveries.claim("hr", 1, 0.0, None)) == 1
        work(office, reap, until=lambda: ledger.history.counts("hr") == {State.SENT: 1})
        assert served_once(simulator) == {"zhangsan": 1}
        assert attempts(ledger) == ["uncertain"]

    assert rounds(round_) >= 3


def test_messages_behind_a_limit_of_calls_wait_and_are_sent_once(
    ledger: Ledger, producer: Producer, simulator: SimulatorControl, rounds: Callable[[Round], int]
) -> None:
    members = [f"u{n}" for n in range(10)]

    def parked() -> bool:
        return ledger.senders.find("hr").park_seconds > 0 and State.SENDING not in ledger.history.counts("hr")

    def round_(office: Office) -> None:
        simulator.add_fault("errcode", endpoint="send", errcode=45009, after=5)
        producer.send_many(unchecked(member) for member in members)
        work(office, until=parked)
        simulator.clear_faults()
        assert ledger.senders.find("hr").park_seconds == 60
        with ledger.engine.begin() as connection:
            connection.execute(text("update wecom.senders set paused_until = now()"))
        work(office, until=lambda: ledger.history.counts("hr") == {State.SENT: 10})
        assert served_once(simulator) == dict.fromkeys(members, 1)
        assert set(attempts(ledger)) == {"rate_limited"}

    assert rounds(round_) >= 5


def test_a_claim_in_doubt_is_no_attempt_and_leaves_no_lease(
    ledger: Ledger, producer: Producer, postgres: FaultProxy, chosen: Settings, database_url: str
) -> None:
    message = producer.send("hr", Text(content="hello", enable_duplicate_check=0), users=["zhangsan"])
    settings = chosen.model_copy(
        update={"database_url": SecretStr(proxied_database_url(database_url, postgres)), "lease_seconds": LEASE_SECONDS}
    )
    office = open_office(settings, lambda _sender, _slot: None)
    try:
        office.ledger.due.now()  # connects; a new connection has a COMMIT of its own
        postgres.rules.add(Rule(COMMIT, Action.LOSE_ANSWER, times=1))
        assert deliver(office, "hr", lambda: None).claimed == 0
    finally:
        office.close()
    assert _leased(ledger) == []
    status = producer.status(message)
    assert (status.state, status.attempts, status.error) == (State.SCHEDULED, (), None)


def _leased(ledger: Ledger) -> list[UUID]:
    with ledger.engine.connect() as connection:
        return list(connection.scalars(text("select id from wecom.messages where lease_until is not null")))


def test_giving_back_waits_for_a_claim_that_is_still_on_its_way(ledger: Ledger, producer: Producer) -> None:
    message = producer.send("hr", Text(content="hello", enable_duplicate_check=0), users=["zhangsan"])
    [claimed] = ledger.deliveries.claim("hr", 1, 60, None)
    ledger.deliveries.release("hr", [claimed])
    with ledger.engine.connect() as on_its_way, ThreadPoolExecutor() as beside:
        on_its_way.execute(
            text("update wecom.messages set state = 'sending', attempt = 2, lease_until = now() + interval '60 s'")
        )
        giving_back = beside.submit(ledger.deliveries.give_back, "hr", [replace(claimed, attempt=2)])
        with pytest.raises(TimeoutError):
            giving_back.result(timeout=1)
        on_its_way.commit()
        giving_back.result()
    assert producer.status(message).state is State.SCHEDULED
    assert _leased(ledger) == []


def test_giving_back_late_takes_nothing_from_the_next_worker(ledger: Ledger, producer: Producer) -> None:
    message = producer.send("hr", Text(content="hello"), users=["zhangsan"])
    [first] = ledger.deliveries.claim("hr", 1, 60, None)
    for _ in range(2):
        ledger.deliveries.give_back("hr", [first])
    assert len(ledger.deliveries.claim("hr", 1, 60, None)) == 1
    ledger.deliveries.give_back("hr", [first])
    assert producer.status(message).state is State.SENDING
