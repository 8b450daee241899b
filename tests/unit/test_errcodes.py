"""The table of WeCom's errcodes, its reader and its explanations."""

import re
from collections.abc import MutableMapping
from typing import cast

import pytest

from worker.providers.base import Category
from worker.providers.wecom.errcodes import (
    BEHAVIOUR,
    ERRCODES,
    OF_AN_ADDRESS_BEHAVIOUR,
    Errcode,
    Retry,
    TableError,
    category_of,
    explain,
    read_table,
)

HEADER = "code,meaning,category,retry,advice\n"
GOOD_ROW = "-1,Too busy,transient,backoff,Nothing.\n"
ASCII_OR_CHINESE = re.compile(r"[ -~\u4e00-\u9fff]+")

EVERY_ERRCODE = pytest.mark.parametrize("errcode", ERRCODES.values(), ids=lambda errcode: str(errcode.code))


def test_every_code_is_there_once_and_in_order() -> None:
    assert len(ERRCODES) == 192
    assert list(ERRCODES) == sorted(ERRCODES)
    assert [errcode.code for errcode in ERRCODES.values()] == list(ERRCODES)


def test_the_table_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        cast("MutableMapping[int, Errcode]", ERRCODES)[40001] = ERRCODES[40014]


def test_success_is_no_row_of_the_table() -> None:
    assert 0 not in ERRCODES


def test_every_category_of_errcodes_occurs_and_no_other() -> None:
    assert {errcode.category for errcode in ERRCODES.values()} == {
        Category.TRANSIENT,
        Category.TOKEN,
        Category.RATE_LIMITED,
        Category.RECIPIENT,
        Category.CONTENT,
        Category.CONFIG,
    }


def test_every_way_to_retry_occurs() -> None:
    assert {errcode.retry for errcode in ERRCODES.values()} == set(Retry)


def test_every_behaviour_is_used_by_some_code() -> None:
    assert {(errcode.category, errcode.retry) for errcode in ERRCODES.values()} == set(BEHAVIOUR)


@pytest.mark.parametrize(
    ("category", "words"),
    [
        (Category.TRANSIENT, "after about 1, 2 and 4 seconds"),
        (Category.TOKEN, "its messages wait"),
        (Category.RATE_LIMITED, "parks the sender for a minute"),
        (Category.RECIPIENT, "fails the message at once"),
        (Category.CONFIG, "pauses the sender"),
    ],
)
def test_each_category_says_what_the_worker_does(category: Category, words: str) -> None:
    for errcode in ERRCODES.values():
        if errcode.category is category:
            assert f"What the worker does: it {BEHAVIOUR[category, errcode.retry]}" in explain(errcode.code)
            assert words in BEHAVIOUR[category, errcode.retry]


def test_content_fails_at_once_unless_a_new_upload_can_help() -> None:
    assert "fails the message at once" in BEHAVIOUR[Category.CONTENT, Retry.NO]
    assert (
        "uploads the file again and sends the message again, up to three times"
        in BEHAVIOUR[Category.CONTENT, Retry.REUPLOAD_ONCE]
    )


@EVERY_ERRCODE
def test_texts_are_short_single_lines_in_ascii_or_chinese(errcode: Errcode) -> None:
    for text, longest in ((errcode.meaning, 100), (errcode.advice, 300)):
        assert 10 < len(text) <= longest
        assert text == text.strip()
        assert ASCII_OR_CHINESE.fullmatch(text)
    assert errcode.meaning[-1] not in ".!"
    assert errcode.advice.endswith(".")


def test_no_two_codes_share_a_whole_explanation() -> None:
    texts = [(errcode.meaning, errcode.advice) for errcode in ERRCODES.values()]
    assert len(set(texts)) == len(texts)


@EVERY_ERRCODE
def test_whoever_meets_a_paused_sender_is_told_how_to_resume_it(errcode: Errcode) -> None:
    told = "`wecom senders resume NAME`" in explain(errcode.code)
    assert told == (errcode.category is Category.CONFIG or errcode.retry is Retry.WAIT_NEXT_SUITE_TICKET)


@EVERY_ERRCODE
def test_advice_names_only_commands_that_exist(errcode: Errcode) -> None:
    commands = set(re.findall(r"`(wecom [^`]*)`", errcode.advice))
    assert commands <= {
        "wecom senders show NAME",
        "wecom senders pause NAME",
        "wecom senders resume NAME",
        "wecom senders add NAME --replace ...",
        "wecom status ID",
        "wecom recall ID",
        "wecom doctor",
    }


