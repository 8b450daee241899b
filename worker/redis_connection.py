"""How Redis is reached, such that a call whose answer was lost counts once.

redis-py repeats no command by itself here: a command that was carried out, and whose answer was lost, would be carried
out twice. A script is called again with the number of the first call, and then answers what it answered then. A lock
that was taken by a call without an answer is recognised as one's own.
"""

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.lock import Lock
from redis.retry import Retry

REDIS_SECONDS = 5
"""Redis only speeds things up; it is not waited for longer."""
ANSWERS_KEPT_MILLISECONDS = 60_000
"""How long a script remembers what it answered: longer than the two calls that may ask for it can take."""

# The last key is the number of the call. What a script of Redis returns is kept as it was.
_ONCE = """
local call = KEYS[#KEYS]
local answered = redis.call('get', call)
if answered then return cmsgpack.unpack(answered) end
local function carry_out()
{source}
end
local answer = carry_out()
redis.call('set', call, cmsgpack.pack(answer or 0), 'px', {kept})
return answer or 0
"""


def open_redis(redis_url: str, seconds: float = REDIS_SECONDS) -> Redis:
    """Prepare a pool of connections to Redis; none is opened yet, and nobody waits longer than `seconds` for an answer.

    A connection that broke while nobody used it is replaced when it is taken from the pool. One that breaks during a
    command fails that command, at once.
    """
    return Redis.from_url(
        redis_url,
        socket_timeout=seconds,
        socket_connect_timeout=seconds,
        health_check_interval=25,
        retry=Retry(NoBackoff(), retries=0),
    )


class Script:
    """A Lua script that is carried out once for each call, also if the connection breaks before its answer.

    A broken call is made once more. The script may return whole numbers, texts and lists of them, or nothing (then 0).
    """

    def __init__(self, redis: Redis, source: str) -> None:
        self._script = redis.register_script(_ONCE.format(source=source, kept=ANSWERS_KEPT_MILLISECONDS))

    def __call__(self, keys: Sequence[str], arguments: Sequence[int | str | bytes]) -> Any:  # noqa: ANN401 - what it returns
        """Call the script; it must not use the number of its keys, as one is added.

        Raises:
            RedisError: it was not carried out, or nobody knows.
        """
        numbered = [*keys, f"wecom:call:{uuid4().hex}"]
        try:
            return self._script(keys=numbered, args=arguments)
        except (RedisConnectionError, RedisTimeoutError):
            return self._script(keys=numbered, args=arguments)


class OwnLock(Lock):
    """A lock that its owner recognises where the answer to taking it was lost; for `Redis.lock(lock_class=OwnLock)`."""

    def do_acquire(self, token: Any) -> bool:  # noqa: ANN401 - bytes, as redis-py has it
        """Try to take the lock once."""
        try:
            if super().do_acquire(token):
                return True
        except (RedisConnectionError, RedisTimeoutError):
            if super().do_acquire(token):
                return True
        return bool(self.redis.get(self.name) == token)
