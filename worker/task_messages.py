"""Which task a broker's message asks for, whichever protocol of Celery it was written in.

Celery believes what a message says of itself: headers and bodies of other types than its own raise errors in the
worker's main loop, and much of what it reads is of no use here. So a message is judged first, and then holds nothing
but what was judged. Callbacks and chains are refused: with them a program that may perhaps write into one queue alone
would have tasks sent into any, with the worker's own rights.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from kombu.message import Message
from kombu.utils.json import dumps

from worker.redis_entries import UNREADABLE

OURS = "wecom."
"""How the names of our tasks begin; Celery's own, which run whatever they are told, are carried out for nobody."""
FOLLOWERS = ("callbacks", "errbacks", "chain", "chord")
LONGEST_REASON = 300


class UnreadableError(Exception):
    """A message is no task that could be carried out; the text says why."""


@dataclass(frozen=True, slots=True)
class AskedTask:
    """What a message asks for; `at` and `expires` are Celery's eta and expires."""

    name: str
    task_id: str
    args: list[Any]
    kwargs: dict[str, Any]
    at: str | None
    expires: str | None


def read(message: Message) -> AskedTask:
    """Read a message of Celery's protocol 1 or 2.

    Raises:
        UnreadableError: it is none, or asks for what is not done here.
    """
    payload = _payload(message)
    headers: Mapping[str, Any] = message.headers or {}
    said: Mapping[str, Any] = headers
    match payload:
        case [args, kwargs, embedded] if "task" in headers:
            followers = embedded or {}
        case {"args": args, "kwargs": kwargs, **others} if "task" in headers:
            followers = others
        case _ if "task" in headers:
            raise UnreadableError("body: a list of arguments, keyword arguments and options is needed")
        case {"task": _, **others}:
            args, kwargs, said, followers = others.get("args", []), others.get("kwargs", {}), payload, others
        case _:
            raise UnreadableError("it is no task of Celery")
    if not (isinstance(args, list) and isinstance(kwargs, dict)):
        raise UnreadableError("body: args must be a list and kwargs an object")
    if not isinstance(followers, dict) or any(followers.get(name) for name in FOLLOWERS):
        raise UnreadableError("callbacks: chains, chords and links are not carried out here")
    return AskedTask(
        _text(said, "task"), _text(said, "id"), args, kwargs, _optional_text(said, "eta"), _optional_time(said)
    )


def rewrite(message: Message, asked: AskedTask, more: Mapping[str, str]) -> None:
    """Make a message say what was read of it, with more headers, and nothing else."""
    message.headers = {"lang": "py", "task": asked.name, "id": asked.task_id, **more}
    message.properties = {}
    match message.payload:
        case [_, _, embedded] if not embedded or set(embedded) <= set(FOLLOWERS):
            pass
        case _:
            told: Any = message  # kombu's stubs do not know that a body is bytes
            told.body = dumps([asked.args, asked.kwargs, None]).encode()
            told.content_type, told.content_encoding = "application/json", "utf-8"
            told._decoded_cache = None  # noqa: SLF001 - of the body before


def said_arguments(message: Message) -> tuple[list[Any], dict[str, Any]]:
    """Return a task's arguments, or as its only one the text that cannot be read as such."""
    try:
        payload = _payload(message)
    except UnreadableError:
        body = message.body
        return [body.decode(errors="backslashreplace") if isinstance(body, bytes) else str(body)], {}
    match payload:
        case [list(args), dict(kwargs), _] | {"args": list(args), "kwargs": dict(kwargs)}:
            return args, kwargs
        case _:
            return [payload], {}


def _payload(message: Message) -> Any:  # noqa: ANN401 - JSON
    if message.content_type == UNREADABLE:
        raise UnreadableError("it is no message of Celery")
    try:
        return message.payload
    except Exception as error:  # noqa: BLE001 - serialisers raise many things
        reason = f"it cannot be read: {type(error).__name__}: {error}"
        raise UnreadableError(reason[:LONGEST_REASON]) from None


def _text(said: Mapping[str, Any], name: str) -> str:
    value = said.get(name)
    if not isinstance(value, str) or not value:
        raise UnreadableError(f"{name}: a text is needed, not {type(value).__name__}")
    return value


def _optional_text(said: Mapping[str, Any], name: str) -> str | None:
    return None if said.get(name) is None else _text(said, name)


def _optional_time(said: Mapping[str, Any]) -> str | None:
    found = _optional_text(said, "expires")
    try:
        if found is not None:
            datetime.fromisoformat(found).timestamp()
    except (ValueError, OverflowError, OSError):
        raise UnreadableError("expires: it is no ISO 8601 time") from None
    return found
