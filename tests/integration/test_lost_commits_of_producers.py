"""A COMMIT whose answer is lost, or that never arrives: what a producer asks for is stored once, and it is told so."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
import pytest
from click.testing import CliRunner, Result
from faults.addresses import database_upstream, proxied_database_url
from faults.postgres import PostgresConversation, statement, statement_with
from faults.proxy import FaultProxy
from faults.rules import Action, Rule
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from worker import (
    Campaign,
    CardUpdate,
    File,
    IdempotencyConflict,
    InvalidMessage,
    LedgerError,
    MediaFile,
    PerhapsStored,
    Producer,
    RecallStatus,
    Schedule,
    ScheduleExists,
    SendRequest,
    State,
    Text,
    UnknownMessage,
    UnknownSchedule,
)
from worker.cli import wecom
from worker.ledger import Ledger, open_engine
from worker.settings import Settings, load_settings, settings

SENDING_PROGRAM = Path(__file__).parents[1] / "sending_program.py"

COMMIT = statement("commit")
HELLO = Text(content="Your payslip is ready.")
PERSONAL = Text(content="{{ name }}, your payslip is ready.")


@pytest.fixture
def proxy(database_url: str) -> Iterator[FaultProxy]:
    """What the producer of these tests speaks to Postgres through."""
    with FaultProxy(database_upstream(database_url), PostgresConversation) as proxy:
        yield proxy


@pytest.fixture
def producer(ledger: Ledger, chosen: Settings, proxy: FaultProxy) -> Iterator[Producer]:
    """A producer behind the proxy."""
    assert ledger.senders.names() == ["hr"]
    assert chosen.database_url is not None
    url = proxied_database_url(chosen.database_url.get_secret_value(), proxy)
    # The same settings, as `load_settings` reads them from whoever starts a program.
    given = {name: value for name, value in chosen.model_dump().items() if name in chosen.model_fields_set}
    with closing(Producer(settings=load_settings(**given | {"database_url": url}))) as producer:
        producer.campaigns()  # connected
        yield producer


@pytest.fixture
def world(ledger: Ledger, producer: Producer) -> "World":
    """The ledger as it is, and the producer who asks."""
    return World(ledger, producer)


@dataclass
class World:
    """What an operation is tried in; every try has a name of its own."""

    ledger: Ledger
    producer: Producer

    def rows(self, query: str, **values: object) -> list[Any]:
        with self.ledger.engine.connect() as connection:
            return list(connection.execute(text(query), values).scalars())

    def change(self, statement: str, **values: object) -> None:
        with self.ledger.engine.begin() as connection:
            connection.execute(text(statement), values)

    def a_message(self, state: str = "scheduled", **columns: str) -> UUID:
        message = self.producer.send("hr", HELLO, users=["zhangsan"])
        others = "".join(f", {name} = '{value}'" for name, value in columns.items())
        self.change(
            f"update wecom.messages set state = :state, sent_at = wecom.clock(){others} where id = :id",
            state=state,
            id=message,
        )
        return message

    def a_campaign(self, name: str, state: str = "scheduled") -> UUID:
        rows = [{"userid": f"u{n}", "name": str(n)} for n in range(7)]
        found = self.producer.campaign(name, sender="hr", message=PERSONAL, recipients=rows).id
        self.change("update wecom.messages set state = :state where campaign = :id", state=state, id=found)
        return found

    def a_schedule(self, name: str, *, cron: str = "0 9 * * *", replace: bool = False) -> Schedule:
        return self.producer.schedules.add(
            name, cron=cron, timezone="Asia/Shanghai", sender="hr", message=HELLO, users=["zhangsan"], replace=replace
        )

    def states(self, campaign: UUID) -> set[str]:
        return set(self.rows("select state from wecom.messages where campaign = :id", id=campaign))


Try = tuple[Callable[[], Any], Callable[[Any], None]]
"""What is asked for, and what must hold of its answer and of the ledger."""


def send(world: World, name: str) -> Try:
    def holds(message: UUID) -> None:
        assert world.rows("select id from wecom.messages where body::text like :name", name=f"%{name}%") == [message]

    return lambda: world.producer.send("hr", Text(content=name), users=["zhangsan"]), holds


def send_with_a_key(world: World, name: str) -> Try:
    def ask() -> UUID:
        return world.producer.send("hr", Text(content=name), users=["zhangsan"], idempotency_key=name)

    def holds(message: UUID) -> None:
        assert world.rows("select message from wecom.idempotency_keys where key = :key", key=name) == [message]
        assert world.rows("select id from wecom.messages where body::text like :name", name=f"%{name}%") == [message]
        assert ask() == message

    return ask, holds


def send_to_2500(world: World, name: str) -> Try:
    def holds(message: UUID) -> None:
        first = world.producer.status(message)
        assert len(first.parts) == 2
        there = world.rows("select id from wecom.messages where body::text like :name", name=f"%{name}%")
        assert set(there) == {message, *first.parts}
        assert world.producer.send("hr", Text(content=name), users=everybody, message_id=message) == message

    everybody = [f"u{n}" for n in range(2500)]
    return lambda: world.producer.send("hr", Text(content=name), users=everybody), holds


def send_a_file(world: World, name: str) -> Try:
    def holds(message: UUID) -> None:
        assert world.rows("select id from wecom.messages where id = :id", id=message) == [message]
        assert len(world.rows("select 1 from wecom.media_files where filename = :name", name=f"{name}.txt")) == 1

    file = MediaFile(data=b"five bytes and more", filename=f"{name}.txt")
    return lambda: world.producer.send("hr", File(media_id=file), users=["zhangsan"]), holds


def send_1500(world: World, name: str) -> Try:
    requests = [SendRequest("hr", Text(content=f"{name} {n}"), users=[f"u{n}"]) for n in range(1500)]

    def holds(ids: list[UUID]) -> None:
        there = world.rows("select id from wecom.messages where body::text like :name", name=f"%{name}%")
        assert len(there) == 1500
        assert set(there) == set(ids)

    return lambda: world.producer.send_many(requests), holds


def recall(world: World, name: str) -> Try:
    del name
    message = world.a_message()

    def holds(statuses: list[RecallStatus]) -> None:
        assert [status.state for status in statuses] == [State.CANCELLED]
        assert world.producer.status(message).state is State.CANCELLED

    return lambda: world.producer.recall(message), holds


def retry(world: World, name: str) -> Try:
    del name
    message = world.a_message("failed")

    def holds(retried: bool) -> None:  # noqa: FBT001 - what retry returns
        assert retried
        assert world.producer.status(message).state is State.SCHEDULED

    return lambda: world.producer.retry(message), holds


def update_card(world: World, name: str) -> Try:
    message = world.a_message("sent", response_code=name)

    def holds(_: None) -> None:
        assert len(world.producer.status(message).card_updates) == 1
        with pytest.raises(InvalidMessage, match="updated before"):
            world.producer.update_card(message, CardUpdate(replace_name="Approved", atall=1))

    return lambda: world.producer.update_card(message, CardUpdate(replace_name="Approved", atall=1)), holds


def pause_campaign(world: World, name: str) -> Try:
    campaign = world.a_campaign(name)

    def holds(found: Campaign) -> None:
        assert found.paused_reason == "paused by hand"
        assert world.rows("select distinct priority from wecom.messages where campaign = :id", id=campaign) == [3]

    return lambda: world.producer.pause_campaign(name), holds


def resume_campaign(world: World, name: str) -> Try:
    campaign = world.a_campaign(name)
    world.producer.pause_campaign(name)

    def holds(found: Campaign) -> None:
        assert found.paused_reason is None
        assert world.rows("select distinct priority from wecom.messages where campaign = :id", id=campaign) == [2]

    return lambda: world.producer.resume_campaign(name), holds


def cancel_campaign(world: World, name: str) -> Try:
    campaign = world.a_campaign(name)

    def holds(found: Campaign) -> None:
        assert found.cancelled_at is not None
        assert world.states(campaign) == {"cancelled"}

    return lambda: world.producer.cancel_campaign(name), holds


def retry_campaign(world: World, name: str) -> Try:
    campaign = world.a_campaign(name, "failed")

    def holds(found: Campaign) -> None:
        assert found.counts == {State.SCHEDULED: 7}
        assert world.states(campaign) == {"scheduled"}

    return lambda: world.producer.retry_campaign(name), holds


def recall_campaign(world: World, name: str) -> Try:
    campaign = world.a_campaign(name)

    def holds(found: Campaign) -> None:
        assert found.counts == {State.CANCELLED: 7}
        assert world.states(campaign) == {"cancelled"}

    return lambda: world.producer.recall(campaign=name), holds


def add_a_schedule(world: World, name: str) -> Try:
    def holds(schedule: Schedule) -> None:
        assert schedule == world.ledger.schedules.find(name)
        with pytest.raises(ScheduleExists):
            world.a_schedule(name)

    return lambda: world.a_schedule(name), holds


def replace_a_schedule(world: World, name: str) -> Try:
    world.a_schedule(name)

    def holds(schedule: Schedule) -> None:
        assert schedule.cron == "30 8 * * *"
        assert schedule == world.ledger.schedules.find(name)

    return lambda: world.a_schedule(name, cron="30 8 * * *", replace=True), holds


def pause_a_schedule(world: World, name: str) -> Try:
    world.a_schedule(name)

    def holds(schedule: Schedule) -> None:
        assert schedule.paused_reason == "month end"

    return lambda: world.producer.schedules.pause(name, "month end"), holds


def resume_a_schedule(world: World, name: str) -> Try:
    world.a_schedule(name)
    world.producer.schedules.pause(name)

    def holds(schedule: Schedule) -> None:
        assert schedule.paused_reason is None

    return lambda: world.producer.schedules.resume(name), holds


def remove_a_schedule(world: World, name: str) -> Try:
    world.a_schedule(name)

    def holds(_: None) -> None:
        with pytest.raises(UnknownSchedule):
            world.producer.schedules.find(name)

    return lambda: world.producer.schedules.remove(name), holds


OPERATIONS = [
    send,
    send_with_a_key,
    send_to_2500,
    send_a_file,
    send_1500,
    recall,
    retry,
    update_card,
    pause_campaign,
    resume_campaign,
    cancel_campaign,
    retry_campaign,
    recall_campaign,
    add_a_schedule,
    replace_a_schedule,
    pause_a_schedule,
    resume_a_schedule,
    remove_a_schedule,
]


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("action", [Action.LOSE_ANSWER, Action.CUT])
def test_whichever_commit_is_lost_all_is_as_if_nothing_had_happened(
    world: World, proxy: FaultProxy, operation: Callable[[World, str], Try], action: Action
) -> None:
    ask, holds = operation(world, "undisturbed")
    commits = proxy.watch(COMMIT)
    holds_after = ask()
    number = commits.seen
    holds(holds_after)
    assert number
    for lost in range(number):
        ask, holds = operation(world, f"without-{lost}")
        rule = proxy.rules.add(Rule(COMMIT, action, after=lost, times=1))
        answer = ask()
        proxy.rules.clear()
        assert rule.fired == 1
        holds(answer)


RECIPIENTS = 1234


def rows() -> Iterator[dict[str, str]]:
    """Recipients as a query yields them: once."""
    return ({"userid": f"u{n}", "name": str(n)} for n in range(RECIPIENTS))


def test_a_campaign_whose_commit_got_no_answer_is_found(world: World, proxy: FaultProxy) -> None:
    lost = proxy.rules.add(Rule(COMMIT, Action.LOSE_ANSWER, times=1))
    made = world.producer.campaign("payday", sender="hr", message=PERSONAL, recipients=rows())
    assert (lost.fired, made.created, made.messages) == (1, True, RECIPIENTS)
    assert world.producer.campaign_status("payday").counts == {State.SCHEDULED: RECIPIENTS}
    again = world.producer.campaign("payday", sender="hr", message=PERSONAL, recipients=rows())
    assert (again.id, again.created) == (made.id, False)


def test_of_a_campaign_whose_commit_never_arrived_it_is_said_that_nothing_was_stored(
    world: World, proxy: FaultProxy
) -> None:
    proxy.rules.add(Rule(COMMIT, Action.CUT, times=1))
    with pytest.raises(LedgerError, match="nothing of it was stored, make it again") as caught:
        world.producer.campaign("payday", sender="hr", message=PERSONAL, recipients=rows())
    assert not isinstance(caught.value, PerhapsStored)
    assert world.rows("select 1 from wecom.messages") == world.rows("select 1 from wecom.campaigns") == []
    assert world.producer.campaign("payday", sender="hr", message=PERSONAL, recipients=rows()).created


def test_a_campaign_cut_amid_its_rows_is_not_stored_and_says_so(world: World, proxy: FaultProxy) -> None:
    def interrupted() -> Iterator[dict[str, str]]:
        for number, row in enumerate(rows()):
            if number == RECIPIENTS // 2:
                proxy.cut_all()
            yield row

    with pytest.raises(LedgerError) as caught:
        world.producer.campaign("payday", sender="hr", message=PERSONAL, recipients=interrupted())
    assert not isinstance(caught.value, PerhapsStored)
    assert world.rows("select 1 from wecom.messages") == world.rows("select 1 from wecom.campaigns") == []


def test_a_connection_that_breaks_amid_a_send_is_not_noticed(world: World, proxy: FaultProxy) -> None:
    proxy.rules.add(Rule(statement_with("insert into wecom.messages"), Action.LOSE_ANSWER, times=1))
    message = world.producer.send("hr", HELLO, users=["zhangsan"])
    assert world.rows("select id from wecom.messages") == [message]


def test_a_server_that_is_away_is_told_of_at_once(world: World, proxy: FaultProxy) -> None:
    proxy.refuse()
    proxy.cut_all()
    began = time.monotonic()
    with pytest.raises(LedgerError, match="cannot be reached") as caught:
        world.producer.send("hr", HELLO, users=["zhangsan"])
    assert time.monotonic() - began < 5
    assert not isinstance(caught.value, PerhapsStored)


def test_asking_again_waits_for_a_transaction_that_has_not_ended(
    world: World, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer to COMMIT is late, and the COMMIT is carried out only while it is asked again."""
    monkeypatch.setattr("worker.ledger.transactions.ANSWER_SECONDS", 0.5)
    late = proxy.rules.add(Rule(COMMIT, Action.DELAY, times=1, seconds=2))
    message = world.producer.send("hr", HELLO, users=["zhangsan"])
    assert late.fired == 1
    assert world.rows("select id from wecom.messages") == [message]


