"""Template cards in their five types (doc 90236, 模板卡片消息)."""

from collections.abc import Mapping
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any, ClassVar, Literal, Self

from pydantic import model_validator

from worker.messages.card_parts import (
    ActionMenu,
    CardAction,
    CardImage,
    EmphasisContent,
    HorizontalContentList,
    ImageTextArea,
    MainTitle,
    NoticeFields,
    QuoteArea,
    Source,
    SubTitleText,
    VerticalContentList,
)
from worker.messages.card_questions import ButtonList, ButtonSelection, Checkbox, SelectList, SubmitButton
from worker.messages.content import TranslatableContent
from worker.messages.limits import TaskId
from worker.messages.part import Part
from worker.messages.refusals import InvalidMessage, fault

SUGGESTED_FOR_QUESTIONS: Mapping[str, int] = MappingProxyType({"main_title.title": 16, "main_title.desc": 160})
"""Vote and multiple cards have less room for a title and more for what is below it."""


def _require_title(title: MainTitle) -> None:
    if not (title.title and title.title.strip()):
        raise fault("main_title.title", "is missing")


def _require_plain_source(source: Source | None) -> None:
    if source is not None and source.desc_color is not None:
        raise fault("source.desc_color", "only text_notice, news_notice and button_interaction have it")


class TemplateCard(TranslatableContent):
    """A card of one of the five types; `from_body` chooses the class by `card_type`."""

    msgtype: ClassVar[str] = "template_card"

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> Self:
        """Read the wire form back.

        Raises:
            InvalidMessage: a field is missing, unknown or outside its limits.
        """
        fields = body.get(cls.msgtype)
        if cls is TemplateCard and isinstance(fields, dict):
            kind: type[Self] = class_of_card(fields, CARDS)
            return kind.from_body(body)
        return super().from_body(body)


class TextNoticeFields(NoticeFields):
    """What a text notice shows; it needs `main_title.title` or `sub_title_text`.

    Attributes:
        main_title: the title and the line below it.
        emphasis_content: the figure that matters.
        sub_title_text: at most 160 characters suggested.
    """

    card_type: Literal["text_notice"] = "text_notice"
    main_title: MainTitle | None = None
    emphasis_content: EmphasisContent | None = None
    sub_title_text: SubTitleText | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        title = self.main_title.title if self.main_title is not None else None
        if not (title or "").strip() and not (self.sub_title_text or "").strip():
            raise fault("main_title.title", "is missing; give it or sub_title_text")
        return self


class NewsNoticeFields(NoticeFields):
    """What a news notice shows; it needs `card_image` or `image_text_area`.

    Attributes:
        main_title: the title, required, and the line below it.
        card_image: a picture across the card.
        image_text_area: a small picture with text.
        vertical_content_list: at most 4 headings with texts (errcode 42036).
    """

    card_type: Literal["news_notice"] = "news_notice"
    main_title: MainTitle
    card_image: CardImage | None = None
    image_text_area: ImageTextArea | None = None
    vertical_content_list: VerticalContentList | None = None

    @model_validator(mode="after")
    def _title_and_picture(self) -> Self:
        _require_title(self.main_title)
        if self.card_image is None and self.image_text_area is None:
            raise fault("card_image", "is missing; give it or image_text_area")
        return self


class ButtonInteractionFields(Part):
    """What a button card shows.

    Attributes:
        main_title: the title, required, and the line below it.
        button_list: 1 to 6 buttons.
        source: where it comes from.
        action_menu: the menu in its corner.
        quote_area: a quotation.
        sub_title_text: at most 160 characters suggested.
        horizontal_content_list: at most 6 lines of two columns (errcode 42035).
        card_action: where a click on the card leads, if anywhere.
        button_selection: a drop-down list above the buttons.
    """

    card_type: Literal["button_interaction"] = "button_interaction"
    main_title: MainTitle
    button_list: ButtonList
    source: Source | None = None
    action_menu: ActionMenu | None = None
    quote_area: QuoteArea | None = None
    sub_title_text: SubTitleText | None = None
    horizontal_content_list: HorizontalContentList | None = None
    card_action: CardAction | None = None
    button_selection: ButtonSelection | None = None

    @model_validator(mode="after")
    def _title(self) -> Self:
        _require_title(self.main_title)
        return self


class VoteInteractionFields(Part):
    """What a vote shows.

    Attributes:
        main_title: the title, required, and the line below it; at most 16 and 160 characters suggested.
        checkbox: 1 to 20 choices.
        source: where it comes from; without desc_color.
    """

    card_type: Literal["vote_interaction"] = "vote_interaction"
    main_title: MainTitle
    checkbox: Checkbox
    source: Source | None = None

    @model_validator(mode="after")
    def _title_and_source(self) -> Self:
        _require_title(self.main_title)
        _require_plain_source(self.source)
        return self


