"""Statements that count what a sender sent lately, for limits that WeCom sets by time."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection, Engine, text

from worker.messages.recipients import Recipients

# What is being sent, or has an unknown fate. Its attempt is that of its worker, or 0 if no worker has it.
_PERHAPS_SENT = text("""
    select id, case when state = 'sending' then attempt else 0 end as attempt, claimed_at, touser, toparty, totag
    from wecom.messages
    where sender = any(cast(:senders as text[])) and claimed_at >= :since
      and (state = 'sending' or (state in ('scheduled', 'unconfirmed') and resend_until is not null))
""")

_BY_MEMBER = text("""
    select lower(userid) as userid, array_agg((extract(epoch from sent_at) * 1000)::bigint order by sent_at)
           as milliseconds
    from wecom.messages cross join lateral unnest(touser) as userid
    where sender = any(cast(:senders as text[])) and sent_at > wecom.clock() - make_interval(secs => :seconds)
      and userid <> '@all'
    group by lower(userid)
""")

_PERSON_TIMES = text("""
    select coalesce(sum(
        case when touser = '{@all}' then :everyone
             else cardinality(touser) + cardinality(toparty) + cardinality(totag) end), 0)
    from wecom.messages
    where sender = any(cast(:senders as text[])) and sent_at >= :since
""")

# Attempts that were no plain success are in the order in which they were stored; the last of them are enough.
_CALLS = text("""
    with last as (
        select message, at, category from wecom.attempts order by id desc limit 50000
    )
    select (extract(epoch from sent_at) * 1000)::bigint as milliseconds from wecom.messages
    where sender = any(cast(:senders as text[])) and sent_at > wecom.clock() - make_interval(secs => :seconds)
    union all
    select (extract(epoch from at) * 1000)::bigint
    from last join wecom.messages as message on message.id = last.message
    where at > wecom.clock() - make_interval(secs => :seconds) and category <> 'unreachable'
      and sender = any(cast(:senders as text[]))
    order by milliseconds
""")

_STILL_SENDING = text("""
    select id from wecom.messages as message
    join unnest(cast(:ids as uuid[]), cast(:attempts as int[])) as claim (id, attempt) using (id, attempt)
    where state = 'sending'
""")
_OUTCOMES = text("""
    select id, sent_at is not null as arrived, resend_until is not null as in_doubt
    from wecom.messages where id = any(cast(:ids as uuid[]))
""")

ROWS_AT_ONCE = 5000


@dataclass(frozen=True, slots=True)
class PerhapsSent:
    """A message that may have reached WeCom, now or until a lease after its claim.

    `attempt` is the claim of the worker that has it, or 0 if none has it and only its fate is unknown.
    """

    id: UUID
    attempt: int
    claimed_at: datetime
    recipients: Recipients


class SentLately:
    """What some senders sent lately, all as of one moment."""

    def __init__(self, connection: Connection, senders: Sequence[str]) -> None:
        self._connection = connection
        self._senders = list(senders)

    def perhaps_sent(self, since: datetime) -> list[PerhapsSent]:
        """Return what was claimed since a moment and is being sent, or has an unknown fate."""
        rows = self._connection.execute(_PERHAPS_SENT, {"senders": self._senders, "since": since})
        return [
            PerhapsSent(
                row.id, row.attempt, row.claimed_at, Recipients(tuple(row.touser), tuple(row.toparty), tuple(row.totag))
            )
            for row in rows
        ]

    def by_member(self, seconds: float) -> Iterator[tuple[str, list[int]]]:
        """Yield each member who was sent something in the last seconds, and when: Unix milliseconds, ascending."""
        parameters = {"senders": self._senders, "seconds": seconds}
        for row in self._connection.execute(_BY_MEMBER, parameters, execution_options={"yield_per": ROWS_AT_ONCE}):
            yield row.userid, row.milliseconds

    def calls(self, seconds: float) -> list[int]:
        """Return when WeCom answered in the last seconds, or might have: Unix milliseconds, ascending."""
        return list(self._connection.execute(_CALLS, {"senders": self._senders, "seconds": seconds}).scalars())

    def person_times(self, since: datetime, everyone: int) -> int:
        """Return how many person-times were sent since a moment; `@all` counts for `everyone`."""
        parameters = {"senders": self._senders, "since": since, "everyone": everyone}
        return int(self._connection.execute(_PERSON_TIMES, parameters).scalar_one())


@dataclass(frozen=True, slots=True)
class NoLongerSending:
    """A message that no worker sends any more: whether it arrived, and whether nobody knows that."""

    message: PerhapsSent
    arrived: bool
    in_doubt: bool


class Usage:
    """What was sent lately."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @contextmanager
    def of(self, senders: Sequence[str]) -> Iterator[SentLately]:
        """Look at what some senders sent; nothing that changes meanwhile is seen twice or missed."""
        with self._engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
            yield SentLately(connection, senders)

    def settled_since(self, perhaps_sent: Sequence[PerhapsSent]) -> list[NoLongerSending]:
        """Return those that their workers have settled or given back since they were found."""
        sending = [one for one in perhaps_sent if one.attempt]
        if not sending:
            return []
        with self._engine.connect() as connection:
            parameters = {"ids": [one.id for one in sending], "attempts": [one.attempt for one in sending]}
            still = set(connection.execute(_STILL_SENDING, parameters).scalars())
            others = {one.id: one for one in sending if one.id not in still}
            rows = connection.execute(_OUTCOMES, {"ids": list(others)})
            return [NoLongerSending(others[row.id], row.arrived, row.in_doubt) for row in rows]
