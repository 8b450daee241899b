"""Rules between fields, files, options, and requests in the form of WeCom's own examples."""

import copy
from typing import Any

import pytest

from worker.messages import (
    CARDS,
    Button,
    ButtonInteraction,
    InvalidMessage,
    MainTitle,
    News,
    NewsArticle,
    Text,
    TextCard,
    content_from_body,
    recipients_of_body,
)

PAGE = "https://example.com/page"
LINK = {"type": 1, "url": PAGE}
OPTION_VALUES = {
    "safe": 0,
    "enable_id_trans": 0,
    "enable_duplicate_check": 0,
    "duplicate_check_interval": 1800,
}
TITLE = {"title": "新的公告", "desc": "请查看"}
SOURCE = {"icon_url": "https://example.com/icon.png", "desc": "行政", "desc_color": 1}
MENU = {"desc": "更多", "action_list": [{"text": "收", "key": "A"}, {"text": "不收", "key": "B"}]}
QUOTE = {"type": 1, "url": PAGE, "title": "引用", "quote_text": "一句话"}
LINES = [
    {"keyname": "联系人", "value": "李四"},
    {"type": 1, "keyname": "公司官方网站", "value": "点开", "url": PAGE},
    {"type": 2, "keyname": "安装文件下载", "value": "setup.apk", "media_id": "文件-MEDIA"},
    {"type": 3, "keyname": "员工", "value": "看一看", "userid": "lisi"},
]
JUMPS = [
    {"type": 1, "title": "网站", "url": PAGE},
    {"type": 2, "title": "小程序", "appid": "wx123123123123123", "pagepath": "/index.html"},
]
ACTION = {"type": 2, "url": PAGE, "appid": "wx123123123123123", "pagepath": "/index.html"}
CARDS_AS_PUBLISHED: dict[str, dict[str, Any]] = {
    "text_notice": {
        "source": SOURCE,
        "action_menu": MENU,
        "task_id": "task_id",
        "main_title": TITLE,
        "quote_area": QUOTE,
        "emphasis_content": {"title": "100", "desc": "人数"},
        "sub_title_text": "还有更多",
        "horizontal_content_list": LINES,
        "jump_list": JUMPS,
        "card_action": ACTION,
    },
    "news_notice": {
        "source": SOURCE,
        "action_menu": MENU,
        "task_id": "task_id",
        "main_title": TITLE,
        "quote_area": QUOTE,
        "image_text_area": {**LINK, "title": "左图", "desc": "右文", "image_url": "https://example.com/left.png"},
        "card_image": {"url": "https://example.com/wide.png", "aspect_ratio": 1.3},
        "vertical_content_list": [{"title": "惊喜", "desc": "在这里"}],
        "horizontal_content_list": LINES,
        "jump_list": JUMPS,
        "card_action": ACTION,
    },
    "button_interaction": {
        "source": SOURCE,
        "action_menu": MENU,
        "main_title": TITLE,
        "quote_area": QUOTE,
        "sub_title_text": "还有更多",
        "horizontal_content_list": LINES,
        "card_action": ACTION,
        "task_id": "task_id",
        "button_selection": {
            "question_key": "question",
            "title": "评分",
            "option_list": [{"id": "one", "text": "满分"}, {"id": "two", "text": "高分"}],
            "selected_id": "one",
        },
        "button_list": [
            {"text": "左", "style": 1, "key": "left"},
            {"text": "右", "style": 2, "key": "right"},
        ],
    },
    "vote_interaction": {
        "source": {"icon_url": "https://example.com/icon.png", "desc": "行政"},
        "main_title": TITLE,
        "task_id": "task_id",
        "checkbox": {
            "question_key": "question",
            "option_list": [
                {"id": "one", "text": "甲", "is_checked": True},
                {"id": "two", "text": "乙", "is_checked": False},
            ],
            "mode": 1,
        },
        "submit_button": {"text": "提交", "key": "key"},
    },
    "multiple_interaction": {
        "source": {"icon_url": "https://example.com/icon.png", "desc": "行政"},
        "main_title": TITLE,
        "task_id": "task_id",
        "select_list": [
            {
                "question_key": "first",
                "title": "甲",
                "selected_id": "one",
                "option_list": [{"id": "one", "text": "一"}, {"id": "two", "text": "二"}],
            },
            {
                "question_key": "second",
                "title": "乙",
                "selected_id": "four",
                "option_list": [{"id": "three", "text": "三"}, {"id": "four", "text": "四"}],
            },
        ],
        "submit_button": {"text": "提交", "key": "key"},
    },
}
SIMPLE_AS_PUBLISHED: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "text": ({"content": f'到了。\n<a href="{PAGE}">链接</a>'}, tuple(OPTION_VALUES)),
    "image": ({"media_id": "MEDIA_ID"}, ("safe", "enable_duplicate_check", "duplicate_check_interval")),
    "voice": ({"media_id": "MEDIA_ID"}, ("enable_duplicate_check", "duplicate_check_interval")),
    "video": (
        {"media_id": "MEDIA_ID", "title": "Title", "description": "Description"},
        ("safe", "enable_duplicate_check", "duplicate_check_interval"),
    ),
    "file": ({"media_id": "1Yv-zXfHjSjU"}, ("safe", "enable_duplicate_check", "duplicate_check_interval")),
    "textcard": (
        {"title": "领取", "description": '<div class="gray">今天</div>', "url": PAGE, "btntxt": "更多"},
        ("enable_id_trans", "enable_duplicate_check", "duplicate_check_interval"),
    ),
    "news": (
        {
            "articles": [
                {
                    "title": "礼品",
                    "description": "领取",
                    "url": PAGE,
                    "picurl": "https://example.com/a.png",
                    "appid": "wx123123123123123",
                    "pagepath": "pages/index?userid=lisi",
                }
            ]
        },
        ("enable_id_trans", "enable_duplicate_check", "duplicate_check_interval"),
    ),
    "mpnews": (
        {
            "articles": [
                {
                    "title": "Title",
                    "thumb_media_id": "MEDIA_ID",
                    "author": "Author",
                    "content_source_url": PAGE,
                    "content": "Content",
                    "digest": "Digest",
                }
            ]
        },
        tuple(OPTION_VALUES),
    ),
    "markdown": (
        {"content": '**事项**\n>地点：<font color="info">三楼</font>\n>\n>[链接](https://example.com)'},
        ("enable_duplicate_check", "duplicate_check_interval"),
    ),
    "miniprogram_notice": (
        {
            "appid": "wx123123123123123",
            "page": "pages/index?userid=lisi&orderid=7",
            "title": "会议室预订好了",
            "description": "5月6日 17:00",
            "emphasis_first_item": True,
            "content_item": [{"key": "会议室", "value": "301"}, {"key": "时间", "value": "5月7日 10:00-11:30"}],
        },
        ("enable_id_trans", "enable_duplicate_check", "duplicate_check_interval"),
    ),
}
RECIPIENTS = {"touser": "UserID1|UserID2|UserID3", "toparty": "1 | 2", "totag": "3 | 4", "agentid": 1}
CONTENTS: dict[str, dict[str, Any]] = {
    kind: {"msgtype": kind, kind: fields} | {name: OPTION_VALUES[name] for name in options}
    for kind, (fields, options) in SIMPLE_AS_PUBLISHED.items()
} | {
    kind: {
        "msgtype": "template_card",
        "template_card": {"card_type": kind, **fields},
        "enable_id_trans": 0,
        "enable_duplicate_check": 0,
        "duplicate_check_interval": 1800,
    }
    for kind, fields in CARDS_AS_PUBLISHED.items()
}
"""One request a kind with the structure of the example on page 90236."""


