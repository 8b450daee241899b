"""The fault proxy does what it says, on real servers: what it loses was carried out, what it cuts was not."""

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from http.client import HTTPConnection, RemoteDisconnected
from pathlib import Path

import psycopg
import pytest
import requests
from faults.addresses import database_upstream, proxied_database_url, proxied_redis_url, redis_upstream
from faults.forward_proxy import ForwardProxy
from faults.http import HttpConversation, call
from faults.postgres import PostgresConversation, statement, statement_with
from faults.proxy import FaultProxy
from faults.redis import RedisConversation, any_script, command, script
from faults.rules import Action, Rule
from faults.tls import Authority
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import OperationalError

from worker.simulator.control import SimulatorControl

SEND = "/cgi-bin/message/send"
COMMIT = statement("commit")


@pytest.fixture
def postgres(database_url: str) -> Iterator[FaultProxy]:
    with FaultProxy(database_upstream(database_url), PostgresConversation) as proxy:
        yield proxy


@pytest.fixture
def engine(database_url: str, postgres: FaultProxy) -> Iterator[Engine]:
    """The database behind the proxy, with one table."""
    direct = create_engine(database_url)
    with direct.begin() as connection:
        connection.execute(text("create table notes (note text)"))
    direct.dispose()
    engine = create_engine(proxied_database_url(database_url, postgres))
    yield engine
    postgres.rules.clear()
    postgres.resume()
    engine.dispose()


def notes(database_url: str) -> list[str]:
    direct = create_engine(database_url)
    with direct.connect() as connection:
        found = connection.execute(text("select note from notes order by note")).scalars().all()
    direct.dispose()
    return list(found)


def note(engine: Engine, words: str) -> None:
    with engine.begin() as connection:
        connection.execute(text("insert into notes values (:words)"), {"words": words})


def test_a_commit_whose_answer_is_lost_was_carried_out(database_url: str, postgres: FaultProxy, engine: Engine) -> None:
    lost = postgres.rules.add(Rule(COMMIT, Action.LOSE_ANSWER, after=1, times=1))
    note(engine, "first")
    with pytest.raises(OperationalError):
        note(engine, "second")
    note(engine, "third")
    assert notes(database_url) == ["first", "second", "third"]
    assert (lost.seen, lost.fired) == (3, 1)


def test_a_commit_that_is_cut_was_not_carried_out(database_url: str, postgres: FaultProxy, engine: Engine) -> None:
    postgres.rules.add(Rule(COMMIT, Action.CUT, times=1, reset=True))
    with pytest.raises(OperationalError):
        note(engine, "first")
    assert notes(database_url) == []


def test_statements_are_known_when_they_are_prepared_and_when_many_go_at_once(
    database_url: str, postgres: FaultProxy, engine: Engine
) -> None:
    inserted, committed = postgres.watch(statement_with("INTO notes")), postgres.watch(COMMIT)
    with engine.connect() as connection:
        for number in range(10):  # from the sixth on by the name of a prepared statement
            connection.execute(text("insert into notes values (:words)"), {"words": str(number)})
        connection.commit()
    assert inserted.seen == 10
    postgres.rules.add(Rule(COMMIT, Action.LOSE_ANSWER, times=1))
    address = proxied_database_url(database_url, postgres).replace("+psycopg", "")
    with pytest.raises(psycopg.OperationalError):
        _note_at_once(address)
    assert "pipelined" in notes(database_url)
    assert committed.seen == 2


def _note_at_once(address: str) -> None:
    with psycopg.connect(address, autocommit=True) as connection, connection.pipeline():
        connection.execute("begin")
        connection.execute("insert into notes values ('pipelined')")
        connection.execute("commit")


@pytest.mark.usefixtures("engine")
def test_rows_copied_in_and_out_pass_and_their_commit_is_still_known(database_url: str, postgres: FaultProxy) -> None:
    postgres.rules.add(Rule(COMMIT, Action.LOSE_ANSWER, times=1))
    address = proxied_database_url(database_url, postgres).replace("+psycopg", "")
    with pytest.raises(psycopg.OperationalError):
        _copy(address)
    assert len(notes(database_url)) == 2000


def _copy(address: str) -> None:
    with psycopg.connect(address) as connection, connection.cursor() as cursor:
        with cursor.copy("copy notes from stdin") as copy:
            for number in range(2000):
                copy.write_row((f"{number:04}",))
        with cursor.copy("copy (select note from notes where note < %s) to stdout", ("0500",)) as copy:
            assert len(list(copy.rows())) == 500
        connection.commit()


