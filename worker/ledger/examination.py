"""Statements of `wecom doctor`: what is late, what became of messages lately, whether Postgres can write.

All of them read by an index or up to a bound, so that they may be asked at any time.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine, text

from worker.ledger.due import DUE, MAY_SEND
from worker.ledger.schema import Priority

LATELY_SECONDS = 300
HOUR_SECONDS = 3600
MOST_COUNTED = 100_000
MOST_ATTEMPTS = 20_000
"""So many of the latest failed attempts are looked through."""
TRIAL_BYTES = 2**20
"""More than a disk that is full has left in what is written already."""

_LATE = text(f"""
    select sender.name, late.seconds, (
        select count(*) from (
            select from wecom.messages where messages.sender = sender.name
              and sent_at > wecom.clock() - make_interval(secs => :lately) limit :most) as sent) as sent
    from wecom.senders as sender
    cross join lateral (
        select extract(epoch from wecom.clock() - greatest(oldest.send_at, cast(:held_until as timestamptz))) as seconds
        from unnest(cast(:priorities as smallint[])) as rank (priority)
        cross join lateral (
            select send_at from wecom.messages
            where messages.sender = sender.name and priority = rank.priority and {DUE}
            order by send_at limit 1
        ) as oldest
        order by seconds desc limit 1
    ) as late
    where {MAY_SEND} and late.seconds > :tolerated
    order by late.seconds desc
""")

_UNCONFIRMED = text(
    "select sender, count(*) as messages from wecom.messages where state = 'unconfirmed' group by sender"
)

_SENT = text("""
    select sender.name, sent.messages from wecom.senders as sender cross join lateral (
        select count(*) as messages from (
            select from wecom.messages where messages.sender = sender.name
              and sent_at > wecom.clock() - make_interval(secs => :seconds) limit :most) as counted
    ) as sent
    where sent.messages > 0
""")

# The numbers of attempts grow with time, and nothing else finds the latest ones.
_FAILED = text("""
    with latest as materialized (select message, at, errcode from wecom.attempts order by id desc limit :most)
    select message.sender, latest.errcode, count(distinct message.id) as messages
    from latest join wecom.messages as message on message.id = latest.message
    where latest.at > wecom.clock() - make_interval(secs => :seconds)
      and message.state = 'failed' and message.errcode is not distinct from latest.errcode
    group by message.sender, latest.errcode
    order by messages desc
""")

_WAITING = text(f"""
    select
        (select count(*) from (select from wecom.messages where priority in (0, 1, 2) and {DUE} limit :most) as due)
            as due,
        (select count(*) from (select from wecom.messages where state = 'sending' limit :most) as sending) as sending,
        (select count(*) from (select from wecom.messages where state = 'recalling' limit :most) as recalling)
            as recalling
""")

_TRY = text("insert into wecom.trial_writes (content) values (:content)")


@dataclass(frozen=True, slots=True)
class Late:
    """A sender that nothing holds back and that has a message due for so many seconds.

    `sent` is how many of its messages were sent in the last five minutes, counted up to a bound.
    """

    sender: str
    seconds: float
    sent: int


@dataclass(frozen=True, slots=True)
class Failures:
    """How many messages of a sender failed in the last hour with an errcode, if there was one."""

    sender: str
    errcode: int | None
    messages: int


class Examination:
    """What the doctor asks the ledger."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def late(self, tolerated: float, held_until: datetime | None, *, urgent_only: bool) -> list[Late]:
        """Return the senders whose oldest due message waits for longer than so many seconds, the longest first.

        Senders that are paused or parked and messages of paused campaigns are none of them. Nor is what waited for a
        quiet window: it counts from `held_until`, and while a window is on only urgent messages are asked for.
        """
        priorities = [Priority.URGENT] if urgent_only else [Priority.URGENT, Priority.NORMAL, Priority.BULK]
        asked = {
            "tolerated": tolerated,
            "held_until": held_until,
            "priorities": [int(one) for one in priorities],
            "lately": LATELY_SECONDS,
            "most": MOST_COUNTED,
        }
        with self._engine.connect() as connection:
            return [Late(row.name, float(row.seconds), row.sent) for row in connection.execute(_LATE, asked)]

    def unconfirmed(self) -> dict[str, int]:
        """Return how many messages wait for a person's word, by sender."""
        with self._engine.connect() as connection:
            return {row.sender: row.messages for row in connection.execute(_UNCONFIRMED)}

    def sent_in_the_last_hour(self) -> dict[str, int]:
        """Return how many messages were sent, by sender, each counted up to a bound."""
        with self._engine.connect() as connection:
            rows = connection.execute(_SENT, {"seconds": HOUR_SECONDS, "most": MOST_COUNTED})
            return {row.name: row.messages for row in rows}

    def failed_in_the_last_hour(self) -> Sequence[Failures]:
        """Return how many messages failed, by sender and errcode, the most first."""
        with self._engine.connect() as connection:
            rows = connection.execute(_FAILED, {"seconds": HOUR_SECONDS, "most": MOST_ATTEMPTS})
            return [Failures(*row) for row in rows]

    def waiting(self) -> dict[str, int]:
        """Return how many messages are due, are being sent, and are being recalled, each counted up to a bound."""
        with self._engine.connect() as connection:
            return dict(connection.execute(_WAITING, {"most": MOST_COUNTED}).mappings().one())

    def try_to_write(self) -> None:
        """Write a megabyte, and leave nothing of it.

        Raises:
            DBAPIError: Postgres does not take it.
        """
        with self._engine.connect() as connection:
            connection.execute(_TRY, {"content": os.urandom(TRIAL_BYTES)})
            connection.rollback()
