"""Text messages (doc 90236, 文本消息)."""

from typing import Annotated, ClassVar

from pydantic import AfterValidator

from worker.messages.content import Content, sendable

MOST_BYTES = 2048
"""Longer text is cut off by WeCom, or refused with 45002; the documents disagree, so it is refused here."""


def _within_limit(text: str) -> str:
    size = len(text.encode())
    if not text.strip():
        raise ValueError("is empty, WeCom refuses that (errcode 44004)")
    if size > MOST_BYTES:
        raise ValueError(f"{size} bytes of UTF-8, at most {MOST_BYTES} can be sent; shorten it or send it in parts")
    return text


class Text(Content):
    r"""A text of at most 2048 bytes of UTF-8; `\n` and `<a href="...">` are shown as line ends and links."""

    msgtype: ClassVar[str] = "text"

    content: Annotated[str, AfterValidator(sendable), AfterValidator(_within_limit)]
