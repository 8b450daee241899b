"""Changes of cards that were sent (doc 94888, 更新模板卡片消息)."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Self

from pydantic import InstanceOf, PlainSerializer, ValidationError, WithJsonSchema, model_validator
from pydantic_core import PydanticSerializationError

from worker.messages.card_questions import SubmitButton
from worker.messages.content import with_media_ids
from worker.messages.limits import Characters, Flag, Items, Limit, TaskId, UserId, Whole, Words
from worker.messages.mediafile import MediaFile
from worker.messages.part import Part, constructor
from worker.messages.refusals import InvalidMessage, fault, one_line, path_of
from worker.messages.template_card import (
    SUGGESTED_FOR_QUESTIONS,
    ButtonInteractionFields,
    MultipleInteractionFields,
    NewsNoticeFields,
    TemplateCard,
    TextNoticeFields,
    VoteInteractionFields,
    class_of_card,
)

MOST_USERS, MOST_PARTIES, MOST_TAGS = 1000, 100, 100
LARGEST_NUMBER = 2**63 - 1
"""No limit of WeCom's: larger numbers cannot be written on the wire."""


class UpdatedCard(Part):
    """A whole new card in place of one that was sent.

    Attributes:
        task_id: as when the card was sent; not required here.
    """

    suggested_otherwise: ClassVar[Mapping[str, int]] = {}

    task_id: TaskId | None = None

    @classmethod
    def _refusal(cls, error: ValidationError) -> str:
        return one_line(error, cls, ("template_card",))

    @classmethod
    def from_fields(cls, fields: Mapping[str, Any]) -> Self:
        """Read the object `template_card` of an update.

        Raises:
            InvalidMessage: a field is missing, unknown or outside its limits.
        """
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            raise InvalidMessage(cls._refusal(error)) from None


class UpdatedTextNotice(TextNoticeFields, UpdatedCard):
    """A text notice in place of a card that was sent (doc 94888)."""


class UpdatedNewsNotice(NewsNoticeFields, UpdatedCard):
    """A news notice in place of a card that was sent (doc 94888)."""


class UpdatedButtonInteraction(ButtonInteractionFields, UpdatedCard):
    """A button card in place of a card that was sent (doc 94888).

    Attributes:
        replace_text: shown on one grey button in place of the buttons.
    """

    replace_text: Characters | None = None


class UpdatedVoteInteraction(VoteInteractionFields, UpdatedCard):
    """A vote in place of a card that was sent (doc 94888).

    Attributes:
        submit_button: the button that sends the answer, if it can still be sent.
        replace_text: shown on a grey button in place of it.
    """

    suggested_otherwise: ClassVar[Mapping[str, int]] = SUGGESTED_FOR_QUESTIONS

    submit_button: SubmitButton | None = None
    replace_text: Characters | None = None


class UpdatedMultipleInteraction(MultipleInteractionFields, UpdatedCard):
    """A card with several questions in place of a card that was sent (doc 94888).

    Attributes:
        submit_button: the button that sends the answers, if they can still be sent.
        replace_text: shown on a grey button in place of it.
    """

    suggested_otherwise: ClassVar[Mapping[str, int]] = SUGGESTED_FOR_QUESTIONS

    submit_button: SubmitButton | None = None
    replace_text: Characters | None = None


UPDATED_CARDS: Mapping[str, type[UpdatedCard]] = MappingProxyType(
    {
        "text_notice": UpdatedTextNotice,
        "news_notice": UpdatedNewsNotice,
        "button_interaction": UpdatedButtonInteraction,
        "vote_interaction": UpdatedVoteInteraction,
        "multiple_interaction": UpdatedMultipleInteraction,
    }
)
"""The class of each `card_type` in an update."""


class ReplacedButton(Part):
    """A card's buttons, used up.

    Attributes:
        replace_name: what the button says from now on; it can no longer be clicked.
    """

    replace_name: Words


class _Numbered(Limit):
    __slots__ = ()

    def checked(self, value: int) -> int:
        if not 1 <= value <= LARGEST_NUMBER:
            raise ValueError("is no id; WeCom numbers them from 1")
        return value

    def in_json_schema(self) -> dict[str, Any]:
        return {"minimum": 1, "maximum": LARGEST_NUMBER}


def _card_fields(card: TemplateCard | UpdatedCard) -> dict[str, Any]:
    if isinstance(card, TemplateCard):
        return dict(card.body()[card.msgtype])
    return card.model_dump(mode="json", exclude_none=True)


