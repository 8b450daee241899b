"""No template holds up or fills the process that reads it, whatever it says and whatever it is given."""

import resource
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from template_bombs import BOMBS, Bomb

from worker.messages import InvalidMessage, Text
from worker.messages.personalised import PersonalisedMessage

CPU_SECONDS = 5
MEMORY_BYTES = 1 << 30
DESPERATE = BOMBS | {
    "digits without an end": Bomb("{{ x|int }}{{ x|float }}{{ x|int(base=2) }}", {"x": "1" * 20_000}),
    "a text in addresses": Bomb("{{ x" + "|urlencode" * 25 + "|length }}", {"x": "中" * 20_000}),
}


def _size_of_this_process() -> int:
    pages = Path("/proc/self/statm")
    return int(pages.read_text().split()[0]) * resource.getpagesize() if pages.exists() else MEMORY_BYTES


def _refusal(template: str, row: dict[str, Any]) -> str:
    """Say why a template cannot be sent, in a process that ends if it takes too long or too much."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    spent = int(used.ru_utime + used.ru_stime)
    resource.setrlimit(resource.RLIMIT_CPU, (spent + CPU_SECONDS, resource.RLIM_INFINITY))
    # A process that was forked has the memory of the one before it, which is large where many tests ran.
    resource.setrlimit(resource.RLIMIT_AS, (_size_of_this_process() + MEMORY_BYTES, resource.RLIM_INFINITY))
    try:
        PersonalisedMessage({"msgtype": "text", "text": {"content": template}}).texts(row)
    except InvalidMessage as error:
        return str(error)
    return ""


@pytest.mark.parametrize("name", DESPERATE)
def test_a_template_that_asks_for_too_much_is_refused_within_seconds_and_little_memory(name: str) -> None:
    # A fork shares the row, however large, instead of reading it.
    with ProcessPoolExecutor(1, mp_context=get_context("fork")) as process:
        refusal = process.submit(_refusal, *DESPERATE[name]).result()
    assert refusal.startswith("text.content: ")
    assert len(refusal) < 300


@pytest.mark.parametrize(
    ("template", "filled"),
    [
        ("{% for a, b in x %}{{ loop.index }}{{ a }}{{ loop.last }} {% else %}none{% endfor %}", "1aFalse 2bTrue "),
        ("{% for a in x %}{{ loop.length }}{{ a[0] }}{% endfor %}", "2a2b"),
        ("{% for a in y|default([]) %}{{ a }}{% else %}none{% endfor %}", "none"),
        ("{% for a in order['lines'] if a.price > 1 %}{{ a.name }}{% endfor %}", "tea"),
        ("{% for a in [name, 'Ben'] %}{{ a }};{% endfor %}", "Anna;Ben;"),
        ("{% for a in 'ab' %}{% for b in x %}{{ a ~ b[0] }} {% endfor %}{% endfor %}", "aa ab ba bb "),
        ("{{ y is defined }} {{ name is defined }} {{ name[1:3] }} {{ order.lines[0].name }}", "False True nn tea"),
        ("{{ x|length + 1 }} {{ order.lines|sum(attribute='price') }} {{ 1234.567|round(1) }}", "3 3 1234.6"),
    ],
)
def test_what_is_counted_is_still_filled_in_as_jinja2_does(template: str, filled: str) -> None:
    row = {
        "name": "Anna",
        "x": [("a", 1), ("b", 2)],
        "order": {"lines": [{"name": "tea", "price": 2}, {"name": "cup", "price": 1}]},
    }
    assert PersonalisedMessage(Text(content=template)).texts(row) == [filled]


def test_a_long_text_with_a_few_values_is_no_effort() -> None:
    article = {"title": "t", "thumb_media_id": "m", "content": "<p>long</p>" * 60_000 + "{{ name|upper }}{{ name }}"}
    message = PersonalisedMessage({"msgtype": "mpnews", "mpnews": {"articles": [article]}})
    assert message.texts({"name": "Anna"})[0].endswith("ANNAAnna")


def test_what_one_row_took_is_not_counted_for_the_next() -> None:
    message = PersonalisedMessage(Text(content="{% for a in x %}{% endfor %}z"))
    rows = [{"x": [0] * 150_000}] * 3
    assert [message.texts(row) for row in rows] == [["z"]] * 3
