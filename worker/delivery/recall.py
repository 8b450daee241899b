"""Takes sent messages back (doc 94867)."""

from worker.delivery.calls import AGAIN_SECONDS, call_all, rejected
from worker.delivery.office import Office
from worker.delivery.outcome import Sent, decide
from worker.ledger import ClaimedRecall, RecallSettlement, State
from worker.providers.base import Answer, Category

TOO_LATE = Answer(Category.CONTENT, reason="sent more than 24 hours ago; WeCom recalls only younger messages")


def carry_out_recalls(office: Office, name: str) -> int:
    """Recall the next messages of one sender that wait for it; return how many were tried."""
    sender, now = office.ledger.senders.open(name)
    if sender.paused(now):
        return 0
    claimed = office.ledger.recalls.claim(name, office.calls_at_once(sender), office.settings.lease_seconds)
    if not claimed:
        return 0
    answers = call_all(
        office, sender, claimed, lambda channel, one: TOO_LATE if one.too_late else channel.recall(one.msgid)
    )
    settlements = [_settlement(recall, answer) for recall, answer in zip(claimed, answers, strict=True)]
    office.ledger.recalls.settle(name, settlements)
    return len(claimed)


def _settlement(recall: ClaimedRecall, answer: Answer) -> RecallSettlement:
    if isinstance(decide(answer), Sent):
        return RecallSettlement(recall.id, recall.attempt, State.RECALLED)
    if rejected(answer):
        doubt = (
            f"; an earlier try had no answer ({recall.doubt}), so it may be recalled after all" if recall.doubt else ""
        )
        return RecallSettlement(recall.id, recall.attempt, State.SENT, error=f"{answer.said}{doubt}")
    # WeCom does not say what a second recall of a message is answered, so an answer that was lost is remembered.
    doubt = answer.said if answer.category is Category.UNCERTAIN else recall.doubt or ""
    return RecallSettlement(recall.id, recall.attempt, State.RECALLING, error=doubt or None, again_after=AGAIN_SECONDS)
