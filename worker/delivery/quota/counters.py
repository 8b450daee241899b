"""The counters of WeCom's limits: what passes them is silently dropped or blocked (doc 90312).

Counted are, for each app, whichever of its senders sends: messages to a member in any 60 s (30) and in any hour (1000),
person-times a natural day in Beijing (account cap x 200), and calls a minute if the sender has such a limit. The
counters are in Redis, one string of times for each member addressed within the hour; one Lua call decides about a whole
chunk.

A message that is admitted counts until it is answered, however long it waits in its chunk and its call takes: the time
noted for it is the last moment at which it can arrive. Once its answer is in, it counts from the answer, or not at
all if it was certainly not sent. So no 60 s on WeCom's side ever see more than 30. What may arrive after midnight
counts for both days until it is answered.

A message counts once, however often it is tried: while it is not known to have arrived it stands in the counters with
its id, and a repetition takes the place of the try before. WeCom serves one of them. Whoever dies in between leaves too
much counted for a while, never too little. The counters belong to one run of Redis: after a flush or restart they are
counted anew from the ledger (`anew.py`).
"""

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from struct import Struct
from typing import Protocol
from uuid import UUID

from redis import Redis, RedisError

from worker.delivery.quota.anew import CountingAnew
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
from worker.delivery.settlement import SLACK_SECONDS
from worker.delivery.stagger import QuietWindows
from worker.ledger import ClaimedMessage, NoLongerSending, Postponement, Priority, Usage
from worker.messages.recipients import Recipients
from worker.messages.sender import Sender
from worker.redis_connection import Script

log = logging.getLogger(__name__)

