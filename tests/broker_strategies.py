"""What whoever reaches a broker could put into its queues."""

import base64
import json
from typing import Any

from hypothesis import strategies as st

TASKS = [
    "wecom.send",
    "wecom.deliver",
    "wecom.dispatch",
    "wecom.reject",
    "wecom.sendd",
    "celery.chord_unlock",
    "",
    "\0",
]
ARGUMENTS = {"sender": "nobody", "message": {"msgtype": "text", "text": {"content": "x"}}, "users": ["a"]}
SHUT = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
SIGNATURE = {"task": "wecom.reap", "args": [], "kwargs": {}, "options": {}, "subtask_type": None, "immutable": False}
DEEP: Any = 1
for _ in range(400):
    DEEP = [DEEP]

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
    | st.sampled_from(["wecom.send", "utf-99", "base64", "zlib", "json", "9999-12-31T23:59:59-12:00", "2020-01-01"])
)
ODD = st.recursive(
    SCALARS | st.just(SIGNATURE),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)
"""What both brokers can carry."""
ODD_JSON = ODD | st.sampled_from([DEEP, "\ud800", 2**70, float("inf"), {"__type__": "uuid", "__value__": "no"}])
HEADERS = ["task", "id", "eta", "expires", "retries", "timelimit", "shadow", "group", "compression", "lang", "stamps"]


def changed(values: dict[str, Any], names: list[str], odd: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Take a mapping and spoil up to two of its values."""
    return st.dictionaries(st.sampled_from(names), odd, max_size=2).map(lambda spoilt: {**values, **spoilt})


def headers(odd: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Return headers of a task, mostly right ones."""
    return st.sampled_from(TASKS).flatmap(
        lambda task: st.uuids().flatmap(lambda id_: changed({"task": task, "id": str(id_)}, HEADERS, odd))
    )


def bodies(odd: st.SearchStrategy[Any]) -> st.SearchStrategy[bytes]:
    """Return bodies of a task in either protocol, spoilt ones, and others."""
    second = st.tuples(
        st.just([]) | odd, st.just(ARGUMENTS) | odd, st.just(SHUT) | odd | changed(SHUT, list(SHUT), odd)
    )
    first = changed(
        {"task": "wecom.send", "id": "1", "args": [], "kwargs": ARGUMENTS}, ["task", "id", "args", "chain"], odd
    )
    return (second | first | odd).map(lambda body: json.dumps(body).encode()) | st.binary(max_size=20)


@st.composite
def redis_entries(draw: st.DrawFn) -> bytes:
    """An entry of a queue of Redis: whatever bytes."""
    properties = draw(
        changed(
            {
                "delivery_tag": draw(st.uuids().map(str)),
                "body_encoding": "base64",
                "priority": 0,
                "delivery_info": {"exchange": "", "routing_key": "wecom"},
            },
            ["delivery_tag", "body_encoding", "priority", "delivery_info", "correlation_id", "reply_to"],
            ODD_JSON,
        )
    )
    entry: dict[str, Any] = {
        "body": base64.b64encode(draw(bodies(ODD_JSON))).decode(),
        "headers": draw(headers(ODD_JSON)),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "properties": properties,
    }
    entry = draw(changed(entry, list(entry), ODD_JSON))
    for name in draw(st.lists(st.sampled_from(list(entry)), max_size=1)):
        del entry[name]
    return draw(
        st.just(json.dumps(entry).encode()) | ODD_JSON.map(lambda any_: json.dumps(any_).encode()) | st.binary()
    )
