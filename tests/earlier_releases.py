"""What producers, workers and the dispatcher of earlier releases do to the ledger: their SQL, and threads that run it.

A migration has to work with the release before it. That release's code is not here any more; its statements are, as it
sent them, and must not be changed. The first set needs the tables of revision 0001, the other those of 0008.
"""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import psycopg
from psycopg.types.json import Jsonb
from sqlalchemy import make_url
from uuid_utils.compat import uuid7

SENDER = "hr"
CHUNK = 20

_HOLD_KEY = """
    insert into wecom.idempotency_keys as held (sender, key, message, content_hash, expires_at)
    values (%(sender)s, %(key)s, %(message)s, %(content_hash)s, wecom.clock() + make_interval(secs => %(seconds)s))
    on conflict (sender, key) do update
    set message = excluded.message, content_hash = excluded.content_hash, expires_at = excluded.expires_at
    where held.expires_at <= wecom.clock()
"""
_MAY_SEND = "(sender.paused_reason is null or sender.paused_until <= wecom.clock())"
_ANSWER = """
    from unnest(
        cast(%(ids)s as uuid[]), cast(%(attempts)s as int[]), cast(%(states)s as text[]),
        cast(%(send_ats)s as timestamptz[]), cast(%(retries)s as int[]), cast(%(resend_untils)s as timestamptz[]),
        cast(%(errcodes)s as int[]), cast(%(errors)s as text[]), cast(%(msgids)s as text[]),
        cast(%(response_codes)s as text[])
    ) as answer (id, attempt, state, send_at, retries, resend_until, errcode, error, msgid, response_code)
    where message.id = answer.id and message.sender = %(sender)s
      and message.state = 'sending' and message.attempt = answer.attempt
    returning message.id, message.state
"""
_SETTLED = """
    update wecom.messages as message
    set state = case
            when recall_requested_at is null then answer.state
            when answer.state = 'sent' and coalesce(answer.msgid, message.msgid) is not null then 'recalling'
            when answer.state = 'scheduled' and answer.resend_until is null then 'cancelled'
            else answer.state
        end,
        lease_until = null,
        send_at = coalesce(answer.send_at, message.send_at),
        retries = answer.retries,
        resend_until = answer.resend_until,
        errcode = answer.errcode,
        error = answer.error,
        msgid = coalesce(answer.msgid, message.msgid),
        response_code = coalesce(answer.response_code, message.response_code),
        sent_at = case when answer.state = 'sent' then wecom.clock() end
"""
_REOPEN = """
    with expired as (
        select id, attempt, claimed_at, least(resend_until, claimed_at
                   + make_interval(secs => coalesce((body ->> 'duplicate_check_interval')::int, 0) - 300)
               ) as resend_until
        from wecom.messages
        where state = 'sending' and lease_until <= wecom.clock()
        order by lease_until
        limit 10000
        for update skip locked
    ), reopened as (
        update wecom.messages as message
        set state = case when expired.resend_until > wecom.clock() then 'scheduled' else 'unconfirmed' end,
            lease_until = null, resend_until = expired.resend_until, error = 'its worker died', errcode = null
        from expired
        where message.id = expired.id
        returning message.id, message.state
    ), noted as (
        insert into wecom.attempts (message, attempt, at, category, reason, milliseconds)
        select id, attempt, claimed_at, 'uncertain', 'its worker died', 0 from expired
    )
    select state, count(*) as messages from reopened group by state
"""
_EXPIRE = """
    with late as (
        select id from wecom.messages
        where state = 'scheduled' and expires_at <= wecom.clock() and resend_until is null
        limit 10000 for update skip locked
    )
    update wecom.messages as message set state = 'expired', error = coalesce(error, 'not sent before it expired')
    from late where message.id = late.id
"""
_FORGET_KEYS = "delete from wecom.idempotency_keys where expires_at <= wecom.clock()"


def _claim(due: str, returned: str) -> str:
    return f"""
        with due as (
            select chosen.id
            from (values (0), (1), (2)) as rank (priority)
            cross join lateral (
                select id from wecom.messages
                where sender = %(sender)s and priority = rank.priority and {due}
                order by send_at
                limit %(most)s
                for update skip locked
            ) as chosen
            limit %(most)s
        )
        update wecom.messages as message
        set state = 'sending', attempt = attempt + 1, claimed_at = wecom.clock(),
            lease_until = wecom.clock() + make_interval(secs => %(lease_seconds)s)
        from due
        where message.id = due.id
        returning message.id, attempt, retries, priority, requested_at, send_at, expires_at, claimed_at, resend_until,
                  touser, toparty, totag, body{returned}
    """


