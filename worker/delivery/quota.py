"""WeCom's limits, counted before the wire: what passes them is silently dropped or blocked (doc 90312).

Counted are, for each sender: messages to a member in any 60 s (30) and in any hour (1000), person-times a natural day
in Beijing (account cap x 200), and calls a minute if the sender has such a limit. The counters are in Redis, one string
of times for each member addressed within the hour; one Lua call decides about a whole chunk.

A message counts from the moment it is admitted; once its answer is in, from the moment of the answer if that was much
later, or not at all if it was certainly not sent. So no 60 s on WeCom's side ever see more than 30, however long a call
takes. The counters belong to one run of Redis: after a flush or restart they are counted anew from the ledger.
"""

import logging
import struct
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from redis import Redis, RedisError
from redis.exceptions import LockError

from worker.delivery.stagger import QuietWindows
from worker.ledger import ClaimedMessage, Postponement, Priority, Usage
from worker.messages.sender import Sender

log = logging.getLogger(__name__)

BEIJING = ZoneInfo("Asia/Shanghai")
"""WeCom's natural day."""
PER_MINUTE = 30
PER_HOUR = 1000
PERSON_TIMES_PER_ACCOUNT = 200
SLOW_MILLISECONDS = 500
"""A call that took longer is counted from its answer; the windows are longer by as much for those that are not."""
MINUTE = 60_000 + SLOW_MILLISECONDS
HOUR = 3_600_000 + SLOW_MILLISECONDS
MEMBERS_AT_ONCE = 5000
"""Members a single Lua call looks at; Redis does nothing else meanwhile."""
REBUILD_SECONDS = 300
"""How long a worker waits for another that counts anew."""
REBUILD_LOCK_SECONDS = 20
"""How long the others wait for one that died while it counted anew; the living say so in time that they go on."""

# Times are 32-bit milliseconds; only differences within an hour matter, so that the overflow every 49 days does not.
# KEYS: epoch, day, calls, then each member of each message. ARGV: now, limits, then persons and members a message.
_RESERVE = """
local run = string.match(redis.call('info', 'server'), 'run_id:(%w+)')
if redis.call('get', KEYS[1]) ~= run then return {-1, run} end
local now, minute, hour = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local per_minute, per_hour = tonumber(ARGV[4]), tonumber(ARGV[5])
local per_day, calls_per_minute = tonumber(ARGV[6]), tonumber(ARGV[7])
local used_today = tonumber(redis.call('get', KEYS[2]) or '0')

local function ages(key, longest)
  local stored, found = redis.call('get', key) or '', {}
  for at = 1, #stored, 4 do
    local age = (now - struct.unpack('>I4', stored, at)) % 4294967296
    -- Another worker's clock may be ahead a little; such a time is as good as now.
    if age > 4294967296 - 60000 then age = 0 end
    if age < longest then found[#found + 1] = age end
  end
  table.sort(found)
  return found
end

local function wait_for(found, limit, window)
  if limit > 0 and #found >= limit and found[limit] < window then return window - found[limit] end
  return 0
end

local function note(key, found, longest)
  local packed = {}
  for i = #found, 1, -1 do packed[#packed + 1] = struct.pack('>I4', (now - found[i]) % 4294967296) end
  packed[#packed + 1] = struct.pack('>I4', now)
  redis.call('set', key, table.concat(packed), 'px', longest)
end

local calls = calls_per_minute > 0 and ages(KEYS[3], minute) or {}
local verdicts, key, admitted = {}, 4, 0
for at = 8, #ARGV, 2 do
  local persons, members = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
  local limit, wait, who, seen = 0, 0, 0, {}
  if per_day > 0 and used_today + persons > per_day then
    limit = 3
  elseif calls_per_minute > 0 and wait_for(calls, calls_per_minute, minute) > 0 then
    limit, wait = 4, wait_for(calls, calls_per_minute, minute)
  else
    for member = 1, members do
      local found = ages(KEYS[key + member - 1], hour)
      seen[member] = found
      local by_minute, by_hour = wait_for(found, per_minute, minute), wait_for(found, per_hour, hour)
      if by_minute > wait then limit, wait, who = 1, by_minute, member end
      if by_hour > wait then limit, wait, who = 2, by_hour, member end
    end
  end
  if limit == 0 then
    for member = 1, members do note(KEYS[key + member - 1], seen[member], hour) end
    used_today = used_today + persons
    if calls_per_minute > 0 then
      note(KEYS[3], calls, minute)
      table.insert(calls, 1, 0)
    end
    admitted = admitted + 1
  end
  verdicts[#verdicts + 1] = limit
  verdicts[#verdicts + 1] = wait
  verdicts[#verdicts + 1] = who
  key = key + members
end
if admitted > 0 then redis.call('set', KEYS[2], used_today, 'ex', 172800) end
return verdicts
"""

