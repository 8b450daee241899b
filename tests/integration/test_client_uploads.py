"""Files go over slow lines as long as these carry them, end at once when the worker stops, and look as documented."""

import socket
import ssl
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from faults.tls import Authority
from raw_server import Asked, RawServer, ok

from worker.providers.base import Category
from worker.providers.wecom.client import WeComClient

HOST = "127.0.0.1"
UPLOAD = "/cgi-bin/media/upload"
ACCEPTED = ok(b'{"errcode":0,"media_id":"m"}')


@pytest.fixture(params=["http", "https"])
def context(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[ssl.SSLContext | None, str]:
    """What a server speaks TLS with, or None, and whom its client trusts."""
    authority = Authority(tmp_path)
    return (authority.server(HOST) if request.param == "https" else None), str(authority.certificate)


def _client(server: RawServer, context: tuple[ssl.SSLContext | None, str], **options: float) -> WeComClient:
    timeouts = {"connect_timeout": 0.5, "read_timeout": 1.0, **options}
    address = f"http{'s' if context[0] else ''}://{HOST}:{server.port}"
    return WeComClient(address, connections=1, ca_bundle=context[1], **timeouts)  # type: ignore[arg-type]


def _reading(
    context: tuple[ssl.SSLContext | None, str], read: Callable[[socket.socket], object]
) -> Callable[[socket.socket], None]:
    """Have a server with little room read what comes in its own way."""

    def serve(wire: socket.socket) -> None:
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 262_144)
        if context[0] is None:
            read(wire)
        else:
            with context[0].wrap_socket(wire, server_side=True) as secured:
                read(secured)

    return serve


def test_a_file_goes_over_a_line_that_needs_longer_than_both_time_outs(
    context: tuple[ssl.SSLContext | None, str],
) -> None:
    size = 6_000_000

    def read_slowly(wire: socket.socket) -> None:
        end = b""
        while end != b"--\r\n" and (more := wire.recv(65_536)):
            end = (end + more)[-4:]
            time.sleep(len(more) / 2_000_000)
        wire.sendall(ACCEPTED)
        wire.recv(1)

    with RawServer(instead=_reading(context, read_slowly)) as server:
        client = _client(server, context)
        began = time.monotonic()
        reply = client.upload(UPLOAD, {}, "video.mp4", b"x" * size, lambda: True)
        took = time.monotonic() - began
        client.close()
    assert (reply.answer.category, reply.payload["media_id"]) == (Category.ACCEPTED, "m")
    assert 1.5 < took < client.upload_seconds(size)


def test_an_upload_ends_within_its_time_when_the_line_carries_nothing(
    context: tuple[ssl.SSLContext | None, str],
) -> None:
    stop = threading.Event()

    def read_nothing(wire: socket.socket) -> None:
        wire.recv(1)
        stop.wait(10)

    with RawServer(instead=_reading(context, read_nothing)) as server:
        client = _client(server, context)
        for size in (100_000, 300_000):
            began = time.monotonic()
            answer = client.upload(UPLOAD, {}, "a.txt", b"x" * size).answer
            assert answer.category is Category.UNCERTAIN
            assert time.monotonic() - began < client.upload_seconds(size)
        stop.set()
        client.close()


@pytest.mark.parametrize("reads", [False, True])
def test_an_upload_ends_within_a_second_when_the_worker_stops(
    context: tuple[ssl.SSLContext | None, str], *, reads: bool
) -> None:
    """While it is being written, and while its answer is waited for."""
    working, stop = threading.Event(), threading.Event()
    working.set()

    def read_some(wire: socket.socket) -> None:
        end = wire.recv(1)
        while reads and end != b"--\r\n" and (more := wire.recv(65_536)):
            end = (end + more)[-4:]
        threading.Timer(0.5, working.clear).start()
        stop.wait(20)

    with RawServer(instead=_reading(context, read_some)) as server:
        client = _client(server, context, read_timeout=15.0)
        answers = []
        uploading = threading.Thread(
            target=lambda: answers.append(client.upload(UPLOAD, {}, "a.txt", b"x" * 10_000_000, working.is_set).answer)
        )
        uploading.start()
        while working.is_set():
            time.sleep(0.01)
        stopped_at = time.monotonic()
        uploading.join()
        took = time.monotonic() - stopped_at
        stop.set()
        client.close()
    assert [(answer.category, answer.reason) for answer in answers] == [(Category.UNREACHABLE, "the worker stops")]
    assert took < 1


def test_the_form_is_the_one_that_is_documented() -> None:
    with RawServer(lambda asked: asked.wire.sendall(ACCEPTED)) as server:
        client = WeComClient(server.address, connections=1, connect_timeout=1, read_timeout=1)
        for _ in range(2):
            assert client.upload(UPLOAD, {"type": "file"}, '考勤"1".txt', b"mytext").payload["media_id"] == "m"
        client.close()
    asked: Asked = server.asked[0]
    boundary = asked.head.partition(b"multipart/form-data; boundary=")[2].partition(b"\r\n")[0]
    assert asked.line == f"POST {UPLOAD}?type=file HTTP/1.1"
    assert asked.body == (
        b"--" + boundary + b"\r\n"
        b'Content-Disposition: form-data; name="media";filename="'
        + "考勤%221%22.txt".encode()
        + b'"; filelength=6\r\nContent-Type: application/octet-stream\r\n\r\nmytext\r\n--'
        + boundary
        + b"--\r\n"
    )


def test_the_time_of_an_upload_grows_with_its_size_and_has_an_end() -> None:
    client = WeComClient("http://127.0.0.1:1", connections=1, connect_timeout=5, read_timeout=10)
    assert client.upload_seconds(0) == client.slowest_call
    assert client.upload_seconds(20 * 1024 * 1024) == pytest.approx(client.slowest_call + 160)
    assert client.upload_seconds(10**12) <= 310
