"""What a message says, checked by its type; a type is added or sharpened by one function and one line below."""

from collections.abc import Callable, Mapping

import orjson

from worker.simulator.answers import WRONG_JSON, RefusedError
from worker.simulator.articles import check_mpnews, check_news, check_textcard
from worker.simulator.audience import EVERYONE
from worker.simulator.cards import check_card
from worker.simulator.notices import check_miniprogram_notice
from worker.simulator.reading import Part, Reading, has_more_bytes
from worker.simulator.settings import Settings

MOST_TEXT_BYTES = 2048
"""Text of a text message, and of a markdown message (doc 90236)."""

_ENVELOPE = frozenset({"touser", "toparty", "totag", "msgtype", "agentid"})
_SECONDS = range(2**63)
OPTION_NAMES = ("safe", "enable_id_trans", "enable_duplicate_check", "duplicate_check_interval")
_SWITCH = (0, 1)


def content_of(message: dict[str, object], settings: Settings) -> tuple[str, str, Reading | None]:
    """Read msgtype, the object of that name and the options.

    Returns:
        The type, what is shown, and what else the reading found; None where that is nothing.

    Raises:
        RefusedError: 40008 a type that does not exist, or what the type's own check refuses (docs 90236, 90313).
    """
    msgtype = message.get("msgtype")
    if not isinstance(msgtype, str) or msgtype not in OPTIONS:
        raise RefusedError(40008)
    if msgtype == "text":
        shown, reading = _text(message.get("text"), settings)
        unknown = _unlisted_options(message, msgtype)
        if unknown:
            reading = reading or Reading(settings)
            reading.unknown += unknown
        return msgtype, shown, reading
    part = message.get(msgtype)
    if part is None:
        raise RefusedError(40058)
    reading = Reading(settings, unknown=_unlisted_options(message, msgtype))
    CHECKS[msgtype](Part(part, reading, msgtype))
    if msgtype == "miniprogram_notice" and message.get("touser") == EVERYONE:
        raise RefusedError(40058)  # not allowed (doc 90236); which errcode it earns is not documented
    return msgtype, orjson.dumps(part).decode(), reading


def _unlisted_options(message: dict[str, object], msgtype: str) -> list[str]:
    """Check the options a type lists; returns the names of all fields it does not list (doc 90236).

    40074 for `safe` of news, 40058 for any other wrong value; what an option earns that a type does not list is not
    documented, so it is ignored.
    """
    if msgtype == "news" and message.get("safe"):
        raise RefusedError(40074)
    allowed = OPTIONS[msgtype]
    for name in OPTION_NAMES:
        value = message.get(name)
        if value is not None and name in allowed and (type(value) is not int or value not in allowed[name]):
            raise RefusedError(40058, warning="" if type(value) is int else WRONG_JSON)
    known = _KNOWN[msgtype]
    return [] if known.issuperset(message) else [name for name in message if name not in known]


def _text(part: object, settings: Settings) -> tuple[str, Reading | None]:
    """Text: 44004 if empty; past 2048 bytes cut (doc 90236) or refused with 45002 (doc 90313).

    Most messages are text, so the common case does without a `Part`.
    """
    if part is None:
        raise RefusedError(44004)
    if type(part) is dict and len(part) == 1:
        content = part.get("content")
        if type(content) is str and content and not has_more_bytes(content, MOST_TEXT_BYTES):
            return content, None
    reading = Reading(settings)
    text = Part(part, reading, "text")
    text.lists(_CONTENT)
    return text.cut_bytes("content", MOST_TEXT_BYTES, 44004), reading


def _media(kind: str) -> Callable[[Part], None]:
    def check(part: Part) -> None:
        part.lists(_MEDIA_ID)
        part.media("media_id", kind)

    return check


def _video(part: Part) -> None:
    """Video: title 128 bytes, description 512, both cut (doc 90236)."""
    part.lists(_VIDEO)
    part.media("media_id", "video")
    part.cut_bytes("title", 128)
    part.cut_bytes("description", 512)


def _markdown(part: Part) -> None:
    """Markdown: 2048 bytes; past that 40058, as the group webhook answers, for apps it is not documented."""
    part.lists(_CONTENT)
    part.text("content", 44004, most_bytes=MOST_TEXT_BYTES)


_CONTENT = frozenset({"content"})
_MEDIA_ID = frozenset({"media_id"})
_VIDEO = frozenset({"media_id", "title", "description"})

CHECKS: dict[str, Callable[[Part], None]] = {
    "image": _media("image"),
    "voice": _media("voice"),
    "video": _video,
    "file": _media("file"),
    "textcard": check_textcard,
    "news": check_news,
    "mpnews": check_mpnews,
    "markdown": _markdown,
    "miniprogram_notice": check_miniprogram_notice,
    "template_card": check_card,
}
"""Every type but text."""

_REPEATS: dict[str, range | tuple[int, ...]] = {
    "enable_duplicate_check": _SWITCH,
    "duplicate_check_interval": _SECONDS,
}
_TRANSLATED = {**_REPEATS, "enable_id_trans": _SWITCH}
_SAFE = {**_REPEATS, "safe": _SWITCH}

OPTIONS: Mapping[str, Mapping[str, range | tuple[int, ...]]] = {
    "text": {**_TRANSLATED, "safe": _SWITCH},
    "image": _SAFE,
    "voice": _REPEATS,
    "video": _SAFE,
    "file": _SAFE,
    "textcard": _TRANSLATED,
    "news": _TRANSLATED,
    "mpnews": {**_TRANSLATED, "safe": (0, 1, 2)},
    "markdown": _REPEATS,
    "miniprogram_notice": _TRANSLATED,
    "template_card": _TRANSLATED,
}
"""The types of message/send and the options each lists (doc 90236).

markdown_v2 belongs to the group webhook only (doc 99110), template_msg to third-party apps (doc 90372), taskcard is
gone: 40008.
"""

_KNOWN = {msgtype: _ENVELOPE.union(options, (msgtype,)) for msgtype, options in OPTIONS.items()}
