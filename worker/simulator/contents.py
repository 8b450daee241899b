"""What a message says, checked by its type; a type is added or sharpened by one function and one line below."""

from collections.abc import Callable

import orjson

from worker.simulator.answers import WRONG_JSON, RefusedError
from worker.simulator.settings import Settings

MOST_TEXT_BYTES = 2048
"""Text of a text message (doc 90236)."""


def content_of(message: dict[str, object], settings: Settings) -> tuple[str, str, bool]:
    """Read msgtype and the object of that name; returns the type, what is shown, and whether it was cut.

    Raises:
        RefusedError: 40008 a type that does not exist, or what the type's own check refuses (docs 90236, 90313).
    """
    msgtype = message.get("msgtype")
    check = CHECKS.get(msgtype) if isinstance(msgtype, str) else None
    if check is None:
        raise RefusedError(40008)
    shown, cut = check(message.get(str(msgtype)), settings)
    return str(msgtype), shown, cut


def _text(part: object, settings: Settings) -> tuple[str, bool]:
    """Text: 44004 if empty; past 2048 bytes cut (doc 90236) or refused with 45002 (doc 90313)."""
    if part is not None and not isinstance(part, dict):
        raise RefusedError(40058, warning=WRONG_JSON)
    content = part.get("content") if part else None
    if content is None or content == "":
        raise RefusedError(44004)
    if not isinstance(content, str):
        raise RefusedError(40058, warning=WRONG_JSON)
    if len(content) * 4 <= MOST_TEXT_BYTES:
        return content, False
    encoded = content.encode()
    if len(encoded) <= MOST_TEXT_BYTES:
        return content, False
    if settings.long_text == "refuse":
        raise RefusedError(45002)
    return encoded[:MOST_TEXT_BYTES].decode(errors="ignore"), True


def _any_object(part: object, _settings: Settings) -> tuple[str, bool]:
    """Any other type: its object must be there and not be empty; what is in it is not looked at."""
    if not part or not isinstance(part, dict):
        raise RefusedError(40058)
    return orjson.dumps(part).decode(), False


CHECKS: dict[str, Callable[[object, Settings], tuple[str, bool]]] = {
    "text": _text,
    "image": _any_object,
    "voice": _any_object,
    "video": _any_object,
    "file": _any_object,
    "textcard": _any_object,
    "news": _any_object,
    "mpnews": _any_object,
    "markdown": _any_object,
    "miniprogram_notice": _any_object,
    "template_card": _any_object,
    "template_msg": _any_object,
}
"""The types of message/send (docs 90236, 90372); markdown_v2 belongs to the group webhook only (doc 99110)."""