def test_a_withheld_answer_leaves_a_connection_that_says_nothing(
    database_url: str, postgres: FaultProxy, engine: Engine
) -> None:
    withheld = postgres.rules.add(Rule(COMMIT, Action.WITHHOLD_ANSWER, times=1))
    failed = threading.Event()

    def try_to_note() -> None:
        try:
            note(engine, "first")
        except OperationalError:
            failed.set()

    thread = threading.Thread(target=try_to_note)
    thread.start()
    withheld.wait()
    while notes(database_url) != ["first"]:
        time.sleep(0.02)
    assert not failed.is_set()
    postgres.cut_all()
    thread.join(10)
    assert failed.is_set()


def test_a_silent_proxy_holds_everything_back_until_it_resumes(
    database_url: str, postgres: FaultProxy, engine: Engine
) -> None:
    note(engine, "first")
    postgres.silence()
    thread = threading.Thread(target=note, args=(engine, "second"))
    thread.start()
    thread.join(0.3)
    assert thread.is_alive()
    assert notes(database_url) == ["first"]
    postgres.resume()
    thread.join(10)
    assert notes(database_url) == ["first", "second"]


def test_a_proxy_that_refuses_lets_nobody_in_until_it_resumes(
    database_url: str, postgres: FaultProxy, engine: Engine
) -> None:
    postgres.refuse()
    with pytest.raises(OperationalError, match="refused"):
        note(engine, "first")
    postgres.resume()
    note(engine, "second")
    assert notes(database_url) == ["second"]


@pytest.fixture
def redis_proxy(redis_url: str) -> Iterator[FaultProxy]:
    with FaultProxy(redis_upstream(redis_url), RedisConversation) as proxy:
        yield proxy


@pytest.fixture
def redis(redis_url: str, redis_proxy: FaultProxy) -> Iterator[Redis]:
    with Redis.from_url(
        proxied_redis_url(redis_url, redis_proxy), socket_timeout=1, retry=Retry(NoBackoff(), 0)
    ) as redis:
        yield redis


def test_in_a_storm_connections_are_reset_again_and_again_until_it_is_calm(
    database_url: str, postgres: FaultProxy
) -> None:
    def asked_on(connection: psycopg.Connection) -> int:
        until = time.monotonic() + 30
        times = 0
        while time.monotonic() < until:
            connection.execute("select 1")
            times += 1
        return times

    url = proxied_database_url(database_url, postgres).replace("postgresql+psycopg", "postgresql")
    idle = psycopg.connect(url)
    postgres.storm(mean_life=0.05)
    for connection in (idle, psycopg.connect(url)):
        with pytest.raises(psycopg.OperationalError):
            asked_on(connection)
    assert postgres.resets >= 2
    postgres.calm()
    with psycopg.connect(url) as connection:
        for _ in range(100):
            connection.execute("select 1")


def test_a_script_whose_answer_is_lost_was_carried_out_once(redis: Redis, redis_proxy: FaultProxy) -> None:
    source = "return redis.call('incr', KEYS[1])"
    count = redis.register_script(source)
    count(keys=["count"])
    redis_proxy.rules.add(Rule(script(source), Action.LOSE_ANSWER, times=1))
    scripts = redis_proxy.watch(any_script)
    with pytest.raises(RedisError):
        count(keys=["count"])
    assert redis.get("count") == b"2"
    assert scripts.seen == 1


def test_of_commands_sent_at_once_the_one_named_loses_its_answer(redis: Redis, redis_proxy: FaultProxy) -> None:
    redis_proxy.rules.add(Rule(command("SET"), Action.LOSE_ANSWER, after=1, times=1))
    with pytest.raises(RedisError), redis.pipeline(transaction=False) as pipeline:
        pipeline.set("one", b"1\r\n" * 50_000).set("two", "2").incr("three").execute()
    assert redis.mget("one", "two") == [b"1\r\n" * 50_000, b"2"]


def test_what_is_published_passes_beside_the_answers_of_a_subscription(redis: Redis, redis_proxy: FaultProxy) -> None:
    published = redis_proxy.watch(command("PUBLISH"))
    with redis.pubsub(ignore_subscribe_messages=False) as subscription:
        subscription.subscribe("news")
        assert subscription.get_message(timeout=5)["type"] == "subscribe"  # type: ignore[index]
        redis.publish("news", "first")
        redis.publish("news", "second")
        heard = [subscription.get_message(timeout=5) for _ in range(2)]
    assert [one["data"] for one in heard if one] == [b"first", b"second"]
    assert published.seen == 2


