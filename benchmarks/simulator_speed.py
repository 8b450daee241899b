"""How many sends a second the simulator carries on one core, so that it is never what a benchmark measures.

Connections of this process post different messages to a simulator in a process of its own, each connection waiting
for its answer before it sends again. What counts is the CPU time the simulator itself says it used.
"""

import asyncio
from itertools import count

import orjson
import requests

from worker.simulator.control import SimulatorControl
from worker.simulator.process import running_simulator

SENDS = 100_000
CONNECTIONS = 64


class Sender(asyncio.Protocol):
    """One connection that sends, waits for the answer, and sends again until the work is done."""

    def __init__(self, path: str, numbers: "count[int]", sends: int, done: asyncio.Event) -> None:
        self._head = f"POST {path} HTTP/1.1\r\nHost: simulator\r\nContent-Type: application/json\r\nContent-Length: "
        self._numbers = numbers
        self._sends = sends
        self._done = done
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first message."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        """Take the answer, which always comes in one piece, and send the next message."""
        if b'"errcode":0' not in data:
            raise RuntimeError(data.decode())
        self._send()

    def _send(self) -> None:
        number = next(self._numbers)
        if number >= self._sends:
            self._transport.close()
            self._done.set()
            return
        body = orjson.dumps(
            {
                "touser": f"member{number}",
                "msgtype": "text",
                "agentid": 1000002,
                "text": {"content": f"第 {number} 条 工资条已发放 请查收"},
                "enable_duplicate_check": 1,
                "duplicate_check_interval": 600,
            }
        )
        self._transport.write(self._head.encode() + b"%d\r\n\r\n%s" % (len(body), body))


def token_of(control: SimulatorControl) -> str:
    """An access token of the built-in app."""
    credentials = {"corpid": "ww-simulator", "corpsecret": "simulator-secret"}
    answer = requests.get(f"{control.base_url}/cgi-bin/gettoken", params=credentials, timeout=10)
    return str(answer.json()["access_token"])


async def send_all(base_url: str, token: str, sends: int, connections: int) -> None:
    """Send so many messages over so many connections."""
    host, _, port = base_url.removeprefix("http://").rpartition(":")
    path = f"/cgi-bin/message/send?access_token={token}"
    numbers = count()
    loop = asyncio.get_running_loop()
    finished = [asyncio.Event() for _ in range(connections)]
    for done in finished:
        await loop.create_connection(lambda done=done: Sender(path, numbers, sends, done), host, int(port))  # type: ignore[misc]
    for done in finished:
        await done.wait()


def measure(*, quick: bool = False) -> dict[str, float]:
    """Return the simulator's CPU time for one send in microseconds, and how many it carries in a CPU second."""
    sends = SENDS // 10 if quick else SENDS
    with running_simulator() as control:
        token = token_of(control)
        before = control.counters().cpu_seconds
        asyncio.run(send_all(control.base_url, token, sends, CONNECTIONS))
        counters = control.counters()
    assert counters.deliveries == sends
    cpu = (counters.cpu_seconds - before) / sends
    return {"cpu_per_send_us": cpu * 1e6, "sends_per_cpu_second": 1 / cpu}
