"""What can be sent, to whom, and in which bytes."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.messages import CardUpdate, Image, InvalidMessage, NewsArticle, Text, TextNotice, content_from_body
from worker.messages.part import Part
from worker.messages.recipients import Recipients, audience, split
from worker.messages.wire import wire_form

SENDABLE = st.text(st.characters(exclude_categories=["Cs"], exclude_characters=[chr(code) for code in range(32)]))


def refusal(**fields: object) -> str:
    with pytest.raises(InvalidMessage) as caught:
        Text(**fields)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_text_is_written_as_wecom_shows_it() -> None:
    assert Text(content="你好").body() == {"msgtype": "text", "text": {"content": "你好"}}


def test_a_text_may_hold_line_ends_tabs_and_emoji() -> None:
    assert Text(content="one\n\ttwo 🧧").content == "one\n\ttwo 🧧"


def test_a_text_of_exactly_2048_bytes_is_sent_and_one_byte_more_is_refused() -> None:
    assert Text(content="你" * 682 + "ab")
    assert refusal(content="你" * 682 + "abc") == (
        "text.content: 2049 bytes of UTF-8, at most 2048; shorten it or send it in parts (Text.split)"
    )


@pytest.mark.parametrize("content", ["", "  \n\t"])
def test_an_empty_text_is_refused(content: str) -> None:
    assert "is empty" in refusal(content=content)


@pytest.mark.parametrize("character", ["\0", "\x07", "\x1b", "\r", "\x0b"])
def test_control_characters_are_refused_by_name_and_place(character: str) -> None:
    assert f"U+{ord(character):04X} at position 3" in refusal(content=f"abc{character}")


def test_lone_surrogates_are_refused() -> None:
    assert "lone surrogate U+D83D at position 0" in refusal(content="\ud83d")


def test_missing_and_unknown_fields_are_refused_by_name() -> None:
    assert "text.content" in refusal()
    assert "text.colour" in refusal(content="a", colour="red")


def test_a_refusal_does_not_repeat_the_content() -> None:
    assert "payslip" not in refusal(content="payslip 12345" * 200)


def test_the_wire_form_read_back_is_the_same_message() -> None:
    assert content_from_body(Text(content="a").body()) == Text(content="a")


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ({"msgtype": "carrier-pigeon"}, "msgtype: 'carrier-pigeon' is not known; use one of: text, image"),
        ({"msgtype": "markdown_v2"}, "did you mean markdown?"),
        ({}, "msgtype: is missing; use one of: text, image"),
        ([], "message: an object is needed"),
        ({"msgtype": ["text"]}, "msgtype: must be a string"),
        ({"msgtype": "text"}, "text: an object is needed"),
        ({"msgtype": "text", "text": {"content": "a"}, "colour": 1}, "colour: unknown field"),
        ({"msgtype": "text", "text": {"content": 5}}, "text.content"),
    ],
)
def test_a_malformed_body_is_refused_by_field(body: dict[str, object], complaint: str) -> None:
    with pytest.raises(InvalidMessage, match=r"^[^\n]*$") as caught:
        content_from_body(body)
    assert complaint in str(caught.value)


@given(content=SENDABLE.filter(lambda text: bool(text.strip())).map(lambda text: text[:500]).filter(str.strip))
def test_the_wire_holds_raw_utf8_without_escapes_for_every_text_that_is_accepted(content: str) -> None:
    wire = wire_form(Text(content=content).body(), Recipients(("zhangsan",)), 7)
    assert orjson.loads(wire)["text"]["content"] == content
    assert b"\\u" not in wire.replace(b"\\\\", b"")


def test_the_same_message_makes_the_same_bytes_whatever_the_order_of_its_fields() -> None:
    recipients = Recipients(("a", "b"), ("2",), ("7",))
    there = wire_form({"msgtype": "text", "text": {"content": "x"}}, recipients, 1)
    back = wire_form({"text": {"content": "x"}, "msgtype": "text"}, recipients, 1)
    assert there == back
    assert there == b'{"agentid":1,"msgtype":"text","text":{"content":"x"},"toparty":"2","totag":"7","touser":"a|b"}'


def test_lists_without_recipients_are_left_out_of_the_wire_form() -> None:
    assert b"toparty" not in wire_form({}, Recipients(("a",)), 1)


def test_recipients_are_named_once_whatever_their_case() -> None:
    assert audience(["ZhangSan", "zhangsan", "lisi"], [2, "2"], [7]) == Recipients(("ZhangSan", "lisi"), ("2",), ("7",))


@pytest.mark.parametrize("kind", [Text, Image, CardUpdate, TextNotice, NewsArticle])
def test_a_value_without_a_name_is_refused_in_one_line(kind: type[Part]) -> None:
    with pytest.raises(InvalidMessage, match=rf"^{kind.__name__}: say what it is, like {kind.__name__}\(\w+=\.\.\.\)$"):
        kind("hi")  # type: ignore[call-arg]


def test_everyone_must_be_meant() -> None:
    with pytest.raises(InvalidMessage, match="everyone=True"):
        audience(["@all"])
    assert audience(everyone=True) == audience(["@all"], everyone=True) == Recipients(("@all",))


@pytest.mark.parametrize(
    ("named", "complaint"),
    [
        ({}, "nobody is named"),
        ({"users": "zhangsan"}, "a list is needed"),
        ({"users": [""]}, "1 to 64 bytes"),
        ({"users": ["x" * 65]}, "1 to 64 bytes"),
        ({"users": ["a|b"]}, "one userid per entry"),
        ({"users": ["zhang san"]}, "holds a blank (U+0020) at position 5"),
        ({"users": ["zhangsan1\u3000"]}, "holds a full-width space (U+3000) at position 9"),
        ({"users": ["zhang\u200bsan"]}, "holds a zero width space (U+200B) at position 5"),
        ({"users": ["zhangsan\n"]}, "holds a line end (U+000A) at position 8"),
        ({"users": ["zhangsan\x07"]}, "holds a control character (U+0007) at position 8"),
        (
            {"users": ["zhangsan,lisi"]},
            "holds a comma (U+002C) at position 8, which no userid has; give one userid per",
        ),
        ({"users": ["zhangsan;lisi"]}, "holds a semicolon (U+003B) at position 8"),
        ({"users": ["zhangsan\uff0clisi"]}, "holds a fullwidth comma (U+FF0C) at position 8"),
        ({"users": 7}, "users: a list is needed, not int"),
        ({"parties": [2, "sales"]}, "parties[1]: 'sales' is no department id; WeCom numbers them"),
        ({"parties": [0]}, "parties[0]: is no department id; WeCom numbers them from 1 to 4294967295"),
        ({"parties": [2**32]}, "parties[0]: is no department id"),
        ({"parties": ["9" * 30]}, "parties[0]: is no department id"),
        ({"tags": [10**5000]}, "tags[0]: is no tag id"),
        ({"tags": ["9" * 5000]}, "tags[0]: is no tag id"),
        ({"tags": [1.0]}, "tags[0]: a tag id must be a whole number, not a number"),
        ({"tags": [7, None]}, "tags[1]: a tag id must be a whole number, not null"),
        ({"tags": ["\u0663"]}, "is no tag id"),
        ({"users": ["a", None]}, "users[1]: a userid must be a string or a whole number, not null"),
        ({"users": [True]}, "users[0]: a userid must be a string or a whole number, not a boolean"),
        ({"users": [1.5]}, "users[0]: a userid must be a string or a whole number, not a number"),
        ({"users": [["a"]]}, "users[0]: a userid must be a string or a whole number, not a list"),
        ({"users": [b"abc"]}, "users[0]: a userid must be a string or a whole number, not bytes"),
        ({"users": [-1]}, "users[0]: a number below 0 or of more than 64 digits is no userid"),
        ({"users": [10**5000]}, "users[0]: a number below 0 or of more than 64 digits is no userid"),
        ({"users": {"a": 1}}, "users: a list is needed, not dict"),
        ({"users": ["ok", "a/b"]}, "users[1]: 'a/b' holds a slash (U+002F) at position 1, which no userid has"),
        ({"users": ["张三"]}, "letters, digits and _ - @ . alone (doc 90195)"),
        ({"users": ["-a"]}, "users[0]: '-a' begins with -; a userid begins with a letter or digit"),
        ({"users": ["\ud800"]}, "which no userid has"),
        ({"users": ["@ALL"]}, "everyone=True"),
        ({"users": ["@All", "lisi"]}, "everyone=True"),
        ({"tags": [-1]}, "WeCom numbers them"),
        ({"tags": [True]}, "tags[0]: a tag id must be a whole number, not a boolean"),
        ({"users": ["a"], "everyone": True}, "ignores other recipients"),
    ],
)
def test_impossible_recipients_are_refused(named: dict[str, object], complaint: str) -> None:
    with pytest.raises(InvalidMessage) as caught:
        audience(**named)  # type: ignore[arg-type]
    assert complaint in str(caught.value)


@given(users=st.integers(0, 3500), parties=st.integers(0, 350), tags=st.integers(0, 350))
def test_an_audience_is_divided_within_the_limits_and_nobody_is_lost_or_doubled(
    users: int, parties: int, tags: int
) -> None:
    whole = Recipients(
        tuple(f"u{n}" for n in range(users)), tuple(map(str, range(parties))), tuple(map(str, range(tags)))
    )
    parts = list(split(whole))
    assert all(len(part.users) <= 1000 and len(part.parties) <= 100 and len(part.tags) <= 100 for part in parts)
    assert tuple(user for part in parts for user in part.users) == whole.users
    assert tuple(party for part in parts for party in part.parties) == whole.parties
    assert tuple(tag for part in parts for tag in part.tags) == whole.tags
    assert len(parts) == max(-(-users // 1000), -(-parties // 100), -(-tags // 100))