def test_a_slow_answer_comes_late_and_a_dripping_one_a_byte_at_a_time(redis: Redis, redis_proxy: FaultProxy) -> None:
    redis.set("word", "x" * 20)
    redis_proxy.rules.add(Rule(command("GET"), Action.DRIP_ANSWER, times=1, seconds=0.01))
    redis_proxy.rules.add(Rule(command("INCRBY"), Action.DELAY_ANSWER, times=1, seconds=0.2))
    redis_proxy.rules.add(Rule(command("DECRBY"), Action.DELAY, times=1, seconds=1.5))
    began = time.monotonic()
    assert redis.get("word") == b"x" * 20
    assert time.monotonic() - began >= 0.2
    began = time.monotonic()
    assert redis.incr("count") == 1
    assert time.monotonic() - began >= 0.2
    with pytest.raises(RedisTimeoutError):
        redis.decr("count")


def body(user: str) -> dict[str, object]:
    return {"touser": user, "msgtype": "text", "agentid": 1000002, "text": {"content": "Hello"}}


def token(simulator: SimulatorControl) -> str:
    address = f"{simulator.base_url}/cgi-bin/gettoken?corpid=ww-simulator&corpsecret=simulator-secret"
    return str(requests.get(address, timeout=5).json()["access_token"])


def test_a_call_whose_answer_is_lost_reached_wecom_through_a_forward_proxy(simulator: SimulatorControl) -> None:
    address = f"{simulator.base_url}{SEND}?access_token={token(simulator)}"
    with ForwardProxy() as proxy, requests.Session() as session:
        session.proxies = {"http": proxy.url}
        lost = proxy.rules.add(Rule(call("POST", SEND, body="lisi"), Action.LOSE_ANSWER))
        assert session.post(address, json=body("zhangsan"), timeout=5).json()["errcode"] == 0
        with pytest.raises(requests.ConnectionError):
            session.post(address, json=body("lisi"), timeout=5)
        proxy.rules.add(Rule(call("POST", SEND), Action.CUT))
        with pytest.raises(requests.ConnectionError):
            session.post(address, json=body("wangwu"), timeout=5)
    assert simulator.served().keys() == {"zhangsan", "lisi"}
    assert lost.fired == 1


def test_a_tunnel_leads_to_a_server_with_a_certificate_of_the_throw_away_authority(
    simulator: SimulatorControl, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    host, _, port = simulator.base_url.removeprefix("http://").partition(":")
    with (
        FaultProxy((host, int(port)), HttpConversation, tls=authority.server("qyapi.weixin.qq.com")) as wecom,
        ForwardProxy({"qyapi.weixin.qq.com:443": wecom.address}) as proxy,
        requests.Session() as session,
    ):
        session.trust_env = False
        session.proxies, session.verify = {"https": proxy.url}, str(authority.certificate)
        address = f"https://qyapi.weixin.qq.com{SEND}?access_token={token(simulator)}"
        assert session.post(address, json=body("zhangsan"), timeout=5).json()["errcode"] == 0
        wecom.rules.add(Rule(call("POST", SEND), Action.LOSE_ANSWER, times=1))
        with pytest.raises(requests.ConnectionError):
            session.post(address, json=body("lisi"), timeout=5)
        with pytest.raises(ssl.SSLError):
            _trust_nobody(wecom)
        proxy.rules.add(Rule(lambda request: request.kind == "CONNECT", Action.CUT))
        with pytest.raises(requests.ConnectionError):
            session.post(address, json=body("wangwu"), timeout=5)
    assert simulator.served().keys() == {"zhangsan", "lisi"}


def _trust_nobody(server: FaultProxy) -> None:
    with (
        socket.create_connection(server.address) as connection,
        ssl.create_default_context().wrap_socket(connection, server_hostname="qyapi.weixin.qq.com"),
    ):
        pytest.fail("a certificate that nobody vouches for was accepted")


def test_a_request_of_http_whose_answer_is_lost_is_answered_by_the_end_of_the_connection(
    simulator: SimulatorControl,
) -> None:
    host, _, port = simulator.base_url.removeprefix("http://").partition(":")
    with FaultProxy((host, int(port)), HttpConversation) as proxy:
        withheld = proxy.rules.add(Rule(call("GET", "/simulator/health"), Action.LOSE_ANSWER))
        connection = HTTPConnection(*proxy.address)
        connection.request("GET", "/simulator/health")
        withheld.wait()
        with pytest.raises(RemoteDisconnected):
            connection.getresponse()
        connection.close()
