"""A network of its own (a network namespace of Linux) in which servers stand, and from which packets can be dropped.

    with FarNetwork({5432: database_upstream(url)}) as far:
        ...                  # the server is at (far.address, 5432), over TCP as of another machine
        far.drop_packets()   # nothing comes from there any more; no connection is told so

It needs root and the command `ip`.
"""

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self
from uuid import uuid4

from faults.proxy import Upstream

FORWARDING = Path(__file__).with_name("forwarding.py")


class NoNetworkError(Exception):
    """This machine does not let us make networks; the text says why."""


class FarNetwork:
    """One network with one address, where ports lead to servers.

    Args:
        ports: the servers; their sockets are reached from any network.

    Raises:
        NoNetworkError: when it is entered.
    """

    def __init__(self, ports: Mapping[int, Upstream]) -> None:
        mark = uuid4().hex[:8]
        self._name, self._near, self._far = f"wecom-{mark}", f"wc{mark}a", f"wc{mark}b"
        # Addresses for tests of networks (RFC 2544); nobody else has them.
        third, fourth = random.randrange(256), 4 * random.randrange(64)
        self._own_address = f"198.18.{third}.{fourth + 1}"
        self.address = f"198.18.{third}.{fourth + 2}"
        self._ports = dict(ports)
        self._forwarding: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        if os.geteuid() != 0 or shutil.which("ip") is None:
            raise NoNetworkError("only root can make networks, with the command ip")
        try:
            self._make()
        except subprocess.CalledProcessError as error:
            self.close()
            raise NoNetworkError(f"no network can be made here: {error.stderr.strip()}") from None
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def drop_packets(self) -> None:
        """Let nothing come from there any more."""
        self._there("route", "add", "blackhole", self._own_address)

    def let_packets_pass(self) -> None:
        """Let everything come again."""
        self._there("route", "del", "blackhole", self._own_address)

    def close(self) -> None:
        """Take the network away."""
        if self._forwarding is not None:
            self._forwarding.kill()
            self._forwarding.communicate()
        for leftover in (["link", "del", self._near], ["netns", "del", self._name]):
            subprocess.run(["ip", *leftover], capture_output=True, check=False)

    def _make(self) -> None:
        _ip("netns", "add", self._name)
        _ip("link", "add", self._near, "type", "veth", "peer", "name", self._far, "netns", self._name)
        _ip("address", "add", f"{self._own_address}/30", "dev", self._near)
        _ip("link", "set", self._near, "up")
        self._there("address", "add", f"{self.address}/30", "dev", self._far)
        self._there("link", "set", self._far, "up")
        ports = [f"{port}={at if isinstance(at, str) else ':'.join(map(str, at))}" for port, at in self._ports.items()]
        self._forwarding = subprocess.Popen(
            ["ip", "netns", "exec", self._name, sys.executable, str(FORWARDING), self.address, *ports],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._forwarding.stdout is not None
        if not self._forwarding.stdout.readline():
            raise NoNetworkError("no process can be started in another network here")

    def _there(self, *arguments: str) -> None:
        _ip("-netns", self._name, *arguments)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], capture_output=True, text=True, check=True)
