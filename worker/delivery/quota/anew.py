"""Counts from the ledger what Redis has forgotten.

What is being sent may have been admitted or not: the ledger cannot tell. All of it is counted, by the id of each
message, and whoever admits a message takes back first what it was counted for here.
"""

import logging
import struct
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta

from redis import Redis, RedisError
from redis.exceptions import LockError

from worker.delivery.quota.keys import (
    COUNTED_AT_ONCE,
    HOUR,
    MINUTE,
    PER_HOUR,
    calls_key,
    day_key,
    day_of,
    epoch_key,
    member_key,
    members,
    midnight,
    milliseconds,
    open_key,
    person_times,
    source,
)
from worker.ledger import NoLongerSending, PerhapsSent, SentLately, Usage
from worker.messages.sender import Sender
from worker.redis_connection import OwnLock, Script

log = logging.getLogger(__name__)

REBUILD_LOCK_SECONDS = 20
"""How long the others wait for one that died while it counted anew; the living say so in time that they go on."""
DAY_MILLISECONDS = 172_800_000
_DAY = timedelta(days=1)

Stored = tuple[str, int, str | bytes, str | bytes | int]
"""A key, the milliseconds it is kept (0: for good), the field of a hash or nothing, and the value."""


class CountingAnew:
    """Counts the limits of an app anew; one process does, the others wait for it.

    Args:
        redis: where the counters are.
        usage: what the ledger knows.
        under_way: how long after its claim a message may arrive.
        patience_seconds: how long a worker waits for another one that counts.
    """

    def __init__(self, redis: Redis, usage: Usage, under_way: timedelta, patience_seconds: float) -> None:
        self._redis = redis
        self._usage = usage
        self._under_way = under_way
        self._patience_seconds = patience_seconds
        self._store = Script(redis, source("store.lua"))

    def count(
        self,
        app: str,
        senders: Sequence[str],
        sender: Sender,
        now: datetime,
        correct: Callable[[NoLongerSending], None],
    ) -> None:
        """Count what was sent lately, unless somebody has done so meanwhile.

        `correct` is called for what was settled meanwhile: its worker's word came before there was a counter.

        Raises:
            RedisError: the counters are not complete, or were lost again.
        """
        name = f"{epoch_key(app)}:lock"
        lock = self._redis.lock(name, timeout=REBUILD_LOCK_SECONDS, sleep=0.05, thread_local=False, lock_class=OwnLock)
        if not lock.acquire(blocking_timeout=self._patience_seconds):
            raise RedisError("another worker has been counting anew for too long")
        try:
            run = str(self._redis.info("server")["run_id"])
            if self._redis.get(epoch_key(app)) == run.encode():
                return
            began, seen = time.monotonic(), 0
            head = (lock.local.token, int(REBUILD_LOCK_SECONDS * 1000), run)
            days = [midnight(now), midnight(now) + _DAY]
            with self._usage.of(senders) as sent:
                perhaps = sent.perhaps_sent(min(days[0], now - timedelta(milliseconds=HOUR)) - self._under_way)
                for stored in self._all(app, sender, sent, perhaps, days):
                    self._keep(name, head, stored)
                    seen += sum(key.startswith(member_key(app, "")) for key, *_ in stored)
            self._keep(name, head, [(epoch_key(app), 0, "", run)])
        finally:
            try:
                lock.release()
            except (RedisError, LockError):
                log.warning("the lock for counting anew was lost")
        for settled in self._usage.settled_since(perhaps):
            correct(settled)
        if seen:
            log.warning(
                "Redis had no counters of %s; %d members counted anew from the ledger in %.1f s",
                sender.name,
                seen,
                time.monotonic() - began,
            )

    def noted(self, claimed_at: datetime) -> int:
        """Return the time that is noted for what was claimed at a moment: the last one at which it can arrive."""
        return milliseconds(claimed_at + self._under_way)

    def _keep(self, lock: str, head: tuple[bytes, int, str], stored: Sequence[Stored]) -> None:
        values = [part for _, *parts in stored for part in parts]
        if not self._store([lock, *(key for key, *_ in stored)], [*head, *values]):
            # What was stored up to now has gone with the flush, or belongs to whoever took the lock.
            raise RedisError("Redis was restarted or flushed while its counters were counted anew")

    def _all(
        self, app: str, sender: Sender, sent: SentLately, perhaps: Sequence[PerhapsSent], days: Sequence[datetime]
    ) -> Iterator[list[Stored]]:
        """Yield what is to be stored, as much as one call of a script may hold."""
        some: list[Stored] = []
        for one in self._one_by_one(app, sender, sent, perhaps, days):
            some.append(one)
            if len(some) == COUNTED_AT_ONCE:
                yield some
                some = []
        yield some

    def _one_by_one(
        self, app: str, sender: Sender, sent: SentLately, perhaps: Sequence[PerhapsSent], days: Sequence[datetime]
    ) -> Iterator[Stored]:
        kept = HOUR + int(self._under_way / timedelta(milliseconds=1))
        for day in days:
            used, name = sent.person_times(day, sender.account_cap or 1), day_of(day)
            yield open_key(app, name), DAY_MILLISECONDS, "", ""
            for one in perhaps:
                if one.claimed_at + self._under_way >= day:
                    persons = person_times(one.recipients, sender)
                    used += persons
                    counted = struct.pack(">III", persons, self.noted(one.claimed_at), one.attempt)
                    yield open_key(app, name), DAY_MILLISECONDS, one.id.bytes, counted
            yield day_key(app, name), DAY_MILLISECONDS, "", used
        times = [at % 2**32 for at in sent.calls(MINUTE / 1000)] + [self.noted(one.claimed_at) for one in perhaps]
        yield calls_key(app), kept, "", _packed(times)
        waiting: dict[str, list[int]] = defaultdict(list)
        for one in perhaps:
            for userid in members(one.recipients):
                waiting[userid].append(self.noted(one.claimed_at))
        for userid, ats in sent.by_member(HOUR / 1000):
            times = [at % 2**32 for at in ats] + waiting.pop(userid, [])
            yield member_key(app, userid), kept, "", _packed(times[-PER_HOUR:])
        for userid, times in waiting.items():
            yield member_key(app, userid), kept, "", _packed(times[-PER_HOUR:])


def _packed(times: Sequence[int]) -> bytes:
    return struct.pack(f">{len(times)}I", *times)
