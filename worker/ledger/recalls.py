"""Statements about taking messages back."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection, Engine, text

from worker.ledger.bounds import shortened
from worker.ledger.connection import commit_claim
from worker.ledger.parked_calls import Calls, end_parking, not_parked
from worker.ledger.schema import State

# Doc 94867: a message can be recalled within 24 hours. What is being sent just now, or has an unknown fate, is
# remembered: the settlement carries the recall out once WeCom has named the msgid.
TAKE_BACK = """
    update wecom.messages as message
    set state = case
            when state = 'scheduled' and resend_until is null then 'cancelled'
            when state = 'sent' and msgid is not null and sent_at > wecom.clock() - interval '24 hours' then 'recalling'
            else state
        end,
        recall_error = case
            when state = 'sent' and msgid is null then 'WeCom named no msgid for it, so it cannot be recalled'
            when state = 'sent' and sent_at <= wecom.clock() - interval '24 hours'
                then 'sent more than 24 hours ago; WeCom recalls only younger messages'
        end,
        recall_requested_at = coalesce(recall_requested_at, wecom.clock())
    from parts
    where message.id = parts.id and state in ('scheduled', 'sending', 'sent')
"""

_REQUEST = text(f"""
    with parts as (
        select id from wecom.messages where id = :id or part_of = :id order by id for update
    )
    {TAKE_BACK}
""")

_READ = text("""
    select id, sender, state, recall_error from wecom.messages where id = :id or part_of = :id order by id
""")

# Whoever dies before it stores the answer leaves the doubt behind: it is written before the call and not after it.
_CLAIM = text(f"""
    with waiting as (
        select id, recall_error as doubt from wecom.messages
        where sender = :sender and state = 'recalling' and (lease_until is null or lease_until <= wecom.clock())
          and {not_parked(Calls.RECALLS, ":sender")}
        order by recall_requested_at
        limit :most
        for update skip locked
    )
    update wecom.messages as message
    set attempt = attempt + 1, lease_until = wecom.clock() + make_interval(secs => :lease_seconds),
        recall_error = coalesce(recall_error, :under_way)
    from waiting
    where message.id = waiting.id
    returning message.id, attempt, msgid, waiting.doubt,
              sent_at <= wecom.clock() - interval '24 hours' as too_late
""")

_WAIT_FOR = text("select from wecom.messages where id = any(cast(:ids as uuid[])) for update")

_GIVE_BACK = text("""
    update wecom.messages as message set lease_until = null, recall_error = claim.doubt
    from unnest(cast(:ids as uuid[]), cast(:attempts as int[]), cast(:doubts as text[])) as claim (id, attempt, doubt)
    where message.id = claim.id and message.sender = :sender
      and message.state = 'recalling' and message.attempt = claim.attempt
""")

_SETTLE = text("""
    update wecom.messages as message
    set state = answer.state, recall_error = answer.error,
        lease_until = wecom.clock() + make_interval(secs => answer.again_after),
        recalled_at = case when answer.state = 'recalled' then wecom.clock() end
    from unnest(
        cast(:ids as uuid[]), cast(:attempts as int[]), cast(:states as text[]), cast(:errors as text[]),
        cast(:again_afters as float[])
    ) as answer (id, attempt, state, error, again_after)
    where message.id = answer.id and message.sender = :sender
      and message.state = 'recalling' and message.attempt = answer.attempt
""")

UNDER_WAY = "a worker has taken the recall on and not stored an answer yet"


@dataclass(frozen=True, slots=True)
class RecallStatus:
    """Where one message stands after a recall was asked for."""

    id: UUID
    sender: str
    state: State
    recall_error: str | None


@dataclass(frozen=True, slots=True)
class ClaimedRecall:
    """A sent message that this worker alone may recall until its lease ends.

    `doubt` tells of an earlier try whose answer was lost; `too_late` that WeCom recalls it no more.
    """

    id: UUID
    attempt: int
    msgid: str
    doubt: str | None
    too_late: bool


@dataclass(frozen=True, slots=True)
class RecallSettlement:
    """What became of one recall: `recalled`, `sent` with the error, or `recalling` again after some seconds."""

    message: UUID
    attempt: int
    state: State
    error: str | None = None
    again_after: float | None = None


class Recalls:
    """Recalls of single messages; all parts of an audience that took several calls go together."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def request(self, message: UUID, connection: Connection | None = None) -> list[RecallStatus]:
        """Ask for a message and its parts to be taken back; return where each stands now, none if there is no such.

        Unsent messages are cancelled at once; sent ones wait for a worker; for others nothing changes.
        """
        if connection is None:
            with self._engine.begin() as own:
                return self.request(message, own)
        connection.execute(_REQUEST, {"id": message})
        rows = connection.execute(_READ, {"id": message})
        return [RecallStatus(row.id, row.sender, State(row.state), row.recall_error) for row in rows]

    def claim(self, sender: str, most: int, lease_seconds: float) -> list[ClaimedRecall]:
        """Take up to `most` messages that wait to be recalled, the longest waiting first; none while they are parked.

        Raises:
            ClaimInDoubtError: the answer to the COMMIT was lost; `give_back` what it names.
        """
        parameters = {"sender": sender, "most": most, "lease_seconds": lease_seconds, "under_way": UNDER_WAY}
        with self._engine.connect() as connection:
            claimed = [ClaimedRecall(*row) for row in connection.execute(_CLAIM, parameters)]
            commit_claim(connection, claimed)
        return claimed

    def give_back(self, sender: str, claimed: Sequence[ClaimedRecall]) -> None:
        """Release claimed recalls that were not tried; those that are not claimed stay as they are."""
        parameters = {
            "sender": sender,
            "ids": [recall.id for recall in claimed],
            "attempts": [recall.attempt for recall in claimed],
            "doubts": [recall.doubt for recall in claimed],
        }
        with self._engine.begin() as connection:
            connection.execute(_WAIT_FOR, {"ids": parameters["ids"]})
            connection.execute(_GIVE_BACK, parameters)

    def settle(self, sender: str, settlements: Sequence[RecallSettlement]) -> None:
        """Store what became of claimed recalls; once more changes nothing."""
        if not settlements:
            return
        parameters = {
            "sender": sender,
            "ids": [settlement.message for settlement in settlements],
            "attempts": [settlement.attempt for settlement in settlements],
            "states": [settlement.state.value for settlement in settlements],
            "errors": [settlement.error and shortened(settlement.error) for settlement in settlements],
            "again_afters": [settlement.again_after for settlement in settlements],
        }
        with self._engine.begin() as connection:
            connection.execute(_SETTLE, parameters)
            if any(settlement.state is State.RECALLED for settlement in settlements):
                end_parking(connection, sender, Calls.RECALLS)
