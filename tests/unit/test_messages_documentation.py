"""docs/messages.md: every example runs, its JSON is what it makes, and every limit in a table is kept."""

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from message_strategies import KINDS

from worker.messages import InvalidMessage, content_from_body

PAGE = (Path(__file__).parents[2] / "docs" / "messages.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (\S[^\n]*)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
EXAMPLES = [
    (title, python, json_block)
    for title, text in SECTIONS.items()
    for python, json_block in re.findall(r"```python\n(.*?)```\s+```json\n(.*?)```", text, re.DOTALL)
]
MISSING = object()


class Row(NamedTuple):
    kind: str
    path: str
    required: str
    limit: str


ROWS = [
    Row(kind, *cells)
    for kind in KINDS
    for cells in re.findall(r"^\| `([^`]+)` \| (yes|no) \| ([^|]+) \|$", SECTIONS[kind], re.MULTILINE)
]


def example_of(kind: str) -> dict[str, Any]:
    return next(json.loads(block) for title, _, block in EXAMPLES if title == kind)


def steps_of(path: str) -> list[str | int]:
    return [int(step) if step.isdigit() else step for step in re.findall(r"[^.\[\]]+", path)]


def changed(kind: str, path: str, value: object) -> dict[str, Any]:
    """The example of a kind with another value at one place, or without it."""
    body = copy.deepcopy(example_of(kind))
    *above, last = steps_of(path)
    place: Any = body
    for step in above:
        place = place[step]
    if value is MISSING:
        del place[last]
    else:
        place[last] = value
    return body


def value_at(kind: str, path: str) -> Any:  # noqa: ANN401 - JSON
    value: Any = example_of(kind)
    for step in steps_of(path):
        value = value[step]
    return value


def refusal(body: dict[str, Any]) -> str:
    with pytest.raises(InvalidMessage) as caught:
        content_from_body(body)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def text_of(size: int, unit: str, path: str) -> str:
    if path.endswith("task_id"):
        return "x" * size
    return "字" * (size // 3) + "x" * (size % 3) if unit == "bytes" else "字" * size


def items(kind: str, path: str, size: int) -> list[Any]:
    """As many items as asked for, each with keys of its own."""
    given = value_at(kind, path)
    if not given:
        given = [{"keyname": "k"}]
    made = given[:size]
    while len(made) < size:
        one = copy.deepcopy(given[-1])
        made.append(one | {name: f"{len(made)}" for name in ("id", "key", "question_key") if name in one})
    return made


PROBES: dict[str, list[tuple[object, str | None]]] = {
    "web address": [
        ("https://example.com/" + "x" * 2028, None),
        ("https://example.com/" + "x" * 2029, "2049 bytes of UTF-8, at most 2048"),
        ("http://a", None),
        ("ftp://example.com/", "must begin with http:// or https://"),
        ("example.com", "must begin with http:// or https://"),
    ],
    "text": [("x", None), (" ", "is empty"), (5, "must be")],
    "appid": [
        ("wx0123456789abcdef", None),
        ("wx" * 64, None),
        ("wx" * 64 + "x", "129 bytes of UTF-8, at most 128"),
        ("wx 1", "must be wx and then"),
        ("wx1\n", "must be wx and then"),
        (5, "must be"),
    ],
    "userid": [
        ("x" * 64, None),
        ("x" * 65, "65 bytes of UTF-8, at most 64"),
        ("wo-A_b.c@d", None),
        ("a/b", "must be made of letters, digits and _ - @ . alone"),
        ("@all", "begin with a letter or digit"),
        (5, "must be"),
    ],
    "media": [
        ("x" * 256, None),
        ("x" * 257, "257 bytes of UTF-8, at most 256"),
        ("a b", "is no media_id, it holds blanks"),
        ("x", None),
        (" ", "is empty"),
        (5, "must be"),
        ({"path": "/etc/passwd"}, "must be"),
    ],
    "true or false": [(True, None), (False, None), (1, "must be true or false, not a number")],
    "any text": [("", None), ("字" * 3000, None), (5, "must be a string, not a number")],
    "an object": [("x", "must be an object")],
    "one of the five": [("sixth", "must be one of")],
    "1.3 to less than 2.25": [(1.3, None), (1.29, "at least 1.3"), (2.24, None), (2.25, "less than 2.25")],
}
"""Values for a field of each kind, and what the refusal says of them, or None if they must be accepted."""


def probes(row: Row) -> Iterator[tuple[object, str | None]]:
    """The same for a field with this limit."""
    if match := re.fullmatch(r"(?:≤|(\d+) to) (\d+) (bytes|characters|items|seconds)", row.limit):
        least, most, unit = int(match[1] or 0), int(match[2]), match[3]
        yield of_size(row, most, unit), None
        yield of_size(row, most + 1, unit), f"{most + 1} {unit}"
        if least:
            yield of_size(row, least, unit), None
            yield of_size(row, least - 1, unit), f"{least - 1} {unit}"
    elif match := re.fullmatch(r"suggested ≤ (\d+) characters", row.limit):
        yield "字" * int(match[1]), None
        yield 5, "must be a string"
    elif re.fullmatch(r"[\d, or]+", row.limit):
        known = [int(digit) for digit in re.findall(r"\d", row.limit)]
        yield from ((wrong, f"{wrong} is not known, must be") for wrong in (max(known) + 1, -1))
        yield from ((wrong, "must be a whole number") for wrong in (True, "1", 1.0))
    else:
        yield from PROBES[row.limit]


def of_size(row: Row, size: int, unit: str) -> object:
    if unit == "items":
        return items(row.kind, row.path, size)
    return size if unit == "seconds" else text_of(size, unit, row.path)


def test_every_kind_of_message_has_an_example_a_sketch_and_a_table() -> None:
    for kind in KINDS:
        assert any(title == kind for title, _, _ in EXAMPLES), kind
        assert any(row.kind == kind for row in ROWS), kind
        assert "┌─" in SECTIONS[kind], kind


@pytest.mark.parametrize(("title", "python", "block"), EXAMPLES, ids=[title for title, _, _ in EXAMPLES])
def test_every_example_runs_and_makes_the_json_beside_it(title: str, python: str, block: str) -> None:
    names: dict[str, Any] = {}
    exec(compile(python, f"docs/messages.md, {title}", "exec"), names)
    made = names.get("message") or names["update"]
    assert made.body() == json.loads(block)
    assert type(made).from_body(json.loads(block)) == made
    assert made.warnings() == ()


def test_every_python_block_of_the_page_is_such_an_example() -> None:
    assert PAGE.count("```python") == PAGE.count("```json") == len(EXAMPLES)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.kind}: {row.path}")
def test_every_limit_of_a_table_is_kept_to_the_last_byte_character_and_item(row: Row) -> None:
    for value, complaint in probes(row):
        body = changed(row.kind, row.path, value)
        if complaint is None:
            message = content_from_body(body)
            assert message.body() == body
        else:
            said = refusal(body)
            assert said.startswith(f"{row.path}: ")
            assert complaint in said


@pytest.mark.parametrize("row", [row for row in ROWS if row.limit.startswith("suggested")], ids=str)
def test_every_suggested_length_is_a_warning_and_no_refusal(row: Row) -> None:
    most = int(re.findall(r"\d+", row.limit)[0])
    assert content_from_body(changed(row.kind, row.path, "字" * most)).warnings() == ()
    assert content_from_body(changed(row.kind, row.path, "字" * (most + 1))).warnings() == (
        f"{row.path}: {most + 1} characters, suggested at most {most}",
    )


@pytest.mark.parametrize(
    "row", [row for row in ROWS if row.required == "yes"], ids=lambda row: f"{row.kind}: {row.path}"
)
def test_every_required_field_is_missed_by_name(row: Row) -> None:
    assert refusal(changed(row.kind, row.path, MISSING)).startswith(f"{row.path}: is missing")
    assert row.path in refusal(changed(row.kind, row.path, None))


@pytest.mark.parametrize("kind", KINDS)
def test_an_unknown_field_anywhere_is_refused_with_the_nearest_known_name(kind: str) -> None:
    for path in {row.path for row in ROWS if row.kind == kind and row.limit != "one of the five"}:
        *above, last = steps_of(path)
        if isinstance(last, int) or path in {"safe", "enable_id_trans"} or last in {"key", "id", "url"}:
            continue
        misspelt = f"{last}x"
        body = changed(kind, f"{path}x", 1)
        assert f"{misspelt}: unknown field; did you mean {last}?" in refusal(body), above
