"""A message whose texts are Jinja2 templates, filled in for each recipient.

A template is written by the program, a recipient's values may come from anywhere; still neither may take a producer
down. So templates know variables, filters, conditions and loops, and nothing that could grow without bound: no calls,
no assignments, no multiplication, and only the filters named here.
"""

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Annotated, Any

import orjson
from jinja2 import StrictUndefined, Template, TemplateSyntaxError, UndefinedError, meta, nodes
from jinja2.sandbox import SandboxedEnvironment
from pydantic import TypeAdapter, ValidationError

from worker.messages import content_from_body
from worker.messages.content import OPTIONS, Content
from worker.messages.refusals import InvalidMessage, path_of
from worker.messages.request import RECIPIENT_FIELDS

MOST_PIECES = 10_000
"""A rendered text has at most so many pieces: each loop that runs away ends here."""
MARKS = ("{{", "{%", "{#")
# fmt: off
FILTERS = frozenset((
    "abs", "capitalize", "count", "d", "default", "escape", "first", "float", "forceescape",
    "int", "last", "length", "lower", "max", "min", "round", "string", "striptags",
    "sum", "title", "trim", "truncate", "upper", "urlencode",
))
# fmt: on
"""Filters whose result is hardly longer than what they are given."""
UNBOUNDED = (
    (nodes.Call, "a call"),
    (nodes.Assign, "{% set %}"),
    (nodes.AssignBlock, "{% set %}"),
    (nodes.Macro, "{% macro %}"),
    (nodes.CallBlock, "{% call %}"),
    (nodes.Include, "{% include %}"),
    (nodes.Import, "{% import %}"),
    (nodes.FromImport, "{% from %}"),
    (nodes.Extends, "{% extends %}"),
    (nodes.Mul, "*"),
    (nodes.Pow, "**"),
    (nodes.Mod, "%"),
)
"""What a text needs no template for, and what could make it grow without bound."""

Steps = tuple[str | int, ...]
Row = Mapping[str, Any]


def _decimals(value: Any, places: int = 2) -> str:  # noqa: ANN401 - whatever a recipient's value is
    """Write a number with so many digits behind the point: 1234.5 becomes 1234.50."""
    return f"{float(value):.{min(max(places, 0), 20)}f}"


def _environment() -> SandboxedEnvironment:
    environment = SandboxedEnvironment(undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True)
    environment.filters = {name: environment.filters[name] for name in FILTERS} | {"decimals": _decimals}
    environment.globals.clear()
    return environment


_ENVIRONMENT = _environment()


class _Field:
    """One text of the message that is a template: where it stands, and how it is filled in."""

    def __init__(self, steps: Steps, source: str) -> None:
        self.steps = steps
        self.path = path_of(steps)
        try:
            tree = _ENVIRONMENT.parse(source)
            for kind, words in UNBOUNDED:
                if next(tree.find_all(kind), None) is not None:
                    raise InvalidMessage(f"{self.path}: a template may not use {words}; give the value with the row")
            self.variables = meta.find_undeclared_variables(tree)
            self._template: Template = _ENVIRONMENT.from_string(tree)
        except TemplateSyntaxError as error:
            raise InvalidMessage(
                f"{self.path}: not a template ({error.message}, line {error.lineno}); a literal {{{{ is written "
                "{{ '{{' }}"
            ) from None

    def filled_in(self, row: Row) -> str:
        """Return the text for one recipient.

        Raises:
            InvalidMessage: a value is missing or unsuitable; the text names the field.
        """
        template = self._template
        try:
            pieces = list(islice(template.root_render_func(template.new_context(dict(row), shared=True)), MOST_PIECES))
        except UndefinedError as error:
            raise InvalidMessage(f"{self.path}: {error.message}") from None
        except Exception as error:  # noqa: BLE001 - a template can fail in as many ways as its values can be wrong
            raise InvalidMessage(f"{self.path}: cannot be filled in ({type(error).__name__}: {error})") from None
        if len(pieces) == MOST_PIECES:
            raise InvalidMessage(f"{self.path}: a loop in the template has no end in sight")
        return "".join(pieces)