def _senders_with(table: str, state: str) -> str:
    return f"""
        with recursive found (sender) as (
            (select sender from {table} where state = '{state}' order by sender limit 1)
            union all
            select (select following.sender from {table} as following
                    where following.state = '{state}' and following.sender > found.sender
                    order by following.sender limit 1)
            from found where found.sender is not null
        )
        select sender from found where exists (
            select from {table} as waiting
            where waiting.sender = found.sender and state = '{state}'
              and (lease_until is null or lease_until <= wecom.clock()))
    """


@dataclass(frozen=True)
class Release:
    """The statements of a release.

    Attributes:
        revision: the tables it was written for.
        store: of a producer, in one transaction.
        claim, settle: of a worker.
        look: of the dispatcher, the reaper and the schedules; each in a transaction of its own.
    """

    revision: str
    store: tuple[str, ...]
    claim: str
    settle: str
    look: tuple[str, ...]


_DUE_1 = """
    state = 'scheduled' and send_at <= wecom.clock()
    and (expires_at is null or expires_at > wecom.clock())
    and (resend_until is null or resend_until > wecom.clock())
"""
FIRST = Release(
    revision="0001",
    store=(
        _HOLD_KEY,
        """
        insert into wecom.messages (id, part_of, sender, state, priority, requested_at, send_at, expires_at, touser,
                                    toparty, totag, body)
        values (%(message)s, null, %(sender)s, 'scheduled', 1, now(), now(), %(expires_at)s, %(touser)s, '{}', '{}',
                %(body)s)
        """,
    ),
    claim=_claim(_DUE_1, ""),
    settle=_SETTLED + _ANSWER,
    look=(
        f"""
        select sender.name, due.messages
        from wecom.senders as sender
        cross join lateral (
            select count(*) as messages
            from (
                select from wecom.messages
                where messages.sender = sender.name and priority in (0, 1, 2) and {_DUE_1}
                limit 800
            ) as counted
        ) as due
        where {_MAY_SEND} and due.messages > 0
        order by sender.name
        """,
        f"""
        select sender.name
        from wecom.senders as sender
        where {_MAY_SEND} and exists (
            select from wecom.messages
            where messages.sender = sender.name and state = 'recalling'
              and (lease_until is null or lease_until <= wecom.clock())
        )
        order by sender.name
        """,
        _REOPEN,
        _EXPIRE,
        _FORGET_KEYS,
    ),
)

_DUE_8 = f"""
    {_DUE_1}
    and (campaign is null or resend_until is not null
         or campaign not in (select paused.id from wecom.campaigns as paused where paused.paused_reason is not null))
"""
LAST = Release(
    revision="0008",
    store=(
        _HOLD_KEY,
        """
        insert into wecom.messages (id, part_of, sender, state, priority, requested_at, send_at, expires_at, touser,
                                    toparty, totag, body, files)
        values (%(message)s, null, %(sender)s, 'scheduled', 1, now(), now(), %(expires_at)s, %(touser)s, '{}', '{}',
                %(body)s, '{}')
        """,
    ),
    claim=_claim(_DUE_8, ", files, campaign"),
    settle=_SETTLED
    + """,
        recall_error = case
            when recall_requested_at is not null and answer.state = 'sent'
                 and coalesce(answer.msgid, message.msgid) is null
            then 'WeCom named no msgid for it, so it cannot be recalled'
            else recall_error
        end
    """
    + _ANSWER,
    look=(
        f"""
        with oldest as materialized (
            select found.sender
            from unnest(cast('{{0,1,2}}' as smallint[])) as rank (priority)
            cross join lateral (
                select sender from wecom.messages where priority = rank.priority and {_DUE_8}
                order by send_at limit 10000
            ) as found
        )
        select sender.name, least(count(*), 800) as messages, {_MAY_SEND} as may_send,
               (select count(*) from oldest) as looked_at
        from oldest join wecom.senders as sender on sender.name = oldest.sender
        group by sender.name
        order by sender.name
        """,
        f"""
        select sender.name
        from wecom.senders as sender
        where {_MAY_SEND} and sender.name in (
            ({_senders_with("wecom.messages", "recalling")})
            union
            ({_senders_with("wecom.card_updates", "scheduled")})
        )
        order by sender.name
        """,
        """
        select name, sender, cron, timezone, body, files, urgent, late_within, expires_after, next_at, paused_reason,
               last_at, last_id, created_at,
               case jsonb_typeof(recipients) when 'object' then recipients end as named,
               case jsonb_typeof(recipients) when 'array' then jsonb_array_length(recipients) end as rows,
               recipients, wecom.clock() as now
        from wecom.schedules
        where paused_reason is null and next_at <= wecom.clock()
        order by next_at, name limit 1
        for update skip locked
        """,
        _REOPEN,
        _EXPIRE,
        _FORGET_KEYS,
    ),
)


def release_of(revision: str) -> Release:
    """Return the newest of these releases that can run on the tables of a revision."""
    return LAST if revision >= LAST.revision else FIRST