def refusal(body: dict[str, Any]) -> str:
    with pytest.raises(InvalidMessage) as caught:
        content_from_body(body)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def card(kind: str, **changes: object) -> dict[str, Any]:
    """The published card with other fields; `...` leaves one out."""
    fields = copy.deepcopy({"card_type": kind} | CARDS_AS_PUBLISHED[kind]) | changes
    return {
        "msgtype": "template_card",
        "template_card": {name: value for name, value in fields.items() if value is not ...},
    }


@pytest.mark.parametrize("kind", CONTENTS)
def test_a_whole_request_as_wecom_publishes_it_is_read_and_comes_back_equal(kind: str) -> None:
    message = content_from_body(RECIPIENTS | CONTENTS[kind])
    assert message.body() == CONTENTS[kind]
    assert content_from_body(message.body()) == message
    assert recipients_of_body(RECIPIENTS | CONTENTS[kind]) == {
        "users": ["UserID1", "UserID2", "UserID3"],
        "parties": ["1", "2"],
        "tags": ["3", "4"],
        "everyone": False,
    }


@pytest.mark.parametrize("kind", CARDS)
def test_cards_are_read_as_the_class_of_their_type(kind: str) -> None:
    assert type(content_from_body(card(kind))) is CARDS[kind]


@pytest.mark.parametrize("option", OPTION_VALUES)
@pytest.mark.parametrize("kind", CONTENTS)
def test_an_option_is_possible_only_where_the_page_lists_it_and_only_beside_the_object(kind: str, option: str) -> None:
    bare = {name: value for name, value in CONTENTS[kind].items() if name not in OPTION_VALUES}
    if option in CONTENTS[kind]:
        value = OPTION_VALUES[option]
        assert content_from_body(bare | {option: value}).body() == bare | {option: value}
    else:
        assert refusal(bare | {option: 1}).startswith(f"{option}: ")
    msgtype = bare["msgtype"]
    assert f"{msgtype}.{option}: unknown field" in refusal(bare | {msgtype: bare[msgtype] | {option: 1}})


