"""Templates in messages: what they may do, what they refuse, and that no limit is passed by way of one."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as some

from worker.messages import InvalidMessage, News, NewsArticle, Text, TextCard, content_from_body
from worker.messages.personalised import PersonalisedMessage

NAMED = Text(content="Dear {{ name }}")


def test_a_template_is_filled_in_for_each_recipient() -> None:
    message = PersonalisedMessage(NAMED)
    assert [message.texts({"name": name}) for name in ("A", "B")] == [["Dear A"], ["Dear B"]]


@pytest.mark.parametrize(
    ("template", "varies"),
    [
        ("no template", False),
        ("{{ 'constant' }}", False),
        ("{# a remark #}x", False),
        ("{{ name }}", True),
        ("{% if vip is defined %}a{% endif %}b", True),
        ("{% for one in list %}{{ one }}{% endfor %}", True),
    ],
)
def test_a_message_varies_if_a_template_uses_a_variable(template: str, varies: bool) -> None:  # noqa: FBT001
    assert PersonalisedMessage(Text(content=template)).varies is varies


@pytest.mark.parametrize(
    ("template", "filled"),
    [
        ("{{ name | upper }}", "ANNA"),
        ("{{ amount | decimals }}", "1234.50"),
        ("{{ absent | default('you') }}", "you"),
        ("{% if amount | float > 1000 %}much{% else %}little{% endif %}", "much"),
        ("{% for month in months %}{{ month }};{% endfor %}", "May;June;"),
        ("{{ '{{' }}", "{{"),
        ("{{ name }}<b>&", "Anna<b>&"),
    ],
)
def test_what_templates_can_do(template: str, filled: str) -> None:
    row = {"name": "Anna", "amount": "1234.5", "months": ["May", "June"]}
    assert PersonalisedMessage(Text(content=template)).texts(row) == [filled]


@pytest.mark.parametrize(
    ("template", "complaint"),
    [
        ("{{ name", "text.content: not a template"),
        ("{{ name | replace('a', 'aa') }}", "No filter named 'replace'"),
        ("{{ name.upper() }}", "may not use a call"),
        ("{{ 'x' * 999999999 }}", "may not use *"),
        ("{{ 9 ** 99999999 }}", "may not use **"),
        ("{{ '%99999999d' % 1 }}", "may not use %"),
        ("{% set a = name %}", "may not use {% set %}"),
        ("{% include 'x' %}", "may not use {% include %}"),
        ("{% macro m() %}{% endmacro %}", "may not use {% macro %}"),
    ],
)
def test_what_templates_cannot_do_is_refused_before_anybody_is_read(template: str, complaint: str) -> None:
    with pytest.raises(InvalidMessage) as caught:
        PersonalisedMessage(Text(content=template))
    assert complaint in str(caught.value)


@pytest.mark.parametrize(
    ("template", "row", "complaint"),
    [
        ("{{ name }}", {}, "text.content: 'name' is undefined"),
        ("{{ name.__class__.__mro__ }}", {"name": "x"}, "unsafe"),
        ("{{ amount | decimals }}", {"amount": "much"}, "text.content: cannot be filled in (ValueError"),
        ("{{ name }}", {"name": " "}, "text.content: is empty"),
        ("{{ name }}", {"name": "\ud800"}, "lone surrogate"),
        ("{% for a in name %}{% for b in name %}x{% endfor %}{% endfor %}", {"name": "y" * 200}, "no end in sight"),
    ],
)
def test_a_row_that_does_not_fit_names_the_field(template: str, row: dict[str, str], complaint: str) -> None:
    message = PersonalisedMessage(Text(content=template))
    for _ in range(2):  # the first row is judged with the whole message, the others by their texts alone
        with pytest.raises(InvalidMessage) as caught:
            message.texts(row)
        assert complaint in str(caught.value)


@given(some.text(max_size=60), some.text(max_size=60), some.sampled_from(["title", "btntxt", "url", "description"]))
def test_a_text_alone_is_judged_as_the_whole_message_would_be(first: str, value: str, field: str) -> None:
    fields = {"title": "t", "description": "d", "url": "https://example.com", "btntxt": "b"}
    message = PersonalisedMessage({"msgtype": "textcard", "textcard": fields | {field: "{{ value }}"}})

    def judged(text: str) -> str | None:
        try:
            message.texts({"value": text})
        except InvalidMessage as error:
            return str(error)
        return None

    def wholly(text: str) -> str | None:
        try:
            content_from_body({"msgtype": "textcard", "textcard": fields | {field: text}})
        except InvalidMessage as error:
            return str(error)
        return None

    judged("https://example.com" if field == "url" else "ok")
    for text in (first, value):
        assert judged(text) == wholly(text)


def test_rules_that_concern_several_fields_hold_for_what_is_filled_in() -> None:
    card = {"card_type": "text_notice", "main_title": {"title": "{{ title }}"}, "sub_title_text": "{{ sub }}"}
    action = {"card_action": {"type": 1, "url": "https://example.com/{{ n }}"}}
    message = PersonalisedMessage({"msgtype": "template_card", "template_card": card | action})
    assert message.texts({"title": "a", "sub": "b", "n": 1})
    with pytest.raises(InvalidMessage, match="template_card"):
        message.texts({"title": "a", "sub": "b", "n": "with blanks"})


def test_the_pieces_and_the_texts_make_the_message() -> None:
    article = NewsArticle(title="{{ a }}", description='"{{ b }}"', url="https://example.com/{{a}}")
    message = PersonalisedMessage(News(articles=[article]))
    row = {"a": "x\\y", "b": 'quote " and \n'}
    row["a"] = "xy"
    texts = message.texts(row)
    pieces = message.pieces(message.content(row).body())
    whole = pieces[0] + b"".join(orjson.dumps(text) + piece for text, piece in zip(texts, pieces[1:], strict=True))
    assert orjson.loads(whole) == message.content(row).body()


def test_limits_hold_for_the_template_of_a_message_made_as_an_object() -> None:
    with pytest.raises(InvalidMessage, match=r"textcard\.title"):
        TextCard(title="{{ " + "a" * 128 + " }}", description="d", url="https://example.com")
    body = {"msgtype": "textcard", "textcard": {"title": "{{ " + "a" * 128 + " }}", "description": "d"}}
    body["textcard"]["url"] = "https://example.com"  # type: ignore[index]
    assert PersonalisedMessage(body).texts({"a" * 128: "short"}) == ["short"]
