"""The parts of a template_card one looks at or follows; lengths only "suggested" are not enforced (doc 90236).

Where no errcode is documented for a missing or wrong value: 40063 and 40058.
"""

from worker.simulator.answers import WRONG_JSON, RefusedError
from worker.simulator.audience import INVALID_USER_PREFIX
from worker.simulator.reading import Part

MOST_KEY_BYTES = 1024
MOST_MENU_ACTIONS = 3
"""By docs 90236 and 94888; the passive reply, doc 90241, allows 10."""
MOST_HORIZONTAL, MOST_VERTICAL, MOST_JUMPS = 6, 4, 3
LEAST_ASPECT_RATIO, ASPECT_RATIO_END = 1.3, 2.25
"""Said to be above the first, which is the default and stands in the example, so that it is allowed here."""

_NO_JUMP, _TO_URL, _TO_MINI_PROGRAM = 0, 1, 2
_TO_FILE, _TO_MEMBER = 2, 3
_ANY_JUMP = (_NO_JUMP, _TO_URL, _TO_MINI_PROGRAM)

_JUMP = frozenset({"type", "url", "appid", "pagepath"})
_SOURCE = frozenset({"icon_url", "desc", "desc_color"})
_PLAIN_SOURCE = frozenset({"icon_url", "desc"})
_TITLE = frozenset({"title", "desc"})
_MENU = frozenset({"desc", "action_list"})
_MENU_ACTION = frozenset({"text", "key"})
_QUOTE = _JUMP | {"title", "quote_text"}
_HORIZONTAL = frozenset({"type", "keyname", "value", "url", "media_id", "userid"})
_JUMP_ITEM = _JUMP | {"title"}
_IMAGE = frozenset({"url", "aspect_ratio"})
_IMAGE_TEXT = _JUMP | {"title", "desc", "image_url"}


def source(card: Part) -> None:
    """Where the card comes from."""
    if part := card.part("source"):
        part.lists(_SOURCE)
        part.texts("icon_url", "desc")
        part.choice("desc_color", (0, 1, 2, 3))


def plain_source(card: Part) -> None:
    """The same without a colour: vote_interaction and multiple_interaction."""
    if part := card.part("source"):
        part.lists(_PLAIN_SOURCE)
        part.texts("icon_url", "desc")


def action_menu(card: Part) -> None:
    """The menu in the corner: 42020 no text, 42019 no key, 42018 key too long, 42051 key twice."""
    part = card.part("action_menu")
    if part is None:
        return
    part.lists(_MENU)
    part.texts("desc")
    keys: set[str] = set()
    for action in part.parts("action_list", 1, MOST_MENU_ACTIONS, 40058):
        action.lists(_MENU_ACTION)
        action.text("text", 42020)
        key = action.text("key", 42019, most_bytes=MOST_KEY_BYTES, over=42018)
        if key in keys:
            raise RefusedError(42051)
        keys.add(key)


def main_title(card: Part) -> None:
    """The title: 41016 without."""
    part = card.part("main_title", 41016)
    assert part is not None  # noqa: S101 - refused in the line above
    part.lists(_TITLE)
    part.text("title", 41016)
    part.texts("desc")


def main_title_or_sub_title(card: Part) -> None:
    """text_notice: either the title or sub_title_text, 41016 without both."""
    part = card.part("main_title")
    title = ""
    if part:
        part.lists(_TITLE)
        title = part.text("title")
        part.texts("desc")
    if not title and not card.content.get("sub_title_text"):
        raise RefusedError(41016)


def sub_title_text(card: Part) -> None:
    """A second text."""
    card.texts("sub_title_text")


def quote_area(card: Part) -> None:
    """A quotation."""
    if part := card.part("quote_area"):
        part.lists(_QUOTE)
        _jump(part)
        part.texts("title", "quote_text")


def emphasis_content(card: Part) -> None:
    """A figure in large print."""
    if part := card.part("emphasis_content"):
        part.lists(_TITLE)
        part.texts("title", "desc")


def horizontal_content_list(card: Part) -> None:
    """Up to 6 lines (42035): 42027 no keyname, 42028 no url, 42029 no media_id, 42050 no userid or a wrong one."""
    for line in card.parts("horizontal_content_list", 0, MOST_HORIZONTAL, 42035):
        line.lists(_HORIZONTAL)
        line.text("keyname", 42027)
        line.texts("value", "url", "media_id", "userid")
        kind = line.choice("type", (_NO_JUMP, _TO_URL, _TO_FILE, _TO_MEMBER))
        if kind == _TO_URL:
            line.url("url", 42028)
        elif kind == _TO_FILE:
            line.media("media_id", "file", 42029)
        elif kind == _TO_MEMBER and line.text("userid", 42050).lower().startswith(INVALID_USER_PREFIX):
            raise RefusedError(42050)


def vertical_content_list(card: Part) -> None:
    """Up to 4 paragraphs (42036): 42033 no title."""
    for paragraph in card.parts("vertical_content_list", 0, MOST_VERTICAL, 42036):
        paragraph.lists(_TITLE)
        paragraph.text("title", 42033)
        paragraph.texts("desc")


def jump_list(card: Part) -> None:
    """Up to 3 links (42042): 42033 no title."""
    for link in card.parts("jump_list", 0, MOST_JUMPS, 42042):
        link.lists(_JUMP_ITEM)
        link.text("title", 42033)
        _jump(link)


def card_action(card: Part) -> None:
    """Where the whole card leads, which text_notice and news_notice must say: 42045."""
    part = card.part("card_action", 42045)
    assert part is not None  # noqa: S101 - refused in the line above
    part.lists(_JUMP)
    part.choice("type", (_TO_URL, _TO_MINI_PROGRAM), 42045, default=None)
    _jump(part)


def optional_card_action(card: Part) -> None:
    """The same for button_interaction, which need not lead anywhere."""
    if part := card.part("card_action"):
        part.lists(_JUMP)
        part.choice("type", _ANY_JUMP, 42045)
        _jump(part)


def card_image(card: Part) -> None:
    """The picture of news_notice, if there is no image_text_area: 42044 without a url."""
    part = card.part("card_image", 0 if card.content.get("image_text_area") is not None else 42044)
    if part is None:
        return
    part.lists(_IMAGE)
    part.text("url", 42044)
    ratio = part.content.get("aspect_ratio")
    if ratio is None:
        return
    if type(ratio) not in (int, float):
        raise RefusedError(40058, warning=WRONG_JSON)
    if not LEAST_ASPECT_RATIO <= ratio < ASPECT_RATIO_END:  # type: ignore[operator]  # a number by now
        raise RefusedError(40058)


def image_text_area(card: Part) -> None:
    """A picture beside a text: 40063 without image_url."""
    if part := card.part("image_text_area"):
        part.lists(_IMAGE_TEXT)
        _jump(part)
        part.texts("title", "desc")
        part.text("image_url", 40063)


def _jump(part: Part) -> None:
    """Type 1 leads to a url (42028 without), 2 to a mini program (42030 without appid), 0 nowhere."""
    kind = part.choice("type", _ANY_JUMP)
    if kind == _TO_URL:
        part.url("url", 42028)
    elif kind == _TO_MINI_PROGRAM:
        part.text("appid", 42030)
    part.texts("url", "appid", "pagepath")
