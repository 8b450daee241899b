"""What an API call is answered: a JSON object with errcode and errmsg, always under HTTP 200."""

import time
from itertools import count
from typing import NamedTuple

import orjson

TEXTS = {
    -1: "system busy",
    40001: "invalid credential",
    40008: "invalid message type",
    40013: "invalid corpid",
    40014: "invalid access_token",
    40032: "invalid userid list size",
    40033: "invalid charset. please check your request, if include \\uxxxx will create fail!",
    40056: "invalid agentid",
    40058: "invalid Request Parameter",
    41001: "access_token missing",
    41002: "corpid missing",
    41004: "corpsecret missing",
    41011: "agentid missing",
    42001: "access_token expired",
    42052: "msgid expired",
    44004: "empty content",
    45002: "content size out of limit",
    45009: "api freq out of limit",
    45033: "api concurrent out of limit",
    60020: "not allow to access from your ip",
    81013: "user & party & tag all invalid",
    82001: "touser & toparty & totag all empty",
    82002: "invalid party list size",
    82003: "invalid tag list size",
    301002: "not allow operate another agent with this accesstoken",
}
"""The beginning of errmsg; clients must not depend on it (doc 90664)."""

WRONG_JSON = "Warning: wrong json format. "
"""Stands in errmsg where the request was not the JSON expected (doc 90313)."""

_hints = count(1)


class Answer(NamedTuple):
    """One answer: its errcode, its errmsg, the whole JSON, and the corp that called where that is known."""

    errcode: int
    errmsg: str
    content: bytes
    corpid: str = ""


class RefusedError(Exception):
    """A rule refuses the call with an errcode; `fields` stand in the answer beside it."""

    def __init__(self, errcode: int, *, warning: str = "", **fields: str) -> None:
        super().__init__(errcode)
        self.errcode = errcode
        self.warning = warning
        self.fields = fields


def accepted(corpid: str, **fields: str | int) -> Answer:
    """Answer a call that was carried out: errcode 0 and these fields."""
    return Answer(0, "ok", orjson.dumps({"errcode": 0, "errmsg": "ok", **fields}), corpid)


def refused(errcode: int, *, corpid: str = "", warning: str = "", fields: dict[str, str] | None = None) -> Answer:
    """Answer with an errcode; errmsg ends in a hint that is never twice the same (doc 90930)."""
    text = TEXTS.get(errcode, "simulated error")
    errmsg = (
        f"{warning}{text}, hint: [{time.time_ns()}{next(_hints):06d}], from ip: 127.0.0.1, "
        f"more info at https://open.work.weixin.qq.com/devtool/query?e={errcode}"
    )
    return Answer(errcode, errmsg, orjson.dumps({"errcode": errcode, "errmsg": errmsg, **(fields or {})}), corpid)
