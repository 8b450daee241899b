"""Statements of the delivery: claim due messages, give back.

Every change of `state` is a compare-and-set: it names the state it leaves and the attempt it belongs to, so that
two workers can never both believe that a message is theirs.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Engine, Row, TextClause, text

from worker.ledger.connection import commit_claim, is_passing
from worker.ledger.due import CANNOT_WAIT, DUE
from worker.ledger.settlements import Settlement, settle
from worker.ledger.waiting_for_files import take_media_ids
from worker.messages.recipients import Recipients

LOOKING_SECONDS = 1.0
"""So long at most a claim looks for messages behind those that wait for their files."""

_TAKE = """
    update wecom.messages as message
    set state = 'sending', attempt = attempt + 1, claimed_at = wecom.clock(),
        lease_until = wecom.clock() + make_interval(secs => :lease_seconds)
    from due
    where message.id = due.id
    returning message.id, attempt, retries, priority, requested_at, send_at, expires_at, claimed_at, resend_until,
              touser, toparty, totag, body, files, media_ids, campaign
"""

# One index range a priority, each read in the order of its due times: rows that are not due are never looked at.
_CLAIM = text(f"""
    with due as (
        select chosen.id
        from (values (0), (1), (2)) as rank (priority)
        cross join lateral (
            select id from wecom.messages
            where sender = :sender and priority = rank.priority and {DUE}
            order by send_at
            limit :most
            for update skip locked
        ) as chosen
        limit :most
    )
    {_TAKE}
""")

_CLAIM_IN_QUIET_WINDOW = text(f"""
    with urgent as (
        select id from wecom.messages where sender = :sender and priority = 0 and {DUE}
        order by send_at limit :most for update skip locked
    ), pressing as (
        select id from wecom.messages where sender = :sender and {CANNOT_WAIT} and {DUE}
        order by least(expires_at, resend_until) limit :most for update skip locked
    ), due as (
        select id from urgent union all select id from pressing limit :most
    )
    {_TAKE}
""")

# Waits for a transaction that is still on its way to its end, so that the release after it sees what it did.
_WAIT_FOR = text("select from wecom.messages where id = any(cast(:ids as uuid[])) for update")

_RELEASE = text("""
    update wecom.messages as message
    set state = case when recall_requested_at is not null and resend_until is null then 'cancelled'
                     else 'scheduled' end,
        lease_until = null, error = coalesce(:reason, error)
    from unnest(cast(:ids as uuid[]), cast(:attempts as int[])) as claim (id, attempt)
    where message.id = claim.id and message.sender = :sender
      and message.state = 'sending' and message.attempt = claim.attempt
""")

_POSTPONE = text("""
    update wecom.messages as message
    set state = case when recall_requested_at is not null and resend_until is null then 'cancelled'
                     else 'scheduled' end,
        lease_until = null, send_at = claim.send_at, error = claim.reason
    from unnest(
        cast(:ids as uuid[]), cast(:attempts as int[]), cast(:send_ats as timestamptz[]), cast(:reasons as text[])
    ) as claim (id, attempt, send_at, reason)
    where message.id = claim.id and message.sender = :sender
      and message.state = 'sending' and message.attempt = claim.attempt
