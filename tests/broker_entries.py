"""Entries of a queue of Redis: right ones, and what is none but may lie there."""

import json
from uuid import uuid4

from broker_strategies import DEEP

HELLO = {"sender": "hr", "message": {"msgtype": "text", "text": {"content": "hello"}}, "users": ["a"]}


def entry(**changes: object) -> bytes:
    """An entry as kombu writes it, but for some of its parts; `...` takes one away."""
    right: dict[str, object] = {
        "body": json.dumps([[], HELLO, None]),
        "headers": {"task": "wecom.send", "id": "right"},
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "properties": {"delivery_tag": str(uuid4()), "delivery_info": {"exchange": "", "routing_key": "wecom"}},
    }
    return json.dumps({name: value for name, value in (right | changes).items() if value is not ...}).encode()


MALFORMED = {
    "a header task that is a list": entry(headers={"task": ["wecom.send"], "id": "1"}),
    "a header id that is a list": entry(headers={"task": "wecom.send", "id": ["1"]}),
    "a header id that is missing": entry(headers={"task": "wecom.send"}),
    "an eta that is a list": entry(headers={"task": "wecom.send", "id": "2", "eta": ["now"]}),
    "a delivery tag that is no text": entry(properties={"delivery_tag": "\ud800"}),
    "garbage": b"\xff\0{",
    "an empty entry": b"",
    "a number": b"5",
    "a body that is no base64": entry(
        body="a", properties={"delivery_tag": "t1", "body_encoding": "base64", "delivery_info": {}}
    ),
    "a body of another encoding": entry(properties={"delivery_tag": "t2", "body_encoding": "rot13"}),
    "no delivery tag": entry(properties={"delivery_tag": None}),
    "no properties": entry(properties=...),
    "properties that are a list": entry(properties=[]),
    "headers that are a text": entry(headers="task"),
    "a body nested deeply": entry(body=json.dumps(DEEP)),
    "headers nested deeply": b'{"headers": ' + b'{"a":' * 900 + b"1" + b"}" * 900 + b"}",
    "arguments nested beyond reading": b"[" * 100_000,
    "a number of 5000 digits": b"9" * 5000,
    "a chain": entry(body=json.dumps([[], HELLO, {"chain": [{"task": "wecom.reap"}]}])),
    "a task of Celery's own": entry(headers={"task": "celery.chord_unlock", "id": "1"}, body="[[],{},null]"),
}
