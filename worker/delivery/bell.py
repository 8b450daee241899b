"""Tells the workers that a sender has something due: once, however many messages there are.

A bell is only news. It can be lost, doubled or late without harm: the dispatcher rings again a second later, and
a bell that finds nothing to do is over in a millisecond.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Protocol
from uuid import uuid4

from redis import Redis, RedisError

from worker.redis_connection import Script

log = logging.getLogger(__name__)

RUNG_MILLISECONDS = 5_000
"""How long a bell counts as rung if no worker answers it."""
WORKING_MILLISECONDS = 10_000
"""How long a worker counts as working without a sign of life."""

SILENT_SECONDS = 5
"""How long nobody rings after a broker failed to answer: by then it may be back."""

# A sender has a few slots, one for each chunk that may be in work at once. A bell nobody has answered yet is as good
# as a new one; a slot at work is not rung.
_RING = """
local rung, waiting = {}, 0
for slot = 0, tonumber(ARGV[2]) - 1 do
  if waiting >= tonumber(ARGV[1]) then break end
  local bell = KEYS[1] .. ':' .. slot
  if redis.call('exists', bell) == 1 then
    waiting = waiting + 1
  elseif redis.call('exists', bell .. ':working') == 0 then
    redis.call('set', bell, '', 'PX', ARGV[3])
    rung[#rung + 1] = slot
    waiting = waiting + 1
  end
end
return rung
"""

_STOP_WORKING = """
if redis.call('get', KEYS[1]) == ARGV[1] then redis.call('del', KEYS[1]) end
"""


class Publish(Protocol):
    """Puts the news on its way to some worker."""

    def __call__(self, sender: str, slot: int) -> object:
        """Tell one worker that the sender has something due."""
        ...


class Bell:
    """The bells of all senders.

    Args:
        redis: where it stands who was rung for.
        publish: puts the news on its way.
        slots: how many chunks of a sender may be in work at once.
        silent_seconds: how long nobody rings after Redis or the broker failed to answer.
    """

    def __init__(self, redis: Redis, publish: Publish, slots: int, silent_seconds: float = SILENT_SECONDS) -> None:
        self._redis = redis
        self._publish = publish
        self._slots = slots
        self._silent_seconds = silent_seconds
        self._silent_until = 0.0
        self._ring = Script(redis, _RING)
        self._stop_working = redis.register_script(_STOP_WORKING)

    def ring(self, sender: str, times: int = 1) -> None:
        """Have so many bells ring for a sender, at most one for each chunk that may be in work at once; never fails."""
        if time.monotonic() < self._silent_until:
            return
        missing = "Redis"
        try:
            for slot in self._ring([_key(sender)], [times, self._slots, RUNG_MILLISECONDS]):
                missing = "the broker"
                self._publish(sender, int(slot))
        except Exception as error:  # noqa: BLE001 - brokers raise many things, and the message is safe
            self._silent_until = time.monotonic() + self._silent_seconds
            log.warning(
                "%s cannot be reached (%s); the message is stored and goes out once the dispatcher finds it",
                missing,
                type(error).__name__,
            )

    @contextmanager
    def answered(self, sender: str, slot: int) -> Iterator[Callable[[], None] | None]:
        """Work for a sender: yields a function to call as a sign of life, or None if the slot is taken.

        Without Redis the work is done all the same; the ledger keeps two workers apart.
        """
        bell, working, owner = f"{_key(sender)}:{slot}", f"{_key(sender)}:{slot}:working", uuid4().hex
        try:
            self._redis.delete(bell)
            if not self._redis.set(working, owner, nx=True, px=WORKING_MILLISECONDS):
                yield None
                return
        except RedisError:
            log.warning("Redis does not answer; %s is served without it", sender)

        def still_working() -> None:
            with suppress(RedisError):
                self._redis.set(working, owner, px=WORKING_MILLISECONDS)

        try:
            yield still_working
        finally:
            with suppress(RedisError):
                self._stop_working(keys=[working], args=[owner])


def _key(sender: str) -> str:
    return f"wecom:bell:{sender}"