PER_MINUTE = 30
PERSON_TIMES_PER_ACCOUNT = 200
SOON_MILLISECONDS = 15_000
"""What person-times forbid only because of messages under way is tried again so soon: they may be given back."""
MESSAGE, FATE = Struct(">16sI?II"), Struct(">16sIB??III")
"""What the scripts are told of each message; they say of what."""

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
        days: the days whose person-times were counted: that of the admission, and the next one if what was admitted may
            arrive in it.
    """

    admitted: list[ClaimedMessage]
    postponed: list[Postponement]
    app: str
    days: tuple[str, ...]


class Counted(Protocol):
    """A message as it is counted: for one claim of it, and for its recipients."""

    @property
    def id(self) -> UUID:
        """Its id."""
        ...

    @property
    def attempt(self) -> int:
        """Its claim."""
        ...

    @property
    def recipients(self) -> Recipients:
        """Whom it names."""
        ...


@dataclass(frozen=True, slots=True)
class Fate:
    """What is known of an admitted message once it is answered or given back.

    Attributes:
        message: as it was claimed.
        arrived_by: the last moment at which it can have arrived, or None if it certainly reached nobody.
        called: whether WeCom was asked at all.
        in_doubt: whether nobody knows if it arrived, by this try or one before.
    """

    message: Counted
    arrived_by: datetime | None
    called: bool
    in_doubt: bool = False


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
        self._under_way = timedelta(seconds=lease_seconds + SLACK_SECONDS)
        self._quiet = quiet
        self._redis = redis
        self._reserve = Script(redis, source("times.lua", "reserve.lua"))
        self._correct = Script(redis, source("times.lua", "correct.lua"))
        # What is claimed would be of no use after a longer wait: its lease would not last any more.
        self._anew = CountingAnew(redis, usage, self._under_way, patience_seconds=lease_seconds / 2)

    def reserve(self, sender: Sender, claimed: Sequence[ClaimedMessage], now: datetime) -> Reservation:
        """Admit what fits into the limits, in order, and say until when the rest has to wait.

        Raises:
            RedisError: nothing can be counted, so nothing may be sent.
        """
        # All messages of a claim have one time, and none leaves later than its lease allows.
        noted = (claimed[0].claimed_at if claimed else now) + self._under_way
        reservation = Reservation([], [], self._apps.of(sender), _days(now, noted))
        waiting: Counter[str] = Counter()
        for some in _portions(claimed):
            verdicts = self._verdicts(sender, some, now, noted, reservation)
            for message, (limit, wait, who) in zip(some, verdicts, strict=True):
                if not limit:
                    reservation.admitted.append(message)
                    continue
                reservation.postponed.append(self._postponement(sender, message, (limit, wait, who), now, waiting))
        return reservation

    def person_times_left(self, sender: Sender, now: datetime) -> tuple[int, int] | None:
        """Return how many person-times a sender has left today, and how many it has; None if it has no account cap.

        None, too, where they are not counted: nothing was sent since Redis was started or flushed.

        Raises:
            RedisError: they cannot be read.
        """
        app, most = self._apps.of(sender), _per_day(sender)
        if not most or self._redis.get(epoch_key(app)) is None:
            return None
        used = self._redis.get(day_key(app, day_of(now)))
        return max(0, most - int(used if isinstance(used, bytes) else 0)), most

    def correct(self, sender: Sender, reservation: Reservation, fates: Sequence[Fate], now: datetime) -> None:
        """Count what arrived from its answer, and what reached nobody not at all.

        To be called once the ledger has stored what became of them, or given them back: who counts anew in between
        finds them in one of both places. If Redis is away, they stay counted for a while: too much is counted then,
        never too little.
        """
        self._correct_all(sender, reservation.app, reservation.days, fates, now)

    def _correct_all(
        self, sender: Sender, app: str, days: tuple[str, ...], fates: Sequence[Fate], now: datetime
    ) -> None:
        head = [calls_key(app)]
        for day in (days[0], days[-1]):
            head += [day_key(app, day), open_key(app, day)]
        keys: list[str] = []
        arguments: list[bytes] = []
        arrivals: dict[datetime | None, tuple[int, int]] = {}
        called_at = milliseconds(now)
        try:
            for nth, fate in enumerate(fates, 1):
                one, arrived_by = fate.message, fate.arrived_by
                userids = members(one.recipients)
                keys += (member_key(app, userid) for userid in userids)
                if arrived_by not in arrivals:  # few of a batch differ
                    last_day = 0 if arrived_by is None else sum(day <= day_of(arrived_by) for day in days)
                    arrivals[arrived_by] = last_day, milliseconds(arrived_by or now)
                last_day, at = arrivals[arrived_by]
                arguments.append(
                    FATE.pack(
                        one.id.bytes, one.attempt, last_day, fate.in_doubt, fate.called, at, called_at, len(userids)
                    )
                )
                if nth == len(fates) or len(keys) + len(arguments) >= COUNTED_AT_ONCE:
                    self._correct([*head, *keys], [len(days), *arguments])
                    keys, arguments = [], []
        except RedisError as error:
            log.warning("the counters of %s could not be corrected (%s)", sender.name, type(error).__name__)

    def _verdicts(
        self,
        sender: Sender,
        messages: Sequence[ClaimedMessage],
        now: datetime,
        noted: datetime,
        reservation: Reservation,
    ) -> list[tuple[int, int, int]]:
        app, days = reservation.app, reservation.days
        keys = [epoch_key(app), calls_key(app)]
        for day in (days[0], days[-1]):
            keys += [day_key(app, day), open_key(app, day)]
        arguments: list[int | str | bytes] = [milliseconds(now), milliseconds(noted), MINUTE, HOUR]
        arguments += [PER_MINUTE, PER_HOUR, _per_day(sender), sender.calls_per_minute or 0]
        arguments += [len(days), SOON_MILLISECONDS]
        for message in messages:
            userids = members(message.recipients)
            keys += (member_key(app, userid) for userid in userids)
            persons, in_doubt = person_times(message.recipients, sender), message.resend_until is not None
            arguments.append(MESSAGE.pack(message.id.bytes, message.attempt, in_doubt, persons, len(userids)))
        answer: list[int] = self._reserve(keys, arguments)
        if answer and answer[0] == -1:
            self._count_anew(sender, app, now)
            answer = self._reserve(keys, arguments)
            if answer and answer[0] == -1:
                raise RedisError("Redis was restarted or flushed while its counters were counted anew")
        return [(answer[i], answer[i + 1], answer[i + 2]) for i in range(0, len(answer), 3)]

    def _count_anew(self, sender: Sender, app: str, now: datetime) -> None:
        days = (day_of(now), day_of(midnight(now) + timedelta(days=1)))

        def correct(settled: NoLongerSending) -> None:
            arrived_by = now + self._under_way if settled.arrived or settled.in_doubt else None
            fate = Fate(settled.message, arrived_by, called=True, in_doubt=settled.in_doubt)
            self._correct_all(sender, app, days, [fate], now + self._under_way)

        self._anew.count(app, self._apps.senders(sender), sender, now, correct)

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
        userid = members(message.recipients)[who - 1] if who else ""
        send_at = now + timedelta(milliseconds=wait)
        if limit == 1:
            send_at += timedelta(milliseconds=MINUTE * (waiting[userid] // PER_MINUTE))
            waiting[userid] += 1
        elif limit == 3 and not wait:
            send_at = midnight(now) + timedelta(days=1)
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


def _days(now: datetime, noted: datetime) -> tuple[str, ...]:
    """Return the days in which something may arrive from now on until the time noted for it."""
    first, last = day_of(now), day_of(max(now, noted))
    return (first,) if first == last else (first, last)
