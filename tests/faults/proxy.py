"""A TCP proxy of tests that spoils what passes through it: it cuts, goes silent, delays, and loses answers.

    with FaultProxy(database_upstream(url), PostgresConversation) as proxy:
        lost = proxy.rules.add(Rule(statement("commit"), Action.LOSE_ANSWER, after=2, times=1))
        ...                                    # the third COMMIT is carried out, and nobody hears of it

One thread runs it; every method may be called from any other.
"""

import asyncio
import random
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

from faults.conversation import Conversation, Matches, Opaque, Request
from faults.link import RESET, Link, Side
from faults.rules import Action, Rule, Rules

Upstream = tuple[str, int] | str
"""Host and port, or the path of a unix socket."""

REMEMBERED = 50_000
ORDER_SECONDS = 30
LOOPBACK = "127.0.0.1"

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class Seen:
    """A request, and when it came, in Unix seconds."""

    at: float
    request: Request


class FaultProxy:
    """Stands in front of one server; listens on loopback, on a port the system chooses.

    Args:
        upstream: the server.
        conversation: makes what tells requests and answers apart, once for each connection.
        tls: the proxy's certificate, if clients speak TLS with it; the server is spoken to without.
    """

    def __init__(
        self,
        upstream: Upstream,
        conversation: Callable[[], Conversation] = Opaque,
        *,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.rules = Rules()
        self.requests: deque[Seen] = deque(maxlen=REMEMBERED)
        """What was asked for, the latest last."""
        self.connections = 0
        """How many connections were accepted."""
        self.resets = 0
        """How many a storm has reset."""
        self._upstream = upstream
        self._conversation = conversation
        self._tls = tls
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault-proxy", daemon=True)
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._links: set[asyncio.Task[None]] = set()
        self._life: Callable[[], float] | None = None
        self._dooms: dict[asyncio.Task[None], asyncio.TimerHandle] = {}
        self._server: asyncio.Server | None = None
        self._bound = _bound_socket((LOOPBACK, 0))
        self.address: tuple[str, int] = self._bound.getsockname()
        self._refusing = False

    def start(self) -> Self:
        """Listen."""
        self._thread.start()
        self._order(self._listen())
        return self

    def close(self) -> None:
        """End every connection and stop listening."""
        self._order(self._stop_listening())
        self._order(self._cut_all())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(ORDER_SECONDS)
        self._loop.close()
        self._bound.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def port(self) -> int:
        """Where it listens."""
        return self.address[1]

    def watch(self, matches: Matches) -> Rule:
        """Count requests from now on, in the `seen` of what is returned, and leave them alone."""
        return self.rules.add(Rule(matches, Action.PASS))

    def silence(self) -> None:
        """Hold everything back, in both directions; connections stay, and new ones are accepted."""
        self._loop.call_soon_threadsafe(self._flowing.clear)

    def resume(self) -> None:
        """End `silence` and `refuse`: what was held back is passed on. What a rule has silenced stays silent."""
        self._loop.call_soon_threadsafe(self._flowing.set)
        self._order(self._listen())

    def cut_all(self) -> None:
        """End every connection there is."""
        self._order(self._cut_all())

    def storm(self, mean_life: float, seed: int = 0) -> None:
        """Reset every connection, those there are and those to come, after a life of random length, until `calm`.

        Args:
            mean_life: seconds.
            seed: of the lengths.
        """
        self._loop.call_soon_threadsafe(self._begin_storm, mean_life, seed)

    def calm(self) -> None:
        """End `storm`; connections live as long as their ends want."""
        self._loop.call_soon_threadsafe(self._end_storm)

    def refuse(self) -> None:
        """Refuse new connections; those there are stay."""
        self._order(self._stop_listening())

    async def open(self, client: Side) -> tuple[Side, Conversation, bytes] | None:
        """Connect to the server for a client, and return what else its link needs: see `Link.run` for the bytes.

        None if the client was told already that this does not work.

        Raises:
            OSError: the server cannot be reached.
        """
        del client
        return await connected(self._upstream), self._conversation(), b""

    def note(self, request: Request) -> None:
        """Write down what was asked for."""
        self.requests.append(Seen(time.time(), request))

    def _begin_storm(self, mean_life: float, seed: int) -> None:
        chance = random.Random(seed)
        self._life = lambda: chance.expovariate(1 / mean_life)
        for link in self._links:
            self._doom(link)

    def _end_storm(self) -> None:
        self._life = None
        for end in self._dooms.values():
            end.cancel()
        self._dooms.clear()

    def _doom(self, link: asyncio.Task[None]) -> None:
        if self._life is not None:
            self._dooms[link] = self._loop.call_later(self._life(), self._reset, link)

    def _reset(self, link: asyncio.Task[None]) -> None:
        self.resets += 1
        link.cancel(RESET)

    def _order(self, order: Coroutine[Any, Any, _Result]) -> _Result:
        return asyncio.run_coroutine_threadsafe(order, self._loop).result(ORDER_SECONDS)

    async def _listen(self) -> None:
        if self._server is None:
            shutdown = 1.0 if self._tls else None
            self._server = await asyncio.start_server(
                self._accept, sock=self._bound, ssl=self._tls, ssl_shutdown_timeout=shutdown
            )

    async def _stop_listening(self) -> None:
        """Keep the port, so that nobody else takes it, and refuse whoever connects."""
        if self._server is not None:
            self._server.close()
            self._server = None
            self._bound = _bound_socket(self.address)

    async def _cut_all(self) -> None:
        for link in self._links:
            link.cancel()
        await asyncio.gather(*self._links, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._links.add(task)
        self._doom(task)
        client = Side(reader, writer)
        try:
            await self._flowing.wait()
            opened = await self.open(client)
            if opened is not None:
                server, conversation, first = opened
                await Link(client, server, conversation, self.rules, self.note, self._flowing).run(first)
        except OSError:
            client.end(reset=True)
        except asyncio.CancelledError as cut:  # cut_all, or a storm
            client.end(reset=RESET in cut.args)
        finally:
            client.end()
            if (doom := self._dooms.pop(task, None)) is not None:
                doom.cancel()
            await client.ended()
            self._links.discard(task)


async def connected(upstream: Upstream) -> Side:
    """Connect to a server.

    Raises:
        OSError: it cannot be reached.
    """
    if isinstance(upstream, str):
        return Side(*await asyncio.open_unix_connection(upstream))
    return Side(*await asyncio.open_connection(*upstream))


def _bound_socket(address: tuple[str, int]) -> socket.socket:
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind(address)
    return bound
