"""A canary for every secret: it goes through every failure, and is looked for wherever people or logs could see it."""

import logging
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from redis import Redis
from sqlalchemy import text

from worker import Producer, SendRequest, State, Text
from worker.ledger import Ledger, LedgerError
from worker.messages.sender import Sender
from worker.processes import BEAT, WORKER, CeleryProcess
from worker.providers.base import Category
from worker.providers.wecom.client import WeComClient
from worker.providers.wecom.replies import redacted
from worker.simulator.control import SimulatorControl

CANARY = "canary-secret-3f9a1c"


def readable(redis_url: str, ledger: Ledger) -> str:
    """Everything Redis and Postgres hold, as text."""
    with Redis.from_url(redis_url) as redis:
        dumps = [redis.dump(key) for key in redis.keys("*")]  # type: ignore[union-attr]
    with ledger.engine.connect() as connection:
        tables = connection.scalars(text("select tablename from pg_tables where schemaname = 'wecom'")).all()
        rows = [connection.scalars(text(f"select t::text from wecom.{table} t")).all() for table in tables]
    return repr(dumps) + repr(rows)


def test_no_secret_or_token_is_readable_in_logs_redis_or_postgres(
    producer: Producer,
    ledger: Ledger,
    simulator: SimulatorControl,
    start: Callable[..., CeleryProcess],
    eventually: Callable[..., None],
    redis_url: str,
    tmp_path: Path,
) -> None:
    simulator.add_app("ww-canary", CANARY, 77)
    ledger.senders.add(Sender("canary", "wecom", 77, {"corpid": "ww-canary", "corpsecret": CANARY}))
    ledger.senders.add(Sender("wrong", "wecom", 77, {"corpid": "ww-canary", "corpsecret": f"{CANARY}-wrong"}))
    for kind in ("reset_before", "reset_after", "hang_before", "html", "cut", "http", "token_expired"):
        simulator.add_fault(kind, endpoint="send", times=3)
    start(WORKER, WECOM_LOG_LEVEL="DEBUG")
    start(BEAT, WECOM_LOG_LEVEL="DEBUG")

    producer.send_many(SendRequest("canary", Text(content=f"hi {n}"), users=[f"u{n}"]) for n in range(60))
    producer.send("wrong", Text(content="never"), users=["zhangsan"])
    eventually(lambda: ledger.senders.find("wrong").paused_reason)
    eventually(lambda: ledger.history.counts("canary").get(State.SENT) == 60)

    with Redis.from_url(redis_url) as redis:
        assert redis.keys("wecom:token:*"), "a token is stored, so its encryption is put to the test"
    token = requests.get(
        f"{simulator.base_url}/cgi-bin/gettoken", {"corpid": "ww-canary", "corpsecret": CANARY}, timeout=5
    ).json()["access_token"]
    logs = "".join(path.read_text() for path in tmp_path.glob("*.log"))
    assert "DEBUG" in logs
    for secret in (CANARY, token, "access_token=", "corpsecret="):
        assert secret not in logs
        assert secret not in readable(redis_url, ledger)


@pytest.mark.parametrize("kind", ["reset_before", "hang_before", "html", "cut", "http", "errcode"])
def test_no_answer_and_no_log_line_of_a_failed_call_holds_its_query(
    simulator: SimulatorControl, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    simulator.add_fault(kind)
    client = WeComClient(simulator.base_url, connections=1, connect_timeout=0.2, read_timeout=0.2)
    with caplog.at_level(logging.DEBUG):
        reply = client.get("/cgi-bin/gettoken", {"corpid": "ww-simulator", "corpsecret": CANARY})
    client.close()
    assert reply.answer.category is not Category.ACCEPTED
    assert "GET /cgi-bin/gettoken" in caplog.text or kind in {"reset_before", "hang_before"}
    assert CANARY not in caplog.text + repr(reply)


def test_no_answer_about_a_refused_connection_holds_its_query(caplog: pytest.LogCaptureFixture) -> None:
    client = WeComClient("http://127.0.0.1:1", connections=1, connect_timeout=0.2, read_timeout=0.2)
    with caplog.at_level(logging.DEBUG):
        reply = client.get("/cgi-bin/gettoken", {"corpsecret": CANARY})
    assert reply.answer.category is Category.UNREACHABLE
    assert CANARY not in caplog.text + repr(reply)


def test_errmsg_is_kept_on_one_line_without_what_looks_like_a_secret() -> None:
    said = redacted(f'bad\ncall: access_token={CANARY}&debug=1, "corpsecret": "{CANARY}", from ip: 10.0.0.1')
    assert said == 'bad call: access_token=***&debug=1, "corpsecret": "***", from ip: 10.0.0.1'


def test_a_traceback_of_a_sender_or_producer_shows_no_secret() -> None:
    sender = Sender("hr", "wecom", 77, {"corpid": "ww-canary", "corpsecret": CANARY})
    producer = Producer(database_url=f"postgresql+psycopg://me:{CANARY}@127.0.0.1:1/x", redis_url="redis://127.0.0.1:1")
    with pytest.raises(LedgerError) as caught:
        producer.send("hr", Text(content="hi"), users=["zhangsan"])
    assert CANARY not in "".join(traceback.format_exception(caught.value)) + repr(sender) + repr(producer.__dict__)
