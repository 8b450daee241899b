"""Statements about updates of sent cards; a response_code can be used once, so it is the key."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Engine, text

from worker.ledger.bounds import first_names, shortened
from worker.ledger.connection import commit_claim
from worker.ledger.parked_calls import Calls, end_parking, not_parked
from worker.ledger.schema import State

_CARD = text("""
    select sender, state, response_code, sent_at, sent_at + make_interval(secs => :life) as usable_until,
           sent_at + make_interval(secs => :life) > wecom.clock() as usable
    from wecom.messages where id = :message
""")
_REQUEST = text("""
    insert into wecom.card_updates (response_code, message, sender, state, body, requested_at, usable_until)
    values (:response_code, :message, :sender, 'scheduled', cast(:body as jsonb), wecom.clock(), :usable_until)
    on conflict do nothing
""")
_REQUESTED = text("select requested_at from wecom.card_updates where response_code = :response_code")
# While an update is scheduled its error is the doubt about earlier tries. It is written before the call, so that
# whoever dies before it stores the answer leaves it behind.
_CLAIM = text(f"""
    with waiting as (
        select response_code, error as doubt from wecom.card_updates
        where sender = :sender and state = 'scheduled' and (lease_until is null or lease_until <= wecom.clock())
          and {not_parked(Calls.CARD_UPDATES, ":sender")}
        order by requested_at
        limit :most
        for update skip locked
    )
    update wecom.card_updates as card_update
    set attempt = attempt + 1, lease_until = wecom.clock() + make_interval(secs => :lease_seconds),
        error = coalesce(error, :under_way)
    from waiting
    where card_update.response_code = waiting.response_code
    returning card_update.response_code, attempt, body, usable_until > wecom.clock() as usable, waiting.doubt
""")
_WAIT_FOR = text("select from wecom.card_updates where response_code = any(cast(:response_codes as text[])) for update")
_GIVE_BACK = text("""
    update wecom.card_updates as card_update set lease_until = null, error = claim.doubt
    from unnest(
        cast(:response_codes as text[]), cast(:attempts as int[]), cast(:doubts as text[])
    ) as claim (response_code, attempt, doubt)
    where card_update.response_code = claim.response_code and card_update.sender = :sender
      and card_update.state = 'scheduled' and card_update.attempt = claim.attempt
""")
_SETTLE = text("""
    update wecom.card_updates as card_update
    set state = answer.state, error = answer.error,
        lease_until = wecom.clock() + make_interval(secs => answer.again_after),
        updated_at = case when answer.state = 'updated' then wecom.clock() end,
        invalid_users = string_to_array(answer.invalid_users, '|')
    from unnest(
        cast(:response_codes as text[]), cast(:attempts as int[]), cast(:states as text[]), cast(:errors as text[]),
        cast(:again_afters as float[]), cast(:invalid_users as text[])
    ) as answer (response_code, attempt, state, error, again_after, invalid_users)
    where card_update.response_code = answer.response_code and card_update.sender = :sender
      and card_update.state = 'scheduled' and card_update.attempt = answer.attempt
""")
_OF_MESSAGE = text("""
    select state, requested_at, updated_at, error, invalid_users
    from wecom.card_updates where message = :message order by requested_at
