"""Campaigns of every message type, for tests by property: any text a template, any order of fields, any text a value.

What plain Jinja2 makes of such a campaign is told here too, by nothing of the project's own.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from random import Random
from typing import Any

import jinja2
from hypothesis import strategies as st
from message_strategies import BODIES

from worker.messages import InvalidMessage, content_from_body

Steps = tuple[str | int, ...]
Row = dict[str, str]

MEMBERS = count()
MARKS = ("{{", "{%", "{#")
AWKWARD = (
    "",
    " ",
    '"',
    '","url":"',
    "\\",
    "\\n\n\t",
    "\\u0041",
    "\\u0000",
    "{{ x }}",
    "{% raw %}",
    "{# no remark #}",
    "{{ '{{' }}",
    "{% endfor %}",
    "\ue000",
    "\ue0000\ue001",
    "\ue0001\ue001",
    '"\ue0000\ue001"',
    "\U000f0000\U0010ffff",
    "\u2028\u2029\x85",
    "👩‍👩‍👧🧧",
    "（，。）",
    "0",
    "null",
    "%(name)s %s {0} {name}",
    "https://example.com/?a=1&b=2#c",
)
"""Values and constants that a program which pastes texts together gets wrong."""


@dataclass(frozen=True)
class Personalised:
    """A message whose texts are templates, in any order of its fields, and two rows to fill them in."""

    body: dict[str, Any]
    rows: tuple[Row, Row]


@st.composite
def personalised(draw: st.DrawFn, kind: str) -> Personalised:
    """Draw a campaign: the first row can always be sent, the other one perhaps."""
    body = draw(BODIES[kind])
    chance = draw(st.randoms(use_true_random=True))  # a card has some hundred choices, too many to draw one by one
    first: Row = {}
    hidden = draw(st.sampled_from(AWKWARD))
    texts = [(steps, text) for steps, text in texts_of(body) if steps[-1] not in {"msgtype", "card_type"}]
    for steps, text in texts:
        constant = text if not any(mark in text for mark in MARKS) else text.replace("{", "(")
        _put(body, steps, constant)
        choice = chance.choice(["constant", "template", "template", "cut"])
        name = f"v{len(first)}"
        if choice == "template":
            first[name] = constant  # a text may name another one, such as an option that is selected: both change alike
            _put(body, steps, _slot(name))
        elif choice == "cut":
            begin, end = sorted((chance.randint(0, len(constant)), chance.randint(0, len(constant))))
            before, behind = constant[:begin], constant[end:]
            if "{" not in before + behind:
                first[name] = constant[begin:end]
                _put(body, steps, before + _slot(name) + behind)
    if not any(mark in hidden for mark in MARKS):
        _hide(body, chance.choice(texts)[0], hidden, first)
    second = dict(first)
    for name in draw(st.lists(st.sampled_from(sorted(first)), max_size=2)) if first else ():
        second[name] = draw(st.sampled_from(AWKWARD) | st.text(max_size=20))
    rows = tuple(row | {"userid": f"member{next(MEMBERS)}"} for row in (first, second))
    _give_tasks_of_their_own(body)
    return Personalised(shuffled(body, chance), (rows[0], rows[1]))


def shuffled(value: Any, chance: Random) -> Any:  # noqa: ANN401 - any part of a JSON body
    """Return the same with the fields of each object in another order."""
    if isinstance(value, dict):
        return {name: shuffled(value[name], chance) for name in chance.sample(list(value), len(value))}
    if isinstance(value, list):
        return [shuffled(inner, chance) for inner in value]
    return value


def filled_in(body: Mapping[str, Any], row: Row) -> dict[str, Any]:
    """Return the message that plain Jinja2 makes for one row."""
    filled: dict[str, Any] = _by_plain_jinja(body, row)
    return filled


def _by_plain_jinja(value: Any, row: Row) -> Any:  # noqa: ANN401 - any part of a JSON body
    if isinstance(value, str):
        return jinja2.Template(value, keep_trailing_newline=True).render(row)
    if isinstance(value, dict):
        return {name: _by_plain_jinja(inner, row) for name, inner in value.items()}
    if isinstance(value, list):
        return [_by_plain_jinja(inner, row) for inner in value]
    return value


def texts_of(value: Any, steps: Steps = ()) -> Iterator[tuple[Steps, str]]:  # noqa: ANN401 - any part of a JSON body
    """Yield every text of a body with the way to it."""
    if isinstance(value, str):
        yield steps, value
    elif isinstance(value, dict | list):
        for step, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from texts_of(inner, (*steps, step))


def _slot(name: str) -> str:
    return "{{ " + name + " }}"


def _put(body: Any, steps: Steps, text: str) -> None:  # noqa: ANN401 - any part of a JSON body
    for step in steps[:-1]:
        body = body[step]
    body[steps[-1]] = text


def _hide(body: dict[str, Any], steps: Steps, text: str, row: Row) -> None:
    """Put an awkward constant in the place of a text, where the message can be sent with it."""
    before = dict(texts_of(body))[steps]
    _put(body, steps, text)
    try:
        content_from_body(filled_in(body, row))
    except InvalidMessage:
        _put(body, steps, before)


def _give_tasks_of_their_own(body: dict[str, Any]) -> None:
    """A task_id is good for one message of an app."""
    card = body.get("template_card", {})
    if "task_id" in card:
        card["task_id"] = "task-{{ userid }}"
