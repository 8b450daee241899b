"""What WeCom's JSON says, whatever stands in it: read strictly, and within bounds."""

import logging
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.providers.base import Answer, Category
from worker.providers.wecom.replies import LONGEST_ID_BYTES, LONGEST_NAME, LONGEST_REASON, Reply, read_reply

NAMES = ("errcode", "errmsg", "msgid", "response_code", "invaliduser", "invalidparty", "invalidtag", "unlicenseduser")
TEXTS = st.text("a0|\0\n\x1b 张-", max_size=30)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | TEXTS,
    lambda values: st.lists(values, max_size=5) | st.dictionaries(TEXTS, values, max_size=3),
    max_leaves=10,
)


def _read(payload: object, status: int = 200) -> Answer:
    return read_reply(status, orjson.dumps(payload), "", 0).answer


def _bounded(reply: Reply) -> None:
    answer = reply.answer
    assert answer.errcode is None or (type(answer.errcode) is int and abs(answer.errcode) < 2**31)
    assert len(answer.reason) <= 2 * LONGEST_REASON
    assert answer.reason.isprintable()
    for name in (answer.msgid, answer.response_code):
        assert name is None or (isinstance(name, str) and 0 < len(name) <= LONGEST_NAME and name.isprintable())
    invalid = answer.invalid
    assert len(invalid.users) <= 1000
    assert len(invalid.parties) <= 100
    assert len(invalid.tags) <= 100
    for ids in (invalid.users, invalid.parties, invalid.tags, invalid.unlicensed):
        assert all(one and one.isprintable() and len(one.encode()) <= LONGEST_ID_BYTES for one in ids)


@given(st.dictionaries(st.sampled_from(NAMES), VALUES), st.integers(200, 999))
def test_whatever_the_values_are_what_goes_on_is_bounded(payload: dict[str, object], status: int) -> None:
    _bounded(read_reply(status, orjson.dumps(payload, option=orjson.OPT_NON_STR_KEYS), "", 0))


@given(st.binary(max_size=200), st.integers(200, 999))
def test_whatever_the_bytes_are_they_are_judged(content: bytes, status: int) -> None:
    _bounded(read_reply(status, content, "", 0))


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 500_000,
        b"\xff\xfe{",
        b"null",
        b"[]",
        b"1",
        b"",
        b'{"a":"\\ud800"}',
    ],
    ids=["nested", "utf-16", "null", "array", "number", "nothing", "surrogate"],
)
def test_what_is_no_object_leaves_the_fate_open(content: bytes) -> None:
    assert read_reply(200, content, "", 0).answer.category is Category.UNCERTAIN


@pytest.mark.parametrize(
    "errcode", [True, False, None, 0.0, 1.5, "", "ok", " 0", "0x0", "٣", [], {}, 2**31, -(2**40), "9" * 11]
)
def test_what_is_no_whole_number_is_no_errcode_and_leaves_the_fate_open(errcode: object) -> None:
    answer = _read({"errcode": errcode, "msgid": "m"})
    assert (answer.category, answer.errcode, answer.msgid) == (Category.UNCERTAIN, None, None)


@pytest.mark.parametrize(("written", "errcode"), [("0", 0), ("40014", 40014), ("-1", -1), (81013, 81013)])
def test_an_errcode_that_is_written_as_a_text_is_read(written: object, errcode: int) -> None:
    assert _read({"errcode": written, "errmsg": "x"}).errcode == errcode


def test_words_that_are_no_text_are_not_kept() -> None:
    nested = b'{"errcode":40058,"errmsg":' + b"[" * 1000 + b"]" * 1000 + b"}"
    answer = read_reply(200, nested, "", 0).answer
    assert (answer.errcode, answer.reason) == (40058, "")


def test_a_byte_order_mark_is_passed_over() -> None:
    assert read_reply(200, b'\xef\xbb\xbf{"errcode":0,"msgid":"m"}', "", 0).answer.msgid == "m"


@pytest.mark.parametrize("name", [1, True, 1.5, [], {}, "", "a\0b", "a\nb", "x" * (LONGEST_NAME + 1)])
def test_what_is_no_text_or_cannot_be_used_as_it_is_names_nothing(name: object) -> None:
    answer = _read({"errcode": 0, "msgid": name, "response_code": name})
    assert (answer.category, answer.msgid, answer.response_code) == (Category.ACCEPTED, None, None)


def test_recipients_that_cannot_be_kept_are_counted_in_reason_and_log(caplog: pytest.LogCaptureFixture) -> None:
    users = [f"u{n}" for n in range(1005)] + ["x" * 65, {}, None, "a\0"]
    with caplog.at_level(logging.WARNING):
        answer = _read({"errcode": 0, "invaliduser": "|".join(map(str, users[:1006])), "invalidparty": [1, 2, {}, "3"]})
    assert len(answer.invalid.users) == 1000
    assert answer.invalid.parties == ("1", "2", "3")
    assert "7 more invalid recipients" in answer.reason
    assert "7" in caplog.text


def test_as_many_recipients_as_a_call_can_name_are_kept() -> None:
    users = "|".join(f"{n:x>64}" for n in range(1000))
    answer = _read({"errcode": 81013, "errmsg": "all invalid", "invaliduser": users})
    assert (len(answer.invalid.users), answer.reason) == (1000, "all invalid")


def test_a_long_errmsg_is_one_line_of_bounded_length() -> None:
    reason = _read({"errcode": 40058, "errmsg": "a\n\x1b[31m" * 100_000}).reason
    assert len(reason) == LONGEST_REASON
    assert reason.isprintable()
