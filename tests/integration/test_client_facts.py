"""Sent, not sent, unknown: judged by whether a byte of the request itself left, over every way a call can take.

Each test asks what the other side saw. A message that is called unreachable must never have arrived; one that may have
arrived must never be called unreachable.
"""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from faults.forward_proxy import ForwardProxy
from faults.http import HttpConversation, call
from faults.proxy import FaultProxy
from faults.rules import Action, Rule
from faults.tls import Authority
from raw_server import Asked, RawServer, ok

from worker.providers.base import Answer, Category, HeldBack
from worker.providers.wecom import connection
from worker.providers.wecom.client import WeComClient

SEND = "/cgi-bin/message/send"
HOST = "127.0.0.1"
BROKEN_HANDSHAKES: dict[str, Callable[[socket.socket], object]] = {
    "closed": lambda wire: wire.recv(1),
    "garbage": lambda wire: wire.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
    "half": lambda wire: wire.sendall(b"\x16\x03\x03\x00\x7a\x02"),
}

MakeClient = Callable[..., WeComClient]


@pytest.fixture
def make_client() -> Iterator[MakeClient]:
    """Make clients with short time-outs."""
    with ExitStack() as at_the_end:

        def make(address: str, **options: object) -> WeComClient:
            options = {"connections": 2, "connect_timeout": 1.5, "read_timeout": 1.5, **options}
            made = WeComClient(address, **options)  # type: ignore[arg-type]
            at_the_end.callback(made.close)
            return made

        yield make


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Vouches for the servers of a test."""
    return Authority(tmp_path)


def _answer(asked: Asked) -> None:
    asked.wire.sendall(ok(b'{"errcode":0,"msgid":"m%d"}' % asked.number))


def _send(client: WeComClient, before_leaving: Callable[[], None] = lambda: None) -> Answer:
    return client.post(SEND, {"access_token": "secret"}, b'{"touser":"zhangsan"}', before_leaving).answer


@pytest.mark.parametrize("action", [Action.LOSE_ANSWER, Action.WITHHOLD_ANSWER])
@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("used_before", [False, True])
def test_a_message_whose_answer_a_plain_proxy_loses_may_have_arrived(
    make_client: MakeClient, action: Action, *, reset: bool, used_before: bool
) -> None:
    with RawServer(_answer) as server, ForwardProxy() as proxy:
        client = make_client(server.address, proxy=proxy.url)
        if used_before:
            assert _send(client).category is Category.ACCEPTED
        proxy.rules.add(Rule(call("POST", SEND), action, reset=reset))
        assert _send(client).category is Category.UNCERTAIN
        assert len(server.asked) == 1 + used_before


@pytest.mark.parametrize("action", [Action.LOSE_ANSWER, Action.WITHHOLD_ANSWER])
@pytest.mark.parametrize("reset", [False, True])
def test_a_message_whose_answer_is_lost_behind_a_tunnel_may_have_arrived(
    make_client: MakeClient, authority: Authority, action: Action, *, reset: bool
) -> None:
    with (
        RawServer(_answer) as server,
        FaultProxy((HOST, server.port), HttpConversation, tls=authority.server(HOST)) as wecom,
        ForwardProxy() as proxy,
    ):
        client = make_client(f"https://{HOST}:{wecom.port}", proxy=proxy.url, ca_bundle=str(authority.certificate))
        assert _send(client).category is Category.ACCEPTED
        wecom.rules.add(Rule(call("POST", SEND), action, reset=reset))
        assert _send(client).category is Category.UNCERTAIN
        assert len(server.asked) == 2


@pytest.mark.parametrize("action", [Action.CUT, Action.LOSE_ANSWER])
def test_a_message_for_which_no_tunnel_was_opened_has_not_left(
    make_client: MakeClient, authority: Authority, action: Action
) -> None:
    asked: list[None] = []
    with RawServer(_answer, authority.server(HOST)) as server, ForwardProxy() as proxy:
        client = make_client(server.address, proxy=proxy.url, ca_bundle=str(authority.certificate))
        refused = proxy.rules.add(Rule(lambda request: request.kind == "CONNECT", action, times=1))
        answer = _send(client, lambda: asked.append(None))
        assert (answer.category, refused.fired, server.asked, asked) == (Category.UNREACHABLE, 1, [], [])
        assert answer.reason == "the proxy did not connect us to WeCom"
        assert _send(client).category is Category.ACCEPTED


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://example.com/\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nwelcome",
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"\x00" * 100_000,
    ],
    ids=["407", "502", "302", "more than an answer", "another protocol", "zeros"],
)
def test_what_a_proxy_says_instead_of_opening_a_tunnel_is_no_answer_of_wecoms(
    make_client: MakeClient, said: bytes
) -> None:
    def refuse(asked: Asked) -> bool:
        asked.wire.sendall(said)
        return False

    with RawServer(refuse) as proxy:
        answer = _send(make_client("https://qyapi.weixin.qq.com", proxy=proxy.address))
        assert answer.category is Category.UNREACHABLE
        assert answer.reason.startswith("the proxy did not connect us to WeCom")
        assert [asked.line for asked in proxy.asked] == ["CONNECT qyapi.weixin.qq.com:443 HTTP/1.1"]


@pytest.mark.parametrize("broken", BROKEN_HANDSHAKES)
@pytest.mark.parametrize("tunnelled", [False, True])
def test_a_message_whose_handshake_breaks_has_not_left(
    make_client: MakeClient, broken: str, *, tunnelled: bool
) -> None:
    with RawServer(instead=BROKEN_HANDSHAKES[broken]) as server, ForwardProxy() as proxy:
        client = make_client(f"https://{HOST}:{server.port}", proxy=proxy.url if tunnelled else None)
        assert {_send(client).category for _ in range(3)} == {Category.UNREACHABLE}


def test_a_handshake_that_never_ends_is_given_up_at_the_connect_time_out(make_client: MakeClient) -> None:
    def drip(wire: socket.socket) -> None:
        wire.sendall(b"\x16\x03\x03\x00\x7a")
        for _ in range(100):
            wire.sendall(b"\x02")
            time.sleep(0.1)

    with RawServer(instead=drip) as server:
        began = time.monotonic()
        answer = _send(make_client(f"https://{HOST}:{server.port}"))
        assert answer.category is Category.UNREACHABLE
        assert time.monotonic() - began < 6


def test_a_tunnel_that_is_promised_a_byte_at_a_time_is_given_up_at_the_connect_time_out(
    make_client: MakeClient,
) -> None:
    def drip(asked: Asked) -> None:
        while not asked.stopping.wait(0.1):
            asked.wire.sendall(b"H")

    with RawServer(drip) as proxy:
        began = time.monotonic()
        answer = _send(make_client("https://qyapi.weixin.qq.com", proxy=proxy.address))
        assert answer.category is Category.UNREACHABLE
        assert time.monotonic() - began < 6


def test_a_connection_that_the_server_closed_while_it_was_idle_costs_no_message(make_client: MakeClient) -> None:
    closed: list[None] = []

    def answer_and_close(asked: Asked) -> bool:
        _answer(asked)
        asked.wire.shutdown(socket.SHUT_WR)
        closed.append(None)
        return False

    with RawServer(answer_and_close) as server:
        client = make_client(server.address)
        for number in range(5):
            assert _send(client).category is Category.ACCEPTED
            while len(closed) == number:
                time.sleep(0.001)


@pytest.mark.parametrize("secure", [False, True])
def test_a_used_connection_that_is_closed_in_answer_to_a_message_leaves_its_fate_open(
    make_client: MakeClient, authority: Authority, *, secure: bool
) -> None:
    def answer_once(asked: Asked) -> bool:
        if asked.number == 0:
            _answer(asked)
        return asked.number == 0

    with RawServer(answer_once, authority.server(HOST) if secure else None) as server:
        client = make_client(server.address, ca_bundle=str(authority.certificate))
        assert [_send(client).category for _ in range(2)] == [Category.ACCEPTED, Category.UNCERTAIN]
        assert len(server.asked) == 2


@pytest.mark.parametrize("secure", [False, True])
def test_a_message_that_is_written_only_in_part_may_have_arrived(
    make_client: MakeClient, authority: Authority, *, secure: bool
) -> None:
    context = authority.server(HOST) if secure else None

    def read_nothing(wire: socket.socket) -> None:
        with context.wrap_socket(wire, server_side=True) if context else wire as opened:
            opened.recv(10)
            time.sleep(4)

    with RawServer(instead=read_nothing) as server:
        client = make_client(f"http{'s' * secure}://{HOST}:{server.port}", ca_bundle=str(authority.certificate))
        began = time.monotonic()
        answer = client.post(SEND, {}, b"x" * 50_000_000).answer
        assert answer.category is Category.UNCERTAIN
        assert time.monotonic() - began < 4


def test_a_refusal_that_comes_before_a_long_request_is_written_is_heard(make_client: MakeClient) -> None:
    def refuse(wire: socket.socket) -> None:
        wire.recv(1000)
        wire.sendall(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        wire.shutdown(socket.SHUT_WR)
        while wire.recv(1 << 20):
            pass

    with RawServer(instead=refuse) as server:
        answer = make_client(f"http://{HOST}:{server.port}").post(SEND, {}, b"x" * 20_000_000).answer
        assert (answer.category, answer.http_status) == (Category.UNREACHABLE, 413)


@pytest.mark.parametrize("status", [303, 304, 402, 408, 409, 418, 422, 460, 499, 500, 502, 503, 504, 599, 999])
def test_a_status_that_does_not_refuse_by_its_definition_leaves_the_fate_open(
    make_client: MakeClient, status: int
) -> None:
    with RawServer(lambda asked: asked.wire.sendall(b"HTTP/1.1 %d X\r\nContent-Length: 1\r\n\r\nx" % status)) as proxy:
        client = make_client("http://wecom.example", proxy=proxy.address)
        assert _send(client).category is Category.UNCERTAIN


@pytest.mark.parametrize("status", [301, 302, 307, 308, 400, 401, 403, 404, 405, 407, 413, 421, 426, 429, 431, 451])
def test_a_status_that_refuses_by_its_definition_says_that_nothing_was_passed_on(
    make_client: MakeClient, status: int
) -> None:
    with RawServer(lambda asked: asked.wire.sendall(b"HTTP/1.1 %d X\r\nContent-Length: 1\r\n\r\nx" % status)) as proxy:
        client = make_client("http://wecom.example", proxy=proxy.address)
        assert _send(client).category is Category.UNREACHABLE


def test_who_is_asked_is_asked_after_tunnel_and_handshake(make_client: MakeClient, authority: Authority) -> None:
    def hold_back() -> None:
        asked.append((proxy.requests[0].request.kind, len(server.asked)))
        raise HeldBack

    asked: list[tuple[str, int]] = []
    with RawServer(_answer, authority.server(HOST)) as server, ForwardProxy() as proxy:
        client = make_client(server.address, proxy=proxy.url, ca_bundle=str(authority.certificate))
        with pytest.raises(HeldBack):
            _send(client, hold_back)
        assert (asked, server.asked) == ([("CONNECT", 0)], [])
        assert _send(client).category is Category.ACCEPTED


def test_an_authority_that_was_not_named_vouches_for_nobody(make_client: MakeClient, authority: Authority) -> None:
    with RawServer(_answer, authority.server(HOST)) as server:
        answer = _send(make_client(server.address))
        assert (answer.category, answer.reason) == (
            Category.UNREACHABLE,
            "the server's TLS certificate could not be verified",
        )
        other = make_client(server.address.replace(HOST, "localhost"), ca_bundle=str(authority.certificate))
        assert _send(other).reason == "the server's TLS certificate could not be verified"
        assert server.asked == []


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:1", "ftp://127.0.0.1:1", "http://", "http://[::1", "::"])
def test_a_proxy_that_cannot_be_used_sends_nothing_past_it(make_client: MakeClient, proxy: str) -> None:
    with RawServer(_answer) as server:
        assert _send(make_client(server.address, proxy=proxy)).category is Category.UNREACHABLE
        assert server.asked == []


@pytest.mark.parametrize("secure", [False, True])
def test_a_connection_that_was_idle_for_a_minute_is_not_used_because_it_may_be_forgotten(
    make_client: MakeClient, authority: Authority, monkeypatch: pytest.MonkeyPatch, *, secure: bool
) -> None:
    slept = 0.0
    real = connection.elapsed
    monkeypatch.setattr(connection, "elapsed", lambda: real() + slept)
    forgotten: set[int] = set()

    def answer(asked: Asked) -> None:
        if asked.connection in forgotten:
            asked.stopping.wait()  # as a device on the way that drops what it does not know any more
        _answer(asked)

    with RawServer(answer, authority.server(HOST) if secure else None) as server:
        client = make_client(server.address, ca_bundle=str(authority.certificate))
        for _ in range(2):
            assert _send(client).category is Category.ACCEPTED
            slept += 45
        assert _send(client).category is Category.ACCEPTED
        assert {asked.connection for asked in server.asked} == {0}
        forgotten.add(0)
        slept += 60
        assert _send(client).category is Category.ACCEPTED
        assert server.asked[-1].connection == 1