# KEYS: day, then members. ARGV: person-times to give back, then for each member the time noted and the time to note
# instead, or -1 for none.
_CORRECT = """
if tonumber(ARGV[1]) > 0 and redis.call('exists', KEYS[1]) == 1 then redis.call('decrby', KEYS[1], ARGV[1]) end
for member = 2, #KEYS do
  local noted, instead = tonumber(ARGV[2 * member - 2]), tonumber(ARGV[2 * member - 1])
  local stored = redis.call('get', KEYS[member])
  if stored then
    local old = struct.pack('>I4', noted)
    for at = 1, #stored, 4 do
      if string.sub(stored, at, at + 3) == old then
        stored = string.sub(stored, 1, at - 1) .. string.sub(stored, at + 4)
        if instead >= 0 then stored = stored .. struct.pack('>I4', instead) end
        break
      end
    end
    if stored == '' then redis.call('del', KEYS[member]) else redis.call('set', KEYS[member], stored, 'keepttl') end
  end
end
"""

_WORDS = {
    1: "{who} was sent {per_minute} messages within a minute",
    2: "{who} was sent {per_hour} messages within an hour",
    3: "the sender has used its {per_day} person-times of the day",
    4: "the sender has made its {calls} calls of the minute",
}


@dataclass(frozen=True, slots=True)
class Reservation:
    """What of a chunk may be sent now; `at` is when it was counted, in 32-bit milliseconds."""

    admitted: list[ClaimedMessage]
    postponed: list[Postponement]
    at: int


@dataclass(slots=True)
class Corrections:
    """What the answers of a batch change about the counters."""

    person_times: int = 0
    members: list[tuple[str, int]] = field(default_factory=list)
    """userids and the time to note instead, -1 for none."""


