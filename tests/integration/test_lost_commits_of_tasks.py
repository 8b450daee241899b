"""Requests of programs that know only Celery: a COMMIT whose answer is lost changes nothing about them."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from faults.addresses import database_upstream, proxied_database_url
from faults.postgres import PostgresConversation, statement, statement_with
from faults.proxy import FaultProxy
from faults.rules import Action, Rule
from sqlalchemy import text

from worker.cli import wecom
from worker.delivery.office import Office, open_office
from worker.delivery.rejections import carry_out
from worker.delivery.task_requests import TaskRequest
from worker.ledger import Ledger, State
from worker.messages.sender import Sender
from worker.processes import WORKER, CeleryProcess
from worker.settings import load_settings, settings

COMMIT = statement("commit")
HELLO = {"msgtype": "text", "text": {"content": "from afar"}}
SEND = TaskRequest("wecom.send", "task-1", [], {"sender": "hr", "message": HELLO, "users": ["zhangsan"]})
CAMPAIGN = TaskRequest(
    "wecom.campaign", "task-2", [], {"name": "payday", "sender": "hr", "message": HELLO, "recipients": ["a", "b"]}
)
MISSPELT = TaskRequest("wecom.send", "task-3", [], {"sender": "payroll", "message": HELLO, "users": ["zhangsan"]})


@pytest.fixture
def proxy(database_url: str) -> Iterator[FaultProxy]:
    """What the worker of these tests speaks to Postgres through."""
    with FaultProxy(database_upstream(database_url), PostgresConversation) as proxy:
        yield proxy


@pytest.fixture
def through(environment: dict[str, str], database_url: str, proxy: FaultProxy) -> dict[str, str]:
    """The settings of a process behind the proxy."""
    return environment | {"WECOM_DATABASE_URL": proxied_database_url(database_url, proxy)}


@pytest.fixture
def office(ledger: Ledger, through: dict[str, str]) -> Iterator[Office]:
    """A worker's office behind the proxy."""
    assert ledger.senders.names() == ["hr"]
    office = open_office(
        load_settings(**{name.removeprefix("WECOM_").lower(): value for name, value in through.items()}),
        lambda sender, slot: None,  # noqa: ARG005 - nothing answers its bells
    )
    yield office
    office.close()


@pytest.mark.parametrize("action", [Action.LOSE_ANSWER, Action.CUT])
@pytest.mark.parametrize("request_", [SEND, CAMPAIGN])
def test_a_task_is_carried_out_once_and_not_rejected(
    office: Office, ledger: Ledger, proxy: FaultProxy, request_: TaskRequest, action: Action
) -> None:
    lost = proxy.rules.add(Rule(COMMIT, action, times=1))
    assert carry_out(office, request_)
    assert carry_out(office, request_)  # as a broker hands it over again
    assert lost.fired == 1
    assert ledger.history.counts("hr") == {State.SCHEDULED: 1}
    assert ledger.rejected.count() == 0


@pytest.mark.parametrize("action", [Action.LOSE_ANSWER, Action.CUT])
def test_a_refused_request_is_kept_as_refused_once(
    office: Office, ledger: Ledger, proxy: FaultProxy, action: Action
) -> None:
    lost = proxy.rules.add(Rule(COMMIT, action, times=1))
    assert carry_out(office, MISSPELT)
    assert lost.fired == 1
    [kept] = ledger.rejected.list()
    assert kept.rejections == 1


@pytest.mark.parametrize("action", [Action.LOSE_ANSWER, Action.CUT])
def test_a_rejected_request_that_is_tried_again_is_carried_out_once_and_says_so(
    office: Office, ledger: Ledger, proxy: FaultProxy, through: dict[str, str], action: Action
) -> None:
    def run(*arguments: str) -> Result:
        settings.cache_clear()
        return CliRunner().invoke(wecom, list(arguments), env=through)

    carry_out(office, MISSPELT)
    [kept] = ledger.rejected.list()
    lost = proxy.rules.add(Rule(COMMIT, action, times=1))
    assert "no sender named 'payroll'" in run("rejected", "retry", str(kept.id)).stdout
    assert lost.fired == 1
    assert [one.rejections for one in ledger.rejected.list()] == [2]
    ledger.senders.add(Sender("payroll", "wecom", 1000003, {"corpid": "c", "corpsecret": "s"}))
    lost = proxy.rules.add(Rule(COMMIT, action, times=1))
    assert run("rejected", "retry", str(kept.id)).stdout == f"{kept.id}: carried out\n"
    assert lost.fired == 1
    assert ledger.history.counts("payroll") == {State.SCHEDULED: 1}
    assert ledger.rejected.count() == 0


@pytest.mark.parametrize("step", ["insert into wecom.senders", "commit"])
def test_a_worker_whose_connection_breaks_while_it_starts_ends_and_says_why(
    ledger: Ledger,
    proxy: FaultProxy,
    through: dict[str, str],
    start: Callable[..., CeleryProcess],
    tmp_path: Path,
    eventually: Callable[..., None],
    step: str,
) -> None:
    assert ledger.senders.names() == ["hr"]
    with ledger.engine.begin() as connection:
        connection.execute(text("delete from wecom.senders"))
    default = {"WECOM_CORPID": "ww-simulator", "WECOM_CORPSECRET": "simulator-secret", "WECOM_AGENTID": "1000002"}
    proxy.rules.add(Rule(statement_with(step), Action.CUT))
    worker = start(WORKER, **through, **default)
    eventually(lambda: not worker.running())
    assert worker.kill() == 1
    log = (tmp_path / "worker-0.log").read_text()
    assert f"the worker cannot start: {'perhaps stored' if step == 'commit' else 'Postgres cannot be reached'}" in log
