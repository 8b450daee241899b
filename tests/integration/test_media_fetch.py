"""Files by their address: from where they are fetched, and within which bounds."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from faults.tls import Authority
from raw_server import Asked, RawServer, ok

from worker.delivery.media_fetch import fetch, is_public
from worker.messages import InvalidMessage

HOST = "files.example.com"
PRIVATE = (
    "127.0.0.1",
    "10.1.2.3",
    "169.254.169.254",
    "192.168.1.1",
    "100.64.0.1",
    "0.0.0.0",
    "224.0.0.251",
    "255.255.255.255",
    "::1",
    "::",
    "fe80::1",
    "fd00::1",
    "ff0e::1",
    "::ffff:10.1.2.3",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::a01:203",
    "2002:7f00:1::",
    "2001:0:7f00:1::",
)


@pytest.fixture
def resolves(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Have a name mean some addresses."""

    real = socket.getaddrinfo

    def resolve(*addresses: str) -> None:
        def look_up(host: str, port: int, *arguments: Any, **options: Any) -> list[Any]:  # noqa: ANN401
            if host != HOST:
                return real(host, port, *arguments, **options)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

        monkeypatch.setattr(socket, "getaddrinfo", look_up)

    return resolve


@contextmanager
def a_server(authority: Authority, answer: Callable[[Asked], object]) -> Iterator[RawServer]:
    with RawServer(answer, authority.server(HOST)) as server:
        yield server


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Vouches for the server of a test."""
    return Authority(tmp_path)


@pytest.mark.parametrize("address", PRIVATE)
def test_files_are_never_fetched_from_addresses_that_lead_inside(address: str, resolves: Callable[..., None]) -> None:
    assert not is_public(address)
    resolves("8.8.8.8", address)
    with pytest.raises(InvalidMessage, match="private address"):
        fetch(f"https://{HOST}/a.png", [HOST])


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_addresses_of_the_internet_may_be_reached(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "url", ["http://files.example.com/a.png", "https://user:word@files.example.com/a", "https://", "file:///etc/passwd"]
)
def test_files_are_fetched_by_https_without_a_password_only(url: str) -> None:
    with pytest.raises(InvalidMessage, match="https"):
        fetch(url, [HOST, ""])


def test_an_address_of_a_host_that_is_not_allowed_is_not_even_looked_up() -> None:
    with pytest.raises(InvalidMessage, match="WECOM_MEDIA_HOSTS"):
        fetch("https://elsewhere.example.com/a.png", [HOST])


def test_a_file_comes_from_the_first_address_that_answers(authority: Authority, resolves: Callable[..., None]) -> None:
    def answer(asked: Asked) -> None:
        asked.wire.sendall(ok(b"the file"))

    with a_server(authority, answer) as server:
        resolves("127.0.0.2", "127.0.0.1")
        content = fetch(
            f"https://{HOST}:{server.port}/a.png?b=c", [HOST], may_reach=_any, ca_bundle=str(authority.certificate)
        )
        assert content == b"the file"
        assert server.asked[0].line == "GET /a.png?b=c HTTP/1.1"
        assert f"Host: {HOST}:{server.port}".encode() in server.asked[0].head


def test_a_server_that_nobody_vouches_for_gives_no_file(authority: Authority, resolves: Callable[..., None]) -> None:
    with a_server(authority, lambda asked: asked.wire.sendall(ok(b"the file"))) as server:
        resolves("127.0.0.1")
        with pytest.raises(InvalidMessage, match="cannot be had"):
            fetch(f"https://{HOST}:{server.port}/a.png", [HOST], may_reach=_any)


@pytest.mark.parametrize(
    "begin",
    [b"", b"HTTP/1.1 200 OK\r\n", ok(b"")[:-19] + b"Content-Length: 99999\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n"],
    ids=["before the head", "within the head", "within the file", "within a file of unknown length"],
)
def test_a_server_that_sends_a_byte_now_and_then_is_cut_off_in_time(
    authority: Authority, resolves: Callable[..., None], begin: bytes
) -> None:
    def drip(asked: Asked) -> None:
        asked.wire.sendall(begin)
        while not asked.stopping.wait(0.05):
            asked.wire.sendall(b"x")

    with a_server(authority, drip) as server:
        resolves("127.0.0.1")
        with pytest.raises(InvalidMessage, match=r"took longer than 0\.5 s"):
            fetch(
                f"https://{HOST}:{server.port}/a.png",
                [HOST],
                may_reach=_any,
                ca_bundle=str(authority.certificate),
                most_seconds=0.5,
            )


def test_a_server_that_never_ends_its_handshake_is_cut_off_in_time(resolves: Callable[..., None]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        resolves("127.0.0.1")
        port = silent.getsockname()[1]
        with pytest.raises(InvalidMessage, match=r"took longer than 0\.5 s"):
            fetch(f"https://{HOST}:{port}/a.png", [HOST], may_reach=_any, most_seconds=0.5)


def test_a_file_that_is_too_large_is_refused_before_its_end(
    authority: Authority, resolves: Callable[..., None]
) -> None:
    def answer(asked: Asked) -> None:
        asked.wire.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            asked.wire.sendall(b"x" * 65_536)

    with a_server(authority, answer) as server:
        resolves("127.0.0.1")
        with pytest.raises(InvalidMessage, match="has more than"):
            fetch(f"https://{HOST}:{server.port}/a", [HOST], may_reach=_any, ca_bundle=str(authority.certificate))


def _any(_: str) -> bool:
    return True
