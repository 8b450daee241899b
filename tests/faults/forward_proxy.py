"""An HTTP proxy of tests, as named in WECOM_PROXY: absolute addresses for http, CONNECT for https."""

import asyncio
from collections.abc import Mapping
from urllib.parse import urlsplit

from faults.conversation import Conversation, Opaque, Request
from faults.http import HEAD_END, HttpConversation
from faults.link import READ_BYTES, CutError, Side
from faults.proxy import LOOPBACK, FaultProxy, Upstream, connected
from faults.rules import Action

CONNECTED = b"HTTP/1.1 200 Connection established\r\n\r\n"
BAD_GATEWAY = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class ForwardProxy(FaultProxy):
    """Connects each client to the host that its first request names.

    Rules see requests with an absolute address as `POST /path`, and `CONNECT` with the host and port as text. What
    passes through a tunnel is opaque: `bytes`.

    Args:
        routes: servers that stand for hosts: `{"qyapi.weixin.qq.com:443": ("127.0.0.1", 8443)}`.
    """

    def __init__(self, routes: Mapping[str, Upstream] | None = None) -> None:
        super().__init__((LOOPBACK, 0))
        self._routes = dict(routes or {})

    @property
    def url(self) -> str:
        """What to write into WECOM_PROXY."""
        return f"http://{LOOPBACK}:{self.port}"

    async def open(self, client: Side) -> tuple[Side, Conversation, bytes] | None:
        """Read the first request, and connect to the host it names."""
        first = b""
        while HEAD_END not in first:
            data = await client.reader.read(READ_BYTES)
            if not data:
                return None
            first += data
        method, target, _ = first.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)
        if method != "CONNECT":
            address = urlsplit(target)
            server = await self._connected(client, f"{address.hostname}:{address.port or 80}")
            return None if server is None else (server, HttpConversation(absolute=True), first)
        try:
            return await self._tunnel(client, target, first.split(HEAD_END, 1)[1])
        except CutError as cut:
            client.end(reset=cut.reset)
            return None

    async def _tunnel(self, client: Side, target: str, first: bytes) -> tuple[Side, Conversation, bytes] | None:
        request = Request("CONNECT", target)
        self.note(request)
        rule = self.rules.choose(request)
        if rule is not None and rule.action is Action.CUT:
            raise CutError(reset=rule.reset)
        if rule is not None and rule.action in (Action.DELAY, Action.DELAY_ANSWER):
            await asyncio.sleep(rule.seconds)
        server = await self._connected(client, target)
        if server is None:
            return None
        if rule is not None and rule.action is Action.LOSE_ANSWER:
            server.end()
            raise CutError(reset=rule.reset)
        if rule is not None and rule.action in (Action.SILENCE, Action.WITHHOLD_ANSWER):
            await asyncio.Event().wait()
        await client.write(CONNECTED)
        return server, Opaque(), first

    async def _connected(self, client: Side, host: str) -> Side | None:
        name, _, port = host.rpartition(":")
        try:
            return await connected(self._routes.get(host, (name.strip("[]"), int(port))))
        except OSError:
            await client.write(BAD_GATEWAY)
            return None
