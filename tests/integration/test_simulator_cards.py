"""The simulator checks template cards of all five types and everything in them, and lets them be updated once."""

from collections.abc import Iterator
from typing import Any

import orjson
import pytest
import requests

from worker.simulator.control import SimulatorControl

AGENT = 1000002
LINK = "https://work.weixin.qq.com"
NOON_IN_BEIJING = 1_767_240_000.0
Card = dict[str, Any]

HEAD: Card = {
    "source": {"icon_url": "图片的url", "desc": "企业微信", "desc_color": 1},
    "main_title": {"title": "欢迎使用企业微信", "desc": "您的好友正在邀请您加入企业微信"},
}
MENU = {"desc": "辅助", "action_list": [{"text": "接受推送", "key": "A"}, {"text": "不再推送", "key": "B"}]}
QUOTE = {"type": 1, "url": LINK, "title": "引用", "quote_text": "真好用"}
LINES = [
    {"keyname": "邀请人", "value": "张三"},
    {"type": 1, "keyname": "官网", "value": "点击访问", "url": LINK},
    {"type": 3, "keyname": "员工信息", "value": "点击查看", "userid": "zhangsan"},
]
JUMPS = [{"type": 1, "title": "官网", "url": LINK}, {"type": 2, "title": "小程序", "appid": "APPID", "pagepath": "/x"}]
TO_PAGE = {"type": 2, "url": LINK, "appid": "小程序的appid", "pagepath": "/index.html"}
OPTIONS = [{"id": "1", "text": "选项1"}, {"id": "2", "text": "选项2"}]
VOTES = [{"id": "1", "text": "选项1", "is_checked": True}, {"id": "2", "text": "选项2", "is_checked": False}]
SUBMIT = {"text": "提交", "key": "key"}

CARDS: dict[str, Card] = {
    "text_notice": {
        **HEAD,
        "action_menu": MENU,
        "quote_area": QUOTE,
        "emphasis_content": {"title": "100", "desc": "核心数据"},
        "sub_title_text": "下载企业微信还能抢红包",
        "horizontal_content_list": LINES,
        "jump_list": JUMPS,
        "card_action": TO_PAGE,
    },
    "news_notice": {
        **HEAD,
        "action_menu": MENU,
        "quote_area": QUOTE,
        "image_text_area": {"type": 1, "url": LINK, "title": "左图右文", "desc": "x", "image_url": "https://x/y.jpg"},
        "card_image": {"url": "图片的url", "aspect_ratio": 1.3},
        "vertical_content_list": [{"title": "惊喜红包", "desc": "抢红包"}],
        "horizontal_content_list": LINES,
        "jump_list": JUMPS,
        "card_action": TO_PAGE,
    },
    "button_interaction": {
        **HEAD,
        "action_menu": MENU,
        "quote_area": QUOTE,
        "sub_title_text": "抢红包",
        "horizontal_content_list": LINES,
        "card_action": TO_PAGE,
        "button_selection": {"question_key": "q", "title": "评分", "option_list": OPTIONS, "selected_id": "1"},
        "button_list": [
            {"text": "按钮1", "style": 1, "key": "k1"},
            {"text": "按钮2", "style": 4, "key": "k2"},
            {"type": 1, "text": "按钮3", "url": LINK},
        ],
    },
    "vote_interaction": {
        "source": {"icon_url": "图片的url", "desc": "企业微信"},
        "main_title": HEAD["main_title"],
        "checkbox": {"question_key": "q", "option_list": VOTES, "mode": 1},
        "submit_button": SUBMIT,
    },
    "multiple_interaction": {
        "source": {"icon_url": "图片的url", "desc": "企业微信"},
        "main_title": HEAD["main_title"],
        "select_list": [
            {"question_key": "q1", "title": "选择1", "selected_id": "1", "option_list": OPTIONS},
            {"question_key": "q2", "title": "选择2", "option_list": OPTIONS},
        ],
        "submit_button": SUBMIT,
    },
}


def card(card_type: str, task_id: str | None = "task", /, **fields: object) -> Card:
    """A card of this type with everything in it; a field that is None is left out."""
    whole = {"card_type": card_type, **CARDS[card_type], "task_id": task_id, **fields}
    return {name: value for name, value in whole.items() if value is not None}