def test_only_articles_that_wecom_keeps_can_be_limited_to_the_corp() -> None:
    assert content_from_body(CONTENTS["mpnews"] | {"safe": 2}).body()["safe"] == 2
    assert refusal(CONTENTS["text"] | {"safe": 2}) == "safe: 2 is not known, must be 0 or 1"


def test_a_misspelt_option_is_refused_with_the_nearest_name() -> None:
    assert refusal(CONTENTS["text"] | {"enable_duplicate_chek": 1}) == (
        "enable_duplicate_chek: unknown field; did you mean enable_duplicate_check?"
    )


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (card("text_notice", task_id=...), "template_card.task_id: is missing, needed with action_menu"),
        (card("news_notice", task_id=...), "template_card.task_id: is missing, needed with action_menu"),
        (card("text_notice", card_action={"type": 1}), "template_card.card_action.url: is missing, needed with type 1"),
        (card("text_notice", card_action={"type": 2}), "template_card.card_action.appid: is missing, needed with"),
        (card("text_notice", card_action={"type": 0}), "template_card.card_action.type: 0 is not possible"),
        (card("news_notice", card_action={"type": 0}), "template_card.card_action.type: 0 is not possible"),
        (card("text_notice", card_action=...), "template_card.card_action: is missing"),
        (card("vote_interaction", card_action=LINK), "template_card.card_action: unknown field"),
        (
            card("text_notice", main_title={"desc": "x"}, sub_title_text=...),
            "template_card.main_title.title: is missing",
        ),
        (card("text_notice", main_title=..., sub_title_text=" "), "template_card.main_title.title: is missing"),
        (card("button_interaction", main_title={"desc": "x"}), "template_card.main_title.title: is missing"),
        (card("vote_interaction", main_title={"title": ""}), "template_card.main_title.title: is missing"),
        (card("multiple_interaction", main_title={}), "template_card.main_title.title: is missing"),
        (card("news_notice", card_image=..., image_text_area=...), "template_card.card_image: is missing"),
        (card("text_notice", quote_area={"type": 1}), "template_card.quote_area.url: is missing"),
        (card("text_notice", quote_area={"type": 2}), "template_card.quote_area.appid: is missing"),
        (card("text_notice", jump_list=[{"type": 1, "title": "x"}]), "template_card.jump_list[0].url: is missing"),
        (
            card("text_notice", horizontal_content_list=[*LINES[:1], {"type": 1, "keyname": "x"}]),
            "template_card.horizontal_content_list[1].url: is missing, needed with type 1",
        ),
        (
            card("text_notice", horizontal_content_list=[{"type": 2, "keyname": "x"}]),
            "template_card.horizontal_content_list[0].media_id: is missing",
        ),
        (
            card("text_notice", horizontal_content_list=[{"type": 3, "keyname": "x"}]),
            "template_card.horizontal_content_list[0].userid: is missing",
        ),
        (card("button_interaction", button_list=[{"text": "x"}]), "template_card.button_list[0].key: is missing"),
        (
            card("button_interaction", button_list=[{"text": "x", "type": 1, "key": "k"}]),
            "template_card.button_list[0].url: is missing, needed with type 1",
        ),
        (
            card("button_interaction", button_list=[{"text": "x", "key": "k"}, {"text": "y", "key": "k"}]),
            "template_card.button_list[1].key: the same as in item 0",
        ),
        (
            card("text_notice", action_menu={"action_list": [{"text": "x", "key": "k"}, {"text": "y", "key": "k"}]}),
            "template_card.action_menu.action_list[1].key: the same as in item 0",
        ),
        (
            card(
                "vote_interaction",
                checkbox={
                    "question_key": "q",
                    "option_list": [{"id": "a", "text": "x", "is_checked": False}] * 2,
                },
            ),
            "template_card.checkbox.option_list[1].id: the same as in item 0",
        ),
        (
            card(
                "multiple_interaction",
                select_list=[{"question_key": "q", "option_list": [{"id": "a", "text": "x"}]}] * 2,
            ),
            "template_card.select_list[1].question_key: the same as in item 0",
        ),
        (
            card(
                "multiple_interaction",
                select_list=[{"question_key": "q", "selected_id": "b", "option_list": [{"id": "a", "text": "x"}]}],
            ),
            "template_card.select_list[0].selected_id: is not the id of an entry",
        ),
        (card("vote_interaction", source={"desc_color": 1}), "template_card.source.desc_color: only text_notice"),
        (
            card("vote_interaction", checkbox=CARDS_AS_PUBLISHED["vote_interaction"]["checkbox"] | {"disable": True}),
            "template_card.checkbox.disable: is possible in a card update only",
        ),
        (
            card(
                "multiple_interaction",
                select_list=[
                    CARDS_AS_PUBLISHED["multiple_interaction"]["select_list"][0],
                    CARDS_AS_PUBLISHED["multiple_interaction"]["select_list"][1] | {"disable": False},
                ],
            ),
            "template_card.select_list[1].disable: is possible in a card update only",
        ),
        (card("vote_interaction", submit_button=...), "template_card.submit_button: is missing"),
        (card("button_interaction", replace_text="x"), "template_card.replace_text: unknown field"),
        (card("text_notice", task_id="a b"), "template_card.task_id: must be made of digits, letters and _ - @ alone"),
        (card("text_notice", task_id="a\n"), "template_card.task_id: must be made of"),
        (card("text_notice", task_id=""), "template_card.task_id: must be made of"),
        (
            {"msgtype": "template_card", "template_card": {"card_typ": "text_notice"}},
            "template_card.card_typ: unknown field; did you mean card_type?",
        ),
        ({"msgtype": "template_card", "template_card": {}}, "template_card.card_type: is missing"),
        ({"msgtype": "template_card", "template_card": []}, "template_card: an object is needed"),
        (card("text_notice", card_type="x"), "template_card.card_type: must be one of text_notice"),
        (
            card("text_notice", main_title={"titel": "x"}),
            "template_card.main_title.titel: unknown field; did you mean title?",
        ),
        (card("text_notice", sub_title_text="a\x07"), "template_card.sub_title_text: control character U+0007"),
    ],
)
def test_a_card_that_breaks_a_rule_is_refused_by_field(body: dict[str, Any], complaint: str) -> None:
    assert refusal(body).startswith(complaint)


