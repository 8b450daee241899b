"""miniprogram_notice (doc 90236); an appid tells by its name how it fares."""

import re

from worker.simulator.answers import RefusedError
from worker.simulator.reading import Part

UNLINKED_APPID_PREFIX = "wxunlinked"
"""In the simulator a mini program called so is not linked to the corp; any other is."""

MOST_PAGE_BYTES = 1024
TITLE_CHARACTERS = range(4, 13)
MOST_ITEMS = 10
MOST_KEY_CHARACTERS, MOST_VALUE_CHARACTERS = 10, 30

_FIELDS = frozenset({"appid", "page", "title", "description", "emphasis_first_item", "content_item"})
_ITEM = frozenset({"key", "value"})
_APPID = re.compile(r"wx[0-9A-Za-z]+")


def check_miniprogram_notice(part: Part) -> None:
    """90200 without appid, 90207 no appid, 90206 not linked, 90204 page too long, 90201 to 90203 items.

    What a title or description of less than 4 or more than 12 characters earns is not documented: 40058. How other
    characters than Chinese count is not either: as one.
    """
    part.lists(_FIELDS)
    appid = part.text("appid", 90200)
    if not _APPID.fullmatch(appid):
        raise RefusedError(90207)
    if appid.startswith(UNLINKED_APPID_PREFIX):
        raise RefusedError(90206)
    part.text("page", most_bytes=MOST_PAGE_BYTES, over=90204)
    title, description = part.text("title", 41016), part.text("description")
    if len(title) not in TITLE_CHARACTERS or (description and len(description) not in TITLE_CHARACTERS):
        raise RefusedError(40058)
    part.flag("emphasis_first_item")
    for item in part.parts("content_item", 0, MOST_ITEMS, 90201):
        _check_item(item)


def _check_item(item: Part) -> None:
    """An item without key and value is ignored; with one of them 90202 or 90203 miss the other (docs 90236, 90313)."""
    item.lists(_ITEM)
    key, value = item.text("key"), item.text("value")
    if not key and not value:
        return
    if not 0 < len(key) <= MOST_KEY_CHARACTERS:
        raise RefusedError(90202)
    if not 0 < len(value) <= MOST_VALUE_CHARACTERS:
        raise RefusedError(90203)
