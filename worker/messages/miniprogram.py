"""Notices of mini programs (doc 90236, 小程序通知消息)."""

from typing import Annotated, ClassVar

from worker.messages.content import TranslatableContent
from worker.messages.limits import AppId, Characters, Items, Size, Truth, Words
from worker.messages.part import Part


class ContentItem(Part):
    """One line of a notice (doc 90236; errcodes 90202 and 90203 refuse what the table there calls optional).

    Attributes:
        key: what it is, at most 10 characters.
        value: how it stands, at most 30 characters.
    """

    key: Annotated[Words, Size(10, "characters")]
    value: Annotated[Words, Size(30, "characters")]


class MiniProgramNotice(TranslatableContent):
    """A notice that opens a page of a mini program; only apps that are mini programs can send it (48002).

    It cannot be sent to `@all`.

    Attributes:
        appid: of the mini program, linked to the app (90200, 90206 to 90208).
        page: the page a click opens, at most 1024 bytes (90204); without it a click does nothing.
        title: 4 to 12 characters.
        description: 4 to 12 characters.
        emphasis_first_item: whether the first line is shown large.
        content_item: at most 10 lines (90201).
    """

    msgtype: ClassVar[str] = "miniprogram_notice"
    everyone_possible: ClassVar[bool] = False

    appid: AppId
    page: Annotated[Characters, Size(1024, "bytes")] | None = None
    title: Annotated[Words, Size(12, "characters", least=4)]
    description: Annotated[Words, Size(12, "characters", least=4)] | None = None
    emphasis_first_item: Truth | None = None
    content_item: Annotated[tuple[ContentItem, ...], Items(10)] | None = None
