"""What may lie in a queue of Redis, and what of it kombu can carry.

A queue of Redis is a list, and whoever reaches it can put anything there. kombu takes an entry for what its own clients
write; anything else raises in the worker's main loop after Redis has already let go of the entry. So here each entry is
looked at first. What is no message of kombu becomes one, with the whole entry as its body, which the consumer then
finds to be no task.
"""

import base64
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from kombu.utils.encoding import bytes_to_str
from kombu.utils.json import dumps, loads

UNREADABLE = "application/octet-stream"
"""The content type of what was no message."""
BODY_ENCODINGS = (None, "base64", "utf-8")
MANY_BRACKETS = 200
"""Behind so many, an entry may be nested so deeply that it can be read and not be written again."""
DEFAULT_PRIORITY = 0


def carriable(entry: bytes, queue: str) -> bytes:
    """Return an entry as kombu can read it, note it as unanswered, and put it back into the queue it came from."""
    text = bytes_to_str(entry)
    try:
        found = loads(text)
        if not _is_message(found):
            return _wrapped(entry, queue)
        properties = found["properties"]
        if _belongs_to(queue, properties):
            return entry if text.count("[") + text.count("{") < MANY_BRACKETS else dumps(found).encode()
        properties["delivery_info"] = {"exchange": "", "routing_key": queue}
        properties["priority"] = DEFAULT_PRIORITY
        return dumps(found).encode()
    except Exception:  # noqa: BLE001 - json, base64 and kombu's own types raise many things
        return _wrapped(entry, queue)


def _is_message(found: Any) -> bool:  # noqa: ANN401 - what was in the list
    match found:
        case {"body": str(body), "properties": {"delivery_tag": str(tag), **properties}, **rest} if (
            tag and tag.isascii()
        ):
            encoding = properties.get("body_encoding")
            if encoding not in BODY_ENCODINGS:
                return False
            if encoding == "base64":
                base64.b64decode(body)
            types = (rest.get("content-type"), rest.get("content-encoding"))
            return all(isinstance(one, str | None) for one in types) and isinstance(rest.get("headers"), dict | None)
        case _:
            return False


def _belongs_to(queue: str, properties: Mapping[str, Any]) -> bool:
    """Whether it would be put back into the queue it came from."""
    priority = properties.get("priority", DEFAULT_PRIORITY)
    match properties.get("delivery_info"):
        case {"exchange": "", "routing_key": str(routing_key)}:
            return routing_key == queue and isinstance(priority, int) and not isinstance(priority, bool)
        case _:
            return False


def _wrapped(entry: bytes, queue: str) -> bytes:
    return dumps(
        {
            "body": base64.b64encode(entry).decode(),
            "content-type": UNREADABLE,
            "content-encoding": "binary",
            "headers": {},
            "properties": {
                "body_encoding": "base64",
                "delivery_tag": str(uuid4()),
                "delivery_info": {"exchange": "", "routing_key": queue},
                "priority": DEFAULT_PRIORITY,
            },
        }
    ).encode()
