"""The counters of WeCom's limits: what passes them is silently dropped or blocked (doc 90312).

Counted are, for each app, whichever of its senders sends: messages to a member in any 60 s (30) and in any hour (1000),
person-times a natural day in Beijing (account cap x 200), and calls a minute if the sender has such a limit. The
counters are in Redis, one string of times for each member addressed within the hour; one Lua call decides about a whole
chunk.

A message that is admitted counts until it is answered, however long it waits in its chunk and its call takes: the time
noted for it is the last moment at which it can arrive. Once its answer is in, it counts from the answer, or not at
all if it was certainly not sent. So no 60 s on WeCom's side ever see more than 30. Whoever dies in between leaves too
much counted for a while, never too little. The counters belong to one run of Redis: after a flush or restart they are
counted anew from the ledger.
"""

import logging
import struct
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.resources import files
from typing import Protocol
from zoneinfo import ZoneInfo

from redis import Redis, RedisError
from redis.exceptions import LockError

from worker.delivery.settlement import SLACK_SECONDS
from worker.delivery.stagger import QuietWindows
from worker.ledger import ClaimedMessage, Postponement, Priority, Usage
from worker.messages.sender import Sender
from worker.redis_connection import OwnLock, Script

log = logging.getLogger(__name__)

BEIJING = ZoneInfo("Asia/Shanghai")
"""WeCom's natural day."""
PER_MINUTE = 30
PER_HOUR = 1000
PERSON_TIMES_PER_ACCOUNT = 200
CLOCK_MILLISECONDS = 500
"""The windows are longer by so much: the clocks of two workers are the database's, but for the time of an answer."""
MINUTE = 60_000 + CLOCK_MILLISECONDS
HOUR = 3_600_000 + CLOCK_MILLISECONDS
COUNTED_AT_ONCE = 5000
"""Members a single Lua call looks at; Redis does nothing else meanwhile."""
REBUILD_LOCK_SECONDS = 20
"""How long the others wait for one that died while it counted anew; the living say so in time that they go on."""
NOT_SENT = -1
_MILLISECOND = timedelta(milliseconds=1)

_WORDS = {
    1: "{who} was sent {per_minute} messages within a minute",
    2: "{who} was sent {per_hour} messages within an hour",
    3: "the sender has used its {per_day} person-times of the day",
    4: "the sender has made its {calls} calls of the minute",
}


@dataclass(frozen=True, slots=True)
class Reservation:
    """What of a chunk may be sent now.

    Attributes:
        admitted: what may be sent.
        postponed: what has to wait, until when, and why.
        app: for which it is counted.
        noted: the time that is noted for what was admitted, in 32-bit milliseconds.
        day: the day whose person-times were counted.
    """

    admitted: list[ClaimedMessage]
    postponed: list[Postponement]
    app: str
    noted: int
    day: str


@dataclass(frozen=True, slots=True)
class Fate:
    """What is known of an admitted message once it is answered or given back.

    Attributes:
        message: as it was claimed.
        arrived_by: the last moment at which it can have arrived, or None if it certainly reached nobody.
        called: whether WeCom was asked at all.
    """

    message: ClaimedMessage
    arrived_by: datetime | None
    called: bool


class Apps(Protocol):
    """Which senders are one app: WeCom counts by the app."""

    def of(self, sender: Sender) -> str:
        """Name the app of a sender."""
        ...

    def senders(self, sender: Sender) -> list[str]:
        """Return the names of all senders of the same app."""
        ...


class EachItsOwn:
    """Every sender is an app of its own."""

    def of(self, sender: Sender) -> str:
        """Name the app of a sender."""
        return sender.name

    def senders(self, sender: Sender) -> list[str]:
        """Return the names of all senders of the same app."""
        return [sender.name]