def test_asking_again_waits_for_a_transaction_that_is_then_rolled_back(
    world: World, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch, eventually: Callable[..., None]
) -> None:
    """The COMMIT never arrives, and the server notices later than the producer that the connection is dead."""
    monkeypatch.setattr("worker.ledger.transactions.ANSWER_SECONDS", 0.5)
    proxy.rules.add(Rule(COMMIT, Action.SILENCE, times=1))
    sent: list[UUID] = []
    sending = threading.Thread(target=lambda: sent.append(world.producer.send("hr", HELLO, users=["zhangsan"])))
    sending.start()
    own = "datname = current_database() and pid <> pg_backend_pid()"
    waits = f"select 1 from pg_stat_activity where {own} and wait_event_type = 'Lock'"
    eventually(lambda: world.rows(waits))
    world.rows(f"select pg_terminate_backend(pid) from pg_stat_activity where {own} and state = 'idle in transaction'")
    sending.join()
    assert world.rows("select id from wecom.messages") == sent
    assert len(sent) == 1


def test_when_nothing_answers_any_more_the_error_comes_in_time_and_names_the_ids(
    world: World, proxy: FaultProxy
) -> None:
    carried_out = proxy.rules.add(Rule(COMMIT, Action.WITHHOLD_ANSWER, times=1))
    caught: list[PerhapsStored] = []

    def ask() -> None:
        try:
            world.producer.send("hr", HELLO, users=["zhangsan"], expires=datetime.now(UTC) + timedelta(seconds=5))
        except PerhapsStored as error:
            caught.append(error)

    sending = threading.Thread(target=ask)
    began = time.monotonic()
    sending.start()
    carried_out.wait()
    proxy.silence()
    sending.join(60)
    assert 14 < time.monotonic() - began < 20
    [error] = caught
    [message] = error.ids
    assert str(message) in str(error)
    assert "perhaps stored" in str(error)
    proxy.resume()
    proxy.cut_all()
    # Its time has passed meanwhile, and it is found all the same.
    assert world.producer.send("hr", HELLO, users=["zhangsan"], message_id=message) == message
    assert world.rows("select id from wecom.messages") == [message]
    assert world.producer.status(message).id == message