NewCard = Annotated[
    InstanceOf[TemplateCard] | InstanceOf[UpdatedCard],
    PlainSerializer(_card_fields),
    WithJsonSchema({"oneOf": [{"$ref": f"#/$defs/{kind.__name__}"} for kind in UPDATED_CARDS.values()]}),
]
Number = Annotated[Whole, _Numbered()]


class CardUpdate(Part):
    """What becomes of a card that was sent, and for whom (doc 94888); one of button and template_card.

    `CardUpdate(replace_name="...", atall=1)` stands for `CardUpdate(button=ReplacedButton(...), atall=1)`. The
    agentid and the response_code are added by who sends it.

    Attributes:
        button: the buttons of a button, vote or multiple card are used up and say this.
        template_card: a whole new card of any type.
        userids: members for whom it changes, at most 1000.
        partyids: departments, at most 100.
        tagids: tags, at most 100.
        atall: 1 changes it for everybody who received it.
        enable_id_trans: 1 replaces ids by names in the new card, see `TranslatableContent`.
    """

    userids: Annotated[tuple[UserId, ...], Items(MOST_USERS)] | None = None
    partyids: Annotated[tuple[Number, ...], Items(MOST_PARTIES)] | None = None
    tagids: Annotated[tuple[Number, ...], Items(MOST_TAGS)] | None = None
    atall: Flag | None = None
    enable_id_trans: Flag | None = None
    button: ReplacedButton | None = None
    template_card: NewCard | None = None

    @constructor
    def __init__(self, *, replace_name: str | None = None, **fields: Any) -> None:  # noqa: ANN401 - judged below
        if replace_name is not None:
            if fields.get("button") is not None:
                raise InvalidMessage("replace_name: give it or button")
            fields["button"] = {"replace_name": replace_name}
        super().__init__(**_with_card_read(fields))

    @model_validator(mode="after")
    def _one_change_for_somebody(self) -> Self:
        if (self.button is None) == (self.template_card is None):
            raise fault("button", "exactly one of button.replace_name and template_card is needed")
        if not (self.userids or self.partyids or self.tagids or self.atall):
            raise fault("userids", "nobody is named; give userids, partyids, tagids or atall 1 (errcode 82101)")
        return self

    def body(self) -> dict[str, Any]:
        """Return the request without agentid and response_code.

        Raises:
            InvalidMessage: a file stands where the wire needs a media_id; upload it and use `with_media_ids`.
        """
        try:
            return self.model_dump(mode="json", exclude_none=True)
        except PydanticSerializationError:
            steps, _, _ = next(self.files())
            raise InvalidMessage(
                f"{path_of(steps)}: the file must be uploaded first, the wire needs its media_id"
            ) from None

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> Self:
        """Read a request; its agentid and response_code are ignored.

        Raises:
            InvalidMessage: a field is missing, unknown or outside its limits.
        """
        fields = {name: value for name, value in body.items() if name not in ("agentid", "response_code")}
        try:
            return cls.model_validate(_with_card_read(fields))
        except ValidationError as error:
            raise InvalidMessage(cls._refusal(error)) from None

    def warnings(self) -> tuple[str, ...]:
        """Say which texts are longer than WeCom suggests, one line each."""
        if self.template_card is None:
            return ()
        if isinstance(self.template_card, TemplateCard):
            return self.template_card.warnings()
        passed = self.template_card.suggestions_passed(self.template_card.suggested_otherwise)
        return tuple(f"{path_of(('template_card', *steps))}: {sentence}" for steps, sentence in passed)

    def media_files(self) -> tuple[tuple[str, MediaFile], ...]:
        """The kind and file of everything that must be uploaded first, always in the same order."""
        return tuple((kind, file) for _, kind, file in self.files())

    def with_media_ids(self, ids: Sequence[str]) -> Self:
        """Return the update with these media_ids in place of its files, in the order of `media_files`.

        Raises:
            ValueError: there are not as many media_ids as files, or one is no media_id.
        """
        return with_media_ids(self, ids)


def _with_card_read(fields: Mapping[str, Any]) -> dict[str, Any]:
    card = fields.get("template_card")
    if card is None or isinstance(card, TemplateCard | UpdatedCard):
        return dict(fields)
    if not isinstance(card, dict):
        raise InvalidMessage("template_card: must be a card or an object")
    return dict(fields) | {"template_card": class_of_card(card, UPDATED_CARDS).from_fields(card)}
