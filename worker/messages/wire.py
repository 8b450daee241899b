"""The bytes that go to WeCom: the same message always makes the same bytes."""

from collections.abc import Mapping

import orjson

from worker.messages.recipients import Recipients, joined


def wire_form(body: Mapping[str, object], recipients: Recipients, agentid: int | None) -> bytes:
    r"""Serialise one message/send request as raw UTF-8 with sorted keys.

    WeCom's duplicate check compares requests (doc 90236), so a repetition must not differ in a byte; and it
    refuses `\uXXXX` escapes (errcode 40033), so `requests`' own `json=` cannot be used.
    """
    request: dict[str, object] = dict(body)
    if agentid is not None:
        request["agentid"] = agentid
    for field, values in (
        ("touser", recipients.users),
        ("toparty", recipients.parties),
        ("totag", recipients.tags),
    ):
        if values:
            request[field] = joined(values)
    return orjson.dumps(request, option=orjson.OPT_SORT_KEYS)
