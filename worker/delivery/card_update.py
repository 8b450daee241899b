"""Changes cards that were sent (doc 94888)."""

from collections.abc import Callable
from datetime import datetime
from uuid import UUID

import orjson
from sqlalchemy import Connection

from worker.delivery.calls import AGAIN_SECONDS, Errand, carry_out, rejected
from worker.delivery.office import Office
from worker.delivery.outcome import Sent, decide
from worker.delivery.settlement import DETERMINED_BY_THE_REQUEST
from worker.ledger import (
    Calls,
    CardUpdateSettlement,
    CardUpdateState,
    ClaimedCardUpdate,
    SentCard,
    State,
    find_card,
    request_card_update,
)
from worker.messages import CardUpdate, InvalidMessage
from worker.providers.base import Answer, Category, Channel

USED_UP = 60140
"""The response_code is invalid: expired, or used before."""
TOO_LATE = Answer(Category.CONTENT, errcode=USED_UP, reason="its response_code expired before the update could be made")


RESPONSE_CODE_SECONDS = 72 * 3600
"""How long WeCom takes a response_code (docs 90236, 94888); older texts say 24 hours, then WeCom refuses earlier."""


class UpdateRequest:
    """An update of a sent card on its way into the ledger; it can be written again, and is then stored once."""

    def __init__(self, message: UUID, update: CardUpdate) -> None:
        self._message = message
        self._body = orjson.dumps(update.body())
        self._card: SentCard | None = None
        self._made: list[datetime] = []

    def write(self, connection: Connection) -> str | None:
        """Store the update, and return the card's sender; a worker makes it. Returns None if there is no message.

        Raises:
            InvalidMessage: the card cannot be updated, or not any more.
        """
        if self._card is None:  # what was accepted once is not judged again
            self._card = _updatable(connection, self._message)
        if self._card is None:
            return None
        made = request_card_update(connection, self._message, self._card, self._body, self._made)
        if made is None:
            raise InvalidMessage(
                "update: this card was updated before, and its response_code works once; send a new card"
            )
        self._made.append(made)
        return self._card.sender


def _updatable(connection: Connection, message: UUID) -> SentCard | None:
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
    return card


def carry_out_card_updates(office: Office, name: str) -> int:
    """Make the next card updates of one sender; return how many were tried."""
    updates = office.ledger.card_updates
    return carry_out(
        office, name, Errand(Calls.CARD_UPDATES, updates.claim, updates.give_back, _update, _settlement, updates.settle)
    )


def _update(channel: Channel, update: ClaimedCardUpdate, before_leaving: Callable[[], None]) -> Answer:
    return channel.update_card(update.body, update.response_code, before_leaving) if update.usable else TOO_LATE


def _settlement(update: ClaimedCardUpdate, answer: Answer) -> CardUpdateSettlement:
    state, error = CardUpdateState.SCHEDULED, update.doubt
    if isinstance(decide(answer), Sent):
        state, error = CardUpdateState.UPDATED, answer.said or None
    elif rejected(answer):
        unknown = update.doubt is not None and not _concerns_all_tries(answer)
        state = CardUpdateState.UNCONFIRMED if unknown else CardUpdateState.FAILED
        error = f"{answer.said}; an earlier try had no answer ({update.doubt})" if unknown else answer.said
    elif answer.category is Category.UNCERTAIN:
        error = answer.said
    return CardUpdateSettlement(
        update.response_code,
        update.attempt,
        state,
        error=error,
        again_after=AGAIN_SECONDS if state is CardUpdateState.SCHEDULED else None,
        invalid_users=answer.invalid.users,
    )


def _concerns_all_tries(answer: Answer) -> bool:
    """Whether an earlier try of the same update was refused as well; one that succeeded uses the response_code up."""
    return answer.category in DETERMINED_BY_THE_REQUEST and answer.errcode != USED_UP
