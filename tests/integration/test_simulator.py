"""The simulator keeps WeCom's documented rules: tokens, recipients, contents, limits, duplicates, recall."""

import hashlib
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
import requests

from worker.simulator.control import SimulatorControl
from worker.simulator.process import running_simulator

AGENT = 1000002
CREDENTIALS = {"corpid": "ww-simulator", "corpsecret": "simulator-secret"}
NOON_IN_BEIJING = 1_767_240_000.0  # 2026-01-01 12:00 in Asia/Shanghai


class Program:
    """A program that calls WeCom."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url
        self.session = requests.Session()
        self.session.trust_env = False

    def token_answer(self, **parameters: str) -> dict[str, Any]:
        answer = self.session.get(f"{self.base_url}/cgi-bin/gettoken", params=parameters, timeout=10)
        return dict(answer.json())

    def token(self, **credentials: str) -> str:
        return str(self.token_answer(**(credentials or CREDENTIALS))["access_token"])

    def post(self, call: str, body: bytes, token: str | None = None, query: str = "") -> requests.Response:
        url = f"{self.base_url}/cgi-bin/message/{call}?access_token={self.token() if token is None else token}{query}"
        return self.session.post(url, data=body, timeout=10)

    def send(self, token: str | None = None, **fields: object) -> dict[str, Any]:
        return dict(self.post("send", message(**fields), token).json())

    def recall(self, msgid: str, token: str | None = None) -> dict[str, Any]:
        return dict(self.post("recall", orjson.dumps({"msgid": msgid}), token).json())


def message(**fields: object) -> bytes:
    """A text message as bytes; a field that is None is left out."""
    whole = {"touser": "zhangsan", "msgtype": "text", "agentid": AGENT, "text": {"content": "早上好"}, **fields}
    return orjson.dumps({name: value for name, value in whole.items() if value is not None})


@pytest.fixture(scope="module")
def shared_simulator() -> Iterator[SimulatorControl]:
    with running_simulator() as control:
        yield control


@pytest.fixture
def simulator(shared_simulator: SimulatorControl) -> SimulatorControl:
    shared_simulator.reset()
    shared_simulator.set_clock(NOON_IN_BEIJING, frozen=True)
    return shared_simulator


@pytest.fixture
def program(simulator: SimulatorControl) -> Iterator[Program]:
    program = Program(simulator.base_url)
    with program.session:
        yield program


# --- tokens


def test_gettoken_gives_a_token_with_its_life(program: Program) -> None:
    answer = program.token_answer(**CREDENTIALS)
    assert (answer["errcode"], answer["errmsg"], answer["expires_in"]) == (0, "ok", 7200)
    assert 64 <= len(answer["access_token"]) <= 512


@pytest.mark.parametrize(
    ("parameters", "errcode"),
    [
        ({}, 41002),
        ({"corpid": "ww-simulator"}, 41004),
        ({"corpid": "ww-other", "corpsecret": "simulator-secret"}, 40013),
        ({"corpid": "ww-simulator", "corpsecret": "wrong"}, 40001),
    ],
)
def test_gettoken_refuses_wrong_credentials(program: Program, parameters: dict[str, str], errcode: int) -> None:
    assert program.token_answer(**parameters)["errcode"] == errcode


def test_five_wrong_secrets_close_gettoken_for_an_hour(program: Program, simulator: SimulatorControl) -> None:
    wrong = [program.token_answer(corpid="ww-simulator", corpsecret="wrong")["errcode"] for _ in range(6)]
    assert wrong == [40001] * 5 + [45009]
    simulator.advance_clock(3599)
    assert program.token_answer(**CREDENTIALS)["errcode"] == 45009
    simulator.advance_clock(1)
    assert program.token_answer(**CREDENTIALS)["errcode"] == 0


def test_wrong_secrets_more_than_a_minute_apart_close_nothing(program: Program, simulator: SimulatorControl) -> None:
    for _ in range(8):
        assert program.token_answer(corpid="ww-simulator", corpsecret="wrong")["errcode"] == 40001
        simulator.advance_clock(20)


def test_repeated_gettoken_gives_the_same_token_until_it_expires(program: Program, simulator: SimulatorControl) -> None:
    first = program.token()
    simulator.advance_clock(7199)
    again = program.token_answer(**CREDENTIALS)
    assert (again["access_token"], again["expires_in"]) == (first, 1)
    simulator.advance_clock(1)
    assert program.token() != first
    assert simulator.counters().tokens_issued == 2


def test_repeated_gettoken_can_be_set_to_give_new_tokens(program: Program, simulator: SimulatorControl) -> None:
    simulator.change_settings(new_token_on_repeat=True)
    first, second = program.token(), program.token()
    assert first != second
    assert program.send(token=first)["errcode"] == 0


def test_a_token_is_refused_when_missing_unknown_or_expired(program: Program, simulator: SimulatorControl) -> None:
    simulator.change_settings(token_life=60)
    token = program.token()
    assert program.send(token="")["errcode"] == 41001
    assert program.send(token="nonsense")["errcode"] == 40014
    simulator.advance_clock(60)
    assert program.send(token=token)["errcode"] == 42001


@pytest.mark.parametrize("errcode", [40014, 42001])
def test_tokens_can_be_ended_early(program: Program, simulator: SimulatorControl, errcode: int) -> None:
    token = program.token()
    assert simulator.invalidate_tokens(errcode) == 1
    assert program.send(token=token)["errcode"] == errcode
    assert program.send(token=program.token())["errcode"] == 0


def test_a_token_serves_its_own_app_only(program: Program, simulator: SimulatorControl) -> None:
    simulator.add_app("ww-simulator", "other-secret", 1000003)
    other = program.token(corpid="ww-simulator", corpsecret="other-secret")
    assert program.send(token=other)["errcode"] == 301002
    assert program.send(token=other, agentid=1000003)["errcode"] == 0


# --- the form of answers and requests


def test_errors_come_with_status_200_headers_and_a_changing_hint(program: Program) -> None:
    first, second = (program.post("send", message(), token="nonsense") for _ in range(2))
    assert first.status_code == 200
    assert first.headers["Error-Code"] == "40014"
    assert first.headers["Error-Msg"] == first.json()["errmsg"]
    assert ", from ip: 127.0.0.1, more info at https://open.work.weixin.qq.com/devtool/query?e=40014" in first.text
    assert first.json()["errmsg"] != second.json()["errmsg"]


def test_get_instead_of_post_is_40058(program: Program) -> None:
    url = f"{program.base_url}/cgi-bin/message/send?access_token={program.token()}"
    assert program.session.get(url, timeout=10).json()["errcode"] == 40058


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"text"', b'{"touser":"\xff"}', b'{"touser":"a",}'])
def test_broken_json_is_40058_with_the_warning(program: Program, body: bytes) -> None:
    answer = program.post("send", body).json()
    assert answer["errcode"] == 40058
    assert "Warning: wrong json format." in answer["errmsg"]


@pytest.mark.parametrize("content", ["早", "\x07", "\U0001f600"])
def test_an_escape_in_the_json_is_40033(program: Program, content: str) -> None:
    body = message().replace("早上好".encode(), "".join(f"\\u{ord(c) & 0xFFFF:04x}" for c in content).encode())
    assert program.post("send", body).json()["errcode"] == 40033


def test_a_backslash_before_u_in_the_text_is_no_escape(program: Program, simulator: SimulatorControl) -> None:
    assert program.send(text={"content": "C:\\users\\\\u0041"})["errcode"] == 0
    assert simulator.served() == {"zhangsan": ["C:\\users\\\\u0041"]}


@pytest.mark.parametrize(
    ("fields", "errcode"),
    [
        ({"agentid": None}, 41011),
        ({"agentid": str(AGENT)}, 40056),
        ({"agentid": 77}, 40056),
        ({"msgtype": None}, 40008),
        ({"msgtype": "markdown_v2"}, 40008),
        ({"msgtype": "image"}, 40058),
        ({"text": None}, 44004),
        ({"text": {"content": ""}}, 44004),
        ({"text": {"content": 5}}, 40058),
        ({"text": "早"}, 40058),
        ({"touser": None}, 82001),
        ({"touser": "", "toparty": "", "totag": ""}, 82001),
        ({"touser": ["zhangsan"]}, 40058),
        ({"touser": "|".join(f"u{n}" for n in range(1001))}, 40032),
        ({"toparty": "|".join(str(n) for n in range(101))}, 82002),
        ({"totag": "|".join(str(n) for n in range(101))}, 82003),
    ],
)
def test_a_wrong_field_is_refused_and_nothing_is_sent(
    program: Program, simulator: SimulatorControl, fields: dict[str, Any], errcode: int
) -> None:
    assert program.send(**fields)["errcode"] == errcode
    assert simulator.deliveries() == []
    assert simulator.counters().answers["send"] == {errcode: 1}


def test_the_largest_lists_are_accepted(program: Program, simulator: SimulatorControl) -> None:
    users, groups = [f"u{n}" for n in range(1000)], [str(n) for n in range(100)]
    assert program.send(touser="|".join(users), toparty="|".join(groups), totag="|".join(groups))["errcode"] == 0
    (delivery,) = simulator.deliveries()
    assert len(delivery.served) == 1200


def test_long_text_is_cut_at_2048_bytes_between_characters(program: Program, simulator: SimulatorControl) -> None:
    assert program.send(text={"content": "字" * 683})["errcode"] == 0
    (delivery,) = simulator.deliveries()
    assert (delivery.content, delivery.truncated) == ("字" * 682, True)
    assert program.send(touser="b", text={"content": "a" * 2048})["errcode"] == 0
    assert simulator.counters().truncated == 1


def test_long_text_can_be_set_to_be_refused(program: Program, simulator: SimulatorControl) -> None:
    simulator.change_settings(long_text="refuse")
    assert program.send(text={"content": "a" * 2049})["errcode"] == 45002


def test_other_message_types_are_accepted_with_their_object(program: Program, simulator: SimulatorControl) -> None:
    assert program.send(msgtype="markdown", text=None, markdown={"content": "# 通知"})["errcode"] == 0
    (delivery,) = simulator.deliveries()
    assert (delivery.msgtype, orjson.loads(delivery.content)) == ("markdown", {"content": "# 通知"})


# --- recipients


def test_partly_invalid_recipients_are_named_and_the_rest_is_served(
    program: Program, simulator: SimulatorControl
) -> None:
    answer = program.send(touser="ZhangSan|Ghost1|zhangsan|Unlicensed1|ghost2", toparty="2|9000|x", totag="7|9001")
    assert answer["errcode"] == 0
    assert answer["invaliduser"] == "ghost1|ghost2"
    assert answer["unlicenseduser"] == "unlicensed1"
    assert answer["invalidparty"] == "9000|x"
    assert answer["invalidtag"] == "9001"
    assert simulator.served() == {name: ["早上好"] for name in ("zhangsan", "party:2", "tag:7")}


def test_blanks_round_the_pipe_are_not_trimmed(program: Program) -> None:
    assert program.send(touser="zhangsan | lisi")["errcode"] == 81013


def test_only_invalid_recipients_are_81013_with_the_lists(program: Program, simulator: SimulatorControl) -> None:
    answer = program.send(touser="ghost1|unlicensed1", toparty="9000")
    assert answer["errcode"] == 81013
    assert (answer["invaliduser"], answer["invalidparty"], answer["unlicenseduser"]) == (
        "ghost1",
        "9000",
        "unlicensed1",
    )
    assert "msgid" not in answer
    assert simulator.deliveries() == []


def test_everyone_is_served_as_such_and_the_groups_are_ignored(program: Program, simulator: SimulatorControl) -> None:
    assert program.send(touser="@all", toparty="9000")["errcode"] == 0
    assert simulator.served() == {"@all": ["早上好"]}


def test_empty_lists_are_left_out_or_written_as_set(program: Program, simulator: SimulatorControl) -> None:
    assert "invaliduser" not in program.send()
    simulator.change_settings(empty_lists=True)
    assert program.send()["invaliduser"] == ""


def test_every_delivery_is_recorded(program: Program, simulator: SimulatorControl) -> None:
    body = message()
    msgid = program.post("send", body).json()["msgid"]
    (delivery,) = simulator.deliveries()
    assert (delivery.number, delivery.at, delivery.corpid, delivery.agentid) == (
        0,
        NOON_IN_BEIJING,
        "ww-simulator",
        AGENT,
    )
    assert (delivery.msgid, delivery.body_sha256) == (msgid, hashlib.sha256(body).hexdigest())
    assert (delivery.msgtype, delivery.content, delivery.served, delivery.dropped) == (
        "text",
        "早上好",
        ["zhangsan"],
        [],
    )
    assert (delivery.duplicate_of, delivery.truncated, delivery.recalled_at) == (None, False, None)
    program.send(touser="lisi")
    assert [delivery.served for delivery in simulator.deliveries(since=1)] == [["lisi"]]


# --- duplicates


def test_the_same_bytes_are_shown_once_inside_the_interval(program: Program, simulator: SimulatorControl) -> None:
    first = program.send(enable_duplicate_check=1)
    simulator.advance_clock(1799)
    again = program.send(enable_duplicate_check=1)
    assert again == first
    assert simulator.served() == {"zhangsan": ["早上好"]}
    assert [delivery.duplicate_of for delivery in simulator.deliveries()] == [None, 0]
    simulator.advance_clock(1)
    assert program.send(enable_duplicate_check=1)["msgid"] != first["msgid"]
    assert simulator.served() == {"zhangsan": ["早上好", "早上好"]}


def test_other_bytes_of_the_same_message_are_shown_again(program: Program, simulator: SimulatorControl) -> None:
    body = message(enable_duplicate_check=1)
    program.post("send", body)
    program.post("send", body + b" ")
    assert len(simulator.served()["zhangsan"]) == 2


def test_without_the_check_the_same_bytes_are_shown_again(program: Program, simulator: SimulatorControl) -> None:
    program.send()
    program.send()
    assert len(simulator.served()["zhangsan"]) == 2


@pytest.mark.parametrize(("asked", "kept"), [(600, 600), (14_400, 14_400), (99_999, 14_400)])
def test_the_interval_is_as_asked_up_to_four_hours(
    program: Program, simulator: SimulatorControl, asked: int, kept: int
) -> None:
    for seconds in (0, kept - 1, 1):
        simulator.advance_clock(seconds)
        program.send(enable_duplicate_check=1, duplicate_check_interval=asked)
    assert [delivery.duplicate_of for delivery in simulator.deliveries()] == [None, 0, None]


def test_each_app_has_its_own_duplicate_check(program: Program, simulator: SimulatorControl) -> None:
    simulator.add_app("ww-second", "second", AGENT)
    second = program.token(corpid="ww-second", corpsecret="second")
    program.send(enable_duplicate_check=1)
    program.send(token=second, enable_duplicate_check=1)
    program.send(enable_duplicate_check=1)
    assert [(one.corpid, one.duplicate_of) for one in simulator.deliveries()] == [
        ("ww-simulator", None),
        ("ww-second", None),
        ("ww-simulator", 0),
    ]


def test_a_duplicate_can_be_answered_with_another_msgid_or_none(program: Program, simulator: SimulatorControl) -> None:
    first = program.send(enable_duplicate_check=1)
    simulator.change_settings(duplicate_answer="new")
    second = program.send(enable_duplicate_check=1)
    simulator.change_settings(duplicate_answer="none")
    third = program.send(enable_duplicate_check=1)
    assert second["msgid"] not in ("", first["msgid"])
    assert third == {"errcode": 0, "errmsg": "ok"}
    assert [delivery.msgid for delivery in simulator.deliveries()] == [first["msgid"], second["msgid"], ""]


# --- limits


def test_past_30_a_minute_a_member_is_silently_dropped(program: Program, simulator: SimulatorControl) -> None:
    token = program.token()
    for number in range(30):
        program.send(token=token, touser="zhangsan", text={"content": str(number)})
    assert program.send(token=token, touser="ZHANGSAN|lisi")["errcode"] == 0
    last = simulator.deliveries()[-1]
    assert (last.served, last.dropped) == (["lisi"], ["zhangsan"])
    assert len(simulator.served()["zhangsan"]) == 30
    assert simulator.counters().dropped == 1
    simulator.advance_clock(59.5)
    program.send(token=token)
    assert len(simulator.served()["zhangsan"]) == 30
    simulator.advance_clock(0.5)
    program.send(token=token)
    assert len(simulator.served()["zhangsan"]) == 31


def test_the_minute_slides_with_every_message(program: Program, simulator: SimulatorControl) -> None:
    simulator.change_settings(member_per_minute=2)
    token = program.token()
    for seconds in (0, 50, 5, 10, 40):  # at 0, 50, 55 (dropped), 65 and 105 (dropped: 50 and 65 are too near)
        simulator.advance_clock(seconds)
        program.send(token=token)
    assert [len(delivery.dropped) for delivery in simulator.deliveries()] == [0, 0, 1, 0, 1]


def test_past_1000_an_hour_a_member_is_silently_dropped(program: Program, simulator: SimulatorControl) -> None:
    simulator.change_settings(member_per_minute=5, member_per_hour=8, token_life=86_400)
    token = program.token()
    for _ in range(8):
        program.send(token=token)
        simulator.advance_clock(60)
    simulator.advance_clock(3119)  # 3599 s after the first
    program.send(token=token)
    assert simulator.counters().dropped == 1
    simulator.advance_clock(1)
    program.send(token=token)
    assert simulator.counters().dropped == 1


def test_members_are_counted_for_each_app(program: Program, simulator: SimulatorControl) -> None:
    simulator.change_settings(member_per_minute=1)
    simulator.add_app("ww-simulator", "other-secret", 1000003)
    program.send()
    program.send(token=program.token(corpid="ww-simulator", corpsecret="other-secret"), agentid=1000003)
    assert simulator.counters().dropped == 0


def test_the_daily_person_times_end_in_45009_until_midnight_in_beijing(
    program: Program, simulator: SimulatorControl
) -> None:
    simulator.add_app("ww-small", "small", 5, account_cap=1)
    small = {"corpid": "ww-small", "corpsecret": "small"}
    token = program.token(**small)
    assert program.send(token=token, agentid=5, touser="|".join(f"u{n}" for n in range(199)))["errcode"] == 0
    assert program.send(token=token, agentid=5, touser="a|b")["errcode"] == 45009
    assert program.send(token=token, agentid=5, touser="a|ghost1")["errcode"] == 0
    assert program.send(token=token, agentid=5, touser="b")["errcode"] == 45009
    simulator.advance_clock(12 * 3600 - 1)
    assert program.send(token=program.token(**small), agentid=5, touser="b")["errcode"] == 45009
    simulator.advance_clock(1)
    assert program.send(token=program.token(**small), agentid=5, touser="b")["errcode"] == 0


def test_calls_past_the_frequency_are_45009_for_a_minute(program: Program, simulator: SimulatorControl) -> None:
    token = program.token()
    simulator.change_settings(calls_per_minute=3, send_calls_per_minute=2)
    assert [program.recall("x", token)["errcode"] for _ in range(4)] == [40058] * 3 + [45009]
    assert [program.send(token)["errcode"] for _ in range(3)] == [0, 0, 45009]
    simulator.advance_clock(60)
    assert (program.recall("x", token)["errcode"], program.send(token)["errcode"]) == (40058, 0)


def test_sends_are_not_counted_in_the_base_frequency(program: Program, simulator: SimulatorControl) -> None:
    token = program.token()
    simulator.change_settings(calls_per_minute=1)
    assert {program.send(token, touser=f"u{n}")["errcode"] for n in range(5)} == {0}


def test_debug_is_good_for_five_calls_a_minute(program: Program) -> None:
    token = program.token()
    codes = [program.post("send", message(), token, "&debug=1").json()["errcode"] for _ in range(6)]
    assert codes == [0] * 5 + [45009]


# --- recall


def test_a_message_can_be_recalled_for_24_hours(program: Program, simulator: SimulatorControl) -> None:
    early, late = program.send(touser="a")["msgid"], program.send(touser="b")["msgid"]
    assert 63 <= len(early) <= 86
    simulator.advance_clock(86_400)
    assert program.recall(early) == {"errcode": 0, "errmsg": "ok"}
    simulator.advance_clock(1)
    assert program.recall(late)["errcode"] == 42052
    assert [delivery.recalled_at for delivery in simulator.deliveries()] == [NOON_IN_BEIJING + 86_400, None]
    assert simulator.served(include_recalled=False) == {"b": ["早上好"]}


@pytest.mark.parametrize("msgid", ["", "nonsense", "A" * 72, "é" * 72])
def test_an_unknown_msgid_is_40058(program: Program, msgid: str) -> None:
    assert program.recall(msgid)["errcode"] == 40058


def test_another_apps_message_cannot_be_recalled(program: Program, simulator: SimulatorControl) -> None:
    simulator.add_app("ww-simulator", "other-secret", 1000003)
    msgid = program.send()["msgid"]
    other = program.token(corpid="ww-simulator", corpsecret="other-secret")
    assert program.recall(msgid, other)["errcode"] == 40058


def test_recalling_twice_is_ok_or_as_set(program: Program, simulator: SimulatorControl) -> None:
    msgid = program.send()["msgid"]
    assert [program.recall(msgid)["errcode"] for _ in range(2)] == [0, 0]
    simulator.change_settings(repeated_recall_errcode=40058)
    assert program.recall(msgid)["errcode"] == 40058


# --- control


def test_the_clock_runs_on_from_where_it_is_set(simulator: SimulatorControl) -> None:
    simulator.set_clock(NOON_IN_BEIJING)
    first = simulator.now()
    assert NOON_IN_BEIJING <= first < NOON_IN_BEIJING + 60
    simulator.advance_clock(1000)
    assert simulator.now() >= first + 1000


def test_reset_forgets_everything(program: Program, simulator: SimulatorControl) -> None:
    simulator.add_app("ww-small", "small", 5)
    simulator.change_settings(token_life=5)
    msgid = program.send()["msgid"]
    simulator.reset()
    assert simulator.deliveries() == []
    assert set(simulator.counters().calls.values()) == {0}
    assert program.token_answer(corpid="ww-small", corpsecret="small")["errcode"] == 40013
    assert program.token_answer(**CREDENTIALS)["expires_in"] == 7200
    assert program.recall(msgid)["errcode"] == 40058


def test_orders_that_make_no_sense_are_refused_in_words(simulator: SimulatorControl) -> None:
    with pytest.raises(ValueError, match="no setting"):
        simulator.change_settings(colour="blue")
    with pytest.raises(ValueError, match="cannot be"):
        simulator.change_settings(token_life="long")
    with pytest.raises(ValueError, match="is one of"):
        simulator.change_settings(duplicate_answer="maybe")
    with pytest.raises(ValueError, match="kind of a fault"):
        simulator.add_fault("explode")
    with pytest.raises(ValueError, match="endpoint of a fault"):
        simulator.add_fault("html", endpoint="everywhere")
    with pytest.raises(ValueError, match="whole numbers"):
        simulator.add_app("ww", "secret", "five")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="callback_url is true or false"):
        simulator.add_app("ww", "secret", 5, callback_url=1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="is one of refuse, accept"):
        simulator.change_settings(unknown_media="maybe")
    with pytest.raises(ValueError, match="errcode is a whole number"):
        simulator.invalidate_media("40007")  # type: ignore[arg-type]
