"""Long texts, cut into messages."""

import pytest

from worker.messages import InvalidMessage, Text


def test_a_text_is_split_after_line_ends_then_after_blanks_then_between_characters() -> None:
    line = "x" * 1500 + "\n"
    assert [part.content for part in Text.split(line * 2)] == [line, line]
    assert [part.content for part in Text.split("y" * 1500 + " " + "z" * 1500)] == ["y" * 1500 + " ", "z" * 1500]
    assert [part.content for part in Text.split("字" * 1000)] == ["字" * 682, "字" * 318]


def test_a_text_of_exactly_2048_bytes_is_one_message() -> None:
    assert Text.split("x y\n" * 512) == [Text(content="x y\n" * 512)]


def test_a_family_of_joined_emoji_is_not_split() -> None:
    family = "👩\u200d👩\u200d👧"
    first, second = Text.split("x" * 2040 + family + "y" * 20)
    assert (first.content, second.content) == ("x" * 2040, family + "y" * 20)


def test_marks_without_end_are_split_all_the_same() -> None:
    parts = Text.split("e" + "\u0301" * 3000)
    assert "".join(part.content for part in parts) == "e" + "\u0301" * 3000


def test_pieces_of_blanks_alone_are_left_out_of_a_split_text() -> None:
    assert "".join(part.content for part in Text.split("x" + "\n" * 5000 + "y")).strip() == (
        "x" + "\n" * 2047 + "\n" * (5000 - 2047 - 2048) + "y"
    )


def test_options_of_a_split_text_are_those_of_every_part() -> None:
    assert [part.safe for part in Text.split("x" * 3000, safe=1)] == [1, 1]


@pytest.mark.parametrize("content", ["", " \n", "a\x07", "\ud800" * 2, 5])
def test_what_is_no_text_cannot_be_split(content: str) -> None:
    with pytest.raises(InvalidMessage, match=r"^text\.content: "):
        Text.split(content)
