"""Statements that say which claimed messages must not leave any more."""

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Engine, text

from worker.ledger.deliveries import ClaimedMessage

# A message of unknown fate goes on although it was recalled, or its campaign paused: it may have been sent already, and
# only a repetition in time can tell. The same rules decide about a claim (DUE in due.py).
_HELD = text("""
    select
        (select paused_reason is not null and (paused_until is null or paused_until > wecom.clock())
         from wecom.senders where name = :sender) as sender_stopped,
        array(
            select claim.id
            from unnest(cast(:ids as uuid[]), cast(:attempts as int[])) as claim (id, attempt)
            left join wecom.messages as message
              on message.id = claim.id and message.state = 'sending' and message.attempt = claim.attempt
            where message.id is null
               or (message.resend_until is null and (
                       message.recall_requested_at is not null
                       or message.campaign in (
                           select paused.id from wecom.campaigns as paused where paused.paused_reason is not null)))
        ) as messages
""")


@dataclass(frozen=True, slots=True)
class Held:
    """What must stay.

    Attributes:
        sender_stopped: the sender is paused or parked, so all of it.
        messages: those that are recalled, of a paused campaign, or somebody else's by now.
    """

    sender_stopped: bool
    messages: frozenset[UUID]


class Holds:
    """Whether claimed messages may still leave."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def among(self, sender: str, claimed: Collection[ClaimedMessage]) -> Held:
        """Return what of a sender's claimed messages must stay."""
        parameters = {
            "sender": sender,
            "ids": [message.id for message in claimed],
            "attempts": [message.attempt for message in claimed],
        }
        with self._engine.connect() as connection:
            row = connection.execute(_HELD, parameters).one()
        return Held(bool(row.sender_stopped), frozenset(row.messages))
