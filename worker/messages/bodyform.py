"""A body as JSON with gaps for the texts that differ: what all messages of a campaign share is written once."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

Steps = tuple[str | int, ...]
"""The way to a text in a body: names of fields and places in lists."""


class BodyForm:
    """The JSON of one body, cut at the places of some of its texts.

    It is cut where the structure of the body says so. To write it whole and to look for marks in it would be shorter,
    but a mark can also be a text of the body, and the body has its fields in another order than whoever wrote it.
    """

    def __init__(self, body: Mapping[str, Any], gaps: Sequence[Steps]) -> None:
        """Cut a body.

        Args:
            body: the message for any one recipient.
            gaps: the ways to the texts that differ, in any order; `with_texts` takes the texts in the same order.

        Raises:
            ValueError: there is nothing at the end of one of the ways.
        """
        numbers = {steps: number for number, steps in enumerate(gaps)}
        pieces, order = [b""], list[int]()
        for part in _parts(body, (), numbers):
            if isinstance(part, int):
                order.append(part)
                pieces.append(b"")
            else:
                pieces[-1] += part
        if sorted(order) != list(range(len(gaps))):
            raise ValueError("a text that differs has no place in the body")
        self._begin = pieces[0]
        self._rest = list(zip(order, pieces[1:], strict=True))

    def with_texts(self, texts: Sequence[str]) -> bytes:
        """Return the body with these texts in its gaps, in the order in which the gaps were given."""
        body = self._begin
        for number, piece in self._rest:
            body += orjson.dumps(texts[number]) + piece
        return body


def _parts(value: Any, steps: Steps, numbers: Mapping[Steps, int]) -> Iterator[bytes | int]:  # noqa: ANN401 - JSON
    """Yield a value as JSON: bytes, and the number of each gap."""
    number = numbers.get(steps)
    if number is not None:
        yield number
    elif isinstance(value, Mapping):
        before = b"{"
        for name, inner in value.items():
            yield before + orjson.dumps(name) + b":"
            yield from _parts(inner, (*steps, name), numbers)
            before = b","
        yield b"}" if value else b"{}"
    elif isinstance(value, list | tuple):
        before = b"["
        for position, inner in enumerate(value):
            yield before
            yield from _parts(inner, (*steps, position), numbers)
            before = b","
        yield b"]" if value else b"[]"
    else:
        yield orjson.dumps(value)
