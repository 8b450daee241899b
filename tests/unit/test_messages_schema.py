"""The JSON Schema says what the models do, as far as JSON Schema can say it."""

import copy
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from message_strategies import BODIES, KINDS

from worker.messages import json_schema

SCHEMA = json_schema()
PAGE = (Path(__file__).parents[2] / "docs" / "messages.md").read_text(encoding="utf-8")
EXAMPLES = [
    body for block in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL) if "msgtype" in (body := json.loads(block))
]
TYPES = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": int | float,
    "boolean": bool,
}
ANNOTATIONS = {"$schema", "$defs", "title", "description"}


def satisfied(schema: Any, value: Any) -> bool:  # noqa: ANN401 - JSON
    """Whether a value satisfies a schema, for the keywords that the schema of messages uses."""
    if isinstance(schema, bool):
        return schema
    return all(KEYWORDS[name](schema, value) for name in schema if name not in ANNOTATIONS)


def is_of_type(schema: Mapping[str, Any], value: object) -> bool:
    return isinstance(value, TYPES[schema["type"]]) and (schema["type"] == "boolean" or not isinstance(value, bool))


def referred_to(schema: Mapping[str, Any]) -> Any:  # noqa: ANN401 - JSON
    return SCHEMA["$defs"][schema["$ref"].removeprefix("#/$defs/")]


def known_alone(schema: Mapping[str, Any], value: Any) -> bool:  # noqa: ANN401 - JSON
    return schema["additionalProperties"] is False and set(value) <= set(schema["properties"])


KEYWORDS: dict[str, Any] = {
    "type": is_of_type,
    "const": lambda schema, value: value == schema["const"],
    "enum": lambda schema, value: value in schema["enum"],
    "minLength": lambda schema, value: len(value) >= schema["minLength"],
    "maxLength": lambda schema, value: len(value) <= schema["maxLength"],
    "pattern": lambda schema, value: re.search(schema["pattern"], value) is not None,
    "minimum": lambda schema, value: value >= schema["minimum"],
    "maximum": lambda schema, value: value <= schema["maximum"],
    "exclusiveMaximum": lambda schema, value: value < schema["exclusiveMaximum"],
    "minItems": lambda schema, value: len(value) >= schema["minItems"],
    "maxItems": lambda schema, value: len(value) <= schema["maxItems"],
    "items": lambda schema, value: all(satisfied(schema["items"], one) for one in value),
    "properties": lambda schema, value: all(
        satisfied(one, value[name]) for name, one in schema["properties"].items() if name in value
    ),
    "additionalProperties": known_alone,
    "required": lambda schema, value: set(schema["required"]) <= set(value),
    "dependentRequired": lambda schema, value: all(
        set(needed) <= set(value) for name, needed in schema["dependentRequired"].items() if name in value
    ),
    "oneOf": lambda schema, value: sum(safely(one, value) for one in schema["oneOf"]) == 1,
    "anyOf": lambda schema, value: any(safely(one, value) for one in schema["anyOf"]),
    "allOf": lambda schema, value: all(satisfied(one, value) for one in schema["allOf"]),
    "if": lambda schema, value: not satisfied(schema["if"], value) or satisfied(schema["then"], value),
    "then": lambda _, __: True,
    "$ref": lambda schema, value: satisfied(referred_to(schema), value),
}


def safely(schema: Any, value: Any) -> bool:  # noqa: ANN401 - JSON
    """The same where a value may be of another type than a keyword is about."""
    try:
        return satisfied(schema, value)
    except (TypeError, AttributeError, KeyError):
        return False


def test_the_schema_uses_the_dialect_of_2020_and_can_be_written_as_json() -> None:
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert json.loads(json.dumps(SCHEMA)) == SCHEMA
    assert json_schema() == SCHEMA


@pytest.mark.parametrize("body", EXAMPLES, ids=[body["msgtype"] for body in EXAMPLES])
def test_every_example_of_the_page_satisfies_the_schema_with_and_without_recipients(body: dict[str, Any]) -> None:
    assert satisfied(SCHEMA, body)
    assert satisfied(SCHEMA, body | {"touser": "a|b", "toparty": "1", "totag": "2", "agentid": 7})


@pytest.mark.parametrize("kind", KINDS)
def test_every_message_satisfies_the_schema(kind: str) -> None:
    @settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(body=BODIES[kind])
    def holds(body: dict[str, Any]) -> None:
        assert satisfied(SCHEMA, body)

    holds()


@pytest.mark.parametrize("body", EXAMPLES, ids=[body["msgtype"] for body in EXAMPLES])
def test_unknown_and_missing_fields_do_not_satisfy_the_schema(body: dict[str, Any]) -> None:
    inner = body["msgtype"]
    assert not safely(SCHEMA, body | {"colour": 1})
    assert not safely(SCHEMA, body | {inner: body[inner] | {"colour": 1}})
    assert not safely(SCHEMA, {name: value for name, value in body.items() if name != inner})


CARD = next(body for body in EXAMPLES if body.get("template_card", {}).get("card_type") == "text_notice")


@pytest.mark.parametrize(
    "changes",
    [
        {"task_id": ...},
        {"task_id": "a b"},
        {"task_id": "x" * 129},
        {"card_action": ...},
        {"card_action": {"type": 0}},
        {"card_action": {"type": 1}},
        {"card_action": {"type": 2, "url": "https://example.com"}},
        {"card_action": {"type": 1, "url": "ftp://example.com"}},
        {"jump_list": [{"title": "x"}] * 4},
        {"horizontal_content_list": [{"type": 3, "keyname": "x"}]},
        {"source": {"desc_color": 4}},
        {"action_menu": {"action_list": []}},
        {"main_title": {}, "sub_title_text": ...},
        {"card_type": ...},
        {"card_type": "sixth"},
    ],
    ids=str,
)
def test_limits_that_the_schema_can_express_are_in_it(changes: dict[str, Any]) -> None:
    card = copy.deepcopy(CARD["template_card"]) | changes
    assert satisfied(SCHEMA, CARD)
    assert not safely(SCHEMA, CARD | {"template_card": {n: value for n, value in card.items() if value is not ...}})
