"""The JSON Schema of everything that can be sent, for programs in other languages."""

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from worker.messages.annotations import models_in
from worker.messages.content import OPTIONS, Content
from worker.messages.part import ByType

DIALECT = "https://json-schema.org/draft/2020-12/schema"
RECIPIENTS = {
    "touser": {
        "type": "string",
        "description": "userids joined by |, at most 1000; or @all",
    },
    "toparty": {"type": "string", "description": "ids of departments joined by |, at most 100"},
    "totag": {"type": "string", "description": "ids of tags joined by |, at most 100"},
    "agentid": {"type": "integer", "description": "ignored; the sender's own is used"},
}

TITLED = {"properties": {"main_title": {"required": ["title"]}}}
MENU_NEEDS_TASK = {"dependentRequired": {"action_menu": ["task_id"]}}
RULES: Mapping[str, dict[str, Any]] = MappingProxyType(
    {
        "NewsArticle": {
            "dependentRequired": {"appid": ["pagepath"], "pagepath": ["appid"]},
            "anyOf": [{"required": ["url"]}, {"required": ["appid", "pagepath"]}],
        },
        "TextNotice": {
            **MENU_NEEDS_TASK,
            "anyOf": [{"required": ["sub_title_text"]}, {"required": ["main_title"], **TITLED}],
            "allOf": [{"properties": {"card_action": {"properties": {"type": {"enum": [1, 2]}}}}}],
        },
        "NewsNotice": {
            **MENU_NEEDS_TASK,
            "anyOf": [{"required": ["card_image"]}, {"required": ["image_text_area"]}],
            "allOf": [TITLED, {"properties": {"card_action": {"properties": {"type": {"enum": [1, 2]}}}}}],
        },
        "ButtonInteraction": {"allOf": [TITLED]},
        "VoteInteraction": {"allOf": [TITLED, {"properties": {"source": {"properties": {"desc_color": False}}}}]},
        "MultipleInteraction": {"allOf": [TITLED, {"properties": {"source": {"properties": {"desc_color": False}}}}]},
    }
)
"""Rules between fields, which the models keep as code."""


def json_schema_of(simple: Sequence[type[Content]], cards: Sequence[type[Content]]) -> dict[str, Any]:
    """Return the schema of a request: one of these types, or a template card that is one of these."""
    _, generated = models_json_schema(
        [(kind, "validation") for kind in (*simple, *cards)], schema_generator=GenerateJsonSchema
    )
    definitions: dict[str, Any] = {name: _tidy(one) for name, one in generated["$defs"].items()}
    for definition in definitions.values():
        definition["description"] = definition.get("description", "").partition("\n\n")[0]
    for kind in _parts_by_type([*simple, *cards]):
        definitions[kind.__name__]["allOf"] = list(_conditions(kind))
    for name, rule in RULES.items():
        definitions[name] |= rule
    requests = [_request(kind, definitions) for kind in (*simple, *cards)]
    return {
        "$schema": DIALECT,
        "title": "A message for WeCom, as message/send takes it (doc 90236)",
        "oneOf": requests,
        "$defs": definitions,
    }


def _request(kind: type[Content], definitions: dict[str, Any]) -> dict[str, Any]:
    """Move the options of a type beside its object, where the wire has them."""
    fields = definitions[kind.__name__]
    options = {name: fields["properties"].pop(name) for name in OPTIONS if name in fields["properties"]}
    if "card_type" in fields["properties"]:
        fields["required"] = ["card_type", *fields.get("required", ())]
    return {
        "type": "object",
        "properties": {
            **RECIPIENTS,
            "msgtype": {"const": kind.msgtype},
            kind.msgtype: {"$ref": f"#/$defs/{kind.__name__}"},
            **options,
        },
        "required": ["msgtype", kind.msgtype],
        "additionalProperties": False,
    }


def _tidy(schema: Any) -> Any:  # noqa: ANN401 - JSON
    """Leave out what serves Python alone: null for a field that is not written, defaults, and generated titles."""
    if isinstance(schema, list):
        return [_tidy(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    written = [one for one in schema.get("anyOf", ()) if one != {"type": "null"}]
    if len(written) == 1:
        schema = {name: value for name, value in schema.items() if name != "anyOf"} | written[0]
    return {
        name: {field: _tidy(one) for field, one in value.items()} if name == "properties" else _tidy(value)
        for name, value in schema.items()
        if name == "properties" or not (name == "default" or (name == "title" and isinstance(value, str)))
    }


def _parts_by_type(kinds: Iterable[type[Any]]) -> set[type[ByType]]:
    found: set[type[ByType]] = set()
    seen: set[type[Any]] = set()
    waiting = list(kinds)
    while waiting:
        kind = waiting.pop()
        if kind in seen:
            continue
        seen.add(kind)
        if issubclass(kind, ByType):
            found.add(kind)
        waiting += [model for field in kind.model_fields.values() for model in models_in(field.annotation)]
    return found


def _conditions(kind: type[ByType]) -> Iterable[dict[str, Any]]:
    """What each type needs; the type that need not be written is needed where there is none."""
    for number, needed in kind.needs.items():
        written = {"properties": {"type": {"const": number}}}
        yield {"if": written if number == 0 else written | {"required": ["type"]}, "then": {"required": [needed]}}