""")

UNDER_WAY = "a worker has taken the update on and not stored an answer yet"


class CardUpdateState(StrEnum):
    """Where an update stands; `unconfirmed` means that its answer was lost and its response_code may be used up."""

    SCHEDULED = "scheduled"
    UPDATED = "updated"
    FAILED = "failed"
    UNCONFIRMED = "unconfirmed"


@dataclass(frozen=True, slots=True)
class SentCard:
    """What must be known about a message before its card can be updated."""

    sender: str
    state: State
    response_code: str | None
    usable: bool
    usable_until: datetime | None


@dataclass(frozen=True, slots=True)
class ClaimedCardUpdate:
    """An update this worker alone may carry out until its lease ends.

    `doubt` tells of an earlier try whose answer was lost.
    """

    response_code: str
    attempt: int
    body: Mapping[str, Any]
    usable: bool
    doubt: str | None


@dataclass(frozen=True, slots=True)
class CardUpdateSettlement:
    """What became of one update; `scheduled` with `again_after` means another try after so many seconds.

    The error of one that is tried again is its doubt: why an earlier try may have changed the card.
    """

    response_code: str
    attempt: int
    state: CardUpdateState
    error: str | None = None
    again_after: float | None = None
    invalid_users: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CardUpdateStatus:
    """What became of an update, for whoever asks about the message."""

    state: CardUpdateState
    requested_at: datetime
    updated_at: datetime | None
    error: str | None
    invalid_users: tuple[str, ...] = field(default=())


class CardUpdates:
    """The updates of a ledger."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def claim(self, sender: str, most: int, lease_seconds: float) -> list[ClaimedCardUpdate]:
        """Take up to `most` updates that wait, the longest waiting first; none while card updates are parked.

        Raises:
            ClaimInDoubtError: the answer to the COMMIT was lost; `give_back` what it names.
        """
        parameters = {"sender": sender, "most": most, "lease_seconds": lease_seconds, "under_way": UNDER_WAY}
        with self._engine.connect() as connection:
            claimed = [ClaimedCardUpdate(*row) for row in connection.execute(_CLAIM, parameters)]
            commit_claim(connection, claimed)
        return claimed

    def give_back(self, sender: str, claimed: Sequence[ClaimedCardUpdate]) -> None:
        """Release claimed updates that were not tried; those that are not claimed stay as they are."""
        parameters = {
            "sender": sender,
            "response_codes": [update.response_code for update in claimed],
            "attempts": [update.attempt for update in claimed],
            "doubts": [update.doubt for update in claimed],
        }
        with self._engine.begin() as connection:
            connection.execute(_WAIT_FOR, {"response_codes": parameters["response_codes"]})
            connection.execute(_GIVE_BACK, parameters)

    def settle(self, sender: str, settlements: Sequence[CardUpdateSettlement]) -> None:
        """Store what became of claimed updates; once more changes nothing."""
        parameters = {
            "sender": sender,
            "response_codes": [settlement.response_code for settlement in settlements],
            "attempts": [settlement.attempt for settlement in settlements],
            "states": [settlement.state.value for settlement in settlements],
            "errors": [settlement.error and shortened(settlement.error) for settlement in settlements],
            "again_afters": [settlement.again_after for settlement in settlements],
            "invalid_users": ["|".join(first_names(settlement.invalid_users)) for settlement in settlements],
        }
        with self._engine.begin() as connection:
            connection.execute(_SETTLE, parameters)
            if any(settlement.state is CardUpdateState.UPDATED for settlement in settlements):
                end_parking(connection, sender, Calls.CARD_UPDATES)


def find_card(connection: Connection, message: UUID, life_seconds: float) -> SentCard | None:
    """Return what is known about a message's card; its response_code lives for so many seconds after sending."""
    row = connection.execute(_CARD, {"message": message, "life": life_seconds}).one_or_none()
    if row is None:
        return None
    return SentCard(row.sender, State(row.state), row.response_code, bool(row.usable), row.usable_until)


def request_card_update(
    connection: Connection, message: UUID, card: SentCard, body: bytes, made: Collection[datetime] = ()
) -> datetime | None:
    """Store an update, given as JSON, and return when it was asked for; None if the response_code was used before.

    `made` says when earlier tries asked for it, whose COMMIT was perhaps carried out.
    """
    parameters = {
        "response_code": card.response_code,
        "message": message,
        "sender": card.sender,
        "body": body.decode(),
        "usable_until": card.usable_until,
    }
    stored = connection.execute(_REQUEST, parameters).rowcount == 1
    requested_at: datetime = connection.execute(_REQUESTED, {"response_code": card.response_code}).scalar_one()
    return requested_at if stored or requested_at in made else None


def card_updates_of(connection: Connection, message: UUID) -> tuple[CardUpdateStatus, ...]:
    """Return the updates that were asked for a message's card."""
    rows = connection.execute(_OF_MESSAGE, {"message": message})
    return tuple(
        CardUpdateStatus(
            CardUpdateState(row.state), row.requested_at, row.updated_at, row.error, tuple(row.invalid_users)
        )
        for row in rows
    )
