"""Templates in messages: what they may do, what they refuse, and that no limit is passed by way of one."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from message_strategies import KINDS
from template_strategies import filled_in, personalised

from worker.messages import InvalidMessage, Text, TextCard, content_from_body
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


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=settings.default.max_examples // 12, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=some.data())
def test_the_form_and_the_texts_make_what_plain_jinja2_makes(kind: str, data: some.DataObject) -> None:
    case = data.draw(personalised(kind))
    message = PersonalisedMessage(case.body)
    form = message.form(message.content(case.rows[0]).body())
    for row in case.rows:
        plain = filled_in(case.body, row)
        if refusal(content_from_body, plain) is None:
            assert orjson.loads(form.with_texts(message.texts(row))) == plain
        else:
            assert refusal(message.texts, row) == refusal(content_from_body, plain)


def refusal(judge: Callable[[Any], object], value: object) -> str | None:
    try:
        judge(value)
    except InvalidMessage as error:
        return str(error)
    return None


@pytest.mark.parametrize(
    ("template", "complaint"),
    [
        ("{% with b = a %}{{ b }}{% endwith %}", "may not use {% with %}"),
        ("{% filter upper %}a{% endfilter %}", "may not use {% filter %}"),
        ("{% block a %}b{% endblock %}", "may not use {% block %}"),
        ("{% for a in b recursive %}{{ loop(a) }}{% endfor %}", "may not use a call"),
        ("{% for a in b %}" * 30 + "{{ a }}" + "{% endfor %}" * 30, "nested too deeply"),
        ("{{ " + "(" * 600 + "a" + ")" * 600 + " }}", "nested too deeply"),
        ("{{ " + "-" * 2000 + "a }}", "nested too deeply"),
        ("{{ " + "+".join("a" * 3000) + " }}", "more than 3000 names and signs"),
        ("{{ " + "+".join("a" * 100) + " }}", "nested too deeply"),
        ("{{ " + "9" * 5000 + " }}", "not a template (Exceeds the limit"),
        ("{{ '\\N{nothing}' }}", "not a template"),
        ("{{ a }}\0", "control character U+0000"),
        ("{# \ud800 #}{{ a }}", "lone surrogate U+D800"),
    ],
)
def test_a_template_that_cannot_be_read_is_refused_by_field(template: str, complaint: str) -> None:
    with pytest.raises(InvalidMessage) as caught:
        PersonalisedMessage({"msgtype": "text", "text": {"content": template}})
    assert str(caught.value).startswith("text.content: ")
    assert complaint in str(caught.value)
    assert len(str(caught.value)) < 300


def nested(depth: int) -> list[Any]:
    whole: list[Any] = []
    for _ in range(depth):
        whole = [whole]
    return whole


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"safe": 2**70}, "safe: a number that JSON cannot carry"),
        ({"safe": float("inf")}, "safe: a number that JSON cannot carry"),
        ({"text": {"content": "{{ a }}", "x": "\ud800"}}, "text.x: lone surrogate"),
        ({"text": {"content": "{{ a }}", "x": nested(300)}}, "text.x[0]: more than 32 objects and lists"),
        ({"text": {"content": "{{ a }}", "x": nested(50_000)}}, "text.x[0]: more than 32 objects and lists"),
        ({"text": {"content": "{{ a }}", 7: "x"}}, "text: the name of a field must be a text"),
        ({"text": {"content": "{{ a }}", "\0": "x"}}, "text: the name of a field must be a text"),
        (
            {"text": {"content": datetime(2026, 11, 20, tzinfo=UTC)}},
            "text.content: datetime is nothing that JSON knows",
        ),
        ({"text": {"content": b"x"}}, "text.content: bytes is nothing that JSON knows"),
    ],
)
def test_what_is_no_json_is_refused_by_field(wrong: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InvalidMessage) as caught:
        PersonalisedMessage({"msgtype": "text", "text": {"content": "{{ a }}"}} | wrong)
    assert str(caught.value).startswith(complaint)


def test_a_value_that_looks_like_a_template_arrives_as_it_is() -> None:
    assert PersonalisedMessage(NAMED).texts({"name": "{{ name }}{% if %}"}) == ["Dear {{ name }}{% if %}"]


def test_a_refusal_of_a_value_is_one_short_line() -> None:
    message = PersonalisedMessage(Text(content="{{ amount | decimals }}"))
    said = refusal(message.texts, {"amount": "9\n" * 1000}) or ""
    assert said.startswith("text.content: cannot be filled in (ValueError")
    assert len(said) < 300
    assert len(said.splitlines()) == 1


def test_limits_hold_for_the_template_of_a_message_made_as_an_object() -> None:
    with pytest.raises(InvalidMessage, match=r"textcard\.title"):
        TextCard(title="{{ " + "a" * 128 + " }}", description="d", url="https://example.com")
    body = {"msgtype": "textcard", "textcard": {"title": "{{ " + "a" * 128 + " }}", "description": "d"}}
    body["textcard"]["url"] = "https://example.com"  # type: ignore[index]
    assert PersonalisedMessage(body).texts({"a" * 128: "short"}) == ["short"]
