"""What TLS costs a worker: the CPU time of a call over https beside one over http, and of a connection that is opened.

The server, in a process of its own, answers at once and knows nothing.
"""

import asyncio
import itertools
import multiprocessing
import ssl
import statistics
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks.bare_loop import cpu_seconds
from tests.faults.tls import Authority
from worker.providers.base import Category
from worker.providers.wecom.client import WeComClient

HOST = "127.0.0.1"
ROUNDS = 5
BODY = b'{"touser":"zhangsan","msgtype":"text","agentid":1000002,"text":{"content":"Payslip"}}'


def measure(*, quick: bool = False) -> dict[str, float]:
    """Make calls over http and https in turns, and open connections."""
    calls, openings = (200, 20) if quick else (3_000, 100)
    with tempfile.TemporaryDirectory() as folder:
        authority = Authority(Path(folder))
        certificate = authority.server(HOST)
        del certificate  # it is written down, and read by the server
        [file] = Path(folder).glob("server-*.pem")
        with _serving(None) as plain, _serving(file) as secure:
            rounds = [
                (
                    _call(f"http://{HOST}:{plain}", authority, calls),
                    _call(f"https://{HOST}:{secure}", authority, calls),
                    _open(f"http://{HOST}:{plain}", authority, openings),
                    _open(f"https://{HOST}:{secure}", authority, openings),
                )
                for _ in range(ROUNDS)
            ]
    http, https, http_opened, https_opened = (statistics.median(figures) for figures in zip(*rounds, strict=True))
    return {
        "https_vs_http": https / http,
        "https_call_us": https * 1e6,
        "https_connection_ms": (https_opened - https) * 1e3,
        "http_connection_ms": (http_opened - http) * 1e3,
    }


def _call(address: str, authority: Authority, calls: int) -> float:
    """Return the CPU seconds of a call over a connection that stands."""
    client = _client(address, authority)
    _send(client)
    before = cpu_seconds()
    for _ in range(calls):
        _send(client)
    used = cpu_seconds() - before
    client.close()
    return used / calls


def _open(address: str, authority: Authority, times: int) -> float:
    """Return the CPU seconds of a call that opens its connection, by a client that has opened one before."""
    client = _client(address, authority)
    _send(client)
    before = cpu_seconds()
    for _ in range(times):
        client.close()
        _send(client)
    used = cpu_seconds() - before
    client.close()
    return used / times


def _client(address: str, authority: Authority) -> WeComClient:
    return WeComClient(
        address, connections=1, connect_timeout=10, read_timeout=10, ca_bundle=str(authority.certificate)
    )


def _send(client: WeComClient) -> None:
    answer = client.post("/cgi-bin/message/send", {"access_token": "token"}, BODY).answer
    if answer.category is not Category.ACCEPTED:
        raise RuntimeError(f"a call failed: {answer.reason}")


@contextmanager
def _serving(certificate: Path | None) -> Iterator[int]:
    """Run the server, and yield its port."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    server = spawn.Process(target=_serve, args=(certificate, theirs), daemon=True)
    server.start()
    try:
        yield int(ours.recv())
    finally:
        server.terminate()
        server.join()


def _serve(certificate: Path | None, ready: Connection) -> None:
    context = None
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
    numbers = itertools.count()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(len(BODY))
                content = b'{"errcode":0,"errmsg":"ok","msgid":"m%d"}' % next(numbers)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(content), content))
        except (asyncio.IncompleteReadError, OSError):
            writer.close()

    async def serve() -> None:
        server = await asyncio.start_server(answer, HOST, 0, ssl=context)
        ready.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(serve())
