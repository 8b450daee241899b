"""One client's connection and the one to the server behind it."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable

from faults.conversation import Conversation, Request
from faults.rules import Action, Rule, Rules

READ_BYTES = 65_536
END_SECONDS = 2
END_WITH_RESET = struct.pack("ii", 1, 0)
RESET = "with a reset"
"""What a link is cancelled with that ends so, and not with FIN."""


class CutError(Exception):
    """The connection ends here and now."""

    def __init__(self, *, reset: bool = False) -> None:
        super().__init__()
        self.reset = reset


class Side:
    """One of the two connections of a link."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self._writer = writer

    async def write(self, data: bytes) -> None:
        """Write, and wait while the other end does not read."""
        if data:
            self._writer.write(data)
            await self._writer.drain()

    def say_no_more(self) -> None:
        """Tell the other end that nothing more comes; it may go on sending."""
        if self._writer.can_write_eof() and not self._writer.is_closing():
            self._writer.write_eof()

    def end(self, *, reset: bool = False) -> None:
        """End the connection, with FIN or with RST."""
        if reset:
            with contextlib.suppress(OSError):
                self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, END_WITH_RESET)
            self._writer.transport.abort()
            return
        with contextlib.suppress(OSError, RuntimeError):
            self.say_no_more()
        self._writer.close()

    async def ended(self) -> None:
        """Wait until nothing is left of it."""
        with contextlib.suppress(OSError, TimeoutError):
            await asyncio.wait_for(self._writer.wait_closed(), END_SECONDS)


class Link:
    """Passes on what a client and a server say to each other, as the rules allow.

    Args:
        client: the connection of the client.
        server: the connection to the server.
        conversation: tells requests and answers apart.
        rules: what is spoilt.
        note: is told of every request.
        flowing: cleared while the whole proxy is silent.
    """

    def __init__(
        self,
        client: Side,
        server: Side,
        conversation: Conversation,
        rules: Rules,
        note: Callable[[Request], None],
        flowing: asyncio.Event,
    ) -> None:
        self._client = client
        self._server = server
        self._conversation = conversation
        self._rules = rules
        self._note = note
        self._flowing = flowing
        self._alive = asyncio.Event()
        """Never set: whoever waits for it is silent until the link is cut."""
        self._silent = False
        self._client_is_done = False
        self._fates: dict[int, Rule] = {}

    async def run(self, first: bytes = b"") -> None:
        """Pass on until one side ends, or a rule says so; `first` is what was read of the client already."""
        directions = [asyncio.create_task(self._to_server(first)), asyncio.create_task(self._to_client())]
        reset = False
        try:
            await asyncio.gather(*directions)
        except CutError as cut:
            reset = cut.reset
        except asyncio.CancelledError as cut:
            reset = RESET in cut.args
            raise
        except OSError:
            reset = True
        finally:
            for direction in directions:
                direction.cancel()
            self._server.end()
            self._client.end(reset=reset)
            await self._server.ended()

    async def _to_server(self, first: bytes) -> None:
        data = first or await self._client.reader.read(READ_BYTES)
        while data:
            passing = bytearray()
            for piece in self._conversation.client_sent(data):
                rule = self._rule_for(piece.request)
                if piece.reply:
                    await self._pass(self._client, piece.reply)
                if rule is not None:
                    await self._pass(self._server, bytes(passing))
                    passing.clear()
                    await self._before(rule, piece.exchange)
                passing += piece.data
            await self._pass(self._server, bytes(passing))
            data = await self._client.reader.read(READ_BYTES)
        self._client_is_done = True
        self._tell_server()

    def _tell_server(self) -> None:
        """Tell the server that the client is done; but an answer that is to be lost must first be given."""
        if self._client_is_done and not self._fates:
            self._server.say_no_more()

    def _rule_for(self, request: Request | None) -> Rule | None:
        if request is None:
            return None
        self._note(request)
        return self._rules.choose(request)

    async def _before(self, rule: Rule, exchange: int) -> None:
        """Do to a request what is done before it is passed on, and remember what is done to its answer."""
        if rule.action is Action.ANSWER:
            await self._pass(self._client, rule.answer)
            raise CutError
        if rule.action is Action.CUT:
            raise CutError(reset=rule.reset)
        if rule.action is Action.SILENCE:
            await self._fall_silent()
        elif rule.action is Action.DELAY:
            await asyncio.sleep(rule.seconds)
        else:
            self._fates.setdefault(exchange, rule)

    async def _to_client(self) -> None:
        delayed: int | None = None
        while data := await self._server.reader.read(READ_BYTES):
            passing = bytearray()
            for piece in self._conversation.server_sent(data):
                rule = None if piece.exchange is None else self._fates.get(piece.exchange)
                if rule is None:
                    passing += piece.data
                    continue
                await self._pass(self._client, bytes(passing))
                passing.clear()
                if rule.action is Action.DELAY_ANSWER and delayed != piece.exchange:
                    await asyncio.sleep(rule.seconds)
                    delayed = piece.exchange
                if rule.action is Action.DELAY_ANSWER:
                    await self._pass(self._client, piece.data)
                elif rule.action is Action.DRIP_ANSWER:
                    await self._drip(piece.data, rule.seconds)
                if piece.last and piece.exchange is not None:
                    await self._after(rule)
                    del self._fates[piece.exchange]
                    self._tell_server()
            await self._pass(self._client, bytes(passing))
        raise CutError

    async def _after(self, rule: Rule) -> None:
        """Do what is done once an answer is complete."""
        if rule.action is Action.LOSE_ANSWER:
            raise CutError(reset=rule.reset)
        if rule.action is Action.WITHHOLD_ANSWER:
            await self._fall_silent()

    async def _drip(self, data: bytes, seconds: float) -> None:
        for byte in data:
            await self._pass(self._client, bytes([byte]))
            await asyncio.sleep(seconds)

    async def _pass(self, to: Side, data: bytes) -> None:
        if self._silent:
            await self._alive.wait()
        await self._flowing.wait()
        await to.write(data)

    async def _fall_silent(self) -> None:
        self._silent = True
        await self._alive.wait()