class Quota:
    """The limits of all senders; safe to use from many threads and processes."""

    def __init__(
        self, redis: Redis, usage: Usage, quiet: QuietWindows, lease_seconds: float, apps: Apps | None = None
    ) -> None:
        self._apps = apps or EachItsOwn()
        self._lease_seconds = lease_seconds
        self._under_way = timedelta(seconds=lease_seconds + SLACK_SECONDS)
        self._redis = redis
        self._usage = usage
        self._quiet = quiet
        self._reserve = Script(redis, _source("reserve.lua"))
        self._correct = Script(redis, _source("correct.lua"))

    def reserve(self, sender: Sender, claimed: Sequence[ClaimedMessage], now: datetime) -> Reservation:
        """Admit what fits into the limits, in order, and say until when the rest has to wait.

        Raises:
            RedisError: nothing can be counted, so nothing may be sent.
        """
        # All messages of a claim have one time, and none leaves later than its lease allows.
        noted = (claimed[0].claimed_at if claimed else now) + self._under_way
        reservation = Reservation([], [], self._apps.of(sender), _milliseconds(noted), _day_of(now))
        waiting: Counter[str] = Counter()
        for some in _portions(claimed):
            verdicts = self._verdicts(sender, some, now, reservation, claimed)
            for message, (limit, wait, who) in zip(some, verdicts, strict=True):
                if not limit:
                    reservation.admitted.append(message)
                    continue
                reservation.postponed.append(self._postponement(sender, message, (limit, wait, who), now, waiting))
        return reservation

    def correct(self, sender: Sender, reservation: Reservation, fates: Sequence[Fate], now: datetime) -> None:
        """Count what arrived from its answer, and what reached nobody not at all.

        If Redis is away, all of it stays counted for a while: too much is counted then, never too little.
        """
        counted: list[tuple[str, int]] = []
        returned = moved = 0
        another_day = _day_of(now) != reservation.day
        for fate in fates:
            persons = person_times(fate.message, sender)
            if fate.arrived_by is None:
                returned += persons
            elif another_day:
                returned, moved = returned + persons, moved + persons
            time_noted = NOT_SENT if fate.arrived_by is None else _milliseconds(fate.arrived_by)
            counted += ((_member_key(reservation.app, userid), time_noted) for userid in _members(fate.message))
            if sender.calls_per_minute:
                counted.append((_calls_key(reservation.app), _milliseconds(now) if fate.called else NOT_SENT))
        days = [_day_key(reservation.app, reservation.day), _day_key(reservation.app, _day_of(now))]
        try:
            for begin in range(0, max(1, len(counted)), COUNTED_AT_ONCE):
                some = counted[begin : begin + COUNTED_AT_ONCE]
                self._correct(
                    [*days, *(key for key, _ in some)], [returned, moved, reservation.noted, *(at for _, at in some)]
                )
                returned = moved = 0
        except RedisError as error:
            log.warning("the counters of %s could not be corrected (%s)", sender.name, type(error).__name__)

    def _verdicts(
        self,
        sender: Sender,
        messages: Sequence[ClaimedMessage],
        now: datetime,
        reservation: Reservation,
        claimed: Sequence[ClaimedMessage],
    ) -> list[tuple[int, int, int]]:
        app = reservation.app
        keys = [_epoch_key(app), _day_key(app, reservation.day), _calls_key(app)]
        arguments = [_milliseconds(now), reservation.noted, MINUTE, HOUR, PER_MINUTE, PER_HOUR]
        arguments += [_per_day(sender), sender.calls_per_minute or 0]
        for message in messages:
            members = _members(message)
            keys += (_member_key(app, userid) for userid in members)
            arguments += (person_times(message, sender), len(members))
        answer: list[int] = self._reserve(keys, arguments)
        if answer and answer[0] == -1:
            self._count_anew(sender, now, reservation, claimed)
            answer = self._reserve(keys, arguments)
            if answer and answer[0] == -1:
                raise RedisError("Redis was restarted or flushed while its counters were counted anew")
        return [(answer[i], answer[i + 1], answer[i + 2]) for i in range(0, len(answer), 3)]

    def _count_anew(
        self, sender: Sender, now: datetime, reservation: Reservation, claimed: Sequence[ClaimedMessage]
    ) -> None:
        """Count from the ledger what was sent lately; one process does, the others wait for it.

        Of the chunk itself only what is still to be admitted is left out: what has been admitted will be sent, and what
        has an unknown fate perhaps was.
        """
        app = reservation.app
        name = f"{_epoch_key(app)}:lock"
        lock = self._redis.lock(name, timeout=REBUILD_LOCK_SECONDS, sleep=0.05, thread_local=False, lock_class=OwnLock)
        # What is claimed would be of no use after a longer wait: its lease would not last any more.
        if not lock.acquire(blocking_timeout=self._lease_seconds / 2):
            raise RedisError("another worker has been counting anew for too long")
        try:
            run = str(self._redis.info("server")["run_id"])
            if self._redis.get(_epoch_key(app)) == run.encode():
                return
            admitted = {message.id for message in reservation.admitted}
            own = [one.id for one in claimed if one.id not in admitted and one.resend_until is None]
            senders = self._apps.senders(sender)
            began, members = time.monotonic(), 0
            with self._redis.pipeline(transaction=False) as pipeline:
                for userid, times in self._usage.by_member(senders, HOUR / 1000, self._under_way.total_seconds(), own):
                    packed = b"".join(struct.pack(">I", at % 2**32) for at in times[-PER_HOUR:])
                    pipeline.set(_member_key(app, userid), packed, px=HOUR + int(self._under_way / _MILLISECOND))
                    members += 1
                    if members % COUNTED_AT_ONCE == 0:
                        # Whoever lost the lock must not write over what its successor counts.
                        lock.extend(REBUILD_LOCK_SECONDS, replace_ttl=True)
                        pipeline.execute()
                lock.extend(REBUILD_LOCK_SECONDS, replace_ttl=True)
                pipeline.execute()
            used = self._usage.person_times(senders, _midnight(now), sender.account_cap or 1, own)
            self._redis.set(_day_key(app, _day_of(now)), used, ex=172_800)
            self._redis.set(_epoch_key(app), run)
            if members:
                log.warning(
                    "Redis had no counters of %s; %d members counted anew from the ledger in %.1f s",
                    sender.name,
                    members,
                    time.monotonic() - began,
                )
        finally:
            try:
                lock.release()
            except (RedisError, LockError):
                log.warning("the lock for counting anew was lost")

    def _postponement(
        self,
        sender: Sender,
        message: ClaimedMessage,
        verdict: tuple[int, int, int],
        now: datetime,
        waiting: Counter[str],
    ) -> Postponement:
        """Say until when a message waits; of many to one member, thirty fit into each minute to come."""
        limit, wait, who = verdict
        members = _members(message)
        userid = members[who - 1] if who else ""
        send_at = now + timedelta(milliseconds=wait)
        if limit == 1:
            send_at += timedelta(milliseconds=MINUTE * (waiting[userid] // PER_MINUTE))
            waiting[userid] += 1
        elif limit == 3:
            send_at = _midnight(now) + timedelta(days=1)
        reason = _WORDS[limit].format(
            who=userid,
            per_minute=PER_MINUTE,
            per_hour=PER_HOUR,
            per_day=_per_day(sender),
            calls=sender.calls_per_minute,
        )
        if message.priority != Priority.URGENT:
            latest = min((one for one in (message.expires_at, message.resend_until) if one is not None), default=None)
            send_at = self._quiet.stagger(send_at, now=now, message=message.id, latest=latest)
        return Postponement(message, send_at, f"waits for WeCom's limit: {reason}")


def person_times(message: ClaimedMessage, sender: Sender) -> int:
    """Return how many person-times a message counts for; a department or tag counts as one, for want of its size."""
    if message.recipients.everyone:
        return sender.account_cap or 1
    recipients = message.recipients
    return len(recipients.users) + len(recipients.parties) + len(recipients.tags)


def _members(message: ClaimedMessage) -> list[str]:
    return [] if message.recipients.everyone else [userid.lower() for userid in message.recipients.users]


def _portions(claimed: Sequence[ClaimedMessage]) -> Iterable[Sequence[ClaimedMessage]]:
    """Divide a chunk so that no Lua call looks at too many members."""
    portion: list[ClaimedMessage] = []
    members = 0
    for message in claimed:
        if portion and members + len(message.recipients.users) > COUNTED_AT_ONCE:
            yield portion
            portion, members = [], 0
        portion.append(message)
        members += len(message.recipients.users)
    if portion:
        yield portion


def _per_day(sender: Sender) -> int:
    return (sender.account_cap or 0) * PERSON_TIMES_PER_ACCOUNT


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000) % 2**32


def _midnight(now: datetime) -> datetime:
    return now.astimezone(BEIJING).replace(hour=0, minute=0, second=0, microsecond=0)


def _epoch_key(app: str) -> str:
    return f"wecom:quota:{app}"


def _day_of(moment: datetime) -> str:
    return f"{moment.astimezone(BEIJING):%Y-%m-%d}"


def _day_key(app: str, day: str) -> str:
    return f"wecom:day:{app}:{day}"


def _calls_key(app: str) -> str:
    return f"wecom:calls:{app}"


def _member_key(app: str, userid: str) -> str:
    return f"wecom:to:{app}:{userid}"


def _source(name: str) -> str:
    return (files("worker.delivery.quota") / name).read_text()
