"""What a person decides about messages of unknown fate."""

from collections.abc import Callable
from uuid import UUID

import orjson
import pytest
from click.testing import CliRunner, Result
from sqlalchemy import text

from worker import Producer, State, Text
from worker.cli import wecom
from worker.delivery.deliver import deliver
from worker.delivery.office import Office
from worker.ledger import Ledger
from worker.settings import settings
from worker.simulator.control import SimulatorControl


@pytest.fixture
def run(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run `wecom` in this process."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    settings.cache_clear()
    return lambda *arguments: CliRunner().invoke(wecom, arguments)


@pytest.fixture
def message_id(producer: Producer, ledger: Ledger) -> UUID:
    """A message whose fate nobody knows."""
    message_id = producer.send("hr", Text(content="salary"), users=["zhangsan"])
    ledger.deliveries.claim("hr", 1, 0.0, None)
    with ledger.engine.begin() as connection:
        connection.execute(text("update wecom.messages set claimed_at = now() - interval '2 hours'"))
    ledger.reaper.reap(0)
    assert producer.status(message_id).state is State.UNCONFIRMED
    return message_id


def test_what_waits_for_a_decision_is_listed(run: Callable[..., Result], message_id: UUID) -> None:
    told = run("unconfirmed", "list").stdout
    assert str(message_id) in told
    assert "to zhangsan" in told
    assert [one["id"] for one in orjson.loads(run("unconfirmed", "list", "hr", "--json").stdout)["messages"]] == [
        str(message_id)
    ]
    assert run("unconfirmed", "list", "nobody").exit_code == 1


def test_a_message_is_sent_again_by_decision(
    run: Callable[..., Result], message_id: UUID, office: Office, producer: Producer, simulator: SimulatorControl
) -> None:
    assert run("unconfirmed", "resend", str(message_id)).exit_code == 0
    deliver(office, "hr", lambda: None)
    assert producer.status(message_id).state is State.SENT
    assert simulator.served() == {"zhangsan": ["salary"]}
    assert run("unconfirmed", "list").stdout == "No message waits for a decision.\n"


@pytest.mark.parametrize(("found", "state"), [("sent", State.SENT), ("not-sent", State.FAILED)])
def test_what_a_person_found_out_is_stored_once(
    run: Callable[..., Result], message_id: UUID, producer: Producer, found: str, state: State
) -> None:
    assert run("unconfirmed", "settle", str(message_id), "--as", found).exit_code == 0
    assert producer.status(message_id).state is state
    again = run("unconfirmed", "settle", str(message_id), "--as", found)
    assert again.exit_code == 1
    assert "does not wait for a decision" in again.output


def test_a_decision_needs_to_be_said(run: Callable[..., Result], message_id: UUID) -> None:
    assert run("unconfirmed", "settle", str(message_id)).exit_code == 2
