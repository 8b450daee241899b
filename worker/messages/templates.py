"""One text as a Jinja2 template: what a template may use, and how it is filled in.

A template is written by the program, a recipient's values may come from anywhere; still neither may take a producer
down. So templates know variables, filters, conditions and loops, and nothing else: what is not named here is refused.
"""

from collections.abc import Mapping
from itertools import islice
from typing import Any, Literal

from jinja2 import Environment, StrictUndefined, TemplateSyntaxError, UndefinedError, meta, nodes, pass_environment
from jinja2.filters import do_round, do_sum
from jinja2.sandbox import SandboxedEnvironment

from worker.messages import template_effort
from worker.messages.refusals import InvalidMessage

MOST_PIECES = 10_000
"""A rendered text has at most so many pieces: each loop that runs away ends here."""
DEEPEST = 32
"""Parts of a template within each other: reading deeper ones takes a time that grows with the cube."""
TOO_DEEP = "not a template that can be read: it is nested too deeply; give the value with the row"
MOST_PLACES = 20
"""Digits behind the point, or before it, that a number is rounded to."""
LONGEST_REASON = 200
"""Characters of what Python says about a value that does not fit: it may repeat the value."""
MARKS = ("{{", "{%", "{#")
# fmt: off
FILTERS = frozenset((
    "abs", "capitalize", "count", "d", "default", "escape", "first", "float", "forceescape",
    "int", "last", "length", "lower", "max", "min", "round", "string", "striptags",
    "sum", "title", "trim", "truncate", "upper", "urlencode",
))
"""Filters whose result is hardly longer than what they are given."""
ALLOWED = frozenset((
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.If, nodes.For,
    nodes.Name, nodes.Const, nodes.List, nodes.Tuple, nodes.Dict, nodes.Pair,
    nodes.Getattr, nodes.Getitem, nodes.Slice, nodes.Filter, nodes.Keyword, nodes.Test,
    nodes.CondExpr, nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not,
    nodes.Add, nodes.Sub, nodes.Div, nodes.FloorDiv, nodes.Concat, nodes.Neg, nodes.Pos,
))
# fmt: on
"""Everything a template may be made of."""
IN_WORDS: Mapping[type[nodes.Node], str] = {
    nodes.Call: "a call",
    nodes.Assign: "{% set %}",
    nodes.AssignBlock: "{% set %}",
    nodes.With: "{% with %}",
    nodes.Macro: "{% macro %}",
    nodes.CallBlock: "{% call %}",
    nodes.FilterBlock: "{% filter %}",
    nodes.Block: "{% block %}",
    nodes.Include: "{% include %}",
    nodes.Import: "{% import %}",
    nodes.FromImport: "{% from %}",
    nodes.Extends: "{% extends %}",
    nodes.ScopedEvalContextModifier: "{% autoescape %}",
    nodes.Mul: "*",
    nodes.Pow: "**",
    nodes.Mod: "%",
}
"""What a template may not use, as it is written."""


def is_template(text: str) -> bool:
    """Whether a text has anything that Jinja2 would replace."""
    return any(mark in text for mark in MARKS)


class Template:
    """One text that is filled in for each recipient.

    Attributes:
        variables: what it takes from a recipient's row.
    """

    def __init__(self, source: str, path: str) -> None:
        """Read a template.

        Args:
            source: its text.
            path: the field it stands in, for refusals.

        Raises:
            InvalidMessage: it cannot be read, or uses what a template may not.
        """
        self._path = path
        try:
            template_effort.begin()
            template_effort.require_short(_ENVIRONMENT, source)
            tree = _ENVIRONMENT.parse(source)
            _require_allowed(tree)
            self.variables = meta.find_undeclared_variables(tree)
            self._template = _ENVIRONMENT.from_string(template_effort.Counted().visit(tree))
        except InvalidMessage as error:
            raise InvalidMessage(f"{path}: {error}") from None
        except TemplateSyntaxError as error:
            raise InvalidMessage(
                f"{path}: not a template ({error.message}, line {error.lineno}); a literal {{{{ is written "
                "{{ '{{' }}"
            ) from None
        except (RecursionError, MemoryError, SyntaxError):
            raise InvalidMessage(f"{path}: {TOO_DEEP}") from None
        except Exception as error:  # noqa: BLE001 - Jinja2 hands on what Python says of a number or an escape
            raise InvalidMessage(f"{path}: not a template ({_in_one_line(error)})") from None

    def filled_in(self, row: dict[str, Any]) -> str:
        """Return the text for one recipient, whose row is not changed.

        Raises:
            InvalidMessage: a value is missing or unsuitable; the text names the field.
        """
        template = self._template
        template_effort.begin()
        try:
            pieces = list(islice(template.root_render_func(template.new_context(row, shared=True)), MOST_PIECES))
        except InvalidMessage as error:
            raise InvalidMessage(f"{self._path}: {error}") from None
        except UndefinedError as error:
            raise InvalidMessage(f"{self._path}: {error.message}") from None
        except Exception as error:  # noqa: BLE001 - a template can fail in as many ways as its values can be wrong
            raise InvalidMessage(
                f"{self._path}: cannot be filled in ({type(error).__name__}: {_in_one_line(error)})"
            ) from None
        if len(pieces) == MOST_PIECES:
            raise InvalidMessage(f"{self._path}: a loop in the template has no end in sight")
        return "".join(pieces)


def _require_allowed(node: nodes.Node, depth: int = 0) -> None:
    kind = type(node)
    if depth > DEEPEST:
        raise InvalidMessage(TOO_DEEP)
    if kind not in ALLOWED:
        raise InvalidMessage(f"a template may not use {IN_WORDS.get(kind, kind.__name__)}; give the value with the row")
    for inner in node.iter_child_nodes():
        _require_allowed(inner, depth + 1)


def _decimals(value: Any, places: int = 2) -> str:  # noqa: ANN401 - whatever a recipient's value is
    """Write a number with so many digits behind the point: 1234.5 becomes 1234.50."""
    return f"{float(value):.{min(max(places, 0), MOST_PLACES)}f}"


def _rounded(value: Any, precision: int = 0, method: Literal["common", "ceil", "floor"] = "common") -> float:  # noqa: ANN401
    """Round a number as Jinja2 does, which would count up to any precision."""
    if abs(precision) > MOST_PLACES:
        raise InvalidMessage(f"round knows {MOST_PLACES} places")
    return do_round(value, precision, method)


@pass_environment
def _sum(environment: Environment, items: Any, attribute: str | int | None = None, start: float = 0) -> Any:  # noqa: ANN401
    """Add numbers up as Jinja2 does, which would copy lists again and again."""
    if not isinstance(start, int | float):
        raise InvalidMessage("sum adds numbers")
    return do_sum(environment, items, attribute, start)


def _something(value: Any) -> Any:  # noqa: ANN401 - whatever a template writes
    """Refuse what is no value: nobody wants to be called None."""
    if value is None:
        raise InvalidMessage("a value is None; give one, or write {{ name or '' }} where none is needed")
    return value


def _environment() -> SandboxedEnvironment:
    environment = SandboxedEnvironment(
        undefined=StrictUndefined, autoescape=False, keep_trailing_newline=True, finalize=_something, optimized=False
    )
    filters = {name: environment.filters[name] for name in FILTERS}
    environment.filters = template_effort.bounded(filters | {"decimals": _decimals, "round": _rounded, "sum": _sum})
    environment.globals.clear()
    return environment


_ENVIRONMENT = _environment()


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:LONGEST_REASON]
