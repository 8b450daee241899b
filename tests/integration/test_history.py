"""What a member was sent, when, and with what answer."""

from collections.abc import Callable

import orjson
import pytest
from click.testing import CliRunner, Result
from sqlalchemy import text

from worker import Producer, State, Text
from worker.cli import wecom
from worker.delivery.deliver import deliver
from worker.delivery.office import Office
from worker.ledger import Ledger
from worker.settings import settings
from worker.simulator.control import SimulatorControl


@pytest.fixture
def run(environment: dict[str, str]) -> Callable[..., Result]:
    """Run `wecom history` in this process."""

    def run(*arguments: str) -> Result:
        settings.cache_clear()
        return CliRunner().invoke(wecom, ["history", *arguments], env=environment)

    return run


def test_the_newest_message_comes_first_with_its_answer(
    producer: Producer, office: Office, simulator: SimulatorControl
) -> None:
    first = producer.send("hr", Text(content="first"), users=["zhangsan", "lisi"])
    deliver(office, "hr", lambda: None)
    simulator.add_fault("errcode", endpoint="send", errcode=45002, times=1)
    second = producer.send("hr", Text(content="second"), users=["zhangsan"])
    deliver(office, "hr", lambda: None)
    newest, oldest = producer.history("zhangsan")
    assert (newest.id, newest.state, newest.errcode) == (second, State.FAILED, 45002)
    assert (oldest.id, oldest.state) == (first, State.SENT)
    assert oldest.msgid is not None
    assert [entry.id for entry in producer.history("zhangsan", limit=1)] == [second]


def test_userids_are_compared_without_case(producer: Producer) -> None:
    producer.send("hr", Text(content="hello"), users=["ZhangSan"])
    assert len(producer.history("zhangsan")) == len(producer.history("ZHANGSAN")) == 1
    assert producer.history("zhang") == []


@pytest.mark.parametrize("userid", ["007", "Zhang.San", "a-b_c@d.e", "NULL", "true"])
def test_any_userid_is_found_whichever_way_it_was_written(producer: Producer, userid: str) -> None:
    producer.send("hr", Text(content="single"), users=[userid, "other"])
    producer.campaign("all", sender="hr", message=Text(content="{{ userid }}"), recipients=[userid, "b"])
    producer.campaign("folded", sender="hr", message=Text(content="folded"), recipients=[userid, "b"])
    found = producer.history(userid)
    assert {entry.campaign for entry in found} == {None, "all", "folded"}
    assert {entry.body["text"]["content"] for entry in found} == {"single", userid, "folded"}


def test_a_member_who_was_not_served_is_told_from_those_who_were(producer: Producer, office: Office) -> None:
    producer.send("hr", Text(content="hello"), users=["zhangsan", "ghost1"])
    deliver(office, "hr", lambda: None)
    assert producer.history("Ghost1")[0].not_served == ("user",)
    assert producer.history("zhangsan")[0].not_served == ()


def test_nobody_has_no_history(producer: Producer, run: Callable[..., Result]) -> None:
    assert producer.history("nobody") == []
    assert producer.history("no\0body") == []
    assert run("nobody").output == "No message names nobody.\n"


def test_people_and_programs_read_it(producer: Producer, office: Office, run: Callable[..., Result]) -> None:
    producer.campaign("payday", sender="hr", message=Text(content="hello"), recipients=["ghost1", "zhangsan"])
    deliver(office, "hr", lambda: None)
    shown = run("zhangsan").output
    for words in ("hr", "payday", "sent", "hello"):
        assert words in shown
    assert "not served: no such member" in run("ghost1").output
    [entry] = orjson.loads(run("zhangsan", "--json").stdout)
    assert (entry["campaign"], entry["state"], entry["body"]["text"]) == ("payday", "sent", {"content": "hello"})


def test_a_look_at_one_member_reads_the_index_and_not_all_messages(producer: Producer, ledger: Ledger) -> None:
    producer.campaign(
        "all", sender="hr", message=Text(content="{{ userid }}"), recipients=(f"u{n}" for n in range(20_000))
    )
    with ledger.engine.connect() as connection:
        plan = connection.execute(
            text("explain select id from wecom.messages where wecom.lowered(touser) @> wecom.lowered(array['U77'])")
        )
        assert "messages_of_member" in "\n".join(plan.scalars())
        pending = connection.scalar(text("select reloptions from pg_class where relname = 'messages_of_member'"))
    assert pending == ["fastupdate=off"]
