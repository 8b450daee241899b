"""A COMMIT of an operator whose answer is lost, or that never arrives: all is done once, and they are told so."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from cryptography.fernet import Fernet
from faults.addresses import database_upstream, proxied_database_url
from faults.postgres import PostgresConversation, statement
from faults.proxy import FaultProxy
from faults.rules import Action, Rule
from sqlalchemy import text

from worker import Producer, State, Text
from worker.encryption import KeyRing
from worker.ledger import Ledger, SenderExists, UnknownSender, open_engine
from worker.messages.sender import Sender

COMMIT = statement("commit")
IT = Sender("it", "wecom", 7, {"corpid": "ww1", "corpsecret": "s"})

Try = tuple[Callable[[], object], Callable[[object], None]]
"""What is asked for, and what must hold of its answer and of the ledger."""


@pytest.fixture
def proxy(database_url: str) -> Iterator[FaultProxy]:
    with FaultProxy(database_upstream(database_url), PostgresConversation) as proxy:
        yield proxy


@pytest.fixture
def operated(database_url: str, proxy: FaultProxy) -> Iterator[Ledger]:
    """The ledger behind the proxy, with keys as operators have them."""
    engine = open_engine(proxied_database_url(database_url, proxy))
    yield Ledger(engine, KeyRing([Fernet.generate_key().decode()]))
    proxy.rules.clear()
    engine.dispose()


def add(ledger: Ledger, _: Producer) -> Try:
    def holds(_: object) -> None:
        assert ledger.senders.open("it")[0].credentials == IT.credentials
        with pytest.raises(SenderExists):
            ledger.senders.add(IT)

    return lambda: ledger.senders.add(IT), holds


def remove(ledger: Ledger, _: Producer) -> Try:
    ledger.senders.add(IT)

    def holds(_: object) -> None:
        with pytest.raises(UnknownSender):
            ledger.senders.find("it")

    return lambda: ledger.senders.remove("it"), holds


def pause(ledger: Ledger, _: Producer) -> Try:
    ledger.senders.add(IT)

    def holds(_: object) -> None:
        assert ledger.senders.find("it").paused_reason == "holiday"

    return lambda: ledger.senders.pause("it", "holiday"), holds


def resume(ledger: Ledger, _: Producer) -> Try:
    ledger.senders.add(IT)
    ledger.senders.pause("it", "holiday")

    def holds(_: object) -> None:
        assert ledger.senders.find("it").paused_reason is None

    return lambda: ledger.senders.resume("it"), holds


def limit(ledger: Ledger, _: Producer) -> Try:
    ledger.senders.add(IT)

    def holds(_: object) -> None:
        assert ledger.senders.find("it").calls_per_minute == 60

    return lambda: ledger.senders.limit("it", account_cap=None, calls_per_minute=60, calls_at_once=None), holds


def replace_credentials(ledger: Ledger, _: Producer) -> Try:
    ledger.senders.add(IT)
    others = {"corpid": "ww1", "corpsecret": "another"}

    def holds(_: object) -> None:
        assert ledger.senders.open("it")[0] == replace(IT, credentials=others)

    return lambda: ledger.senders.replace_credentials("it", 7, others), holds


def _unconfirmed(ledger: Ledger, producer: Producer) -> Callable[[], State]:
    message = producer.send("hr", Text(content="hello"), users=["zhangsan"])
    with ledger.engine.begin() as connection:
        connection.execute(text("update wecom.messages set state = 'unconfirmed', claimed_at = wecom.clock()"))
    return lambda: producer.status(message).state


def resend(ledger: Ledger, producer: Producer) -> Try:
    state = _unconfirmed(ledger, producer)
    [waiting] = ledger.unconfirmed.list()

    def holds(answer: object) -> None:
        assert (answer, state()) == (True, State.SCHEDULED)
        assert ledger.unconfirmed.resend(waiting.id) is False

    return lambda: ledger.unconfirmed.resend(waiting.id), holds


def settle_as_sent(ledger: Ledger, producer: Producer) -> Try:
    state = _unconfirmed(ledger, producer)
    [waiting] = ledger.unconfirmed.list()

    def holds(answer: object) -> None:
        assert (answer, state()) == (True, State.SENT)

    return lambda: ledger.unconfirmed.settle(waiting.id, sent=True), holds


@pytest.mark.parametrize("operation", [add, remove, pause, resume, limit, replace_credentials, resend, settle_as_sent])
@pytest.mark.parametrize("action", [Action.LOSE_ANSWER, Action.CUT])
def test_what_an_operator_asks_for_is_done_once_whichever_commit_is_lost(
    operated: Ledger,
    producer: Producer,
    proxy: FaultProxy,
    operation: Callable[[Ledger, Producer], Try],
    action: Action,
) -> None:
    ask, holds = operation(operated, producer)
    rule = proxy.rules.add(Rule(COMMIT, action, times=1))
    answer = ask()
    assert rule.fired == 1
    proxy.rules.clear()
    holds(answer)
