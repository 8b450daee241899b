"""Every promise of the README names the tests that hold it, and those tests exist."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in (ROOT / "docs" / "guarantees.md").read_text().splitlines()
    if line.startswith("| ") and not line.startswith(("| ---", "| promise"))
]
NAMED = sorted({test for row in ROWS for test in re.findall(r"`(tests/[\w/]+\.py::\w+)`", row[1])})


def functions_of(path: Path) -> set[str]:
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)}


def test_every_promise_of_the_readme_has_a_row() -> None:
    promises = re.findall(r"^- (\*\*.+?\*\*)", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert promises
    assert [promise for promise in promises if not any(row[0].startswith(promise) for row in ROWS)] == []


def test_every_row_names_a_test_and_says_what_it_does_not_cover() -> None:
    assert [row[0] for row in ROWS if len(row) < 2 or "::" not in row[1]] == []


@pytest.mark.parametrize("named", NAMED)
def test_every_test_that_is_named_exists(named: str) -> None:
    file, _, function = named.partition("::")
    assert function in functions_of(ROOT / file)
