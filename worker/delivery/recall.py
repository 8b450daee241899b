"""Takes sent messages back (doc 94867)."""

import logging
from collections.abc import Sequence

from worker.delivery.deliver import stop_sender
from worker.delivery.office import Office
from worker.delivery.outcome import PauseSender, Reject, Sent, decide
from worker.ledger import ClaimedRecall, RecallSettlement, State
from worker.messages.sender import Sender
from worker.providers.base import Answer, Channel, ProviderError

log = logging.getLogger(__name__)

AGAIN_SECONDS = 5.0
"""A recall can be repeated without harm, so a passing fault only costs a few seconds."""


def carry_out_recalls(office: Office, name: str) -> int:
    """Recall the next messages of one sender that wait for it; return how many were tried."""
    sender, now = office.ledger.senders.open(name)
    if sender.paused(now):
        return 0
    claimed = office.ledger.recalls.claim(name, office.settings.chunk, office.settings.lease_seconds)
    if not claimed:
        return 0
    try:
        channel = office.providers[sender.provider].open(sender)
    except ProviderError as error:
        answers: Sequence[Answer] = [error.answer] * len(claimed)
    else:
        answers = list(office.senders_at_work.map(lambda recall: _recall(channel, recall), claimed))
    _stop_sender_if_told(office, sender, answers)
    settlements = [_judge(recall, answer) for recall, answer in zip(claimed, answers, strict=True)]
    office.ledger.recalls.settle(name, settlements)
    return len(claimed)


def _recall(channel: Channel, recall: ClaimedRecall) -> Answer:
    try:
        return channel.recall(recall.msgid)
    except ProviderError as error:
        return error.answer


def _judge(recall: ClaimedRecall, answer: Answer) -> RecallSettlement:
    reason = f"{answer.errcode}: {answer.reason}" if answer.errcode else answer.reason
    match decide(answer):
        case Sent():
            return RecallSettlement(recall.id, recall.attempt, State.RECALLED)
        case Reject():
            return RecallSettlement(recall.id, recall.attempt, State.SENT, error=reason)
        case _:
            return RecallSettlement(recall.id, recall.attempt, State.RECALLING, error=reason, again_after=AGAIN_SECONDS)


def _stop_sender_if_told(office: Office, sender: Sender, answers: Sequence[Answer]) -> None:
    for answer in answers:
        if isinstance(decide(answer), PauseSender):
            stop_sender(office, sender, answer)
            return
