"""What holds for every message that can be made, whatever it says."""

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from message_strategies import BODIES, CHARACTERS, KINDS, MESSAGES

from worker.messages import Content, InvalidMessage, Text, content_from_body
from worker.messages.recipients import Recipients
from worker.messages.wire import wire_form

FEW = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""Cards are large; `message_strategies` is there for longer runs."""
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(KINDS),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["content", "articles", "card_type", "main_title", "card_action", "title", "type"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=10,
)
KIND = st.sampled_from(["text", "news", "template_card"])


@pytest.mark.parametrize("kind", KINDS)
def test_every_body_within_the_limits_is_accepted_and_comes_back_unchanged(kind: str) -> None:
    @FEW
    @given(body=BODIES[kind])
    def holds(body: dict[str, object]) -> None:
        message = content_from_body(body)
        assert message.body() == body
        assert content_from_body(message.body()) == message

    holds()


@pytest.mark.parametrize("kind", KINDS)
def test_the_wire_holds_the_same_message_in_raw_utf8(kind: str) -> None:
    @FEW
    @given(message=MESSAGES[kind])
    def holds(message: Content) -> None:
        wire = wire_form(message.body(), Recipients(("zhangsan",)), 7)
        assert b"\\u" not in wire.replace(b"\\\\", b"")
        assert content_from_body(orjson.loads(wire)) == message

    holds()


@given(text=st.text(st.sampled_from(CHARACTERS), max_size=60), times=st.integers(1, 400))
def test_a_text_that_is_split_is_whole_again_when_joined(text: str, times: int) -> None:
    whole = f"字{text}字" * times
    parts = Text.split(whole)
    assert "".join(part.content for part in parts) == whole
    assert all(len(part.content.encode()) <= 2048 for part in parts)


def refusal_of(body: dict[str, object]) -> str:
    try:
        content_from_body(body)
    except InvalidMessage as refusal:
        return str(refusal)
    return "accepted"


@given(kind=KIND, fields=JSON, others=st.dictionaries(st.sampled_from(["safe", "news", "text"]), JSON))
def test_whatever_is_no_message_is_refused_in_one_line(kind: str, fields: object, others: dict[str, object]) -> None:
    assert len(refusal_of(others | {"msgtype": kind, kind: fields}).splitlines()) == 1