class Quota:
    """The limits of all senders; safe to use from many threads and processes."""

    def __init__(self, redis: Redis, usage: Usage, quiet: QuietWindows, lease_seconds: float) -> None:
        self._lease_seconds = lease_seconds
        self._redis = redis
        self._usage = usage
        self._quiet = quiet
        self._reserve = redis.register_script(_RESERVE)
        self._correct = redis.register_script(_CORRECT)

    def reserve(self, sender: Sender, claimed: Sequence[ClaimedMessage], now: datetime) -> Reservation:
        """Admit what fits into the limits, in order, and say until when the rest has to wait.

        Raises:
            RedisError: nothing can be counted, so nothing may be sent.
        """
        at = _milliseconds(now)
        reservation = Reservation([], [], at)
        waiting: Counter[str] = Counter()
        for some in _portions(claimed):
            verdicts = self._verdicts(sender, some, now, at, claimed)
            for message, (limit, wait, who) in zip(some, verdicts, strict=True):
                if not limit:
                    reservation.admitted.append(message)
                    continue
                reservation.postponed.append(self._postponement(sender, message, (limit, wait, who), now, waiting))
        return reservation

    def correct(self, sender: Sender, reservation: Reservation, corrections: Corrections, now: datetime) -> None:
        """Give back what was not sent, and count what took long from its answer.

        If Redis is away, what was not sent stays counted for a while: too much is counted then, never too little.
        """
        if not corrections.members and not corrections.person_times:
            return
        keys = [_day_key(sender, now), *(_member_key(sender, userid) for userid, _ in corrections.members)]
        arguments: list[int] = [corrections.person_times]
        for _, instead in corrections.members:
            arguments += (reservation.at, instead)
        try:
            self._correct(keys=keys, args=arguments)
        except RedisError as error:
            log.warning("the counters of %s could not be corrected (%s)", sender.name, type(error).__name__)

    def _verdicts(
        self,
        sender: Sender,
        messages: Sequence[ClaimedMessage],
        now: datetime,
        at: int,
        claimed: Sequence[ClaimedMessage],
    ) -> list[tuple[int, int, int]]:
        keys = [_epoch_key(sender), _day_key(sender, now), f"wecom:calls:{sender.name}"]
        arguments: list[int] = [at, MINUTE, HOUR, PER_MINUTE, PER_HOUR, _per_day(sender), sender.calls_per_minute or 0]
        for message in messages:
            members = _members(message)
            keys += (_member_key(sender, userid) for userid in members)
            arguments += (person_times(message, sender), len(members))
        answer: list[int] = self._reserve(keys=keys, args=arguments)
        if answer and answer[0] == -1:
            self._count_anew(sender, now, claimed)
            answer = self._reserve(keys=keys, args=arguments)
            if answer and answer[0] == -1:
                raise RedisError("Redis was restarted or flushed while its counters were counted anew")
        return [(answer[i], answer[i + 1], answer[i + 2]) for i in range(0, len(answer), 3)]

    def _count_anew(self, sender: Sender, now: datetime, claimed: Sequence[ClaimedMessage]) -> None:
        """Count from the ledger what was sent lately; one process does, the others wait for it."""
        name = f"{_epoch_key(sender)}:lock"
        lock = self._redis.lock(name, timeout=REBUILD_LOCK_SECONDS, sleep=0.05, thread_local=False)
        if not lock.acquire(blocking_timeout=REBUILD_SECONDS):
            raise RedisError("another worker has been counting anew for too long")
        try:
            run = str(self._redis.info("server")["run_id"])
            if self._redis.get(_epoch_key(sender)) == run.encode():
                return
            began, own, members = time.monotonic(), [message.id for message in claimed], 0
            with self._redis.pipeline(transaction=False) as pipeline:
                for userid, times in self._usage.by_member(sender.name, HOUR / 1000, self._lease_seconds, own):
                    packed = b"".join(struct.pack(">I", at % 2**32) for at in times[-PER_HOUR:])
                    pipeline.set(_member_key(sender, userid), packed, px=HOUR)
                    members += 1
                    if members % MEMBERS_AT_ONCE == 0:
                        # Whoever lost the lock must not write over what its successor counts.
                        lock.extend(REBUILD_LOCK_SECONDS, replace_ttl=True)
                        pipeline.execute()
                lock.extend(REBUILD_LOCK_SECONDS, replace_ttl=True)
                pipeline.execute()
            used = self._usage.person_times(sender.name, _midnight(now), sender.account_cap or 1, own)
            self._redis.set(_day_key(sender, now), used, ex=172_800)
            self._redis.set(_epoch_key(sender), run)
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


def corrections(
    sent: Iterable[tuple[ClaimedMessage, int]], unsent: Iterable[ClaimedMessage], sender: Sender, answered_at: datetime
) -> Corrections:
    """Say what a batch of answers changes: messages with the milliseconds their calls took, and messages not sent."""
    instead = _milliseconds(answered_at)
    result = Corrections()
    for message, milliseconds in sent:
        if milliseconds > SLOW_MILLISECONDS:
            result.members += ((userid, instead) for userid in _members(message))
    for message in unsent:
        result.person_times += person_times(message, sender)
        result.members += ((userid, -1) for userid in _members(message))
    return result


def _members(message: ClaimedMessage) -> list[str]:
    return [] if message.recipients.everyone else [userid.lower() for userid in message.recipients.users]


def _portions(claimed: Sequence[ClaimedMessage]) -> Iterable[Sequence[ClaimedMessage]]:
    """Divide a chunk so that no Lua call looks at too many members."""
    portion: list[ClaimedMessage] = []
    members = 0
    for message in claimed:
        if portion and members + len(message.recipients.users) > MEMBERS_AT_ONCE:
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


def _epoch_key(sender: Sender) -> str:
    return f"wecom:quota:{sender.name}"


def _day_key(sender: Sender, now: datetime) -> str:
    return f"wecom:day:{sender.name}:{now.astimezone(BEIJING):%Y-%m-%d}"


def _member_key(sender: Sender, userid: str) -> str:
    return f"wecom:to:{sender.name}:{userid}"
