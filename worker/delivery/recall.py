"""Takes sent messages back (doc 94867)."""

from collections.abc import Callable

from worker.delivery.calls import AGAIN_SECONDS, Errand, carry_out, rejected
from worker.delivery.office import Office
from worker.delivery.outcome import Sent, decide
from worker.ledger import Calls, ClaimedRecall, RecallSettlement, State
from worker.providers.base import Answer, Category, Channel

TOO_LATE = Answer(Category.CONTENT, reason="sent more than 24 hours ago; WeCom recalls only younger messages")


def carry_out_recalls(office: Office, name: str) -> int:
    """Recall the next messages of one sender that wait for it; return how many were tried."""
    recalls = office.ledger.recalls
    return carry_out(
        office, name, Errand(Calls.RECALLS, recalls.claim, recalls.give_back, _recall, _settlement, recalls.settle)
    )


def _recall(channel: Channel, recall: ClaimedRecall, before_leaving: Callable[[], None]) -> Answer:
    return TOO_LATE if recall.too_late else channel.recall(recall.msgid, before_leaving)


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
