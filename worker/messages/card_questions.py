"""What template cards ask: buttons, choices and lists (doc 90236, 模板卡片消息)."""

from typing import Annotated, ClassVar, Self

from pydantic import model_validator

from worker.messages.limits import Characters, Choice, Items, Key, OptionId, Suggested, Truth, Unique, Url, Whole, Words
from worker.messages.part import ByType, Part
from worker.messages.refusals import fault


class Option(Part):
    """One entry of a drop-down list.

    Attributes:
        id: what choosing it reports, at most 128 bytes, another for each entry (errcode 42040).
        text: at most 16 characters suggested (42041 without it).
    """

    id: OptionId
    text: Annotated[Words, Suggested(16)]


class Selection(Part):
    """A drop-down list.

    Attributes:
        question_key: what its answer is reported under, at most 1024 bytes (errcode 42043).
        title: what stands before it.
        option_list: 1 to 10 entries (42037).
        selected_id: the id of the entry that is chosen at first; the first if not given.
    """

    question_key: Key
    title: Characters | None = None
    option_list: Annotated[tuple[Option, ...], Items(10, least=1), Unique("id")]
    selected_id: OptionId | None = None

    @model_validator(mode="after")
    def _selected_is_an_option(self) -> Self:
        if self.selected_id is not None and all(option.id != self.selected_id for option in self.option_list):
            raise fault("selected_id", "is not the id of an entry of option_list")
        return self


class ButtonSelection(Selection):
    """The drop-down list of a button card."""


class SelectItem(Selection):
    """A drop-down list of a multiple card.

    Attributes:
        disable: whether it is shown but cannot be changed; in a card update only.
    """

    disable: Truth | None = None


class Button(ByType):
    """A button.

    Attributes:
        type: 0 reports a click and needs key (if not given), 1 opens a page and needs url.
        text: at most 10 characters suggested (errcode 42038 without it).
        style: 1 to 4; 1 if not given.
        key: what a click reports, at most 1024 bytes, another for each button (42039).
        url: http or https, at most 2048 bytes.
    """

    needs: ClassVar = {0: "key", 1: "url"}

    type: Annotated[Whole, Choice((0, 1))] | None = None
    text: Annotated[Words, Suggested(10)]
    style: Annotated[Whole, Choice((1, 2, 3, 4))] | None = None
    key: Key | None = None
    url: Url | None = None


class CheckboxOption(Part):
    """One choice of a vote.

    Attributes:
        id: what choosing it reports, at most 128 bytes, another for each choice.
        text: at most 17 characters suggested.
        is_checked: whether it is chosen at first.
    """

    id: OptionId
    text: Annotated[Words, Suggested(17)]
    is_checked: Truth


class Checkbox(Part):
    """The choices of a vote.

    Attributes:
        question_key: what the answer is reported under, at most 1024 bytes.
        option_list: 1 to 20 choices.
        mode: 0 one can be chosen (if not given), 1 several.
        disable: whether it is shown but cannot be changed; in a card update only.
    """

    question_key: Key
    option_list: Annotated[tuple[CheckboxOption, ...], Items(20, least=1), Unique("id")]
    mode: Annotated[Whole, Choice((0, 1))] | None = None
    disable: Truth | None = None


class SubmitButton(Part):
    """The button that sends the answers.

    Attributes:
        text: at most 10 characters suggested (errcode 42049); the page both requires it and gives it a default, so
            it is required.
        key: what a click reports, at most 1024 bytes (42046).
    """

    text: Annotated[Words, Suggested(10)]
    key: Key


ButtonList = Annotated[tuple[Button, ...], Items(6, least=1), Unique("key")]
"""1 to 6."""
SelectList = Annotated[tuple[SelectItem, ...], Items(3, least=1), Unique("question_key")]
"""1 to 3 (errcode 42047)."""
