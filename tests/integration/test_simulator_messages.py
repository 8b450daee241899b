"""The simulator checks every simple message type: what must be there, what is cut, what earns which errcode."""

from collections.abc import Iterator
from typing import Any

import orjson
import pytest
import requests

from worker.simulator.control import SimulatorControl

AGENT = 1000002
LINK = "https://example.com/"
PICTURE = b"\x89PNG\r\n\x1a\n" + b"picture"
FILES = {
    "image": ("p.png", PICTURE),
    "voice": ("v.amr", b"#!AMR\n" + b"\0" * 13),
    "video": ("v.mp4", b"\0\0\0\x18ftypmp42"),
    "file": ("f.bin", b"any bytes"),
}


class Caller:
    """A program that uploads and sends."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url
        self.session = requests.Session()
        self.session.trust_env = False
        self.query = f"access_token={self.token()}"

    def token(self, corpid: str = "ww-simulator", secret: str = "simulator-secret") -> str:
        parameters = {"corpid": corpid, "corpsecret": secret}
        answer = self.session.get(f"{self.base_url}/cgi-bin/gettoken", params=parameters, timeout=10)
        return str(answer.json()["access_token"])

    def send(self, msgtype: str, part: object, **fields: object) -> dict[str, Any]:
        message = {"touser": "zhangsan", "msgtype": msgtype, "agentid": AGENT, msgtype: part, **fields}
        body = orjson.dumps({name: value for name, value in message.items() if value is not None})
        url = f"{self.base_url}/cgi-bin/message/send?{self.query}"
        return dict(self.session.post(url, data=body, timeout=10).json())

    def media_id(self, kind: str, filename: str = "") -> str:
        name, content = FILES[kind]
        answer = self.session.post(
            f"{self.base_url}/cgi-bin/media/upload?{self.query}&type={kind}",
            files={"media": (filename or name, content)},
            timeout=10,
        )
        return str(answer.json()["media_id"])


@pytest.fixture
def caller(simulator: SimulatorControl) -> Iterator[Caller]:
    caller = Caller(simulator.base_url)
    with caller.session:
        yield caller


def textcard(**fields: object) -> dict[str, object]:
    return {"title": "标题", "description": "说明", "url": LINK, **fields}


def news(**fields: object) -> dict[str, list[dict[str, object]]]:
    return {"articles": [{"title": "标题", "url": LINK, **fields}]}


def mpnews(caller: Caller, **fields: object) -> dict[str, list[dict[str, object]]]:
    article = {"title": "标题", "thumb_media_id": caller.media_id("image"), "content": "<p>正文</p>", **fields}
    return {"articles": [article]}


def notice(**fields: object) -> dict[str, object]:
    return {"appid": "wx123123123123123", "title": "会议室预订成功", **fields}


def item(key: str = "会议室", value: str = "402") -> dict[str, str]:
    return {"key": key, "value": value}


# --- what the documents show is accepted


def test_the_examples_of_the_documents_are_accepted_as_they_are(caller: Caller, simulator: SimulatorControl) -> None:
    media = {kind: caller.media_id(kind) for kind in FILES}
    messages: list[tuple[str, Any, dict[str, object]]] = [
        ("text", {"content": '你的快递已到\n<a href="https://work.weixin.qq.com">查看</a>'}, {"safe": 0}),
        ("image", {"media_id": media["image"]}, {"safe": 0}),
        ("voice", {"media_id": media["voice"]}, {}),
        ("video", {"media_id": media["video"], "title": "Title", "description": "Description"}, {"safe": 0}),
        ("file", {"media_id": media["file"]}, {"safe": 0}),
        ("textcard", {**textcard(description='<div class="gray">9月26日</div>'), "btntxt": "更多"}, {}),
        ("news", news(picurl="http://res.mail.qq.com/x.png", appid="wx12", pagepath="pages/index?x=1", url="URL"), {}),
        ("mpnews", mpnews(caller, author="A", content_source_url="URL", digest="D"), {"safe": 2}),
        ("markdown", {"content": '**事项** <font color="info">开会</font>\n> 请准时'}, {}),
        ("miniprogram_notice", notice(page="p", description="4月27日 16:16", content_item=[item()]), {"agentid": None}),
    ]
    for msgtype, part, options in messages:
        repeats = {"enable_duplicate_check": 0, "duplicate_check_interval": 1800}
        assert caller.send(msgtype, part, **repeats, **options)["errcode"] == 0, msgtype
    for delivery, (msgtype, part, _) in zip(simulator.deliveries(), messages, strict=True):
        assert delivery.msgtype == msgtype
        assert (delivery.truncated, delivery.truncated_fields, delivery.unknown_fields) == (False, [], [])
        assert delivery.content == part["content"] if msgtype == "text" else orjson.loads(delivery.content) == part


@pytest.mark.parametrize("msgtype", ["taskcard", "template_msg", "markdown_v2", "interactive_taskcard", "", "Text"])
def test_other_types_are_40008(caller: Caller, msgtype: str) -> None:
    assert caller.send(msgtype, {"content": "x"})["errcode"] == 40008


@pytest.mark.parametrize(
    "msgtype", ["image", "voice", "video", "file", "textcard", "news", "mpnews", "markdown", "miniprogram_notice"]
)
def test_the_object_of_the_type_must_be_there_and_an_object(caller: Caller, msgtype: str) -> None:
    assert caller.send(msgtype, None)["errcode"] == 40058
    answer = caller.send(msgtype, "text")
    assert (answer["errcode"], "wrong json format" in answer["errmsg"]) == (40058, True)
    assert caller.send(msgtype, {})["errcode"] not in (0, 40008)


# --- options


@pytest.mark.parametrize(
    ("msgtype", "safe", "errcode"),
    [
        *(("text", safe, errcode) for safe, errcode in ((0, 0), (1, 0), (2, 40058), (-1, 40058), ("1", 40058))),
        ("image", 1, 0),
        ("image", 2, 40058),
        ("video", 1, 0),
        ("video", 2, 40058),
        ("file", 2, 40058),
        ("mpnews", 2, 0),
        ("mpnews", 3, 40058),
        ("mpnews", True, 40058),
        ("news", 1, 40074),
        ("news", 2, 40074),
        ("news", 0, 0),
    ],
)
def test_safe_is_what_the_type_lists(caller: Caller, msgtype: str, safe: object, errcode: int) -> None:
    parts: dict[str, object] = {"text": {"content": "x"}, "news": news(), "mpnews": mpnews(caller)}
    if msgtype in FILES:
        parts[msgtype] = {"media_id": caller.media_id(msgtype)}
    assert caller.send(msgtype, parts[msgtype], safe=safe)["errcode"] == errcode


@pytest.mark.parametrize(
    ("filename", "errcode"), [("a.PDF", 0), ("a.gif", 0), ("a.jpeg", 0), ("a.zip", 40058), ("pdf", 40058)]
)
def test_only_listed_files_can_be_safe(caller: Caller, filename: str, errcode: int) -> None:
    media_id = caller.media_id("file", filename)
    assert caller.send("file", {"media_id": media_id}, safe=1)["errcode"] == errcode
    assert caller.send("file", {"media_id": media_id}, safe=0)["errcode"] == 0


@pytest.mark.parametrize("name", ["enable_id_trans", "enable_duplicate_check"])
@pytest.mark.parametrize("value", [2, -1, "1", True, 1.0, [1]])
def test_switches_are_0_or_1(caller: Caller, name: str, value: object) -> None:
    assert caller.send("text", {"content": "x"}, **{name: value})["errcode"] == 40058
    assert caller.send("text", {"content": "x"}, **{name: 1})["errcode"] == 0


@pytest.mark.parametrize(("interval", "errcode"), [(0, 0), (14_400, 0), (99_999, 0), (-1, 40058), ("600", 40058)])
def test_the_interval_is_a_number_of_seconds(caller: Caller, interval: object, errcode: int) -> None:
    assert caller.send("text", {"content": "x"}, duplicate_check_interval=interval)["errcode"] == errcode


def test_unlisted_fields_are_ignored_and_recorded(caller: Caller, simulator: SimulatorControl) -> None:
    voice = {"media_id": caller.media_id("voice"), "title": "x"}
    assert caller.send("text", {"content": "x", "colour": 1}, image={}, safe=1)["errcode"] == 0
    assert caller.send("voice", voice, safe=1, enable_id_trans=1)["errcode"] == 0
    assert caller.send("markdown", {"content": "x"}, enable_id_trans=1)["errcode"] == 0
    assert caller.send("textcard", textcard(), safe=2)["errcode"] == 0
    assert caller.send("news", {"articles": [textcard(), textcard(colour=1)]}, safe=0)["errcode"] == 0
    assert caller.send("miniprogram_notice", notice(content_item=[{**item(), "x": 1}]))["errcode"] == 0
    assert [sorted(delivery.unknown_fields) for delivery in simulator.deliveries()] == [
        ["image", "text.colour"],
        ["enable_id_trans", "safe", "voice.title"],
        ["enable_id_trans"],
        ["safe"],
        ["news.articles[1].colour", "safe"],
        ["miniprogram_notice.content_item[0].x"],
    ]


# --- what is too long


@pytest.mark.parametrize(
    ("msgtype", "name", "most", "unit"),
    [
        ("text", "content", 2048, "字"),
        ("text", "content", 2048, "\U0001f600"),
        ("video", "title", 128, "字"),
        ("video", "description", 512, "a"),
        ("textcard", "title", 128, "字"),
        ("textcard", "description", 512, "é"),
        ("news", "title", 128, "字"),
        ("news", "description", 512, "a"),
        ("mpnews", "title", 128, "a"),
        ("mpnews", "digest", 512, "字"),
    ],
)
def test_what_is_too_long_is_cut_between_characters_and_recorded(
    caller: Caller, simulator: SimulatorControl, msgtype: str, name: str, most: int, unit: str
) -> None:
    size = len(unit.encode())
    fits = unit * (most // size) + "a" * (most % size)

    def send(text: str) -> int:
        parts: dict[str, Any] = {
            "text": {name: text},
            "video": {"media_id": caller.media_id("video"), name: text},
            "textcard": textcard(**{name: text}),
            "news": news(**{name: text}),
            "mpnews": mpnews(caller, **{name: text}),
        }
        return int(caller.send(msgtype, parts[msgtype])["errcode"])

    assert send(fits) == 0
    assert send(unit * (most // size + 1)) == 0
    whole, cut = simulator.deliveries()
    assert (whole.truncated, whole.truncated_fields) == (False, [])
    assert fits in whole.content
    inside = "articles[0]." if "news" in msgtype else ""
    assert (cut.truncated, cut.truncated_fields) == (True, [f"{msgtype}.{inside}{name}"])
    assert unit * (most // size) in cut.content
    assert unit * (most // size + 1) not in cut.content
    assert simulator.counters().truncated == 1
    simulator.change_settings(long_text="refuse")
    assert send(fits) == 0
    assert send(fits + "a") == 45002


def test_the_button_of_a_textcard_has_four_characters(caller: Caller, simulator: SimulatorControl) -> None:
    assert caller.send("textcard", textcard(btntxt="查看详情"))["errcode"] == 0
    assert caller.send("textcard", textcard(btntxt="查看详情吧"))["errcode"] == 0
    assert [delivery.truncated_fields for delivery in simulator.deliveries()] == [[], ["textcard.btntxt"]]


def test_a_textcard_can_be_set_to_count_characters(caller: Caller, simulator: SimulatorControl) -> None:
    simulator.change_settings(textcard_unit="characters")
    assert caller.send("textcard", textcard(title="字" * 128, description="字" * 512))["errcode"] == 0
    assert caller.send("textcard", textcard(title="字" * 129, description="字" * 513))["errcode"] == 0
    assert [delivery.truncated_fields for delivery in simulator.deliveries()] == [
        [],
        ["textcard.title", "textcard.description"],
    ]


# --- errcodes


@pytest.mark.parametrize(
    ("msgtype", "part", "errcode"),
    [
        *((kind, {"media_id": value}, 41006) for kind in FILES for value in ("", None)),
        *((kind, {"media_id": "nonsense"}, 40007) for kind in FILES),
        ("image", {"media_id": 5}, 40058),
        ("markdown", {"content": ""}, 44004),
        ("markdown", {"content": "a" * 2048}, 0),
        ("markdown", {"content": "a" * 2049}, 40058),
        ("markdown", {"content": "字" * 683}, 40058),
        ("textcard", textcard(title=""), 41016),
        ("textcard", textcard(description=None), 41033),
        ("textcard", textcard(url=""), 41010),
        ("textcard", textcard(url="example.com"), 45034),
        ("textcard", textcard(url="ftp://example.com"), 45034),
        ("textcard", textcard(url="HTTP://example.com"), 0),
        ("textcard", textcard(url=LINK.ljust(2048, "x")), 0),
        ("textcard", textcard(url=LINK.ljust(2049, "x")), 40039),
        ("textcard", textcard(title=5), 40058),
        ("news", {"articles": []}, 45008),
        ("news", {"articles": news()["articles"] * 8}, 0),
        ("news", {"articles": news()["articles"] * 9}, 45008),
        ("news", {"articles": news()}, 40058),
        ("news", {"articles": ["x"]}, 40058),
        ("news", news(title=None), 41016),
        ("news", news(url=None), 41010),
        ("news", news(url="example.com"), 45034),
        ("news", news(url=LINK.ljust(2049, "x")), 40039),
        ("news", news(picurl="x" * 2048), 0),
        ("news", news(picurl="x" * 2049), 40039),
        ("news", news(appid="wx1"), 40063),
        ("news", news(pagepath="p"), 40063),
        ("news", news(url=None, appid="wx1", pagepath="p"), 0),
        ("news", news(appid="wx1", pagepath="p" * 128), 0),
        ("news", news(appid="wx1", pagepath="p" * 129), 40058),
        ("mpnews", {"articles": []}, 45008),
        ("miniprogram_notice", notice(appid=""), 90200),
        ("miniprogram_notice", notice(appid="小程序"), 90207),
        ("miniprogram_notice", notice(appid="wxunlinked1"), 90206),
        ("miniprogram_notice", notice(page="p" * 1024), 0),
        ("miniprogram_notice", notice(page="p" * 1025), 90204),
        ("miniprogram_notice", notice(title=""), 41016),
        ("miniprogram_notice", notice(title="三个字"), 40058),
        ("miniprogram_notice", notice(title="四" * 4), 0),
        ("miniprogram_notice", notice(title="字" * 12), 0),
        ("miniprogram_notice", notice(title="字" * 13), 40058),
        ("miniprogram_notice", notice(description="字" * 12), 0),
        ("miniprogram_notice", notice(description="字" * 13), 40058),
        ("miniprogram_notice", notice(emphasis_first_item=1), 40058),
        ("miniprogram_notice", notice(emphasis_first_item=True, content_item=[]), 0),
        ("miniprogram_notice", notice(content_item=[item()] * 10), 0),
        ("miniprogram_notice", notice(content_item=[item()] * 11), 90201),
        ("miniprogram_notice", notice(content_item=[item(key="字" * 10, value="字" * 30)]), 0),
        ("miniprogram_notice", notice(content_item=[item(key="字" * 11)]), 90202),
        ("miniprogram_notice", notice(content_item=[item(value="字" * 31)]), 90203),
        ("miniprogram_notice", notice(content_item=[item(key="")]), 90202),
        ("miniprogram_notice", notice(content_item=[item(value="")]), 90203),
        ("miniprogram_notice", notice(content_item=[{}]), 0),
    ],
)
def test_a_wrong_part_earns_its_errcode(caller: Caller, msgtype: str, part: dict[str, object], errcode: int) -> None:
    assert caller.send(msgtype, part)["errcode"] == errcode


@pytest.mark.parametrize(
    ("fields", "errcode"),
    [
        ({"title": ""}, 41016),
        ({"thumb_media_id": ""}, 41006),
        ({"thumb_media_id": "nonsense"}, 40007),
        ({"author": "a" * 64}, 0),
        ({"author": "字" * 22}, 45032),
        ({"content": ""}, 40063),
        ({"content": "a" * 666 * 1024}, 0),
        ({"content": "a" * 666 * 1024 + "a"}, 45002),
        ({"content_source_url": 5}, 40058),
    ],
)
def test_a_wrong_article_of_mpnews_earns_its_errcode(caller: Caller, fields: dict[str, object], errcode: int) -> None:
    assert caller.send("mpnews", mpnews(caller, **fields))["errcode"] == errcode


def test_mpnews_has_at_most_eight_articles(caller: Caller) -> None:
    (article,) = mpnews(caller)["articles"]
    assert caller.send("mpnews", {"articles": [article] * 8})["errcode"] == 0
    assert caller.send("mpnews", {"articles": [article] * 9})["errcode"] == 45008


def test_a_miniprogram_notice_cannot_go_to_everyone_and_needs_no_agentid(caller: Caller) -> None:
    assert caller.send("miniprogram_notice", notice(), touser="@all")["errcode"] == 40058
    assert caller.send("miniprogram_notice", notice(), agentid=None)["errcode"] == 0
    assert caller.send("miniprogram_notice", notice(), agentid=77)["errcode"] == 40056
    assert caller.send("markdown", {"content": "x"}, agentid=None)["errcode"] == 41011


@pytest.mark.parametrize("kind", FILES)
def test_media_must_be_of_the_kind_the_message_shows(caller: Caller, kind: str) -> None:
    codes = {other: caller.send(other, {"media_id": caller.media_id(kind)})["errcode"] for other in FILES}
    assert codes == {other: 0 if other == kind else 40007 for other in FILES}
    thumb = mpnews(caller, thumb_media_id=caller.media_id(kind))
    assert caller.send("mpnews", thumb)["errcode"] == (0 if kind == "image" else 40007)


def test_media_that_was_never_uploaded_can_be_accepted(caller: Caller, simulator: SimulatorControl) -> None:
    simulator.change_settings(unknown_media="accept")
    assert caller.send("file", {"media_id": "MEDIA_ID"}, safe=1)["errcode"] == 0