def test_what_was_perhaps_stored_and_was_not_is_stored_when_it_is_sent_again(
    world: World, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.ledger.transactions.ANSWER_SECONDS", 0.5)
    monkeypatch.setattr("worker.ledger.transactions.DOUBT_SECONDS", 1.5)
    proxy.rules.add(Rule(COMMIT, Action.SILENCE))
    everybody = [f"u{n}" for n in range(1001)]
    requests = [SendRequest("hr", HELLO, everybody), SendRequest("hr", Text(content="Another"), ["lisi"])]
    with pytest.raises(PerhapsStored) as caught:
        world.producer.send_many(requests)
    with pytest.raises(PerhapsStored) as still:
        world.producer.send("hr", HELLO, users=everybody, message_id=caught.value.ids[0])
    assert still.value.ids == caught.value.ids[:1]
    proxy.rules.clear()
    proxy.cut_all()
    with pytest.raises(UnknownMessage):
        world.producer.status(caught.value.ids[0])
    named = [
        SendRequest(one.sender, one.message, one.users, message_id=message)
        for one, message in zip(requests, caught.value.ids, strict=True)
    ]
    for _ in range(2):
        assert world.producer.send_many(named) == list(caught.value.ids)
    assert len(world.rows("select 1 from wecom.messages")) == 3


def test_an_id_stands_for_one_message(producer: Producer) -> None:
    message = producer.send("hr", HELLO, users=["zhangsan", "lisi"])
    assert producer.send("hr", HELLO, users=["zhangsan", "lisi"], message_id=message) == message
    for sender, content, users in (
        ("hr", Text(content="Another"), ["zhangsan", "lisi"]),
        ("hr", HELLO, ["zhangsan"]),
        ("hr", HELLO, [f"u{n}" for n in range(1001)]),
    ):
        with pytest.raises(IdempotencyConflict, match=f"message_id: {message} stands for another message"):
            producer.send(sender, content, users=users, message_id=message)
    with pytest.raises(InvalidMessage, match=r"message_id: .* was not made here"):
        producer.send("hr", HELLO, users=["zhangsan"], message_id=UUID(int=1))


@pytest.mark.parametrize("action", [Action.LOSE_ANSWER, Action.CUT])
def test_a_transaction_of_the_caller_can_be_run_again_with_the_id_it_was_told(
    world: World, proxy: FaultProxy, database_url: str, action: Action
) -> None:
    world.change("create table orders (number integer primary key)")
    engine = open_engine(proxied_database_url(database_url, proxy))
    told: UUID | None = None

    def order() -> None:
        nonlocal told
        with engine.begin() as connection:
            connection.execute(text("insert into orders values (1) on conflict do nothing"))
            told = world.producer.send("hr", HELLO, users=["zhangsan"], message_id=told, connection=connection)

    with engine.connect():
        pass  # connected
    proxy.rules.add(Rule(COMMIT, action, times=1))
    with pytest.raises(OperationalError):
        order()
    order()
    engine.dispose()
    assert world.rows("select number from orders") == [1]
    assert world.rows("select id from wecom.messages") == [told]


def test_of_2000_messages_of_two_programs_every_one_is_stored_once_in_a_storm_of_lost_commits(
    ledger: Ledger, proxy: FaultProxy, database_url: str, environment: dict[str, str]
) -> None:
    storm = proxy.rules.add(Rule(COMMIT, Action.LOSE_ANSWER, probability=0.05))
    variables = {**os.environ, **environment, "WECOM_DATABASE_URL": proxied_database_url(database_url, proxy)}
    programs = [
        subprocess.Popen(
            [sys.executable, str(SENDING_PROGRAM), mark, "1000"], env=variables, stdout=subprocess.PIPE, text=True
        )
        for mark in ("salary", "bonus")
    ]
    told = [line for program in programs for line in program.communicate()[0].split()]
    assert [program.returncode for program in programs] == [0, 0]
    assert storm.fired > 50
    with ledger.engine.connect() as connection:
        stored = connection.execute(text("select id::text, body -> 'text' ->> 'content' from wecom.messages")).all()
    assert sorted(told) == sorted(message for message, _ in stored)
    assert sorted(content for _, content in stored) == sorted(
        f"{mark} {number}" for mark in ("salary", "bonus") for number in range(1000)
    )


@pytest.fixture
def run(environment: dict[str, str], ledger: Ledger, proxy: FaultProxy, database_url: str) -> Callable[..., Result]:
    """Run `wecom` in this process, behind the proxy."""
    assert ledger.senders.names() == ["hr"]
    through = {"WECOM_DATABASE_URL": proxied_database_url(database_url, proxy)}

    def run(*arguments: str) -> Result:
        settings.cache_clear()
        return CliRunner().invoke(wecom, list(arguments), env=environment | through)

    return run


def test_the_command_says_how_to_ask_again_and_its_exit_status_is_3(
    world: World, proxy: FaultProxy, run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.ledger.transactions.ANSWER_SECONDS", 0.3)
    monkeypatch.setattr("worker.ledger.transactions.DOUBT_SECONDS", 1)
    send = ("send", "hr", "--text", "hello", "--user", "zhangsan")
    assert run(*send, "--json").exit_code == 0
    world.change("delete from wecom.messages")
    proxy.rules.add(Rule(COMMIT, Action.SILENCE))
    in_doubt = run(*send, "--json")
    assert in_doubt.exit_code == 3
    [message] = orjson.loads(in_doubt.stdout)["perhaps_stored"]
    assert f"Give the same command again with --id {message}" in in_doubt.stderr
    proxy.rules.clear()
    proxy.cut_all()
    for _ in range(2):
        assert f"Stored as {message}" in run(*send, "--id", message).stdout
    assert [str(one) for one in world.rows("select id from wecom.messages")] == [message]
    assert "--id: " in run("send", "hr", "--text", "other", "--user", "zhangsan", "--id", message).stderr


def test_a_message_that_is_stored_is_not_called_anything_else_because_nobody_could_look(
    world: World, proxy: FaultProxy, run: Callable[..., Result]
) -> None:
    proxy.rules.add(Rule(statement_with("from wecom.messages"), Action.CUT))
    result = run("send", "hr", "--text", "hello", "--user", "zhangsan")
    proxy.rules.clear()
    assert result.exit_code == 0, result.output
    [message] = world.rows("select id from wecom.messages")
    assert f"Stored as {message}." in result.stdout
