"""Changes cards that were sent (doc 94888)."""

from uuid import UUID

import orjson
from sqlalchemy import Connection

from worker.delivery.calls import AGAIN_SECONDS, call_all, rejected
from worker.delivery.office import Office
from worker.delivery.outcome import Sent, decide
from worker.ledger import (
    CardUpdateSettlement,
    CardUpdateState,
    ClaimedCardUpdate,
    State,
    find_card,
    request_card_update,
)
from worker.messages import CardUpdate, InvalidMessage
from worker.providers.base import Answer, Category

USED_UP = 60140
"""The response_code is invalid: expired, or used before."""
TOO_LATE = Answer(Category.CONTENT, errcode=USED_UP, reason="its response_code expired before the update could be made")


RESPONSE_CODE_SECONDS = 72 * 3600
"""How long WeCom takes a response_code (docs 90236, 94888); older texts say 24 hours, then WeCom refuses earlier."""


def request_update(connection: Connection, message: UUID, update: CardUpdate) -> str | None:
    """Store an update of a sent card, and return its sender; a worker makes it. Returns None if there is no message.

    Raises:
        InvalidMessage: the card cannot be updated, or not any more.
    """
    body = orjson.dumps(update.body())
    card = find_card(connection, message, RESPONSE_CODE_SECONDS)
    if card is None:
        return None
    if card.state is not State.SENT:
        raise InvalidMessage(f"update: only a sent card can be updated, and this message is {card.state}")
    if card.response_code is None:
        raise InvalidMessage(
            "update: WeCom gave no response_code for this message; it gives one for cards with buttons, votes, "
            "questions or an action_menu"
        )
    if not card.usable:
        raise InvalidMessage("update: the response_code of this card is older than 72 hours; send a new card")
    if not request_card_update(connection, message, card, body):
        raise InvalidMessage("update: this card was updated before, and its response_code works once; send a new card")
    return card.sender


def carry_out_card_updates(office: Office, name: str) -> int:
    """Make the next card updates of one sender; return how many were tried."""
    sender, now = office.ledger.senders.open(name)
    if sender.paused(now):
        return 0
    claimed = office.ledger.card_updates.claim(name, office.calls_at_once(sender), office.settings.lease_seconds)
    if not claimed:
        return 0
    answers = call_all(
        office,
        sender,
        claimed,
        lambda channel, one: channel.update_card(one.body, one.response_code) if one.usable else TOO_LATE,
    )
    office.ledger.card_updates.settle(
        name, [_settlement(one, answer) for one, answer in zip(claimed, answers, strict=True)]
    )
    return len(claimed)


def _settlement(update: ClaimedCardUpdate, answer: Answer) -> CardUpdateSettlement:
    state = CardUpdateState.SCHEDULED
    if isinstance(decide(answer), Sent):
        state = CardUpdateState.UPDATED
    elif answer.errcode == USED_UP and update.usable and update.attempt > 1:
        # The answer to an earlier try was lost; most likely that try has used the code and changed the card.
        state = CardUpdateState.UNCONFIRMED
    elif rejected(answer):
        state = CardUpdateState.FAILED
    return CardUpdateSettlement(
        update.response_code,
        update.attempt,
        state,
        error=answer.said or None,
        again_after=AGAIN_SECONDS if state is CardUpdateState.SCHEDULED else None,
        invalid_users=answer.invalid.users,
    )
