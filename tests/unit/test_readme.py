"""The two READMEs say the same, and what they point at exists."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ENGLISH, CHINESE = (ROOT / name for name in ("README.md", "README.zh-CN.md"))


def code_blocks(path: Path) -> list[tuple[str, list[str]]]:
    """The language of each block, and its lines without comments and words for people."""
    blocks = re.findall(r"```(\w+)\n(.*?)```", path.read_text(), re.DOTALL)
    return [
        (
            language,
            [re.sub(r"\s+#.*|\"[^\"]*\"|\|[^|]*\||-\. .*? \.->", "", line).strip() for line in text.splitlines()],
        )
        for language, text in blocks
    ]


def test_both_readmes_have_the_same_sections_and_code() -> None:
    headings = [re.findall(r"^(#+) ", path.read_text(), re.MULTILINE) for path in (ENGLISH, CHINESE)]
    assert headings[0] == headings[1]
    assert code_blocks(ENGLISH) == code_blocks(CHINESE)


def test_both_readmes_make_the_same_promises() -> None:
    promises = [len(re.findall(r"^- \*\*", path.read_text(), re.MULTILINE)) for path in (ENGLISH, CHINESE)]
    assert promises[0] == promises[1] > 0


@pytest.mark.parametrize("path", [ENGLISH, CHINESE, *sorted((ROOT / "docs").glob("*.md"))], ids=lambda path: path.name)
def test_every_link_of_the_documentation_leads_somewhere(path: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", path.read_text())
    missing = [target for target in targets if "://" not in target and not (path.parent / target).exists()]
    assert missing == []


@pytest.mark.parametrize("path", [ENGLISH, CHINESE], ids=lambda path: path.name)
def test_every_make_target_of_the_readmes_exists(path: Path) -> None:
    targets = set(re.findall(r"(?:^|`)make ([a-z-]+)", path.read_text(), re.MULTILINE))
    defined = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"demo", "test"} <= targets <= defined
