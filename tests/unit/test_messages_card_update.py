"""Changes of cards that were sent (doc 94888)."""

from typing import Any

import pytest

from worker.messages import (
    CardAction,
    CardUpdate,
    HorizontalContent,
    InvalidMessage,
    MainTitle,
    MediaFile,
    TextNotice,
    UpdatedTextNotice,
)

LINK = {"type": 1, "url": "https://example.com/page"}
TITLE = {"title": "已处理"}
OPTIONS = [{"id": "a", "text": "甲"}]
CARDS: dict[str, dict[str, Any]] = {
    "text_notice": {"main_title": TITLE, "card_action": LINK},
    "news_notice": {
        "main_title": TITLE,
        "card_image": {"url": "https://example.com/a.png", "aspect_ratio": 1.3},
        "card_action": LINK,
    },
    "button_interaction": {
        "main_title": TITLE,
        "button_list": [{"text": "好", "key": "k"}],
        "replace_text": "已提交",
    },
    "vote_interaction": {
        "main_title": TITLE,
        "checkbox": {
            "question_key": "q",
            "option_list": [{"id": "a", "text": "甲", "is_checked": True}],
            "disable": False,
            "mode": 1,
        },
        "submit_button": {"text": "提交", "key": "k"},
        "replace_text": "已提交",
    },
    "multiple_interaction": {
        "main_title": TITLE,
        "select_list": [{"question_key": "q", "title": "t", "disable": True, "option_list": OPTIONS}],
        "replace_text": "已提交",
    },
}
WHOM: dict[str, Any] = {"userids": ["userid1", "userid2"], "partyids": [2, 3], "tagids": [44, 55], "atall": 0}


def refusal(**fields: Any) -> str:  # noqa: ANN401 - what a producer may give
    with pytest.raises(InvalidMessage) as caught:
        CardUpdate(**fields)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_buttons_of_a_card_are_replaced_by_a_name() -> None:
    update = CardUpdate(replace_name="已处理", **WHOM)
    assert update.body() == WHOM | {"button": {"replace_name": "已处理"}}
    assert CardUpdate.from_body(update.body()) == update


@pytest.mark.parametrize("kind", CARDS)
def test_a_card_of_any_type_takes_the_place_of_another(kind: str) -> None:
    body = WHOM | {"enable_id_trans": 1, "template_card": {"card_type": kind, **CARDS[kind]}}
    update = CardUpdate.from_body(body | {"agentid": 1, "response_code": "code"})
    assert update.body() == body
    assert CardUpdate(**body) == update


def test_a_card_as_it_is_sent_can_take_the_place_of_another() -> None:
    sent = TextNotice(main_title=MainTitle(**TITLE), card_action=CardAction(**LINK), enable_id_trans=1)
    assert CardUpdate(template_card=sent, atall=1).body() == {
        "atall": 1,
        "template_card": {"card_type": "text_notice", **CARDS["text_notice"]},
    }


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"atall": 1}, "button: exactly one of button.replace_name and template_card is needed"),
        (
            {"atall": 1, "replace_name": "x", "template_card": {"card_type": "text_notice", **CARDS["text_notice"]}},
            "button: exactly one",
        ),
        ({"replace_name": "x"}, "userids: nobody is named; give userids, partyids, tagids or atall 1"),
        ({"replace_name": "x", "userids": [], "atall": 0}, "userids: nobody is named"),
        ({"replace_name": " ", "atall": 1}, "button.replace_name: is empty"),
        ({"replace_name": "x", "userids": ["u"] * 1001}, "userids: 1001 items, at most 1000"),
        ({"replace_name": "x", "partyids": [1] * 101}, "partyids: 101 items, at most 100"),
        ({"replace_name": "x", "tagids": [1] * 101}, "tagids: 101 items, at most 100"),
        ({"replace_name": "x", "userids": ["u" * 65]}, "userids[0]: 65 bytes of UTF-8, at most 64"),
        ({"replace_name": "x", "partyids": ["2"]}, "partyids[0]: must be a whole number, not a string"),
        ({"replace_name": "x", "tagids": [0]}, "tagids[0]: is no id"),
        ({"replace_name": "x", "tagids": [2**63]}, "tagids[0]: is no id"),
        ({"replace_name": "x", "userids": "zhangsan"}, "userids: must be a list, not a string"),
        ({"replace_name": "x", "atall": 2}, "atall: 2 is not known, must be 0 or 1"),
        ({"replace_name": "x", "userid": ["a"]}, "userid: unknown field; did you mean userids?"),
        ({"template_card": 5, "atall": 1}, "template_card: must be a card or an object"),
        ({"template_card": {"card_type": "x"}, "atall": 1}, "template_card.card_type: must be one of"),
        (
            {"template_card": {"card_type": "text_notice", "main_title": {"titel": "x"}}, "atall": 1},
            "template_card.card_action: is missing; template_card.main_title.titel: unknown field; did you mean title?",
        ),
        (
            {"template_card": {"card_type": "text_notice", **CARDS["text_notice"], "replace_text": "x"}, "atall": 1},
            "template_card.replace_text: unknown field",
        ),
    ],
)
def test_an_update_that_cannot_be_is_refused_by_field(fields: dict[str, Any], complaint: str) -> None:
    assert refusal(**fields).startswith(complaint)


def test_the_largest_audience_of_an_update_is_taken() -> None:
    assert CardUpdate(replace_name="x", userids=["u" * 64] * 1000, partyids=[1] * 100, tagids=[1] * 100)


def test_a_new_card_may_carry_a_file_and_too_long_a_word() -> None:
    attachment = MediaFile(path="bill.pdf")
    update = CardUpdate(
        template_card=UpdatedTextNotice(
            main_title=MainTitle(**TITLE),
            card_action=CardAction(**LINK),
            horizontal_content_list=[HorizontalContent(type=2, keyname="太长的名字", media_id=attachment)],
        ),
        atall=1,
    )
    assert update.media_files() == (("file", attachment),)
    with pytest.raises(InvalidMessage, match=r"^template_card.horizontal_content_list\[0\].media_id: the file must"):
        update.body()
    sent = update.with_media_ids(["M"])
    assert sent.body()["template_card"]["horizontal_content_list"][0]["media_id"] == "M"
    assert CardUpdate.from_body(sent.body()) == sent
    assert update.warnings() == ()


def test_suggested_lengths_are_warned_about_in_updates_too() -> None:
    vote = {"card_type": "vote_interaction", **CARDS["vote_interaction"], "main_title": {"title": "字" * 17}}
    assert CardUpdate(template_card=vote, atall=1).warnings() == (
        "template_card.main_title.title: 17 characters, suggested at most 16",
    )
    assert CardUpdate(replace_name="x", atall=1).warnings() == ()
