"""What a campaign stores and sends, by any order of the fields, any text as a template and any text as a value.

The standard is what plain Jinja2 makes of each text, sent as a single message. `pytest --hypothesis-profile=long` tries
600 campaigns of each type.
"""

import hashlib
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from message_strategies import KINDS
from sqlalchemy import text
from template_strategies import Personalised, Row, filled_in, personalised

from worker import InvalidMessage, Producer, State
from worker.delivery.deliver import deliver
from worker.delivery.office import Office
from worker.delivery.schedules import run_due_schedules
from worker.ledger import Ledger
from worker.messages import content_from_body
from worker.messages.recipients import Recipients
from worker.messages.wire import wire_form
from worker.simulator.control import SimulatorControl

NUMBERS = count()
SEVERAL = settings(
    max_examples=settings.default.max_examples // 16,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
AGENTID = 1000002

ORDERS = {
    "as on the page of doc 90236": {
        "card_type": "text_notice",
        "main_title": {"title": "{{ a }}", "desc": "{{ b }}"},
        "card_action": {"type": 1, "url": "https://example.com/{{ c }}"},
        "sub_title_text": "{{ d }}",
    },
    "as in jsonb": {
        "card_type": "text_notice",
        "main_title": {"desc": "{{ b }}", "title": "{{ a }}"},
        "card_action": {"url": "https://example.com/{{ c }}", "type": 1},
        "sub_title_text": "{{ d }}",
    },
    "a constant that looks like a mark": {
        "card_type": "text_notice",
        "sub_title_text": "\ue0000\ue001",
        "main_title": {"title": "{{ a }}", "desc": "{{ b }}"},
        "card_action": {"type": 1, "url": "https://example.com/{{ c }}"},
    },
}


@pytest.fixture
def accepting(simulator: SimulatorControl) -> SimulatorControl:
    """The local WeCom, which takes any media_id for one it gave out."""
    simulator.change_settings(unknown_media="accept", member_per_minute=0, member_per_hour=0)
    return simulator


def single(producer: Producer, body: dict[str, Any], row: Row) -> dict[str, Any]:
    """Return what the ledger holds of the message to one member that plain Jinja2 makes; it is never sent."""
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    return dict(
        producer.status(
            producer.send("hr", content_from_body(filled_in(body, row)), users=[row["userid"]], at=tomorrow)
        ).body
    )


def stored(ledger: Ledger, campaign: str) -> dict[str, tuple[dict[str, Any], tuple[str, ...]]]:
    """Return the body of the message to each member in a campaign, and to whom it goes."""
    of_campaign = text("""
        select message.touser, message.body
        from wecom.messages as message join wecom.campaigns as campaign on campaign.id = message.campaign
        where campaign.name = :name
    """)
    with ledger.engine.connect() as connection:
        rows = connection.execute(of_campaign, {"name": campaign}).all()
    return {member: (body, tuple(users)) for users, body in rows for member in users}


def with_interval_of(body: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Return a body with the interval of another: each message has its own, unless it asks for one."""
    return body | {name: other[name] for name in ("duplicate_check_interval",) if name in body}


@pytest.mark.parametrize("card", ORDERS.values(), ids=ORDERS)
def test_the_order_of_the_fields_changes_nothing(
    producer: Producer, ledger: Ledger, office: Office, card: dict[str, Any]
) -> None:
    body = {"msgtype": "template_card", "template_card": card}
    rows = [{"userid": "u1", "a": "\ue0000\ue001", "b": '"b"', "c": "c", "d": "{{ d }}"}]
    producer.campaign("now", sender="hr", message=body, recipients=rows)
    [(found, _)] = stored(ledger, "now").values()
    expected = single(producer, body, rows[0])
    assert found == with_interval_of(expected, found)
    scheduled = occurrence(producer, ledger, office, body, rows)["u1"]
    assert scheduled == with_interval_of(expected, scheduled)


@pytest.mark.parametrize("kind", KINDS)
def test_a_campaign_is_what_plain_jinja2_and_single_messages_are(
    producer: Producer, ledger: Ledger, office: Office, accepting: SimulatorControl, kind: str
) -> None:
    @SEVERAL
    @given(case=personalised(kind))
    def holds(case: Personalised) -> None:
        name, rows = f"campaign {next(NUMBERS)}", list(case.rows)
        refused = next((place for place, row in enumerate(rows, 1) if not possible(case.body, row)), None)
        asked = {"sender": "hr", "message": case.body, "recipients": rows}
        if refused is not None:
            for ask in (producer.rehearse_campaign, producer.campaign):
                with pytest.raises(InvalidMessage, match=f"^recipient {refused}: "):
                    ask(name, **asked)
            return
        rehearsed = producer.rehearse_campaign(name, **asked)
        assert rehearsed.first.body() == filled_in(case.body, rows[0])
        producer.campaign(name, **asked)
        expected, requests = {}, set()
        for row in rows:
            body, users = stored(ledger, name)[row["userid"]]
            asked_singly = single(producer, case.body, row)
            assert body == with_interval_of(asked_singly, body)
            expected[row["userid"]] = asked_singly
            request = wire_form(with_interval_of(asked_singly, body), Recipients(users), AGENTID)
            requests.add(hashlib.sha256(request).hexdigest())
        since = accepting.counters().deliveries
        deliver(office, "hr", lambda: None)
        assert {delivery.body_sha256 for delivery in accepting.deliveries(since)} == requests
        assert producer.campaign_status(name).counts == {State.SENT: len(requests)}
        scheduled = occurrence(producer, ledger, office, case.body, rows)
        for member, body in scheduled.items():
            assert body == with_interval_of(expected[member], body)

    holds()


def occurrence(
    producer: Producer, ledger: Ledger, office: Office, body: dict[str, Any], rows: list[Row]
) -> dict[str, dict[str, Any]]:
    """Return what one occurrence of a schedule stores; it is never sent."""
    name = f"daily {next(NUMBERS)}"
    asked = {"sender": "hr", "message": body, "recipients": rows}
    producer.schedules.add(name, cron="0 9 * * *", timezone="Asia/Shanghai", **asked)
    with ledger.engine.begin() as connection:
        connection.execute(text("update wecom.schedules set next_at = wecom.clock() - interval '1 second'"))
    assert run_due_schedules(office) == 1
    assert producer.schedules.find(name).paused_reason is None
    producer.schedules.remove(name)
    [newest] = producer.campaigns(limit=1)
    producer.cancel_campaign(newest.name)
    return {member: body for member, (body, _) in stored(ledger, newest.name).items()}


def possible(body: dict[str, Any], row: Row) -> bool:
    """Tell whether a single message could be sent with what plain Jinja2 makes."""
    try:
        content_from_body(filled_in(body, row))
    except InvalidMessage:
        return False
    return True
