"""What an API call is answered: a JSON object with errcode and errmsg, always under HTTP 200."""

import time
from itertools import count
from typing import NamedTuple

import orjson

TEXTS = {
    -1: "system busy",
    40001: "invalid credential",
    40004: "invalid media type",
    40005: "invalid type parameter",
    40006: "invalid file size",
    40007: "invalid media_id",
    40008: "invalid message type",
    40009: "invalid image size",
    40011: "invalid video size",
    40013: "invalid corpid",
    40014: "invalid access_token",
    40032: "invalid userid list size",
    40033: "invalid charset. please check your request, if include \\uxxxx will create fail!",
    40039: "invalid url length",
    40056: "invalid agentid",
    40058: "invalid Request Parameter",
    40063: "some parameters are empty",
    40074: "news no support safe option",
    40123: "invalid image: broken or length mismatch",
    40145: "media_id expired",
    41001: "access_token missing",
    41002: "corpid missing",
    41004: "corpsecret missing",
    41006: "media_id missing",
    41010: "url missing",
    41011: "agentid missing",
    41016: "title missing",
    41033: "description missing",
    42001: "access_token expired",
    42014: "invalid task_id",
    42015: "agentid does not match the task",
    42018: "invalid button key",
    42019: "button key missing",
    42020: "button name missing",
    42027: "horizontal_content_list.keyname missing",
    42028: "url missing",
    42029: "horizontal_content_list.media_id missing",
    42030: "appid missing",
    42031: "invalid card_type",
    42033: "title missing",
    42035: "invalid horizontal_content_list length",
    42036: "invalid vertical_content_list length",
    42037: "invalid option_list length",
    42038: "invalid button_list.text",
    42039: "invalid button_list.key",
    42040: "invalid option_list.id",
    42041: "invalid option_list.text",
    42042: "invalid jump_list length",
    42043: "invalid question_key",
    42044: "invalid card_image.url",
    42045: "invalid card_action",
    42046: "invalid submit_button.key",
    42047: "invalid select_list length",
    42049: "invalid submit_button.text",
    42050: "invalid horizontal_content_list.userid",
    42051: "duplicate action_menu.action_list.key",
    42052: "msgid expired",
    43012: "callback url not set",
    44001: "empty media data",
    44004: "empty content",
    45001: "media size out of limit",
    45002: "content size out of limit",
    45007: "playtime out of limit, limit 60s",
    45008: "article size out of limit",
    45009: "api freq out of limit",
    45032: "author size out of limit",
    45033: "api concurrent out of limit",
    45034: "url need http or https prefix",
    60020: "not allow to access from your ip",
    60140: "invalid response_code",
    81013: "user & party & tag all invalid",
    82001: "touser & toparty & totag all empty",
    82002: "invalid party list size",
    82003: "invalid tag list size",
    82101: "update target is empty",
    82102: "update target was no recipient",
    90200: "miniprogram appid missing",
    90201: "content_item size out of limit",
    90202: "invalid content_item key length",
    90203: "invalid content_item value length",
    90204: "invalid page",
    90206: "miniprogram not linked",
    90207: "invalid miniprogram appid",
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

    def __init__(self, errcode: int, *, warning: str = "", **fields: object) -> None:
        super().__init__(errcode)
        self.errcode = errcode
        self.warning = warning
        self.fields = fields


def accepted(corpid: str, **fields: object) -> Answer:
    """Answer a call that was carried out: errcode 0 and these fields."""
    return Answer(0, "ok", orjson.dumps({"errcode": 0, "errmsg": "ok", **fields}), corpid)


def refused(errcode: int, *, corpid: str = "", warning: str = "", fields: dict[str, object] | None = None) -> Answer:
    """Answer with an errcode; errmsg ends in a hint that is never twice the same (doc 90930)."""
    text = TEXTS.get(errcode, "simulated error")
    errmsg = (
        f"{warning}{text}, hint: [{time.time_ns()}{next(_hints):06d}], from ip: 127.0.0.1, "
        f"more info at https://open.work.weixin.qq.com/devtool/query?e={errcode}"
    )
    return Answer(errcode, errmsg, orjson.dumps({"errcode": errcode, "errmsg": errmsg, **(fields or {})}), corpid)
