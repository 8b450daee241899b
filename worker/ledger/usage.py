"""Statements that count what a sender sent lately, for limits that WeCom sets by time."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import Engine, text

# What is being sent, or was claimed and has an unknown fate, may have reached WeCom until the end of its lease,
# and is counted as late as that.
_PERHAPS_SENT = """
    sender = any(cast(:senders as text[])) and id <> all (cast(:own as uuid[]))
    and (state = 'sending' or (state in ('scheduled', 'unconfirmed') and resend_until is not null))
"""

_BY_MEMBER = text(f"""
    with lately as (
        select touser, sent_at as at from wecom.messages
        where sender = any(cast(:senders as text[])) and sent_at > wecom.clock() - make_interval(secs => :seconds)
        union all
        select touser, claimed_at + make_interval(secs => :lease_seconds) from wecom.messages
        where {_PERHAPS_SENT} and claimed_at > wecom.clock() - make_interval(secs => :seconds + :lease_seconds)
    )
    select lower(userid) as userid, array_agg((extract(epoch from at) * 1000)::bigint order by at) as milliseconds
    from lately cross join lateral unnest(touser) as userid
    where userid <> '@all'
    group by lower(userid)
""")

_PERSON_TIMES = text(f"""
    select coalesce(sum(
        case when touser = '{{@all}}' then :everyone
             else cardinality(touser) + cardinality(toparty) + cardinality(totag) end), 0)
    from wecom.messages
    where (sender = any(cast(:senders as text[])) and sent_at >= :since) or ({_PERHAPS_SENT} and claimed_at >= :since)
""")

ROWS_AT_ONCE = 5000


class Usage:
    """What was sent lately."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def by_member(
        self, senders: Sequence[str], seconds: float, lease_seconds: float, own: Sequence[UUID]
    ) -> Iterator[tuple[str, list[int]]]:
        """Yield each member whom some senders addressed in the last seconds, and when at the latest.

        The times are Unix milliseconds, ascending. `own` are messages the caller has claimed and not sent.
        """
        parameters = {"senders": list(senders), "seconds": seconds, "lease_seconds": lease_seconds, "own": list(own)}
        with self._engine.connect().execution_options(yield_per=ROWS_AT_ONCE) as connection:
            for row in connection.execute(_BY_MEMBER, parameters):
                yield row.userid, row.milliseconds

    def person_times(self, senders: Sequence[str], since: datetime, everyone: int, own: Sequence[UUID]) -> int:
        """Return how many person-times some senders have used since a moment; `@all` counts for `everyone`."""
        parameters = {"senders": list(senders), "since": since, "everyone": everyone, "own": list(own)}
        with self._engine.connect() as connection:
            return int(connection.execute(_PERSON_TIMES, parameters).scalar_one())