class Caller:
    """A program that sends cards and updates them."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url
        self.session = requests.Session()
        self.session.trust_env = False
        self.own_token = self.token()

    def token(self, corpid: str = "ww-simulator", secret: str = "simulator-secret") -> str:
        parameters = {"corpid": corpid, "corpsecret": secret}
        answer = self.session.get(f"{self.base_url}/cgi-bin/gettoken", params=parameters, timeout=10)
        return str(answer.json()["access_token"])

    def post(self, call: str, content: Card, token: str = "") -> dict[str, Any]:
        url = f"{self.base_url}/cgi-bin/message/{call}?access_token={token or self.own_token}"
        return dict(self.session.post(url, data=orjson.dumps(content), timeout=10).json())

    def send(self, template_card: object, token: str = "", **fields: object) -> dict[str, Any]:
        message = {"touser": "ZhangSan|lisi", "msgtype": "template_card", "agentid": AGENT}
        return self.post("send", {**message, "template_card": template_card, **fields}, token)

    def update(self, code: str, token: str = "", **fields: object) -> dict[str, Any]:
        whole = {"agentid": AGENT, "response_code": code, "atall": 1, "button": {"replace_name": "已处理"}, **fields}
        request = {name: value for name, value in whole.items() if value is not None}
        return self.post("update_template_card", request, token)


@pytest.fixture
def caller(simulator: SimulatorControl) -> Iterator[Caller]:
    simulator.change_settings(token_life=999_999)
    simulator.set_clock(NOON_IN_BEIJING, frozen=True)
    caller = Caller(simulator.base_url)
    with caller.session:
        yield caller


# --- sending


@pytest.mark.parametrize("card_type", CARDS)
def test_a_full_card_of_each_type_is_accepted(caller: Caller, simulator: SimulatorControl, card_type: str) -> None:
    sent = card(card_type)
    answer = caller.send(sent)
    assert answer["errcode"] == 0
    (delivery,) = simulator.deliveries()
    assert orjson.loads(delivery.content) == sent
    assert (delivery.truncated_fields, delivery.unknown_fields, delivery.updates) == ([], [], [])
    assert delivery.response_code == answer["response_code"]


@pytest.mark.parametrize("card_type", ["text_notice", "news_notice"])
def test_a_notice_without_a_menu_needs_no_task_and_cannot_call_back(
    caller: Caller, simulator: SimulatorControl, card_type: str
) -> None:
    assert "response_code" not in caller.send(card(card_type, None, action_menu=None))
    assert caller.send(card(card_type, None))["errcode"] == 42014
    simulator.add_app("ww-simulator", "simulator-secret", AGENT, callback_url=False)
    assert caller.send(card(card_type, None, action_menu=None))["errcode"] == 0
    assert caller.send(card(card_type))["errcode"] == 43012
    assert [delivery.response_code for delivery in simulator.deliveries()] == ["", ""]


@pytest.mark.parametrize("card_type", ["button_interaction", "vote_interaction", "multiple_interaction"])
def test_an_interactive_card_needs_a_callback_url_and_a_task(
    caller: Caller, simulator: SimulatorControl, card_type: str
) -> None:
    assert caller.send(card(card_type, None))["errcode"] == 42014
    simulator.add_app("ww-simulator", "simulator-secret", AGENT, callback_url=False)
    assert caller.send(card(card_type))["errcode"] == 43012
    assert simulator.deliveries() == []


def test_suggested_lengths_are_accepted(caller: Caller, simulator: SimulatorControl) -> None:
    long = "字" * 3000
    title = {"title": long, "desc": long}
    notice = card(
        "text_notice", main_title=title, sub_title_text=long, emphasis_content=title, quote_area={**QUOTE, **title}
    )
    assert caller.send(notice)["errcode"] == 0
    assert caller.send(card("button_interaction", "t2", button_list=[{"text": long, "key": "k"}]))["errcode"] == 0
    assert simulator.counters().truncated == 0


def lines(count: int, **fields: object) -> Card:
    return {"horizontal_content_list": [{"keyname": "k", **fields}] * count}


def buttons(count: int, **fields: object) -> Card:
    return {"button_list": [{"text": "t", "key": f"k{n}", **fields} for n in range(count)]}


def options(count: int, **fields: object) -> list[Card]:
    return [{"id": f"i{n}", "text": "t", **fields} for n in range(count)]


def selection(**fields: object) -> Card:
    return {"button_selection": {"question_key": "q", "option_list": OPTIONS, **fields}}


def selections(count: int, **fields: object) -> Card:
    return {"select_list": [{"question_key": f"q{n}", "option_list": OPTIONS, **fields} for n in range(count)]}


def checkbox(**fields: object) -> Card:
    return {"checkbox": {"question_key": "q", "option_list": VOTES, **fields}}


def menu(*actions: object) -> Card:
    return {"action_menu": {"action_list": list(actions)}}


def action(key: str = "a", text: str = "t") -> Card:
    return {"key": key, "text": text}


T, N, B, V, M = CARDS


@pytest.mark.parametrize(
    ("card_type", "fields", "errcode"),
    [
        (T, {"source": {"desc_color": 3}}, 0),
        (T, {"source": {"desc_color": 4}}, 40058),
        (T, {"source": {"desc": 5}}, 40058),
        (T, {"source": "x"}, 40058),
        (T, {"main_title": {}, "sub_title_text": ""}, 41016),
        (T, {"main_title": None, "sub_title_text": None}, 41016),
        (T, {"main_title": None, "sub_title_text": "x"}, 0),
        (T, {"main_title": {"title": "x"}, "sub_title_text": None}, 0),
        *((kind, {"main_title": value}, 41016) for kind in (N, B, V, M) for value in (None, {}, {"desc": "x"})),
        (T, menu(), 40058),
        (T, menu(action("a"), action("b"), action("c")), 0),
        (T, menu(action("a"), action("b"), action("c"), action("d")), 40058),
        (B, menu(action("a"), action("a")), 42051),
        (N, menu(action("k" * 1024)), 0),
        (N, menu(action("k" * 1025)), 42018),
        (N, menu(action("")), 42019),
        (N, menu(action(text="")), 42020),
        (T, {"quote_area": {"type": 1}}, 42028),
        (T, {"quote_area": {"type": 2}}, 42030),
        (T, {"quote_area": {"type": 3}}, 40058),
        (T, {"quote_area": {}}, 0),
        (T, {"quote_area": {"type": 1, "url": "work.weixin.qq.com"}}, 45034),
        (T, lines(0), 0),
        (N, lines(6), 0),
        (N, lines(7), 42035),
        (B, lines(7), 42035),
        (B, lines(1, keyname=""), 42027),
        (B, lines(1, type=1), 42028),
        (B, lines(1, type=2), 42029),
        (B, lines(1, type=2, media_id="x"), 40007),
        (B, lines(1, type=3), 42050),
        (B, lines(1, type=3, userid="Ghost1"), 42050),
        (B, lines(1, type=4), 40058),
        (B, lines(1, value=5), 40058),
        (T, {"jump_list": []}, 0),
        (T, {"jump_list": JUMPS[:1] * 3}, 0),
        (T, {"jump_list": JUMPS[:1] * 4}, 42042),
        (T, {"jump_list": [{"type": 0}]}, 42033),
        (T, {"jump_list": [{"type": 1, "title": "t"}]}, 42028),
        (T, {"jump_list": [{"type": 2, "title": "t"}]}, 42030),
        (N, {"jump_list": {}}, 40058),
        *((kind, {"card_action": value}, 42045) for kind in (T, N) for value in (None, {}, {"type": 0}, {"type": 3})),
        (T, {"card_action": {"type": 1}}, 42028),
        (T, {"card_action": {"type": 2}}, 42030),
        (B, {"card_action": None}, 0),
        (B, {"card_action": {"type": 0}}, 0),
        (B, {"card_action": {"type": 3}}, 42045),
        (B, {"card_action": {"type": 2}}, 42030),
        (N, {"card_image": None, "image_text_area": None}, 42044),
        (N, {"card_image": None}, 0),
        (N, {"image_text_area": None}, 0),
        (N, {"card_image": {}}, 42044),
        (N, {"card_image": {"url": "u", "aspect_ratio": 2.24}}, 0),
        (N, {"card_image": {"url": "u", "aspect_ratio": 2}}, 0),
        (N, {"card_image": {"url": "u", "aspect_ratio": 2.25}}, 40058),
        (N, {"card_image": {"url": "u", "aspect_ratio": 1.29}}, 40058),
        (N, {"card_image": {"url": "u", "aspect_ratio": "1.5"}}, 40058),
        (N, {"image_text_area": {"title": "t"}}, 40063),
        (N, {"image_text_area": {"type": 2, "image_url": "u"}}, 42030),
        (N, {"vertical_content_list": []}, 0),
        (N, {"vertical_content_list": [{"title": "t"}] * 4}, 0),
        (N, {"vertical_content_list": [{"title": "t"}] * 5}, 42036),
        (N, {"vertical_content_list": [{"desc": "d"}]}, 42033),
        (B, selection(option_list=options(10)), 0),
        (B, selection(option_list=options(11)), 42037),
        (B, selection(option_list=[]), 42037),
        (B, selection(option_list=options(1) * 2), 42040),
        (B, selection(option_list=options(1, id="i" * 128)), 0),
        (B, selection(option_list=options(1, id="i" * 129)), 42040),
        (B, selection(option_list=options(1, id="")), 42040),
        (B, selection(option_list=options(1, text="")), 42041),
        (B, selection(question_key=""), 42043),
        (B, selection(question_key="q" * 1024), 0),
        (B, selection(question_key="q" * 1025), 42043),
        (B, {"button_list": None}, 40058),
        (B, buttons(0), 40058),
        (B, buttons(6), 0),
        (B, buttons(7), 40058),
        (B, buttons(1, text=""), 42038),
        (B, buttons(1, key=""), 42039),
        (B, buttons(1, key="k" * 1024), 0),
        (B, buttons(1, key="k" * 1025), 42039),
        (B, buttons(2, key="k"), 42039),
        (B, buttons(1, type=1), 42028),
        (B, buttons(2, type=1, url=LINK, key="k"), 0),
        (B, buttons(1, type=2), 40058),
        (B, buttons(1, style=0), 40058),
        (B, buttons(1, style=4), 0),
        (B, buttons(1, style=5), 40058),
        (V, {"checkbox": None}, 40063),
        (V, checkbox(question_key=""), 42043),
        (V, checkbox(mode=2), 40058),
        (V, checkbox(option_list=options(20, is_checked=False)), 0),
        (V, checkbox(option_list=options(21, is_checked=False)), 42037),
        (V, checkbox(option_list=[]), 42037),
        (V, checkbox(option_list=options(1, is_checked=False) * 2), 42040),
        (V, checkbox(option_list=options(1)), 40063),
        (V, checkbox(option_list=options(1, is_checked=1)), 40058),
        (V, checkbox(option_list=options(1, text="", is_checked=True)), 42041),
        (M, {"select_list": None}, 42047),
        (M, selections(0), 42047),
        (M, selections(3), 0),
        (M, selections(4), 42047),
        (M, selections(2, question_key="q"), 42043),
        (M, selections(1, option_list=options(10)), 0),
        (M, selections(1, option_list=options(11)), 42037),
        (M, selections(1, option_list=options(1, id="i" * 129)), 42040),
        *((kind, {"submit_button": None}, 42046) for kind in (V, M)),
        *((kind, {"submit_button": {"text": "t"}}, 42046) for kind in (V, M)),
        *((kind, {"submit_button": {"key": "k"}}, 42049) for kind in (V, M)),
        (V, {"submit_button": {"text": "t", "key": "k" * 1024}}, 0),
        (V, {"submit_button": {"text": "t", "key": "k" * 1025}}, 42046),
        (V, {"task_id": "Aa0_-@" + "x" * 122}, 0),
        (V, {"task_id": "x" * 129}, 42014),
        (V, {"task_id": "a b"}, 42014),
        (V, {"task_id": "任务"}, 42014),
        (V, {"task_id": "a\n"}, 42014),
        (T, {"action_menu": None, "task_id": "a.b"}, 42014),
        (T, {"card_type": "notice"}, 42031),
        (T, {"card_type": None}, 42031),
        (T, {"card_type": 5}, 40058),
    ],
)
def test_a_wrong_card_earns_its_errcode(
    caller: Caller, simulator: SimulatorControl, card_type: str, fields: Card, errcode: int
) -> None:
    assert caller.send(card(card_type, **fields))["errcode"] == errcode
    assert len(simulator.deliveries()) == (errcode == 0)


@pytest.mark.parametrize(("body", "errcode"), [(None, 40058), ("x", 40058), ({}, 42031)])
def test_what_is_no_card_is_refused(caller: Caller, body: object, errcode: int) -> None:
    assert caller.send(body)["errcode"] == errcode


def test_fields_of_other_cards_and_of_updates_are_unknown(caller: Caller, simulator: SimulatorControl) -> None:
    assert caller.send(card(T, card_image={}, replace_text="x"), safe=1)["errcode"] == 0
    vote = card(V, "t2", card_action={}, source={"desc_color": 1}, **checkbox(disable=True))
    assert caller.send(vote)["errcode"] == 0
    assert caller.send(card(M, "t3", **selections(1, disable=False), submit_button={**SUBMIT, "x": 1}))["errcode"] == 0
    assert caller.send(card(B, "t4", **buttons(2, colour="red")))["errcode"] == 0
    assert [set(delivery.unknown_fields) for delivery in simulator.deliveries()] == [
        {"safe", "template_card.card_image", "template_card.replace_text"},
        {"template_card.card_action", "template_card.source.desc_color", "template_card.checkbox.disable"},
        {"template_card.select_list[0].disable", "template_card.submit_button.x"},
        {"template_card.button_list[0].colour", "template_card.button_list[1].colour"},
    ]


def test_an_attachment_must_be_a_file(caller: Caller) -> None:
    def upload(kind: str, content: bytes) -> str:
        url = f"{caller.base_url}/cgi-bin/media/upload?access_token={caller.own_token}&type={kind}"
        return str(caller.session.post(url, files={"media": ("f.png", content)}, timeout=10).json()["media_id"])

    file, image = upload("file", b"content"), upload("image", b"\x89PNG\r\n\x1a\n")
    assert caller.send(card(B, "t1", **lines(1, type=2, media_id=image)))["errcode"] == 40007
    assert caller.send(card(B, "t1", **lines(1, type=2, media_id=file)))["errcode"] == 0


def test_a_task_id_is_taken_once_per_app(caller: Caller, simulator: SimulatorControl) -> None:
    simulator.add_app("ww-simulator", "other-secret", 1000003)
    other = caller.token(secret="other-secret")
    assert caller.send(card(B, "task"), touser="ghost1")["errcode"] == 81013
    assert caller.send(card(B, "task"))["errcode"] == 0
    assert caller.send(card(V, "task"))["errcode"] == 42014
    assert caller.send(card(T, "task", action_menu=None))["errcode"] == 42014
    assert caller.send(card(B, "task"), other, agentid=1000003)["errcode"] == 0
    assert len(simulator.deliveries()) == 2


def test_a_repeated_card_is_suppressed_before_its_task_id_is_looked_at_or_after(
    caller: Caller, simulator: SimulatorControl
) -> None:
    first = caller.send(card(B), enable_duplicate_check=1)
    assert caller.send(card(B), enable_duplicate_check=1) == first
    assert [delivery.duplicate_of for delivery in simulator.deliveries()] == [None, 0]
    simulator.change_settings(task_id_first=True)
    assert caller.send(card(B), enable_duplicate_check=1)["errcode"] == 42014


# --- updating


def test_a_button_is_replaced_once(caller: Caller, simulator: SimulatorControl) -> None:
    code = caller.send(card(B))["response_code"]
    assert caller.update(code) == {"errcode": 0, "errmsg": "ok"}
    assert caller.update(code)["errcode"] == 60140
    (update,) = simulator.card_updates()
    assert (update.number, update.at, update.delivery) == (0, NOON_IN_BEIJING, 0)
    assert (update.corpid, update.agentid) == ("ww-simulator", AGENT)
    assert (update.targets, update.invalid) == (["lisi", "zhangsan"], [])
    assert (update.replace_name, update.template_card, update.unknown_fields) == ("已处理", "", [])
    assert simulator.deliveries()[0].updates == [0]
    counters = simulator.counters()
    assert (counters.card_updates, counters.calls["update_card"]) == (1, 2)
    assert counters.answers["update_card"] == {0: 1, 60140: 1}


@pytest.mark.parametrize(("life", "setting"), [(72 * 3600, None), (24 * 3600, 86_400)])
def test_a_response_code_has_its_life(
    caller: Caller, simulator: SimulatorControl, life: int, setting: int | None
) -> None:
    if setting:
        simulator.change_settings(response_code_life=setting)
    early, late = (caller.send(card(B, task))["response_code"] for task in ("a", "b"))
    simulator.advance_clock(life - 1)
    assert caller.update(early)["errcode"] == 0
    simulator.advance_clock(1)
    assert caller.update(late)["errcode"] == 60140


@pytest.mark.parametrize("code", ["", "nonsense", "A" * 72, None])
def test_an_unknown_response_code_is_60140(caller: Caller, code: str) -> None:
    caller.send(card(B))
    assert caller.update(code)["errcode"] == 60140


def test_a_msgid_is_no_response_code(caller: Caller) -> None:
    assert caller.update(caller.send(card(B))["msgid"])["errcode"] == 60140


def test_only_the_sending_app_updates_its_card(caller: Caller, simulator: SimulatorControl) -> None:
    simulator.add_app("ww-simulator", "other-secret", 1000003)
    simulator.add_app("ww-other", "third-secret", 5)
    other, third = caller.token(secret="other-secret"), caller.token("ww-other", "third-secret")
    code = caller.send(card(B))["response_code"]
    assert caller.update(code, other)["errcode"] == 301002
    assert caller.update(code, other, agentid=1000003)["errcode"] == 42015
    assert caller.update(code, third, agentid=5)["errcode"] == 60140
    assert caller.update(code, agentid=None)["errcode"] == 41011
    assert caller.update(code, agentid=77)["errcode"] == 40056
    assert caller.update(code)["errcode"] == 0, "what was refused has not used the code up"


@pytest.mark.parametrize(
    ("fields", "errcode", "targets", "invalid"),
    [
        ({}, 82101, None, None),
        ({"userids": [], "partyids": [], "tagids": []}, 82101, None, None),
        ({"userids": ["LISI"]}, 0, ["lisi"], None),
        ({"userids": ["lisi", "Nobody", "Ghost1"]}, 0, ["lisi"], ["nobody", "ghost1"]),
        ({"userids": ["Nobody"]}, 82102, None, ["nobody"]),
        ({"partyids": [2]}, 82102, None, []),
        ({"tagids": [7], "userids": ["zhangsan"]}, 0, ["zhangsan"], None),
        ({"atall": 1, "userids": ["Nobody"]}, 0, ["lisi", "zhangsan"], None),
        ({"atall": 2}, 40058, None, None),
        ({"atall": True}, 40058, None, None),
        ({"userids": "lisi"}, 40058, None, None),
        ({"userids": [5]}, 40058, None, None),
        ({"partyids": ["2"]}, 40058, None, None),
        ({"tagids": [7.5]}, 40058, None, None),
        ({"userids": ["lisi"] + [f"u{n}" for n in range(999)]}, 0, ["lisi"], [f"u{n}" for n in range(999)]),
        ({"userids": [f"u{n}" for n in range(1001)]}, 40032, None, None),
        ({"partyids": list(range(101))}, 82002, None, None),
        ({"tagids": list(range(101))}, 82003, None, None),
    ],
)
def test_the_targets_of_an_update_were_recipients(
    caller: Caller,
    simulator: SimulatorControl,
    fields: Card,
    errcode: int,
    targets: list[str] | None,
    invalid: list[str] | None,
) -> None:
    code = caller.send(card(B))["response_code"]
    answer = caller.update(code, **{"atall": None, **fields})
    assert (answer["errcode"], answer.get("invaliduser")) == (errcode, invalid)
    assert [update.targets for update in simulator.card_updates()] == ([targets] if targets else [])


@pytest.mark.parametrize(
    ("recipients", "fields", "targets"),
    [
        ({"touser": "a", "toparty": "2"}, {"userids": ["b", "ghost1"], "partyids": [2, 3]}, ["b", "party:2"]),
        ({"touser": "a", "totag": "7"}, {"tagids": [7]}, ["tag:7"]),
        ({"touser": "@all"}, {"userids": ["b"], "partyids": [3]}, ["b", "party:3"]),
        ({"touser": "@all"}, {"atall": 1}, ["@all"]),
    ],
)
def test_a_card_sent_to_groups_may_be_anybodys(
    caller: Caller, simulator: SimulatorControl, recipients: Card, fields: Card, targets: list[str]
) -> None:
    code = caller.send(card(B), **recipients)["response_code"]
    assert caller.update(code, **{"atall": None, **fields})["errcode"] == 0
    assert simulator.card_updates(delivery=0)[0].targets == targets
    assert simulator.card_updates(delivery=1) == []


@pytest.mark.parametrize(
    ("fields", "errcode"),
    [
        ({"button": None}, 40063),
        ({"template_card": card(T)}, 40058),
        ({"button": {}}, 40063),
        ({"button": {"replace_name": ""}}, 40063),
        ({"button": "已处理"}, 40058),
        ({"button": None, "template_card": {}}, 42031),
        ({"button": None, "template_card": card(T, card_action=None)}, 42045),
        ({"button": None, "template_card": card(V, None, submit_button=None, **checkbox(disable=1))}, 40058),
        ({"button": None, "template_card": card(B, **lines(1, type=2, media_id="x"))}, 40007),
        ({"enable_id_trans": 2}, 40058),
    ],
)
def test_an_update_says_one_thing_and_says_it_well(
    caller: Caller, simulator: SimulatorControl, fields: Card, errcode: int
) -> None:
    code = caller.send(card(B))["response_code"]
    assert caller.update(code, **fields)["errcode"] == errcode
    assert simulator.card_updates() == []


@pytest.mark.parametrize(
    "replacement",
    [
        card(T, None),
        card(N, "task"),
        card(B, None, replace_text="已提交"),
        card(V, None, replace_text="已提交", submit_button=None, **checkbox(disable=True)),
        card(M, None, replace_text="已提交", submit_button=None, **selections(2, disable=True)),
    ],
)
def test_a_card_can_be_replaced_by_any_other(caller: Caller, simulator: SimulatorControl, replacement: Card) -> None:
    code = caller.send(card(V))["response_code"]
    answer = caller.update(code, button=None, template_card=replacement, enable_id_trans=1, userids=["zhangsan"])
    assert answer["errcode"] == 0
    (update,) = simulator.card_updates()
    assert (orjson.loads(update.template_card), update.replace_name) == (replacement, "")
    assert update.unknown_fields == []


def test_a_notice_with_a_menu_can_be_replaced_but_has_no_button(caller: Caller, simulator: SimulatorControl) -> None:
    code = caller.send(card(T))["response_code"]
    assert caller.update(code)["errcode"] == 40058
    assert caller.update(code, button=None, template_card=card(T, colour=1), safe=1)["errcode"] == 0
    assert simulator.card_updates()[0].unknown_fields == ["safe", "template_card.colour"]


def test_the_list_of_invalid_users_can_be_there_when_empty(caller: Caller, simulator: SimulatorControl) -> None:
    simulator.change_settings(empty_lists=True)
    code = caller.send(card(B))["response_code"]
    assert caller.update(code)["invaliduser"] == []


def test_updates_fail_on_demand(caller: Caller, simulator: SimulatorControl) -> None:
    code = caller.send(card(B))["response_code"]
    simulator.add_fault("errcode", endpoint="update_card", match={"response_code": code, "user": "Lisi"}, times=1)
    assert caller.update(code, userids=["lisi"])["errcode"] == -1
    assert simulator.card_updates() == []
    simulator.add_fault("cut", endpoint="update_card", whole_length=False)
    with pytest.raises(requests.exceptions.JSONDecodeError):
        caller.update(code)
    assert len(simulator.card_updates()) == 1