ADD_SENDER = """
    insert into wecom.senders (name, provider, agentid, credentials) values ('hr', 'wecom', 1000002, '')
"""
FILL = """
    insert into wecom.messages (id, sender, state, priority, requested_at, send_at, sent_at, touser, toparty, totag,
                                body)
    select gen_random_uuid(), 'hr', 'sent', 1, now(), now(), now(),
           array['member' || number %% 1000], '{}', '{}', '{"msgtype": "text", "text": {"content": "notice"}}'
    from generate_series(1, %(messages)s::int) as number
"""


def driver_url(database_url: str) -> str:
    """Return the URL as psycopg reads it."""
    return make_url(database_url).set(drivername="postgresql").render_as_string(hide_password=False)


@dataclass
class Running:
    """Programs of a release at work.

    Attributes:
        stored: what producers have committed.
        errors: what any statement met.
        slowest: seconds of the slowest transaction that writes, by what it does.
    """

    release: Release
    url: str
    pause: float
    stored: list[UUID] = field(default_factory=list)
    errors: list[psycopg.Error] = field(default_factory=list)
    slowest: dict[str, float] = field(default_factory=dict)
    stopped: threading.Event = field(default_factory=threading.Event)
    drained: threading.Event = field(default_factory=threading.Event)
    looked: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def produce(self, connection: psycopg.Connection[Any]) -> None:
        """Store one message with its key."""
        message = uuid7()
        values = {
            "message": message,
            "sender": SENDER,
            "key": f"key of {message}",
            "content_hash": b"hash",
            "seconds": 3600,
            "expires_at": None,
            "touser": ["zhangsan"],
            "body": Jsonb({"msgtype": "text", "text": {"content": "notice"}}),
        }
        with self._timed("store", connection):
            for statement in self.release.store:
                connection.execute(statement, values)
        self.stored.append(message)

    def deliver(self, connection: psycopg.Connection[Any]) -> int:
        """Claim a chunk, settle it as sent, and return how many messages it had."""
        with self._timed("claim", connection):
            rows = connection.execute(
                self.release.claim, {"sender": SENDER, "most": CHUNK, "lease_seconds": 300}
            ).fetchall()
        if rows:
            nothing = [None] * len(rows)
            answers = {
                "sender": SENDER,
                "ids": [row[0] for row in rows],
                "attempts": [row[1] for row in rows],
                "states": ["sent"] * len(rows),
                "retries": [0] * len(rows),
                "errcodes": [0] * len(rows),
                "msgids": [f"msgid of {row[0]}" for row in rows],
            } | dict.fromkeys(("send_ats", "resend_untils", "errors", "response_codes"), nothing)
            with self._timed("settle", connection):
                settled = connection.execute(self.release.settle, answers).fetchall()
            assert len(settled) == len(rows)
        return len(rows)

    def look(self, connection: psycopg.Connection[Any]) -> None:
        """Ask what the dispatcher, the reaper and the schedules ask."""
        for statement in self.release.look:
            with connection.transaction():
                connection.execute(statement)

    @contextmanager
    def _timed(self, what: str, connection: psycopg.Connection[Any]) -> Iterator[None]:
        began = time.perf_counter()
        with connection.transaction():
            yield
        took = time.perf_counter() - began
        self.slowest[what] = max(self.slowest.get(what, 0.0), took)


@contextmanager
def running(release: Release, database_url: str, *, lock_timeout: str = "1s", pause: float = 0.01) -> Iterator[Running]:
    """Run two producers, two workers and a dispatcher; at the end, when all is delivered, they have ended.

    A statement of theirs that waits for a lock for longer than `lock_timeout` is an error, as Postgres judges it.
    """
    programs = Running(release, driver_url(database_url), pause)

    def repeat(act: Callable[[psycopg.Connection[Any]], object], until: threading.Event) -> None:
        with psycopg.connect(programs.url, autocommit=True, options=f"-c lock_timeout={lock_timeout}") as connection:
            while not until.wait(pause):
                try:
                    act(connection)
                except psycopg.Error as error:
                    programs.errors.append(error)

    def look(connection: psycopg.Connection[Any]) -> None:
        programs.look(connection)
        programs.looked.release()

    threads = [
        *(threading.Thread(target=repeat, args=(programs.produce, programs.stopped)) for _ in range(2)),
        *(threading.Thread(target=repeat, args=(programs.deliver, programs.drained)) for _ in range(2)),
        threading.Thread(target=repeat, args=(look, programs.drained)),
    ]
    for thread in threads:
        thread.start()
    try:
        yield programs
    finally:
        programs.stopped.set()
        for thread in threads[:2]:
            thread.join()
        with psycopg.connect(programs.url, autocommit=True) as connection:
            until = time.monotonic() + 30
            waiting = "select exists (select from wecom.messages where state in ('scheduled', 'sending'))"
            while connection.execute(waiting).fetchone() == (True,) and time.monotonic() < until:
                time.sleep(0.02)
        programs.drained.set()
        for thread in threads[2:]:
            thread.join()
