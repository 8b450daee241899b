"""A message can be told to stay until the very moment at which its first byte would leave."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from raw_server import Asked, RawServer, ok

from worker.providers.base import Category, HeldBack
from worker.providers.wecom.client import WeComClient

Client = Callable[[str], WeComClient]


@pytest.fixture
def client() -> Iterator[Client]:
    """Make clients with short time-outs."""
    with ExitStack() as at_the_end:

        def client(address: str) -> WeComClient:
            made = WeComClient(address, connections=2, connect_timeout=2, read_timeout=2)
            at_the_end.callback(made.close)
            return made

        yield client


def _answer(asked: Asked) -> None:
    asked.wire.sendall(ok(b'{"errcode":0,"msgid":"m%d"}' % asked.number))


def _hold_back() -> None:
    raise HeldBack("the sender is paused")


def test_a_message_that_is_held_back_does_not_leave_and_the_next_one_does(client: Client) -> None:
    with RawServer(_answer) as server:
        one = client(server.address)
        for _ in range(2):  # on a new connection, and on one that has been used
            with pytest.raises(HeldBack, match=r"^the sender is paused$"):
                one.post("/held", {}, b"{}", _hold_back)
            assert one.post("/sent", {}, b"{}", lambda: None).answer.category is Category.ACCEPTED
        assert [asked.line.split()[1] for asked in server.asked] == ["/sent", "/sent"]


@pytest.mark.parametrize("fault", [TimeoutError("ours"), ConnectionResetError("ours"), ValueError("ours")])
def test_a_fault_of_who_is_asked_is_not_taken_for_a_fault_of_the_network(client: Client, fault: Exception) -> None:
    def fail() -> None:
        raise fault

    with RawServer(_answer) as server, pytest.raises(type(fault)) as raised:
        client(server.address).post("/x", {}, b"{}", fail)
    assert raised.value is fault
    assert server.asked == []


def test_who_is_asked_is_asked_once_and_before_the_server_hears_of_the_message(client: Client) -> None:
    heard: list[int] = []
    with RawServer(_answer) as server:
        one = client(server.address)
        for _ in range(3):
            one.post("/x", {}, b"{}", lambda: heard.append(len(server.asked)))
    assert heard == [0, 1, 2]


def test_nobody_is_asked_where_no_connection_comes_about(client: Client) -> None:
    asked: list[None] = []
    with RawServer(_answer) as server:
        address = server.address
    answer = client(address).post("/x", {}, b"{}", lambda: asked.append(None)).answer
    assert (answer.category, asked) == (Category.UNREACHABLE, [])


def test_a_call_without_a_body_carries_none(client: Client) -> None:
    with RawServer(_answer) as server:
        assert client(server.address).get("/x", {"a": "b"}).answer.category is Category.ACCEPTED
    head = server.asked[0].head.lower()
    assert server.asked[0].body == b""
    assert b"transfer-encoding" not in head
