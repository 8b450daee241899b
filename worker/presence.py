"""Which workers are at work, noted in Redis for `wecom doctor`, which asks no worker anything.

Celery's own `inspect ping` needs remote control, by which whoever reaches the broker could stop every worker.
"""

import os
import threading
from contextlib import suppress

from redis import Redis, RedisError

from worker.watch import MainLoop

KEY = "wecom:worker:"
NOTED_SECONDS = 2.0
KEPT_MILLISECONDS = 15_000
"""After so long without a note a worker counts as gone."""


class Presence:
    """Notes that a worker is there, from a thread of its own, as long as its main loop turns.

    Args:
        redis: where; while it is away, nobody knows.
        name: the worker's name in Celery.
        loop: its main loop.
    """

    def __init__(self, redis: Redis, name: str, loop: MainLoop) -> None:
        self._redis = redis
        self._key = f"{KEY}{name}:{os.getpid()}"
        self._loop = loop
        self._seen = loop.turns
        self._gone = threading.Event()

    def start(self) -> None:
        """Note it from now on."""
        threading.Thread(target=self._go_on, name="wecom-presence", daemon=True).start()

    def leave(self) -> None:
        """Note it no more."""
        self._gone.set()

    def _go_on(self) -> None:
        while not self._gone.wait(NOTED_SECONDS):
            if self._loop.turns != self._seen:
                self._seen = self._loop.turns
                with suppress(RedisError):
                    self._redis.set(self._key, "", px=KEPT_MILLISECONDS)
        with suppress(RedisError):
            self._redis.delete(self._key)


def workers_present(redis: Redis) -> list[str]:
    """Return the names of the workers that are at work.

    Raises:
        RedisError: Redis does not answer.
    """
    keys = redis.scan_iter(match=f"{KEY}*", count=1000)
    return sorted(key.decode().removeprefix(KEY).rpartition(":")[0] for key in keys)
