"""Says in one line why something cannot be sent: the field as on the wire, the limit, what was given."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from worker.messages.annotations import models_in


class InvalidMessage(ValueError):  # noqa: N818 - the design's word, and what a producer catches
    """A message cannot be sent as it is; the text is one line: the field, the limit, what was given."""


FAULT = "fault"
LONGEST_NAME = 40
"""So much of the name of a field is repeated."""
NEEDED: Mapping[str, str] = MappingProxyType(
    {
        "string_type": "a string",
        "int_type": "a whole number",
        "float_type": "a number",
        "bool_type": "true or false",
        "tuple_type": "a list",
        "model_type": "an object",
        "model_attributes_type": "an object",
        "dict_type": "an object",
    }
)
"""pydantic's error types, in the words of JSON."""
JSON_WORDS: Mapping[type, str] = MappingProxyType(
    {
        str: "a string",
        bool: "a boolean",
        int: "a number",
        float: "a number",
        list: "a list",
        tuple: "a list",
        dict: "an object",
        type(None): "null",
    }
)


def fault(field: str, message: str) -> PydanticCustomError:
    """Make the error of a rule that concerns several fields of an object but is to be mended in this one."""
    return PydanticCustomError(FAULT, "{message}", {"field": field, "message": message})


def unknown_field(name: str, known: Iterable[str]) -> str:
    """Say that a field is unknown, and which one was probably meant."""
    nearest = get_close_matches(name[:LONGEST_NAME], list(known), n=1)
    return "unknown field" + (f"; did you mean {nearest[0]}?" if nearest else "")


def path_of(steps: Iterable[str | int]) -> str:
    """Write where a field stands as on the wire: `news.articles[0].title`."""
    path = ""
    for step in steps:
        name = f"[{step}]" if isinstance(step, int) else _in_short(step)
        path += name if not path or name.startswith("[") else f".{name}"
    return path


def _in_short(name: str) -> str:
    """Write the name of a field, which may come from anywhere, so that a refusal stays one short line."""
    return name if len(name) <= LONGEST_NAME and name.isprintable() else ascii(name[:LONGEST_NAME])


def one_line(error: ValidationError, model: type[BaseModel], root: tuple[str, ...], beside: Iterable[str] = ()) -> str:
    """Say everything that is wrong with an object, without repeating what it contains.

    Args:
        error: what pydantic found.
        model: what the object should have been.
        root: where the object stands on the wire.
        beside: those of its fields that the wire has one level up, beside the object.
    """
    lines = []
    for found in error.errors(include_url=False):
        steps = found["loc"] + ((found["ctx"]["field"],) if found["type"] == FAULT else ())
        above = bool(steps) and steps[0] in beside
        lines.append(f"{path_of(steps if above else root + steps)}: {_sentence(found, model, beside)}")
    return "; ".join(lines)


def _sentence(found: ErrorDetails, model: type[BaseModel], beside: Iterable[str]) -> str:
    kind, given = found["type"], found.get("input")
    if kind == "missing":
        return "is missing"
    if kind == "extra_forbidden":
        *above, name = found["loc"]
        known = set(_model_at(model, above).model_fields)
        return unknown_field(str(name), known if above else known.difference(beside))
    if kind == "literal_error":
        return f"must be {found['ctx']['expected']}"
    if kind in NEEDED:
        return f"must be {NEEDED[kind]}, not {described(given)}"
    return found["msg"].removeprefix("Value error, ")


def described(given: Any) -> str:  # noqa: ANN401 - whatever a producer gave
    """Name the kind of a value: a refusal does not repeat content."""
    return JSON_WORDS.get(type(given), type(given).__name__)


def _model_at(model: type[BaseModel], steps: Iterable[str | int]) -> type[BaseModel]:
    for step in steps:
        if isinstance(step, str):
            model = next(iter(models_in(model.model_fields[step].annotation)))
    return model
