"""Text cards (doc 90236, 文本卡片消息)."""

from typing import Annotated, ClassVar

from worker.messages.content import TranslatableContent
from worker.messages.limits import Characters, Size, Url, Words


class TextCard(TranslatableContent):
    """A card with a title, a text and one link.

    Page 90236 counts title and description in characters, older pages and 90248 in bytes; the stricter is enforced.

    Attributes:
        title: at most 128 bytes of UTF-8, and so at most 128 characters.
        description: at most 512 bytes of UTF-8; may hold `<br>` and `<div class="gray|normal|highlight">`
            (errcode 41033 without it).
        url: where a click leads, http or https, at most 2048 bytes (41010 without it, 45034 without a scheme).
        btntxt: the words of the button, at most 4 characters; 详情 if not given.
    """

    msgtype: ClassVar[str] = "textcard"

    title: Annotated[Words, Size(128, "bytes")]
    description: Annotated[Words, Size(512, "bytes")]
    url: Url
    btntxt: Annotated[Characters, Size(4, "characters")] | None = None
