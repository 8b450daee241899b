"""Text messages (doc 90236, 文本消息)."""

import unicodedata
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Self

from worker.messages.content import TranslatableContent
from worker.messages.limits import Flag, Size, Words, sendable
from worker.messages.refusals import InvalidMessage

MOST_BYTES = 2048
"""Longer text is cut off by WeCom, or refused with 45002; the documents disagree, so it is refused here."""
JOINERS = "\u200d\ufe0e\ufe0f\U0001f3fb\U0001f3fc\U0001f3fd\U0001f3fe\U0001f3ff"
"""The zero width joiner, the selectors of a text or emoji form, and the skin tones: they belong to what precedes."""


class Text(TranslatableContent):
    r"""A text; `\n` and `<a href="...">` are shown as line ends and links (doc 90236).

    Attributes:
        content: at most 2048 bytes of UTF-8, more than blanks (errcode 44004).
        safe: 1 forbids forwarding and shows a watermark; 0 if not given.
    """

    msgtype: ClassVar[str] = "text"

    content: Annotated[Words, Size(MOST_BYTES, "bytes", advice="; shorten it or send it in parts (Text.split)")]
    safe: Flag | None = None

    @classmethod
    def split(cls, content: str, **options: Any) -> list[Self]:  # noqa: ANN401 - judged by the constructor
        """Cut a long text into messages of at most 2048 bytes of UTF-8 each.

        Each message ends after the last line end that fits, else after the last blank, else between two
        characters, if possible not before a joiner or combining mark. Nothing is removed at the cuts: the contents
        joined together are the text. The one exception: WeCom accepts no message of blanks alone, so a piece that
        would be one is left out.

        Args:
            content: the text.
            options: `safe`, `enable_id_trans` and so on, for every message.

        Raises:
            InvalidMessage: the text is empty or holds a character that cannot be sent.
        """
        if not isinstance(content, str) or not content.strip():
            return [cls(content=content, **options)]
        try:
            sendable(content)
        except ValueError as error:
            raise InvalidMessage(f"{cls.msgtype}.content: {error}") from None
        return [cls(content=piece, **options) for piece in _pieces(content) if piece.strip()]


def _pieces(text: str) -> Iterator[str]:
    start = 0
    while start < len(text):
        end = start + _fitting(text[start : start + MOST_BYTES])
        if end < len(text):
            end = _good_cut(text, start, end)
        yield text[start:end]
        start = end


def _fitting(text: str) -> int:
    """How many characters fit into one message."""
    return len(text.encode()[:MOST_BYTES].decode(errors="ignore"))


def _good_cut(text: str, start: int, end: int) -> int:
    for mark in ("\n", " "):
        found = text.rfind(mark, start, end)
        if found >= start:
            return found + 1
    cut = end
    while cut > start and (text[cut] in JOINERS or unicodedata.combining(text[cut]) or text[cut - 1] == "\u200d"):
        cut -= 1
    return cut if cut > start else end
