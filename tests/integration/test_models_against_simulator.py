"""Two readings of WeCom's documents that know nothing of each other: what our models accept, the simulator accepts.

`pytest --hypothesis-profile=long` tries 10,000 cases of each type.
"""

from collections.abc import Iterator
from itertools import count

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from message_strategies import MESSAGES

from worker.messages import Content
from worker.messages.recipients import Recipients
from worker.messages.wire import wire_form
from worker.simulator.control import SimulatorControl

NUMBERS = count()


@pytest.fixture
def accepting(simulator: SimulatorControl) -> SimulatorControl:
    """The local WeCom, which takes any media_id for one it gave out."""
    simulator.change_settings(unknown_media="accept", member_per_minute=0, member_per_hour=0)
    return simulator


@pytest.fixture
def session(accepting: SimulatorControl) -> Iterator[requests.Session]:
    """A session that is allowed to send."""
    with requests.Session() as session:
        credentials = {"corpid": "ww-simulator", "corpsecret": "simulator-secret"}
        answer = session.get(f"{accepting.base_url}/cgi-bin/gettoken", params=credentials, timeout=5)
        session.params = {"access_token": answer.json()["access_token"]}
        yield session


@pytest.mark.parametrize("kind", MESSAGES)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_whatever_a_model_accepts_the_simulator_accepts_and_knows_every_field_of(
    accepting: SimulatorControl, session: requests.Session, kind: str, data: st.DataObject
) -> None:
    content: Content = data.draw(MESSAGES[kind])
    # Each case goes to somebody else, and a task_id is used once.
    number = next(NUMBERS)
    body = _with_own_task_id(content.body(), number)
    answer = session.post(
        f"{accepting.base_url}/cgi-bin/message/send",
        data=wire_form(body, Recipients((f"user{number}",)), 1000002),
        timeout=5,
    ).json()
    assert answer["errcode"] == 0, answer["errmsg"]
    [delivery] = accepting.deliveries(since=accepting.counters().deliveries - 1)
    assert delivery.unknown_fields == []
    assert delivery.truncated_fields == []


def _with_own_task_id(body: dict[str, object], number: int) -> dict[str, object]:
    card = body.get("template_card")
    if not isinstance(card, dict) or "task_id" not in card:
        return body
    return body | {"template_card": card | {"task_id": f"task-{number}"}}