""")


@dataclass(frozen=True, slots=True)
class ClaimedMessage:
    """A message this worker alone may send until its lease ends.

    `media_ids` are those under which WeCom knows its `files`, in their order.
    """

    id: UUID
    attempt: int
    retries: int
    priority: int
    requested_at: datetime
    send_at: datetime
    expires_at: datetime | None
    claimed_at: datetime
    resend_until: datetime | None
    recipients: Recipients
    body: Mapping[str, Any] = field(repr=False)
    files: tuple[str, ...] = ()
    media_ids: tuple[str, ...] = ()
    campaign: UUID | None = None


@dataclass(frozen=True, slots=True)
class Postponement:
    """A claimed message that has to wait for a limit, until when, and why."""

    message: ClaimedMessage
    send_at: datetime
    reason: str


class Deliveries:
    """The hot path; every statement names its sender."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def claim(self, sender: str, most: int, lease_seconds: float, quiet_until: datetime | None) -> list[ClaimedMessage]:
        """Take up to `most` due messages, the most urgent and longest due first.

        `quiet_until` is the end of the quiet window that is on, with the time over which waiting messages are
        spread, or None outside of one. Messages whose files WeCom does not know are put off until they are uploaded,
        and others are looked for in their place.

        Raises:
            ClaimInDoubtError: the answer to the COMMIT was lost; `give_back` what it names.
        """
        statement = _CLAIM if quiet_until is None else _CLAIM_IN_QUIET_WINDOW
        parameters = {"sender": sender, "lease_seconds": lease_seconds, "quiet_until": quiet_until}
        claimed: list[ClaimedMessage] = []
        until = time.monotonic() + LOOKING_SECONDS
        while (missing := most - len(claimed)) > 0:
            try:
                taken, put_off = self._take(statement, parameters | {"most": missing}, claimed)
            except Exception as error:
                if claimed and is_passing(error):
                    break  # what was taken before can be sent
                raise
            claimed += taken
            if not put_off or len(taken) + put_off < missing or time.monotonic() > until:
                break
        claimed.sort(key=lambda message: (message.priority, message.send_at, message.id))
        return claimed

    def _take(
        self, statement: TextClause, parameters: Mapping[str, Any], taken_before: Sequence[ClaimedMessage]
    ) -> tuple[list[ClaimedMessage], int]:
        """Claim due messages; return those that can be sent, and how many were put off.

        Raises:
            ClaimInDoubtError: see `claim`; it names what was taken before too.
        """
        with self._engine.connect() as connection:
            rows = connection.execute(statement, parameters).all()
            showing = [row for row in rows if row.files]
            media_ids = take_media_ids(connection, parameters["sender"], showing) if showing else {}
            taken = [_claimed(row, media_ids.get(row.id, ())) for row in rows if not row.files or row.id in media_ids]
            commit_claim(connection, [*taken_before, *taken])
        return taken, len(rows) - len(taken)

    def settle(self, sender: str, settlements: Sequence[Settlement]) -> int:
        """Store what became of claimed messages; return how many of them now wait for recall; see `settle`."""
        return settle(self._engine, sender, settlements)

    def release(self, sender: str, claimed: Sequence[ClaimedMessage], reason: str | None = None) -> None:
        """Give back messages that were claimed but not sent; nothing is counted against them."""
        if not claimed:
            return
        parameters = _released(sender, claimed, reason)
        with self._engine.begin() as connection:
            connection.execute(_RELEASE, parameters)

    def give_back(self, sender: str, claimed: Sequence[ClaimedMessage]) -> None:
        """Release messages of a claim whose COMMIT is in doubt; those that are not claimed stay as they are."""
        parameters = _released(sender, claimed, None)
        with self._engine.begin() as connection:
            connection.execute(_WAIT_FOR, {"ids": parameters["ids"]})
            connection.execute(_RELEASE, parameters)

    def postpone(self, sender: str, postponed: Sequence[Postponement]) -> None:
        """Give back claimed messages that would pass a limit of WeCom's; each waits until it fits."""
        if not postponed:
            return
        parameters = {
            "sender": sender,
            "ids": [one.message.id for one in postponed],
            "attempts": [one.message.attempt for one in postponed],
            "send_ats": [one.send_at for one in postponed],
            "reasons": [one.reason for one in postponed],
        }
        with self._engine.begin() as connection:
            connection.execute(_POSTPONE, parameters)


def _claimed(row: Row[Any], media_ids: tuple[str, ...]) -> ClaimedMessage:
    return ClaimedMessage(
        id=row.id,
        attempt=row.attempt,
        retries=row.retries,
        priority=row.priority,
        requested_at=row.requested_at,
        send_at=row.send_at,
        expires_at=row.expires_at,
        claimed_at=row.claimed_at,
        resend_until=row.resend_until,
        recipients=Recipients(tuple(row.touser), tuple(row.toparty), tuple(row.totag)),
        body=row.body,
        files=tuple(row.files),
        media_ids=media_ids,
        campaign=row.campaign,
    )


def _released(sender: str, claimed: Sequence[ClaimedMessage], reason: str | None) -> dict[str, Any]:
    return {
        "sender": sender,
        "ids": [message.id for message in claimed],
        "attempts": [message.attempt for message in claimed],
        "reason": reason,
    }