class MultipleInteractionFields(Part):
    """What a card with several questions shows.

    Attributes:
        main_title: the title, required, and the line below it; at most 16 and 160 characters suggested.
        select_list: 1 to 3 drop-down lists (errcode 42047), each with a question_key of its own.
        source: where it comes from; without desc_color.
    """

    card_type: Literal["multiple_interaction"] = "multiple_interaction"
    main_title: MainTitle
    select_list: SelectList
    source: Source | None = None

    @model_validator(mode="after")
    def _title_and_source(self) -> Self:
        _require_title(self.main_title)
        _require_plain_source(self.source)
        return self


class _Notice(NoticeFields, TemplateCard):
    task_id: TaskId | None = None

    @model_validator(mode="after")
    def _task_of_the_menu(self) -> Self:
        if self.action_menu is not None and self.task_id is None:
            raise fault("task_id", "is missing, needed with action_menu")
        return self


class TextNotice(TextNoticeFields, _Notice):
    """A card of text with one link (doc 90236, 文本通知型).

    Attributes:
        task_id: needed with action_menu; at most 128 bytes of digits, letters, `_`, `-`, `@`, unique in the app.
    """


class NewsNotice(NewsNoticeFields, _Notice):
    """A card with a picture and one link (doc 90236, 图文展示型).

    Attributes:
        task_id: needed with action_menu; at most 128 bytes of digits, letters, `_`, `-`, `@`, unique in the app.
    """


class ButtonInteraction(ButtonInteractionFields, TemplateCard):
    """A card with buttons; the app must have a callback address (doc 90236, 按钮交互型; errcode 43012).

    Attributes:
        task_id: at most 128 bytes of digits, letters, `_`, `-`, `@`, unique in the app (42014).
    """

    task_id: TaskId


class VoteInteraction(VoteInteractionFields, TemplateCard):
    """A card with choices; the app must have a callback address (doc 90236, 投票选择型; errcode 43012).

    Attributes:
        submit_button: the button that sends the answer.
        task_id: at most 128 bytes of digits, letters, `_`, `-`, `@`, unique in the app (42014).
    """

    suggested_otherwise: ClassVar[Mapping[str, int]] = SUGGESTED_FOR_QUESTIONS

    submit_button: SubmitButton
    task_id: TaskId

    @model_validator(mode="after")
    def _can_be_answered(self) -> Self:
        if self.checkbox.disable is not None:
            raise fault("checkbox.disable", "is possible in a card update only (doc 94888)")
        return self


class MultipleInteraction(MultipleInteractionFields, TemplateCard):
    """A card with drop-down lists; the app must have a callback address (doc 90236, 多项选择型; errcode 43012).

    Attributes:
        submit_button: the button that sends the answers.
        task_id: at most 128 bytes of digits, letters, `_`, `-`, `@`, unique in the app (42014).
    """

    suggested_otherwise: ClassVar[Mapping[str, int]] = SUGGESTED_FOR_QUESTIONS

    submit_button: SubmitButton
    task_id: TaskId

    @model_validator(mode="after")
    def _can_be_answered(self) -> Self:
        for position, item in enumerate(self.select_list):
            if item.disable is not None:
                raise fault(f"select_list[{position}].disable", "is possible in a card update only (doc 94888)")
        return self


CARDS: Mapping[str, type[TemplateCard]] = MappingProxyType(
    {
        "text_notice": TextNotice,
        "news_notice": NewsNotice,
        "button_interaction": ButtonInteraction,
        "vote_interaction": VoteInteraction,
        "multiple_interaction": MultipleInteraction,
    }
)
"""The class of each `card_type`."""


def class_of_card(fields: Mapping[str, Any], cards: Mapping[str, Any]) -> Any:  # noqa: ANN401 - a value of `cards`
    """Choose a class by the `card_type` of a card on the wire.

    Raises:
        InvalidMessage: it is missing or unknown.
    """
    card_type = fields.get("card_type")
    if card_type is None:
        nearest = get_close_matches("card_type", fields, n=1, cutoff=0.8)
        if nearest:
            raise InvalidMessage(f"template_card.{nearest[0]}: unknown field; did you mean card_type?")
        raise InvalidMessage(f"template_card.card_type: is missing, must be one of {', '.join(cards)}")
    found = cards.get(card_type) if isinstance(card_type, str) else None
    if found is None:
        raise InvalidMessage(f"template_card.card_type: must be one of {', '.join(cards)}")
    return found