class PersonalisedMessage:
    """A message in WeCom's own form with templates in its texts, each read once.

    Attributes:
        varies: whether what is sent depends on the recipient.
    """

    def __init__(self, message: Content | Mapping[str, Any]) -> None:
        """Read the templates.

        Raises:
            InvalidMessage: a template cannot be read, or a message without any cannot be sent.
        """
        body = message.body() if isinstance(message, Content) else _without_recipients(message)
        self.body: Mapping[str, Any] = body
        self._fields = [_Field(steps, text) for steps, text in _texts(body, ()) if any(mark in text for mark in MARKS)]
        self.varies = any(field.variables for field in self._fields)
        self._judges: list[Callable[[str], object]] | None = None
        if not self.varies:
            self.content({})

    def texts(self, row: Row) -> list[str]:
        """Return the filled in templates for one recipient, judged by the limits of their fields.

        A text that stands directly in the object of its type is judged alone, as the rest of the message does not
        change; where a rule may concern several fields, the whole message is judged.

        Raises:
            InvalidMessage: a value is missing, or the message could not be sent so; the text names the field.
        """
        filled = [field.filled_in(row) for field in self._fields]
        if self._judges is None:
            content = content_from_body(self._body_with(filled))
            self._judges = self._judges_of(content)
        elif self._judges:
            for field, judge, text in zip(self._fields, self._judges, filled, strict=True):
                try:
                    judge(text)
                except ValidationError as error:
                    said = error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")
                    raise InvalidMessage(f"{field.path}: {said}") from None
        else:
            content_from_body(self._body_with(filled))
        return filled

    def content(self, row: Row) -> Content:
        """Return the whole message for one recipient.

        Raises:
            InvalidMessage: as for `texts`.
        """
        return content_from_body(self._body_with([field.filled_in(row) for field in self._fields]))

    def pieces(self, body: Mapping[str, Any]) -> list[bytes]:
        """Cut a body as JSON into the pieces that stand before, between and behind its filled in texts.

        Args:
            body: the message for any one recipient.
        """
        marks = [f"\ue000{number}\ue001" for number in range(len(self._fields))]
        whole = orjson.dumps(_replaced(body, self._fields, marks))
        pieces = []
        for mark in marks:
            piece, _, whole = whole.partition(orjson.dumps(mark))
            pieces.append(piece)
        return [*pieces, whole]

    def _body_with(self, texts: list[str]) -> dict[str, Any]:
        return _replaced(self.body, self._fields, texts)

    def _judges_of(self, content: Content) -> list[Callable[[str], object]]:
        kind = type(content)
        alone = all(len(field.steps) == 2 and field.steps[1] in kind.model_fields for field in self._fields)
        if not alone or kind.__pydantic_decorators__.model_validators:
            return []
        return [_judge(kind, str(field.steps[1])) for field in self._fields]


def _judge(kind: type[Content], name: str) -> Callable[[str], object]:
    field = kind.model_fields[name]
    annotation: Any = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
    return TypeAdapter(annotation).validate_python


def _without_recipients(body: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(body, Mapping):
        raise InvalidMessage('message: an object is needed, like {"msgtype": "text", "text": {"content": "..."}}')
    return {name: value for name, value in body.items() if name not in RECIPIENT_FIELDS}


def _texts(value: Any, steps: Steps) -> Iterator[tuple[Steps, str]]:  # noqa: ANN401 - any part of a JSON body
    """Every text of a body with the way to it, in the order in which they are written."""
    if isinstance(value, str):
        if steps not in {("msgtype",), *((option,) for option in OPTIONS)}:
            yield steps, value
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _texts(inner, (*steps, name))
    elif isinstance(value, list | tuple):
        for position, inner in enumerate(value):
            yield from _texts(inner, (*steps, position))


def _replaced(body: Mapping[str, Any], fields: list[_Field], texts: list[str]) -> dict[str, Any]:
    """Return a body with these texts in the places of its templates."""
    copied: dict[str, Any] = orjson.loads(orjson.dumps(body))
    for field, text in zip(fields, texts, strict=True):
        place: Any = copied
        for step in field.steps[:-1]:
            place = place[step]
        place[field.steps[-1]] = text
    return copied