def test_a_text_notice_needs_only_one_of_its_titles() -> None:
    assert content_from_body(card("text_notice", main_title=...))
    assert content_from_body(card("text_notice", sub_title_text=...))


def test_a_notice_without_a_menu_needs_no_task() -> None:
    assert content_from_body(card("text_notice", action_menu=..., task_id=...))


def test_a_news_notice_needs_only_one_of_its_pictures() -> None:
    assert content_from_body(card("news_notice", card_image=...))
    assert content_from_body(card("news_notice", image_text_area=...))


def test_a_button_card_may_lead_nowhere() -> None:
    assert content_from_body(card("button_interaction", card_action={"type": 0}))
    assert content_from_body(card("button_interaction", card_action=...))


def test_several_buttons_may_open_pages_without_keys() -> None:
    opening = {"type": 1, "text": "x", "url": PAGE}
    assert content_from_body(card("button_interaction", button_list=[opening, opening]))


@pytest.mark.parametrize("name", ["horizontal_content_list", "jump_list"])
def test_lists_that_may_be_empty_are_sent_empty(name: str) -> None:
    assert content_from_body(card("text_notice", **{name: []})).body()["template_card"][name] == []


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"appid": "wx1"}, "news.articles[0].pagepath: is missing, needed with appid"),
        ({"pagepath": "p"}, "news.articles[0].appid: is missing, needed with pagepath"),
        ({}, "news.articles[0].url: is missing; give url, or appid and pagepath"),
    ],
)
def test_an_article_leads_to_a_page_or_to_a_mini_program(changes: dict[str, str], complaint: str) -> None:
    assert refusal({"msgtype": "news", "news": {"articles": [{"title": "x"} | changes]}}) == complaint


