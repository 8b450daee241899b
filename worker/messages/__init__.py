"""What can be sent, to whom, and by whom: the words of the project as types, without I/O.

This package imports nothing else of the project. A new message type is one class in a module of its family and
one entry in `TYPES`.
"""

from collections.abc import Mapping
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any

from worker.messages.card_parts import (
    ActionMenu,
    ActionMenuItem,
    CardAction,
    CardImage,
    EmphasisContent,
    HorizontalContent,
    ImageTextArea,
    JumpItem,
    MainTitle,
    QuoteArea,
    Source,
    VerticalContent,
)
from worker.messages.card_questions import (
    Button,
    ButtonSelection,
    Checkbox,
    CheckboxOption,
    Option,
    SelectItem,
    SubmitButton,
)
from worker.messages.card_update import (
    CardUpdate,
    ReplacedButton,
    UpdatedButtonInteraction,
    UpdatedCard,
    UpdatedMultipleInteraction,
    UpdatedNewsNotice,
    UpdatedTextNotice,
    UpdatedVoteInteraction,
)
from worker.messages.content import Content, InvalidMessage
from worker.messages.markdown import Markdown
from worker.messages.media import File, Image, MediaFile, Video, Voice, check_media, media_warnings
from worker.messages.miniprogram import ContentItem, MiniProgramNotice
from worker.messages.news import MpNews, MpNewsArticle, News, NewsArticle
from worker.messages.refusals import LONGEST_NAME
from worker.messages.request import RECIPIENT_FIELDS, recipients_of_body
from worker.messages.schema import json_schema_of
from worker.messages.template_card import (
    CARDS,
    ButtonInteraction,
    MultipleInteraction,
    NewsNotice,
    TemplateCard,
    TextNotice,
    VoteInteraction,
)
from worker.messages.text import Text
from worker.messages.textcard import TextCard

TYPES: Mapping[str, type[Content]] = MappingProxyType(
    {
        kind.msgtype: kind
        for kind in (
            Text,
            Image,
            Voice,
            Video,
            File,
            TextCard,
            News,
            MpNews,
            Markdown,
            MiniProgramNotice,
            TemplateCard,
        )
    }
)
"""The class of each `msgtype`; template cards have one more for each `card_type`, in `CARDS`."""


def content_from_body(body: Mapping[str, Any]) -> Content:
    """Read a message in WeCom's own form, `{"msgtype": "text", "text": {"content": "..."}}`.

    A whole request is read as well: its touser, toparty, totag and agentid are ignored here, see
    `recipients_of_body`.

    Raises:
        InvalidMessage: the type or a field of it is unknown, missing or outside its limits.
    """
    if not isinstance(body, Mapping):
        raise InvalidMessage('message: an object is needed, like {"msgtype": "text", "text": {"content": "..."}}')
    msgtype = body.get("msgtype")
    kind = TYPES.get(msgtype) if isinstance(msgtype, str) else None
    if kind is None:
        known = f"use one of: {', '.join(TYPES)}"
        if not isinstance(msgtype, str):
            raise InvalidMessage(f"msgtype: {'is missing' if msgtype is None else 'must be a string'}; {known}")
        given = msgtype[:LONGEST_NAME]
        nearest = get_close_matches(given, TYPES, n=1) or get_close_matches(given, CARDS, n=1)
        meant = f"; did you mean {nearest[0]}?" if nearest else ""
        raise InvalidMessage(f"msgtype: {given!r} is not known; {known}{meant}")
    return kind.from_body({name: value for name, value in body.items() if name not in RECIPIENT_FIELDS})


def json_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a whole request, recipients optional, for programs in other languages.

    It holds the limits that JSON Schema can express; a limit in bytes is given as one of as many characters.
    """
    simple = [kind for kind in TYPES.values() if kind is not TemplateCard]
    return json_schema_of(simple, list(CARDS.values()))


__all__ = [
    "CARDS",
    "TYPES",
    "ActionMenu",
    "ActionMenuItem",
    "Button",
    "ButtonInteraction",
    "ButtonSelection",
    "CardAction",
    "CardImage",
    "CardUpdate",
    "Checkbox",
    "CheckboxOption",
    "Content",
    "ContentItem",
    "EmphasisContent",
    "File",
    "HorizontalContent",
    "Image",
    "ImageTextArea",
    "InvalidMessage",
    "JumpItem",
    "MainTitle",
    "Markdown",
    "MediaFile",
    "MiniProgramNotice",
    "MpNews",
    "MpNewsArticle",
    "MultipleInteraction",
    "News",
    "NewsArticle",
    "NewsNotice",
    "Option",
    "QuoteArea",
    "ReplacedButton",
    "SelectItem",
    "Source",
    "SubmitButton",
    "TemplateCard",
    "Text",
    "TextCard",
    "TextNotice",
    "UpdatedButtonInteraction",
    "UpdatedCard",
    "UpdatedMultipleInteraction",
    "UpdatedNewsNotice",
    "UpdatedTextNotice",
    "UpdatedVoteInteraction",
    "VerticalContent",
    "Video",
    "Voice",
    "VoteInteraction",
    "check_media",
    "content_from_body",
    "json_schema",
    "media_warnings",
    "recipients_of_body",
]
