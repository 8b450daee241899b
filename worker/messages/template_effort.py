"""How much a template may do: a bound on loops and characters, counted while it is filled in.

A template and its values may come from programs that nobody here knows. Whatever they ask for ends within a fraction of
a second, so that others who share the process are not held up. It is counted, not timed: the same template with the
same values is always taken or always refused.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import wraps
from typing import Any

from jinja2 import nodes
from jinja2.sandbox import SandboxedEnvironment
from jinja2.visitor import NodeTransformer

from worker.messages.refusals import InvalidMessage

MOST_TOKENS = 3_000
"""Names, signs and constants of one template: reading them takes a tenth of a second."""
MOST_EFFORT = 2_000_000
"""Characters that one filling in may touch."""
TURN_EFFORT = 10
"""What each turn of a loop, and each value in a list, counts for beside its characters."""
MOST_FILTERED = 20_000
"""Characters of a text that a filter takes: some of them take a time that grows with the square."""
CHOOSING = ("d", "default")
"""Filters that only choose one of two values."""


class _Effort(threading.local):
    """What the template at work in this thread may still do."""

    left = MOST_EFFORT


_EFFORT = _Effort()


def begin() -> None:
    """Count anew, for the template that this thread reads or fills in now."""
    _EFFORT.left = MOST_EFFORT


def require_short(environment: SandboxedEnvironment, source: str) -> None:
    """Refuse a template that takes too long to be read.

    Raises:
        InvalidMessage: it is one.
        TemplateSyntaxError: it cannot be read.
    """
    for number, _ in enumerate(environment.lex(source)):
        if number >= MOST_TOKENS:
            raise InvalidMessage(
                f"more than {MOST_TOKENS} names and signs within {{{{ }}}} and {{% %}}; write it shorter"
            )


def bounded(filters: Mapping[str, Callable[..., Any]]) -> dict[str, Callable[..., Any]]:
    """Return filters that count what they do, and those that `Counted` needs."""
    counting = {name: some if name in CHOOSING else _bounded(some) for name, some in filters.items()}
    return counting | {_VALUE: _value, _TURNS: _turns}


class Counted(NodeTransformer):
    """Changes a template so that it counts each value that it touches and each turn of its loops.

    A loop goes over a value of the row or over constants. Otherwise each loop within another could double what the one
    around it goes over.
    """

    def visit_For(self, node: nodes.For) -> nodes.For:  # noqa: N802 - the name of a node of Jinja2
        """Count the turns of a loop.

        Raises:
            InvalidMessage: it goes over something made up.
        """
        if not _is_given(node.iter):
            raise InvalidMessage("a loop goes over a value of the row; give the list with the row")
        self.generic_visit(node)
        node.iter = _filtered(_uncounted(node.iter), _TURNS)
        return node

    def visit_Name(self, node: nodes.Name) -> nodes.Expr:  # noqa: N802
        """Count a value where it is read."""
        return _filtered(node, _VALUE) if node.ctx == "load" else node

    def visit_Getattr(self, node: nodes.Getattr) -> nodes.Expr:  # noqa: N802
        """Count a value within another, not the one around it."""
        node.node = _uncounted(self.visit(node.node))
        return _filtered(node, _VALUE)

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Expr:  # noqa: N802
        """Count a value within another, not the one around it."""
        node.node = _uncounted(self.visit(node.node))
        node.arg = self.visit(node.arg)
        return _filtered(node, _VALUE)


_VALUE, _TURNS = "value of the row", "turns"
"""Names that no template can write."""


def _filtered(node: nodes.Expr, name: str) -> nodes.Filter:
    return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)


def _uncounted(node: nodes.Node) -> nodes.Expr:
    """Take the counting from a value of which only a part, or one item after the other, is touched."""
    if isinstance(node, nodes.Filter) and node.name == _VALUE and node.node is not None:
        return node.node
    if not isinstance(node, nodes.Expr):
        raise TypeError(f"{node!r} is no expression")
    return node


def _is_given(node: nodes.Node | None) -> bool:
    """Whether an expression is a value of the row or a constant, and nothing that is put together of them."""
    match node:
        case nodes.Const() | nodes.Name():
            return True
        case nodes.Getattr() | nodes.Getitem():
            return _is_given(node.node)
        case nodes.List() | nodes.Tuple():
            return all(not isinstance(item, nodes.List | nodes.Tuple) and _is_given(item) for item in node.items)
        case nodes.Filter() if node.name in CHOOSING:
            return _is_given(node.node) and all(map(_is_given, node.args)) and not node.kwargs
        case _:
            return False


def _count(effort: int) -> None:
    _EFFORT.left -= effort
    if _EFFORT.left < 0:
        raise InvalidMessage("there is too much to do; use fewer loops, or shorter values")


def _value(value: Any) -> Any:  # noqa: ANN401 - any value of a row
    """Count the characters of a value; return it."""
    if type(value) is str:
        _count(len(value))
    elif isinstance(value, list | tuple | Mapping):
        _count_all(value)
    return value


def _count_all(value: Iterable[Any]) -> None:
    """Count everything within lists and objects, each time it is there."""
    waiting: list[Any] = [value]
    while waiting:
        inner = waiting.pop()
        _count(TURN_EFFORT + (len(inner) if isinstance(inner, str) else 0))
        if isinstance(inner, Mapping):
            waiting += [*inner.keys(), *inner.values()]
        elif isinstance(inner, list | tuple):
            waiting += inner


def _turns(items: Iterable[Any]) -> Iterator[Any]:
    """Count the turns of a loop."""
    for item in items:
        _count(TURN_EFFORT)
        yield item


def _bounded(some: Callable[..., Any]) -> Callable[..., Any]:
    # Jinja2 marks on the function what it wants to be called with first; `wraps` takes the mark along.
    position = 1 if hasattr(some, "jinja_pass_arg") else 0

    @wraps(some)
    def count_and_filter(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401
        value = arguments[position]
        if isinstance(value, str):
            if len(value) > MOST_FILTERED:
                raise InvalidMessage(f"a filter takes texts of at most {MOST_FILTERED} characters")
            _count(len(value))
        return some(*arguments, **named)

    return count_and_filter
