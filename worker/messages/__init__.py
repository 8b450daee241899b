"""What can be sent, to whom, and by whom: the words of the project as types, without I/O.

This package imports nothing else of the project. A new message type is one class in a module of its family and
one entry in `TYPES`.
"""

from collections.abc import Mapping
from typing import Any

from worker.messages.content import Content, InvalidMessage
from worker.messages.text import Text

TYPES: Mapping[str, type[Content]] = {kind.msgtype: kind for kind in (Text,)}


def content_from_body(body: Mapping[str, Any]) -> Content:
    """Read a message in WeCom's own form, `{"msgtype": "text", "text": {"content": "..."}}`.

    Raises:
        InvalidMessage: the type or a field of it is unknown, missing or outside its limits.
    """
    msgtype = body.get("msgtype")
    kind = TYPES.get(msgtype) if isinstance(msgtype, str) else None
    if kind is None:
        raise InvalidMessage(f"msgtype: {msgtype!r} is not known; use one of: {', '.join(TYPES)}")
    return kind.from_body(dict(body))


__all__ = ["TYPES", "Content", "InvalidMessage", "Text", "content_from_body"]
