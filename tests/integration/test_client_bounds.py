"""No answer takes longer than its time, or more memory than its bound; none is taken for the answer to another call."""

import gzip
import socket
import ssl
import time
import tracemalloc
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from faults.tls import Authority
from raw_server import Asked, RawServer, ok

from worker.providers.base import Answer, Category
from worker.providers.wecom.client import WeComClient

HOST = "127.0.0.1"
CONNECT, READ = 0.5, 1.0

Ask = Callable[[RawServer], Answer]


@pytest.fixture(params=["http", "https"])
def context(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[ssl.SSLContext | None, str]:
    """What a server speaks TLS with, or None, and whom its client trusts."""
    authority = Authority(tmp_path)
    return (authority.server(HOST) if request.param == "https" else None), str(authority.certificate)


def _client(server: RawServer, ca_bundle: str | None = None) -> WeComClient:
    return WeComClient(server.address, connections=2, connect_timeout=CONNECT, read_timeout=READ, ca_bundle=ca_bundle)


def _send(client: WeComClient, path: str = "/send") -> Answer:
    return client.post(path, {"access_token": "secret"}, b"{}").answer


def _drip(begin: bytes, drop: bytes) -> Callable[[Asked], None]:
    def answer(asked: Asked) -> None:
        asked.wire.sendall(begin)
        while not asked.stopping.wait(0.05):
            asked.wire.sendall(drop)

    return answer


@pytest.mark.parametrize(
    ("begin", "drop"),
    [
        (b"", b"H"),
        (b"HTTP/1.1 200 OK\r\nX: ", b"x"),
        (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n", b" "),
        (b"HTTP/1.1 200 OK\r\n\r\n", b" "),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n"),
        (b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
    ],
)
def test_an_answer_a_byte_at_a_time_ends_with_the_time_of_the_call(
    context: tuple[ssl.SSLContext | None, str], begin: bytes, drop: bytes
) -> None:
    with RawServer(_drip(begin, drop), context[0]) as server:
        client = _client(server, context[1])
        began = time.monotonic()
        answer = _send(client)
        took = time.monotonic() - began
        client.close()
    assert answer.category is Category.UNCERTAIN
    assert took < client.slowest_call


def test_the_time_of_a_call_counts_from_when_it_leaves(context: tuple[ssl.SSLContext | None, str]) -> None:
    def answer(asked: Asked) -> None:
        assert not asked.stopping.wait(0.7 * READ)
        asked.wire.sendall(ok())

    with RawServer(answer, context[0]) as server:
        client = _client(server, context[1])
        reply = client.post("/x", {}, b"{}", lambda: time.sleep(0.7 * READ))
        client.close()
    assert reply.answer.category is Category.ACCEPTED


@pytest.mark.parametrize(
    "said",
    [
        ok(b" " * 3_000_000),
        ok(gzip.compress(b"\0" * 200_000_000, 9), "Content-Encoding: gzip"),
        b"HTTP/1.1 200 OK\r\nContent-Length: 100000000000000\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffff\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1_000_000,
        ok(b'{"errcode":0,"errmsg":' + b"[" * 500_000 + b"]" * 500_000 + b"}"),
        ok(b'{"errcode":%s}' % (b"9" * 100_000)),
    ],
    ids=["long", "bomb", "length", "chunk", "head", "nested", "number"],
)
def test_an_answer_out_of_all_bounds_takes_little_memory_and_leaves_the_fate_open(said: bytes) -> None:
    with RawServer(lambda asked: asked.wire.sendall(said)) as server:
        client = _client(server)
        _send(client)
        tracemalloc.start()
        try:
            answer = _send(client)
            most = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        client.close()
    assert answer.category is Category.UNCERTAIN
    assert most < 16 * 1024 * 1024


def _own(asked: Asked) -> bytes:
    """Return an answer that bears the mark of its request."""
    mark = asked.line.split()[1].partition("?")[0].removeprefix("/")
    return ok(b'{"errcode":0,"msgid":"%s"}' % mark.encode())


def _interim(asked: Asked) -> None:
    asked.wire.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
    asked.wire.sendall(_own(asked))


def _processing(asked: Asked) -> None:
    asked.wire.sendall(b"HTTP/1.1 102 Processing\r\n\r\n" + _own(asked))


def _twice(asked: Asked) -> None:
    asked.wire.sendall(2 * _own(asked))


def _twice_in_two(asked: Asked) -> None:
    asked.wire.sendall(_own(asked))
    asked.wire.sendall(_own(asked))


def _twice_late(asked: Asked) -> None:
    asked.wire.sendall(_own(asked))
    asked.stopping.wait(0.03)
    asked.wire.sendall(_own(asked))


def _too_long(asked: Asked) -> None:
    asked.wire.sendall(_own(asked) + b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")


def _two_lengths(asked: Asked) -> None:
    content = _own(asked).partition(b"\r\n\r\n")[2]
    chunk = b"%x\r\n%s\r\n0\r\n\r\n" % (len(content), content)
    asked.wire.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n" + chunk)


def _no_content_with_content(asked: Asked) -> None:
    if asked.number % 2:
        asked.wire.sendall(b"HTTP/1.1 204 No Content\r\n\r\n" + _own(asked))
    else:
        asked.wire.sendall(_own(asked))


def _sometimes_late(asked: Asked) -> None:
    if asked.number % 5 == 0:
        asked.stopping.wait(READ + 0.2)
    asked.wire.sendall(_own(asked))


@pytest.mark.parametrize(
    ("answer", "all_accepted"),
    [
        (_interim, True),
        (_processing, True),
        (_twice, True),
        (_twice_in_two, False),
        (_twice_late, False),
        (_too_long, True),
        (_two_lengths, True),
        (_no_content_with_content, False),
        (_sometimes_late, False),
    ],
)
def test_no_call_gets_the_answer_to_another(
    context: tuple[ssl.SSLContext | None, str], answer: Callable[[Asked], None], *, all_accepted: bool
) -> None:
    with RawServer(answer, context[0]) as server:
        client = _client(server, context[1])
        answers = {f"m{n}": _send(client, f"/m{n}") for n in range(12)}
        client.close()
    assert {mark for mark, one in answers.items() if one.msgid not in (mark, None)} == set()
    categories = {one.category for one in answers.values()}
    assert categories <= {Category.ACCEPTED, Category.UNCERTAIN}
    assert not all_accepted or categories == {Category.ACCEPTED}


@pytest.mark.parametrize("content", [b'{"errcode":81013,"errmsg":"nobody"}', b'{"errcode":0,"errmsg":"ok"}'])
def test_an_answer_without_a_msgid_that_comes_twice_is_not_taken_for_the_next_one(
    context: tuple[ssl.SSLContext | None, str], content: bytes
) -> None:
    def answer(asked: Asked) -> None:
        if "odd" in asked.line:
            asked.wire.sendall(ok(content))
            asked.stopping.wait(0.05)
            with suppress(OSError):
                asked.wire.sendall(ok(content))
        else:
            asked.stopping.wait(0.1)
            asked.wire.sendall(_own(asked))

    with RawServer(answer, context[0]) as server:
        client = _client(server, context[1])
        for n in range(4):
            assert _send(client, "/odd").msgid is None
            assert _send(client, f"/m{n}").msgid == f"m{n}"
        client.close()


def test_an_answer_that_comes_again_after_two_other_calls_is_recognised(
    context: tuple[ssl.SSLContext | None, str],
) -> None:
    def answer(asked: Asked) -> None:
        asked.wire.sendall(ok(b'{"errcode":0,"msgid":"m0"}') if asked.number == 3 else _own(asked))

    with RawServer(answer, context[0]) as server:
        client = _client(server, context[1])
        answers = [_send(client, f"/m{n}") for n in range(4)]
        client.close()
    assert [one.category for one in answers] == [*[Category.ACCEPTED] * 3, Category.UNCERTAIN]
    assert server.connections == 1


def test_what_comes_over_an_idle_connection_is_never_an_answer() -> None:
    wires: list[socket.socket] = []

    def answer(asked: Asked) -> None:
        wires.append(asked.wire)
        asked.wire.sendall(_own(asked))

    with RawServer(answer) as server:
        client = _client(server)
        for n in range(5):
            assert _send(client, f"/m{n}").msgid == f"m{n}"
            wires[-1].sendall(ok(b'{"errcode":0,"msgid":"foreign"}'))
        client.close()
