"""template_card: which blocks each of the five types has, and what the card as a whole must have (doc 90236)."""

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from worker.simulator import card_blocks as blocks
from worker.simulator import card_inputs as inputs
from worker.simulator.answers import RefusedError
from worker.simulator.reading import Part

INTERACTIVE = ("button_interaction", "vote_interaction", "multiple_interaction")
"""Cards that always call back; the others do with an action_menu."""

_MAY_BE_REQUIRED = frozenset(
    {"main_title", "card_action", "card_image", "button_list", "checkbox", "select_list", "submit_button"}
)
"""Blocks whose check has something to say even if they are not there."""

_TASK_ID = re.compile(r"[0-9A-Za-z_@-]{1,128}")


class _CardType(NamedTuple):
    """The fields a card type has, those it has in an update, and the checks of its blocks by name, in order."""

    fields: frozenset[str]
    fields_of_update: frozenset[str]
    checks: Mapping[str, Callable[[Part], None]]


def check_card(card: Part) -> None:
    """Check a card, whether it is sent or replaces another (doc 94888); its reading then knows what it is.

    42031 card_type, 42014 task_id; the codes of the blocks stand with them.
    """
    reading = card.reading
    card_type = _CARD_TYPES.get(card.text("card_type", 42031))
    if card_type is None:
        raise RefusedError(42031)
    reading.card_type = str(card.content["card_type"])
    card.lists(card_type.fields_of_update if reading.updating else card_type.fields)
    content = card.content
    reading.calls_back = reading.card_type in INTERACTIVE or content.get("action_menu") is not None
    for name, check in card_type.checks.items():
        if name in content or name in _MAY_BE_REQUIRED:
            check(card)
    if reading.updating:
        card.texts("replace_text")
    # The task goes on when its card is replaced: the examples of doc 94888 have no task_id.
    reading.task_id = card.text("task_id", 42014 if reading.calls_back and not reading.updating else 0)
    if reading.task_id and not _TASK_ID.fullmatch(reading.task_id):
        raise RefusedError(42014)


def _card_type(**checks: Callable[[Part], None]) -> _CardType:
    fields = frozenset({*checks, "card_type", "task_id"})
    return _CardType(fields, fields | {"replace_text"}, checks)


_CARD_TYPES = {
    "text_notice": _card_type(
        source=blocks.source,
        action_menu=blocks.action_menu,
        main_title=blocks.main_title_or_sub_title,
        quote_area=blocks.quote_area,
        emphasis_content=blocks.emphasis_content,
        sub_title_text=blocks.sub_title_text,
        horizontal_content_list=blocks.horizontal_content_list,
        jump_list=blocks.jump_list,
        card_action=blocks.card_action,
    ),
    "news_notice": _card_type(
        source=blocks.source,
        action_menu=blocks.action_menu,
        main_title=blocks.main_title,
        quote_area=blocks.quote_area,
        card_image=blocks.card_image,
        image_text_area=blocks.image_text_area,
        vertical_content_list=blocks.vertical_content_list,
        horizontal_content_list=blocks.horizontal_content_list,
        jump_list=blocks.jump_list,
        card_action=blocks.card_action,
    ),
    "button_interaction": _card_type(
        source=blocks.source,
        action_menu=blocks.action_menu,
        main_title=blocks.main_title,
        quote_area=blocks.quote_area,
        sub_title_text=blocks.sub_title_text,
        horizontal_content_list=blocks.horizontal_content_list,
        card_action=blocks.optional_card_action,
        button_selection=inputs.button_selection,
        button_list=inputs.button_list,
    ),
    "vote_interaction": _card_type(
        source=blocks.plain_source,
        main_title=blocks.main_title,
        checkbox=inputs.checkbox,
        submit_button=inputs.submit_button,
    ),
    "multiple_interaction": _card_type(
        source=blocks.plain_source,
        main_title=blocks.main_title,
        select_list=inputs.select_list,
        submit_button=inputs.submit_button,
    ),
}
