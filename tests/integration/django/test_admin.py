"""The admin pages, as a person's browser asks for them."""

from collections.abc import Callable
from uuid import UUID

import pytest
from django.contrib.auth.models import Permission, User
from django.contrib.messages import get_messages
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from sqlalchemy import text

from worker import SendRequest, State, Text
from worker.integrations.django import admin as pages
from worker.integrations.django import wecom
from worker.ledger import Ledger

HELLO = Text(content="hello <b>you</b>")
MESSAGES, CAMPAIGNS = "/admin/wecom_worker/message/", "/admin/wecom_worker/campaign/"
pytestmark = pytest.mark.usefixtures("project")


def client_of(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def chief() -> Client:
    """Somebody who may do everything."""
    return client_of(User.objects.create_superuser("chief"))


@pytest.fixture
def clerk() -> Client:
    """Somebody who may look."""
    clerk = User.objects.create_user("clerk", is_staff=True)
    clerk.user_permissions.set(Permission.objects.filter(codename__in=("view_message", "view_campaign")))
    return client_of(clerk)


def page(client: Client, address: str) -> str:
    answer = client.get(address)
    assert answer.status_code == 200, answer
    return answer.content.decode()


def told(client: Client, address: str, action: str, *rows: object) -> list[str]:
    """What the page says after an action on some rows."""
    answer = client.post(address, {"action": action, "_selected_action": [str(row) for row in rows]}, follow=True)
    return [str(message) for message in get_messages(answer.wsgi_request)]


def change(ledger: Ledger, message: UUID, **columns: object) -> None:
    """Give a message a past."""
    assignments = ", ".join(f"{name} = :{name}" for name in columns)
    with ledger.engine.begin() as own:
        own.execute(text(f"update wecom.messages set {assignments} where id = :id"), {"id": message, **columns})


def test_the_list_shows_messages_the_newest_first_and_filters_by_sender_and_state(
    chief: Client, ledger: Ledger
) -> None:
    first = wecom.send("hr", HELLO, users=["zhangsan", "lisi", "wangwu", "zhaoliu"], parties=[2])
    second = wecom.send("hr", HELLO, tags=[7])
    change(ledger, second, state="failed", errcode=81013, error="nobody can be reached")
    shown = page(chief, MESSAGES)
    assert shown.index(str(second)) < shown.index(str(first))
    assert "zhangsan, lisi, wangwu and 2 more" in shown
    failed = page(chief, f"{MESSAGES}?state__exact=failed&sender__name__exact=hr")
    assert str(second) in failed
    assert str(first) not in failed


def test_the_page_of_a_message_shows_what_was_sent_what_went_wrong_and_lets_nobody_change_it(
    chief: Client, ledger: Ledger
) -> None:
    message = wecom.send("hr", HELLO, users=["zhangsan", "lisi"])
    with ledger.engine.begin() as own:
        own.execute(
            text("insert into wecom.invalid_recipients values (:id, 'user', 'lisi'), (:id, 'unlicensed', 'zhangsan')"),
            {"id": message},
        )
        own.execute(
            text("""insert into wecom.attempts (message, attempt, at, category, errcode, reason, milliseconds)
                    values (:id, 1, now(), 'transient', -1, 'system busy', 20)"""),
            {"id": message},
        )
    shown = page(chief, f"{MESSAGES}{message}/change/")
    assert "hello &lt;b&gt;you" in shown
    assert "lisi, zhangsan (no licence)" in shown
    assert "transient: system busy" in shown
    assert 'name="_save"' not in shown
    assert chief.post(f"{MESSAGES}{message}/change/", {"state": "sent"}).status_code == 403
    assert chief.get(f"{MESSAGES}{message}/delete/").status_code == 403
    assert chief.get(f"{MESSAGES}add/").status_code == 403


@pytest.mark.parametrize("term", ["ZhangSan", "the-msgid", "id"])
def test_a_message_is_found_by_userid_in_any_case_by_msgid_and_by_its_id(
    chief: Client, ledger: Ledger, term: str
) -> None:
    wanted = wecom.send("hr", HELLO, users=["zhangsan"])
    other = wecom.send("hr", HELLO, users=["lisi"])
    change(ledger, wanted, msgid="the-msgid")
    found = page(chief, f"{MESSAGES}?q={wanted if term == 'id' else term}")
    assert str(wanted) in found
    assert str(other) not in found


def test_however_many_messages_there_are_the_list_counts_only_as_many_as_can_be_paged_through(
    chief: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "MOST_LISTED", 120)
    wecom.send_many([SendRequest("hr", HELLO, users=[f"user{number}"]) for number in range(150)])
    with CaptureQueriesContext(connection) as asked:
        shown = page(chief, MESSAGES)
    counts = [query["sql"] for query in asked if "COUNT" in query["sql"]]
    assert "120 messages" in shown
    assert page(chief, f"{MESSAGES}?p=3").count('class="action-select"') == 20
    assert counts
    assert all("LIMIT 120" in sql for sql in counts)


def test_messages_are_recalled_and_the_page_says_how_many_and_why_not(chief: Client, ledger: Ledger) -> None:
    waiting, failed = (wecom.send("hr", HELLO, users=["zhangsan"]) for _ in range(2))
    change(ledger, failed, state="failed")
    assert told(chief, MESSAGES, "take_back", waiting, failed) == [
        "Taken back: 1 of 2 messages.",
        "Not 1: it is failed.",
    ]
    assert wecom.status(waiting).state is State.CANCELLED


def test_failed_messages_are_sent_again_and_others_are_left_alone(chief: Client, ledger: Ledger) -> None:
    failed, expired, recalled, sent = (wecom.send("hr", HELLO, users=["zhangsan"]) for _ in range(4))
    change(ledger, failed, state="failed", errcode=81013, error="nobody can be reached", retries=3)
    change(ledger, expired, state="failed", expires_at="2020-01-01T00:00:00Z")
    change(ledger, recalled, state="failed", recall_requested_at="2020-01-01T00:00:00Z")
    change(ledger, sent, state="sent", msgid="m", sent_at="2020-01-01T00:00:00Z")
    assert told(chief, MESSAGES, "retry", failed, expired, recalled, sent) == [
        "Sent again: 1 of 4 messages.",
        "Not 3: only what has failed can be sent again.",
    ]
    again = wecom.status(failed)
    assert (again.state, again.errcode, again.error) == (State.SCHEDULED, None, None)
    assert [wecom.status(one).state for one in (expired, recalled, sent)] == [State.FAILED, State.FAILED, State.SENT]


def test_an_action_is_done_at_once_although_the_request_is_a_transaction_and_the_ledger_elsewhere(
    chief: Client,
    ledger: Ledger,
    project: Callable[..., None],
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waiting, failed = (wecom.send("hr", HELLO, users=["zhangsan"]) for _ in range(2))
    change(ledger, failed, state="failed")
    project(DATABASE_URL=database_url)
    monkeypatch.setitem(connection.settings_dict, "ATOMIC_REQUESTS", True)
    assert told(chief, MESSAGES, "retry", waiting, failed) == [
        "Sent again: 1 of 2 messages.",
        "Not 1: only what has failed can be sent again.",
    ]
    assert told(chief, MESSAGES, "take_back", waiting, failed) == ["Taken back: 2 of 2 messages."]
    assert [wecom.status(one).state for one in (waiting, failed)] == [State.CANCELLED, State.CANCELLED]


@pytest.mark.parametrize("action", ["take_back", "retry"])
def test_a_ledger_that_cannot_be_reached_is_told_of(chief: Client, project: Callable[..., None], action: str) -> None:
    message = wecom.send("hr", HELLO, users=["zhangsan"])
    project(DATABASE_URL="postgresql://127.0.0.1:1/nowhere")
    _, reason = told(chief, MESSAGES, action, message)
    assert reason.startswith("Not 1: ")
    assert "Postgres" in reason


def test_an_action_on_too_many_messages_does_nothing_and_says_so(
    chief: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "MOST_AT_ONCE", 1)
    two = [wecom.send("hr", HELLO, users=["zhangsan"]) for _ in range(2)]
    assert told(chief, MESSAGES, "take_back", *two)[0].startswith("Nothing is done: an action takes at most 1 messages")
    assert [wecom.status(one).state for one in two] == [State.SCHEDULED, State.SCHEDULED]


def test_who_may_only_look_is_offered_no_action_and_can_do_nothing(clerk: Client) -> None:
    message = wecom.send("hr", HELLO, users=["zhangsan"])
    wecom.campaign("payday", sender="hr", message=HELLO, recipients=["a"])
    for address in (MESSAGES, CAMPAIGNS):
        assert "take_back" not in page(clerk, address)
    told(clerk, MESSAGES, "take_back", message)
    assert wecom.status(message).state is State.SCHEDULED


def test_who_may_recall_may_do_that_alone() -> None:
    user = User.objects.create_user("recaller", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=("view_message", "recall_message")))
    shown = page(client_of(user), MESSAGES) if wecom.send("hr", HELLO, users=["zhangsan"]) else ""
    assert 'value="take_back"' in shown
    assert 'value="retry"' not in shown


def test_a_campaign_is_shown_with_its_progress_paused_resumed_retried_and_recalled(
    chief: Client, ledger: Ledger
) -> None:
    made = wecom.campaign(
        "payday", sender="hr", message=Text(content="{{ n }}"), recipients=[{"userid": f"u{n}", "n": n} for n in "12"]
    )
    with ledger.engine.begin() as own:
        own.execute(
            text(
                "update wecom.messages set state = 'failed' where id = (select min(id::text)::uuid from wecom.messages)"
            )
        )
    assert "payday" in page(chief, f"{CAMPAIGNS}?q=pay")
    shown = page(chief, f"{CAMPAIGNS}{made.id}/change/")
    assert "1 failed" in shown
    assert "1 scheduled" in shown
    assert told(chief, CAMPAIGNS, "pause", made.id) == ["Paused: 1 campaign."]
    assert wecom.campaign_status("payday").paused_reason == "paused by chief"
    assert told(chief, CAMPAIGNS, "resume", made.id) == ["Going on: 1 campaign."]
    assert wecom.campaign_status("payday").paused_reason is None
    assert told(chief, CAMPAIGNS, "retry", made.id) == ["Failed messages are sent again: 1 campaign."]
    assert wecom.campaign_status("payday").counts == {State.SCHEDULED: 2}
    assert told(chief, CAMPAIGNS, "take_back", made.id) == ["Taken back: 1 campaign."]
    assert wecom.campaign_status("payday").counts == {State.CANCELLED: 2}
