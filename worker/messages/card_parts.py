"""What template cards show: titles, quotations, lists, pictures and links (doc 90236, 模板卡片消息).

Lengths that page 90236 only suggests are marked so: a longer text is sent, with a warning.
"""

from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from worker.messages.limits import (
    AppId,
    Characters,
    Choice,
    Items,
    Key,
    Limit,
    Suggested,
    Unique,
    Url,
    UserId,
    Whole,
    Words,
)
from worker.messages.mediafile import MediaFile, MediaOf
from worker.messages.part import ByType, Part
from worker.messages.refusals import fault

NOWHERE, PAGE, MINI_PROGRAM = 0, 1, 2
"""What the `type` of a link means."""


class Source(Part):
    """Where a card comes from, shown above it.

    Attributes:
        icon_url: a picture, 72 x 72 pixels suggested.
        desc: its name, at most 20 characters suggested.
        desc_color: 0 grey, 1 black, 2 red, 3 green; text, news and button cards only.
    """

    icon_url: Url | None = None
    desc: Annotated[Characters, Suggested(20)] | None = None
    desc_color: Annotated[Whole, Choice((0, 1, 2, 3))] | None = None


class ActionMenuItem(Part):
    """One entry of the menu in a card's corner.

    Attributes:
        text: what it says.
        key: what a click reports, at most 1024 bytes, another for each entry (errcode 42051).
    """

    text: Words
    key: Key


class ActionMenu(Part):
    """The menu in a card's corner; text and news notices with one need a task_id.

    Attributes:
        desc: what the menu is for.
        action_list: 1 to 3 entries (the page on passive replies, 90241, says 10; the stricter is enforced).
    """

    desc: Characters | None = None
    action_list: Annotated[tuple[ActionMenuItem, ...], Items(3, least=1), Unique("key")]


class MainTitle(Part):
    """A card's title; only text notices can be without `title`, if they have a `sub_title_text`.

    Attributes:
        title: at most 36 characters suggested, 16 in vote and multiple cards.
        desc: at most 44 characters suggested, 160 in vote and multiple cards.
    """

    title: Annotated[Characters, Suggested(36)] | None = None
    desc: Annotated[Characters, Suggested(44)] | None = None


class Link(ByType):
    """Something that leads to a page or a mini program.

    Attributes:
        type: 0 leads nowhere (if not given), 1 needs url, 2 needs appid.
        url: http or https, at most 2048 bytes.
        appid: of a mini program.
        pagepath: the page of the mini program.
    """

    needs: ClassVar = {PAGE: "url", MINI_PROGRAM: "appid"}

    type: Annotated[Whole, Choice((NOWHERE, PAGE, MINI_PROGRAM))] | None = None
    url: Url | None = None
    appid: AppId | None = None
    pagepath: Characters | None = None


class QuoteArea(Link):
    """A quotation, with a link if it has a type.

    Attributes:
        title: its heading.
        quote_text: what is quoted.
    """

    title: Characters | None = None
    quote_text: Characters | None = None


class EmphasisContent(Part):
    """The figure that matters, shown large.

    Attributes:
        title: the figure, at most 14 characters suggested.
        desc: what it means, at most 22 characters suggested.
    """

    title: Annotated[Characters, Suggested(14)] | None = None
    desc: Annotated[Characters, Suggested(22)] | None = None


class HorizontalContent(ByType):
    """A line of two columns.

    Attributes:
        type: 0 is text (if not given), 1 a link and needs url, 2 an attachment and needs media_id, 3 a member's
            card and needs userid (errcodes 42028, 42029, 42050).
        keyname: the left column, at most 5 characters suggested (42027 without it).
        value: the right column, at most 30 characters suggested; with type 2 the file's name with its extension.
        url: http or https, at most 2048 bytes.
        media_id: of an uploaded file, or a `MediaFile` to be uploaded.
        userid: of a member, at most 64 bytes.
    """

    needs: ClassVar = {1: "url", 2: "media_id", 3: "userid"}

    type: Annotated[Whole, Choice((0, 1, 2, 3))] | None = None
    keyname: Annotated[Words, Suggested(5)]
    value: Annotated[Characters, Suggested(30)] | None = None
    url: Url | None = None
    media_id: Annotated[str | MediaFile, MediaOf("file")] | None = None
    userid: UserId | None = None


class JumpItem(Link):
    """A line below the card that leads somewhere.

    Attributes:
        title: at most 18 characters suggested (errcode 42033 without it).
    """

    title: Annotated[Words, Suggested(18)]


class CardAction(Link):
    """Where a click on the card leads (errcode 42045).

    Attributes:
        type: 1 needs url, 2 needs appid; button cards can also have 0, which leads nowhere.
    """

    type: Annotated[Whole, Choice((NOWHERE, PAGE, MINI_PROGRAM))]


class _AspectRatio(Limit):
    __slots__ = ()

    def checked(self, value: float) -> float:
        if not 1.3 <= value < 2.25:
            raise ValueError(f"{value:g}, must be at least 1.3 and less than 2.25")
        return value

    def in_json_schema(self) -> dict[str, float]:
        return {"minimum": 1.3, "exclusiveMaximum": 2.25}


class CardImage(Part):
    """A news notice's picture.

    Attributes:
        url: of the picture (errcode 42044 without it).
        aspect_ratio: width by height, at least 1.3 and less than 2.25; 1.3 if not given. The page says "more than
            1.3" but has 1.3 as its default and in its example.
    """

    url: Url
    aspect_ratio: Annotated[float, Field(strict=True), _AspectRatio()] | None = None


class ImageTextArea(Link):
    """A small picture on the left, text on the right.

    Attributes:
        title: the heading.
        desc: the text.
        image_url: the picture.
    """

    title: Characters | None = None
    desc: Characters | None = None
    image_url: Url


class VerticalContent(Part):
    """A heading with a text below it.

    Attributes:
        title: at most 38 characters suggested (errcode 42033 without it).
        desc: at most 160 characters suggested.
    """

    title: Annotated[Words, Suggested(38)]
    desc: Annotated[Characters, Suggested(160)] | None = None


HorizontalContentList = Annotated[tuple[HorizontalContent, ...], Items(6)]
"""At most 6 (errcode 42035)."""
JumpList = Annotated[tuple[JumpItem, ...], Items(3)]
"""At most 3 (errcode 42042)."""
VerticalContentList = Annotated[tuple[VerticalContent, ...], Items(4)]
"""At most 4 (errcode 42036)."""
SubTitleText = Annotated[Characters, Suggested(160)]
"""At most 160 characters suggested."""


class NoticeFields(Part):
    """What text and news notices have in common.

    Attributes:
        card_action: where a click on the card leads; required, type 1 or 2.
        source: where it comes from.
        action_menu: the menu in its corner.
        quote_area: a quotation.
        horizontal_content_list: at most 6 lines of two columns (errcode 42035).
        jump_list: at most 3 links (42042).
    """

    card_action: CardAction
    source: Source | None = None
    action_menu: ActionMenu | None = None
    quote_area: QuoteArea | None = None
    horizontal_content_list: HorizontalContentList | None = None
    jump_list: JumpList | None = None

    @model_validator(mode="after")
    def _leads_somewhere(self) -> Self:
        if self.card_action.type == NOWHERE:
            raise fault("card_action.type", "0 is not possible for a notice, must be 1 or 2")
        return self
