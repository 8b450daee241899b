"""A message whose texts are Jinja2 templates, filled in for each recipient."""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any

from pydantic import TypeAdapter, ValidationError

from worker.messages import content_from_body
from worker.messages.bodyform import BodyForm, Steps
from worker.messages.content import OPTIONS, Content, sendable
from worker.messages.refusals import InvalidMessage, described, path_of
from worker.messages.request import RECIPIENT_FIELDS
from worker.messages.templates import Template, is_template

DEEPEST = 32
"""Objects and lists within each other; no message of WeCom's has more than seven."""
LEAST_NUMBER, MOST_NUMBER = -(2**63), 2**64 - 1
"""What JSON is written and read with here knows no others."""

UNSTORABLE = re.compile("[\0\ud800-\udfff]")
"""What Postgres cannot keep: NUL, and halves of characters."""

Row = dict[str, Any]


class PersonalisedMessage:
    """A message in WeCom's own form with templates in its texts, each read once; for one thread.

    Attributes:
        body: the message as it was given, without recipients.
        varies: whether what is sent depends on the recipient.
    """

    def __init__(self, message: Content | Mapping[str, Any]) -> None:
        """Read the templates.

        Raises:
            InvalidMessage: a template cannot be read, something in the message is no JSON, or a message without any
                template cannot be sent.
        """
        self.body: Mapping[str, Any] = _copied(message.body() if isinstance(message, Content) else _what(message), ())
        # What is sent is judged in a copy, in which only the texts at these places ever change.
        self._whole = _copied(self.body, ())
        self._gaps = [(steps, Template(text, path_of(steps))) for steps, text in _texts(self.body, ())]
        self._places = [_place(self._whole, steps) for steps, _ in self._gaps]
        self.varies = any(template.variables for _, template in self._gaps)
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
        filled = self._filled_in(row)
        if self._judges is None:
            self._judges = self._judges_of(content_from_body(self._with_texts(filled)))
        elif not self._judges or not self._fit(filled):
            content_from_body(self._with_texts(filled))
        return filled

    def content(self, row: Row) -> Content:
        """Return the whole message for one recipient.

        Raises:
            InvalidMessage: as for `texts`.
        """
        return content_from_body(self._with_texts(self._filled_in(row)))

    def form(self, body: Mapping[str, Any]) -> BodyForm:
        """Cut the body of the message for any one recipient into what is the same for all; it takes `texts`."""
        return BodyForm(body, [steps for steps, _ in self._gaps])

    def _filled_in(self, row: Row) -> list[str]:
        return [template.filled_in(row) for _, template in self._gaps]

    def _fit(self, texts: list[str]) -> bool:
        """Whether each text keeps the limits of its own field; if not, the whole message tells everything wrong."""
        try:
            for judge, text in zip(self._judges or (), texts, strict=True):
                judge(text)
        except ValidationError:
            return False
        return True

    def _with_texts(self, texts: list[str]) -> Mapping[str, Any]:
        for (container, step), text in zip(self._places, texts, strict=True):
            container[step] = text
        whole: Mapping[str, Any] = self._whole
        return whole

    def _judges_of(self, content: Content) -> list[Callable[[str], object]]:
        kind = type(content)
        alone = all(len(steps) == 2 and steps[1] in kind.model_fields for steps, _ in self._gaps)
        if not alone or kind.__pydantic_decorators__.model_validators:
            return []
        return [_judge(kind, str(steps[1])) for steps, _ in self._gaps]


def _judge(kind: type[Content], name: str) -> Callable[[str], object]:
    field = kind.model_fields[name]
    annotation: Any = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
    return TypeAdapter(annotation).validate_python


def _what(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a request sends, without whom it names."""
    if not isinstance(body, Mapping):
        raise InvalidMessage('message: an object is needed, like {"msgtype": "text", "text": {"content": "..."}}')
    return {name: value for name, value in body.items() if name not in RECIPIENT_FIELDS}


def _copied(value: Any, steps: Steps) -> Any:  # noqa: ANN401 - any part of a JSON body
    """Return a part of a body as new objects, lists and plain values.

    Raises:
        InvalidMessage: it is nothing that JSON or the ledger can hold; the text names the field.
    """
    if len(steps) > DEEPEST:
        raise InvalidMessage(f"{path_of(steps[:3])}: more than {DEEPEST} objects and lists within each other")
    match value:
        case None | bool():
            return value
        case str():
            _require_storable(value, path_of(steps))
            return value
        case int() if LEAST_NUMBER <= value <= MOST_NUMBER:
            return value
        case float() if math.isfinite(value):
            return value
        case int() | float():
            raise InvalidMessage(f"{path_of(steps)}: a number that JSON cannot carry; 64 bits are the most")
        case list() | tuple():
            return [_copied(inner, (*steps, position)) for position, inner in enumerate(value)]
        case Mapping():
            return {_name(name, steps): _copied(inner, (*steps, name)) for name, inner in value.items()}
        case _:
            raise InvalidMessage(f"{path_of(steps)}: {described(value)} is nothing that JSON knows; write it as a text")


def _name(name: object, steps: Steps) -> str:
    if not isinstance(name, str) or not name.isprintable():
        raise InvalidMessage(f"{path_of(steps) or 'message'}: the name of a field must be a text that can be printed")
    return name


def _require_storable(text: str, path: str) -> None:
    """Refuse what Postgres cannot keep, also in a part of a template that is never shown."""
    if UNSTORABLE.search(text):
        try:
            sendable(text)
        except ValueError as error:
            raise InvalidMessage(f"{path}: {error}") from None


def _texts(value: Any, steps: Steps) -> Iterator[tuple[Steps, str]]:  # noqa: ANN401 - any part of a JSON body
    """Every template of a body with the way to it, in the order in which they are written."""
    if isinstance(value, str):
        if is_template(value) and steps not in {("msgtype",), *((option,) for option in OPTIONS)}:
            yield steps, value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _texts(inner, (*steps, name))
    elif isinstance(value, list):
        for position, inner in enumerate(value):
            yield from _texts(inner, (*steps, position))


def _place(body: Any, steps: Steps) -> tuple[Any, str | int]:  # noqa: ANN401 - any part of a JSON body
    """Return the object or list that holds a text, and where in it."""
    for step in steps[:-1]:
        body = body[step]
    return body, steps[-1]
