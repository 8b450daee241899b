"""Markdown messages (doc 90236, markdown消息)."""

from typing import Annotated, ClassVar

from worker.messages.content import Content
from worker.messages.limits import Size, Words


class Markdown(Content):
    """A text in WeCom's part of Markdown (doc 90236); WeChat's workbench shows only a hint.

    It knows headings of six levels, `**bold**`, `[links](url)`, code on one line, `> quotes` and
    `<font color="info|comment|warning">`.

    Attributes:
        content: at most 2048 bytes of UTF-8, more than blanks.
    """

    msgtype: ClassVar[str] = "markdown"

    content: Annotated[Words, Size(2048, "bytes")]
