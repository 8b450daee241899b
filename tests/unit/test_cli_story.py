"""What `wecom status` tells, as pure functions of a message and the time."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import click
import pytest
from hypothesis import given
from hypothesis import strategies as some

from worker.cli.findings import fault_of
from worker.cli.output import shown, some_of
from worker.cli.story import content, events, facts, named, standing
from worker.cli.times import moment, relative
from worker.ledger import (
    Attempt,
    CardUpdateState,
    CardUpdateStatus,
    LedgerError,
    MessageStatus,
    Priority,
    State,
)
from worker.messages.recipients import InvalidRecipients, Recipients
from worker.messages.sender import Sender

NOW = datetime(2026, 11, 20, 9, 10, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
HR = Sender("hr", "wecom", 1)
MESSAGE = MessageStatus(
    id=UUID("019a9f3e-6c1b-7c3a-9d52-0b5f3c1e2a77"),
    sender="hr",
    state=State.SCHEDULED,
    priority=Priority.NORMAL,
    requested_at=NOW - 10 * MINUTE,
    send_at=NOW - 10 * MINUTE,
    expires_at=None,
    sent_at=None,
    recipients=Recipients(users=("zhangsan",)),
    body={"msgtype": "text", "text": {"content": "hello"}, "enable_duplicate_check": 1},
    msgid=None,
    errcode=None,
    error=None,
    recall_requested_at=None,
    recalled_at=None,
    recall_error=None,
    invalid=InvalidRecipients(),
    attempts=(),
    parts=(),
)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "now"),
        (0.4, "now"),
        (1, "in 1 second"),
        (-59, "59 seconds ago"),
        (-60, "1 minute ago"),
        (7200, "in 2 hours"),
        (-86_400 * 3, "3 days ago"),
    ],
)
def test_times_are_told_in_their_largest_unit(seconds: float, words: str) -> None:
    assert relative(NOW + timedelta(seconds=seconds), NOW) == words


@given(some.integers(-(10**9), 10**9))
def test_every_distance_has_words_on_the_right_side_of_now(seconds: int) -> None:
    words = relative(NOW + timedelta(seconds=seconds), NOW)
    assert words.startswith("in ") == (seconds > 0)
    assert words.endswith(" ago") == (seconds < 0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("tomorrow", "no ISO 8601 time"),
        ("2026-11-20T09:00:00", "no time zone; add one: 2026-11-20T09:00:00+08:00"),
        ("2026-11-20", "no time zone"),
    ],
)
def test_a_time_that_leaves_something_open_is_refused(text: str, words: str) -> None:
    command = click.Command("x")
    with pytest.raises(click.BadParameter, match=words.replace("+", r"\+")):
        moment(click.Context(command), click.Option(["--at"]), text)


def test_a_time_with_a_zone_is_read() -> None:
    read = moment(click.Context(click.Command("x")), click.Option(["--at"]), "2026-11-20T17:10:00+08:00")
    assert read == NOW


@pytest.mark.parametrize("state", list(State))
def test_every_state_has_a_sentence(state: State) -> None:
    assert standing(replace(MESSAGE, state=state), HR, NOW)


def test_the_states_are_told_apart() -> None:
    assert len({standing(replace(MESSAGE, state=state), HR, NOW) for state in State}) == len(State)


def test_a_message_of_a_paused_sender_says_why_it_waits_and_what_lets_it_go() -> None:
    told = standing(MESSAGE, replace(HR, paused_reason="60020: not allowed"), NOW)
    assert "paused" in told
    assert "60020: not allowed" in told
    assert "`wecom senders resume hr`" in told


def test_a_sender_paused_for_its_credentials_is_told_to_have_them_replaced() -> None:
    told = standing(MESSAGE, replace(HR, paused_reason="40001: invalid credential"), NOW)
    assert "`wecom senders add hr --replace ...`" in told
    assert "`wecom senders resume hr`" in told


def test_a_message_for_later_was_accepted_when_its_id_was_made() -> None:
    later = replace(MESSAGE, requested_at=NOW + 7 * MINUTE, send_at=NOW + 7 * MINUTE)
    told = {words: time for time, words in events(later, HR, NOW)}
    assert told["accepted and stored"] != told["due"]


def test_a_parking_that_is_over_holds_nothing_up() -> None:
    parked = replace(HR, paused_reason="45009", paused_until=NOW - MINUTE)
    assert standing(MESSAGE, parked, NOW) == "due; waits for a worker"


def test_a_message_moved_out_of_a_quiet_window_says_so() -> None:
    moved = replace(MESSAGE, requested_at=NOW + 50 * MINUTE, send_at=NOW + 53 * MINUTE)
    assert "in 53 minutes" in standing(moved, HR, NOW)
    assert "kept away from minute 0, when WeCom delivers late" in standing(moved, HR, NOW)
    assert "kept away from minute 0" in events(moved, HR, NOW)[-1][1]


def test_a_message_for_later_names_no_other_reason() -> None:
    later = replace(MESSAGE, requested_at=NOW + 7 * MINUTE, send_at=NOW + 7 * MINUTE)
    assert standing(later, HR, NOW).endswith("(in 7 minutes)")


def test_a_message_put_off_without_a_try_gives_the_stored_reason() -> None:
    put_off = replace(MESSAGE, send_at=NOW + MINUTE, error="30 messages a minute reached")
    assert "30 messages a minute reached" in standing(put_off, HR, NOW)
    assert "minute" not in standing(put_off, HR, NOW).replace("30 messages a minute", "").replace("in 1 minute", "")
    assert "kept away" not in standing(put_off, HR, NOW)


def test_events_are_told_in_the_order_of_time_and_advice_once() -> None:
    attempts = tuple(Attempt(number, NOW - (9 - number) * MINUTE, "transient", -1, "busy", 12) for number in (1, 2))
    status = replace(
        MESSAGE,
        state=State.RECALLED,
        attempts=attempts,
        sent_at=NOW - 3 * MINUTE,
        recall_requested_at=NOW - 2 * MINUTE,
        recalled_at=NOW - MINUTE,
    )
    told = [words for _, words in events(status, HR, NOW)]
    assert told[:2] == ["accepted and stored", "due"]
    assert told[2] == "try 1, 12 ms, transient: -1 busy"
    assert told[3].startswith("try 2, 12 ms, transient: -1 busy\nWeCom was too busy")
    assert told[4:] == ["WeCom accepted it", "it was asked to be taken back", "WeCom took it back"]


def test_an_attempt_without_an_errcode_keeps_its_reason() -> None:
    status = replace(MESSAGE, attempts=(Attempt(1, NOW, "uncertain", None, "no answer before the read time-out", 99),))
    assert "try 1, 99 ms, uncertain: no answer before the read time-out" in [
        words for _, words in events(status, HR, NOW)
    ]


def test_those_not_served_are_named_by_kind() -> None:
    invalid = InvalidRecipients(users=("ghost",), parties=("9",), tags=("8",), unlicensed=("li",))
    told = [words for name, words in facts(replace(MESSAGE, invalid=invalid), HR, NOW) if name == "Not served"]
    assert [words.split()[0] for words in told] == ["ghost", "9", "8", "li"]
    assert [word in words for word, words in zip(("member", "department", "tag", "licence"), told, strict=True)] == [
        True
    ] * 4


def test_an_audience_is_named_by_its_first_few() -> None:
    users = tuple(f"u{number}" for number in range(997))
    assert named(Recipients(users, ("2",), ("7", "8"))) == "u0, u1, u2 and 994 more; department 2; tag 7, 8"
    assert "@all" in named(Recipients(users=("@all",)))


@given(some.lists(some.text(min_size=1, max_size=3), max_size=8), some.integers(1, 5))
def test_the_first_few_and_the_rest_are_all(values: list[str], most: int) -> None:
    told = some_of(values, most)
    assert told.startswith(", ".join(values[:most]))
    assert (f"and {len(values) - most} more" in told) == (len(values) > most)


def test_the_words_of_a_text_are_shown_and_other_messages_whole() -> None:
    assert content(MESSAGE) == "hello"
    card = replace(MESSAGE, body={"msgtype": "textcard", "textcard": {"title": "t", "url": "u"}})
    assert content(card) == 'textcard {"title":"t","url":"u"}'


def test_control_characters_reach_no_terminal() -> None:
    assert shown("a\x1b[31mb\x9bc\nd\te全角　").plain == "a\\x1b[31mb\\x9bc\nd\te全角　"


def test_an_error_is_divided_into_what_is_wrong_and_what_to_do() -> None:
    found = fault_of("tables", "Tables", LedgerError("the tables: are old; run `wecom migrate`"))
    assert (found.words, found.advice) == ("the tables: are old", "run `wecom migrate`")
    assert fault_of("x", "X", LedgerError("it is so")).words == "it is so"


def test_a_message_of_a_paused_campaign_says_what_it_waits_for() -> None:
    aside = replace(MESSAGE, priority=Priority.ASIDE)
    told = dict(facts(aside, HR, NOW))
    assert told["State"] == "waits: its campaign is paused; `wecom campaign resume` lets it go"
    assert "Priority" not in told


def test_what_wecom_may_show_cut_off_is_told() -> None:
    warned = replace(MESSAGE, warnings=("template_card.main_title.title: 50 characters, suggested at most 36",))
    assert dict(facts(warned, HR, NOW))["Warning"].endswith("suggested at most 36")


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (CardUpdateState.UPDATED, "the card was updated (not for ghost1)"),
        (CardUpdateState.FAILED, "the card was not updated: 42015 other app"),
        (CardUpdateState.UNCONFIRMED, "the card may have been updated; the answer was lost: 42015 other app"),
        (CardUpdateState.SCHEDULED, "a worker will update the card: 42015 other app"),
    ],
)
def test_what_became_of_a_card_update_is_told(state: CardUpdateState, words: str) -> None:
    update = CardUpdateStatus(state, NOW, NOW, "42015 other app", ("ghost1",))
    sent = replace(MESSAGE, state=State.SENT, sent_at=NOW - MINUTE, card_updates=(update,))
    assert [told for _, told in events(sent, HR, NOW)][-2:] == ["its card was asked to be updated", words]