@pytest.mark.parametrize(
    ("code", "category", "retry"),
    [
        (-1, Category.TRANSIENT, Retry.BACKOFF),
        (40001, Category.CONFIG, Retry.NO),
        (40007, Category.CONTENT, Retry.REUPLOAD_ONCE),
        (40013, Category.CONFIG, Retry.NO),
        (40014, Category.TOKEN, Retry.REFRESH_ONCE),
        (40085, Category.TOKEN, Retry.WAIT_NEXT_SUITE_TICKET),
        (42001, Category.TOKEN, Retry.REFRESH_ONCE),
        (42052, Category.CONTENT, Retry.NO),
        (44004, Category.CONTENT, Retry.NO),
        (45009, Category.RATE_LIMITED, Retry.WAIT),
        (45033, Category.RATE_LIMITED, Retry.WAIT),
        (48002, Category.CONFIG, Retry.NO),
        (48008, Category.CONFIG, Retry.NO),
        (48009, Category.CONFIG, Retry.NO),
        (50006, Category.CONFIG, Retry.NO),
        (60020, Category.CONFIG, Retry.NO),
        (81013, Category.RECIPIENT, Retry.NO),
        (301002, Category.CONFIG, Retry.NO),
    ],
)
def test_the_codes_met_most_are_in_their_categories(code: int, category: Category, retry: Retry) -> None:
    assert category_of(code) is category
    assert ERRCODES[code].retry is retry


def test_an_app_without_a_mini_program_is_told_apart_from_one_that_may_send_nothing() -> None:
    assert category_of(48002, "miniprogram_notice") is Category.CONTENT
    assert category_of(48002, "text") is Category.CONFIG
    assert category_of(60020, "miniprogram_notice") is Category.CONFIG
    assert "If it answers a miniprogram_notice, it fails the message at once" in explain(48002)


@pytest.mark.parametrize("code", [0, None])
def test_zero_and_no_errcode_at_all_are_accepted(code: int | None) -> None:
    assert category_of(code) is Category.ACCEPTED


@pytest.mark.parametrize("code", [-2, 1, 45011, 999999])
def test_a_code_outside_the_table_is_unlisted(code: int) -> None:
    assert category_of(code) is Category.UNLISTED


def test_a_listed_code_is_explained_with_everything_the_table_says() -> None:
    lines = explain(60020).splitlines()
    assert lines == [
        f"60020: {ERRCODES[60020].meaning}",
        "Category: config",
        f"What the worker does: it {BEHAVIOUR[Category.CONFIG, Retry.NO]} {OF_AN_ADDRESS_BEHAVIOUR}",
        f"What to do: {ERRCODES[60020].advice}",
        "Official page: https://developer.work.weixin.qq.com/document/path/90313",
    ]
    assert "pauses the sender" in lines[2]
    assert "企业可信IP" in ERRCODES[60020].advice


def test_an_unlisted_code_is_explained_by_pointing_to_the_page_that_knows_it() -> None:
    explanation = explain(123456)
    assert explanation.startswith("123456: not in this program's table\nCategory: unlisted\n")
    assert "What the worker does: it tries once more" in explanation
    assert explanation.endswith("https://open.work.weixin.qq.com/devtool/query?e=123456")


def test_zero_is_explained_as_success() -> None:
    assert explain(0) == "0: WeCom accepted the call"


def test_a_sound_table_is_read() -> None:
    assert read_table(HEADER + GOOD_ROW) == {-1: Errcode(-1, "Too busy", Category.TRANSIENT, Retry.BACKOFF, "Nothing.")}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("40001,Wrong secret,config,no\n", "4 fields instead of 5"),
        ("40001,Wrong secret,config,no,Correct it, then resume.\n", "6 fields instead of 5"),
        ("\n", "0 fields instead of 5"),
        ("many,Wrong secret,config,no,Correct it.\n", "many"),
        ("0,Fine,config,no,Nothing.\n", "0 is success"),
        ("40001,Wrong secret,setup,no,Correct it.\n", "'setup' is not a valid Category"),
        ("40001,Wrong secret,config,never,Correct it.\n", "'never' is not a valid Retry"),
        ("40001,Wrong secret,config,backoff,Correct it.\n", "no behaviour is known for config with backoff"),
        ("40001,Wrong secret,accepted,no,Correct it.\n", "no behaviour is known for accepted with no"),
        ("40001,,config,no,Correct it.\n", "meaning must be one line of text"),
        ("40001,Wrong secret,config,no, \n", "advice must be one line of text"),
        ("-1,Too busy,transient,backoff,Nothing.\n", "code -1 must not stand after -1"),
        ("-5,Too busy,transient,backoff,Nothing.\n", "code -5 must not stand after -1"),
        ('40001,"Wrong" secret,config,no,Correct it.\n', "expected after"),
    ],
)
def test_a_broken_row_is_refused_naming_its_line(row: str, reason: str) -> None:
    with pytest.raises(TableError, match=r"^errcodes\.csv, line 3: ") as refusal:
        read_table(HEADER + GOOD_ROW + row)
    assert reason in str(refusal.value)


def test_a_text_on_two_lines_is_refused_naming_its_last_line() -> None:
    with pytest.raises(TableError, match=r"^errcodes\.csv, line 4: advice must be one line of text$"):
        read_table(HEADER + GOOD_ROW + '40001,Wrong secret,config,no,"Correct it.\nThen resume."\n')


@pytest.mark.parametrize("text", ["", "code,meaning\n", GOOD_ROW])
def test_a_table_without_its_columns_is_refused(text: str) -> None:
    with pytest.raises(TableError, match=r"line 1: the columns must be code,meaning,category,retry,advice"):
        read_table(text)
