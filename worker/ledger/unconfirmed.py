"""Statements about messages of which nobody here knows whether they were sent: a person decides."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Engine, text

from worker.ledger.transactions import InDoubt, transact
from worker.messages.recipients import Recipients

_LIST = text("""
    select id, sender, claimed_at, error, touser, toparty, totag, body
    from wecom.messages
    where state = 'unconfirmed' and (cast(:sender as text) is null or sender = :sender)
    order by sender, claimed_at
    limit :most
""")

_RESEND = text("""
    update wecom.messages
    set state = 'scheduled', send_at = wecom.clock(), resend_until = null, retries = 0,
        error = 'sent again by decision of a person'
    where id = :id and state = 'unconfirmed'
    returning sender
""")

_SETTLE_AS_SENT = text("""
    update wecom.messages
    set state = 'sent', sent_at = claimed_at, resend_until = null, error = 'a person found that it had been sent'
    where id = :id and state = 'unconfirmed'
    returning sender
""")

_SETTLE_AS_NOT_SENT = text("""
    update wecom.messages
    set state = 'failed', resend_until = null, error = 'a person found that it had not been sent'
    where id = :id and state = 'unconfirmed'
    returning sender
""")


@dataclass(frozen=True, slots=True)
class UnconfirmedMessage:
    """A message that waits for a person: when it was tried last, and what is known."""

    id: UUID
    sender: str
    tried_at: datetime
    reason: str | None
    recipients: Recipients
    body: dict[str, Any]


class Unconfirmed:
    """What a person can look at and decide."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def list(self, sender: str | None = None, most: int = 100) -> list[UnconfirmedMessage]:
        """Return the messages that wait, of one sender or all, the longest waiting first."""
        with self._engine.connect() as connection:
            rows = connection.execute(_LIST, {"sender": sender, "most": most})
            return [
                UnconfirmedMessage(
                    row.id,
                    row.sender,
                    row.claimed_at,
                    row.error,
                    Recipients(tuple(row.touser), tuple(row.toparty), tuple(row.totag)),
                    row.body,
                )
                for row in rows
            ]

    def resend(self, message: UUID) -> bool:
        """Send a message again, whether or not it arrived before; return False if it does not wait for a decision."""
        return self._decide(_RESEND, message)

    def settle(self, message: UUID, *, sent: bool) -> bool:
        """Store what a person found out; return False if the message does not wait for a decision."""
        return self._decide(_SETTLE_AS_SENT if sent else _SETTLE_AS_NOT_SENT, message)

    def _decide(self, statement: Any, message: UUID) -> bool:  # noqa: ANN401 - a statement of this module
        decided = False

        def decide(connection: Connection) -> bool:
            nonlocal decided  # perhaps by an earlier try, whose COMMIT had no answer
            decided = connection.execute(statement, {"id": message}).one_or_none() is not None or decided
            return decided

        return transact(self._engine, decide, InDoubt("`wecom status` tells where the message stands", (message,)))