def test_everything_that_is_wrong_is_said_in_one_line() -> None:
    with pytest.raises(InvalidMessage) as caught:
        TextCard(title="x" * 130, description="", url=5)
    assert str(caught.value) == (
        "textcard.title: 130 bytes of UTF-8, at most 128; textcard.description: is empty; "
        "textcard.url: must be a string, not a number"
    )


def test_a_part_says_by_itself_what_is_wrong_with_it() -> None:
    with pytest.raises(InvalidMessage, match=r"^key: is missing, needed with type 0$"):
        Button(text="x")


def test_what_was_not_given_is_not_written_whether_left_out_or_none() -> None:
    there, back = Text(content="x"), Text(content="x", safe=None, enable_id_trans=None)
    assert there == back
    assert back.body() == {"msgtype": "text", "text": {"content": "x"}}
    assert content_from_body({"msgtype": "text", "text": {"content": "x"}, "safe": None}) == there


def test_a_message_cannot_be_changed_once_it_is_made() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Text(content="x").content = "y"  # type: ignore[misc]


def test_long_addresses_are_a_warning() -> None:
    message = TextCard(title="x", description="y", url=f"{PAGE}/{'x' * 1024}")
    assert message.warnings() == ("textcard.url: 1049 bytes of UTF-8, suggested at most 1024",)


def test_suggested_lengths_of_parts_are_warned_about_by_path() -> None:
    assert content_from_body(card("text_notice")).warnings() == (
        "template_card.horizontal_content_list[1].keyname: 6 characters, suggested at most 5",
        "template_card.horizontal_content_list[2].keyname: 6 characters, suggested at most 5",
    )


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"touser": "@all", "toparty": "1"}, {"users": [], "parties": [], "tags": [], "everyone": True}),
        ({"touser": " a | b |"}, {"users": ["a", "b"], "parties": [], "tags": [], "everyone": False}),
        ({"touser": "", "totag": "7"}, {"users": [], "parties": [], "tags": ["7"], "everyone": False}),
        ({}, {"users": [], "parties": [], "tags": [], "everyone": False}),
    ],
)
def test_the_recipients_of_a_request_are_read_as_wecom_reads_them(
    body: dict[str, object], named: dict[str, object]
) -> None:
    assert recipients_of_body(body) == named


def test_recipients_in_another_form_are_refused() -> None:
    with pytest.raises(InvalidMessage, match=r"^touser: must be a string of ids joined by |, not list"):
        recipients_of_body({"touser": ["a"]})


def test_parts_can_be_given_as_objects_or_as_dictionaries() -> None:
    assert News(articles=[{"title": "x", "url": PAGE}]) == News(articles=[NewsArticle(title="x", url=PAGE)])
    assert ButtonInteraction(
        main_title={"title": "x"}, button_list=[{"text": "y", "key": "k"}], task_id="t"
    ) == ButtonInteraction(main_title=MainTitle(title="x"), button_list=[Button(text="y", key="k")], task_id="t")
