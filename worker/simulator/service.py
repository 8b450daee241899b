"""Serve the simulator until it is stopped."""

import asyncio
import ipaddress
import os
import signal
import sys
from collections.abc import Callable, Iterable
from functools import partial

from worker.simulator.apps import App
from worker.simulator.server import Connection
from worker.simulator.state import SimulatorState

_BACKLOG = 4096


def introduce(base_url: str, apps: Iterable[App]) -> None:
    """Print what this is and which credentials it accepts."""
    lines = [
        f"A simulated WeCom listens on {base_url} (WECOM_API_BASE_URL={base_url}); nothing leaves this machine.",
        *(f"  corpid {app.corpid}  secret {app.secret}  agentid {app.agentid}" for app in apps),
        "  invalid: userids beginning with ghost, departments and tags from 9000 on; unlicensed: userids beginning so",
        f"What it was sent: {base_url}/simulator/deliveries  Stop it with Ctrl-C.",
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()


def run(
    port: int,
    *,
    host: str = "127.0.0.1",
    apps: Iterable[App] = (),
    announce: Callable[[str, Iterable[App]], None] = introduce,
    until_stdin_closes: bool = False,
) -> None:
    """Serve until INT or TERM, then return.

    Args:
        port: 0 lets the system choose.
        host: a loopback address; everybody who reaches the simulator may order it about.
        apps: accepted beside the built-in one.
        announce: called once with the base URL and the apps when calls are answered.
        until_stdin_closes: also stop at the end of standard input, that is when the parent process dies.

    Raises:
        ValueError: host is not a loopback address.
        OSError: the port is taken.
    """
    if not ipaddress.ip_address("127.0.0.1" if host == "localhost" else host).is_loopback:
        raise ValueError(f"the simulator listens on loopback only, not on {host}")
    asyncio.run(_serve(port, host, apps, announce, until_stdin_closes=until_stdin_closes))


async def _serve(
    port: int,
    host: str,
    apps: Iterable[App],
    announce: Callable[[str, Iterable[App]], None],
    *,
    until_stdin_closes: bool,
) -> None:
    state = SimulatorState()
    for app in apps:
        state.wecom.apps.add(app)
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    if until_stdin_closes:
        loop.add_reader(sys.stdin.fileno(), partial(_stop_at_end, stopped))
    server = await loop.create_server(partial(Connection, state), host, port, backlog=_BACKLOG)
    chosen_host, chosen_port = server.sockets[0].getsockname()[:2]
    address = f"[{chosen_host}]" if ":" in chosen_host else chosen_host
    announce(f"http://{address}:{chosen_port}", tuple(state.wecom.apps.apps))
    await stopped.wait()
    server.close()  # open connections end with the process; waiting for them would let a hung one keep it alive


def _stop_at_end(stopped: asyncio.Event) -> None:
    if not os.read(sys.stdin.fileno(), 4096):
        asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
        stopped.set()
