"""wecom-worker: hand a message over once, have it delivered through WeCom (企业微信), and know what became of it.

from worker import Producer, Text

wecom = Producer()
message_id = wecom.send("hr-notices", Text(content="Your payslip is ready."), users=["zhangsan"])
wecom.status(message_id)
wecom.recall(message_id)
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from worker.delivery.accept import IdempotencyConflict, SendRequest
    from worker.ledger import LedgerError, MessageStatus, RecallStatus, State, UnknownSender
    from worker.messages import InvalidMessage, Text
    from worker.producer import Producer, UnknownMessage

_HOMES = {
    "IdempotencyConflict": "worker.delivery.accept",
    "InvalidMessage": "worker.messages",
    "LedgerError": "worker.ledger",
    "MessageStatus": "worker.ledger",
    "Producer": "worker.producer",
    "RecallStatus": "worker.ledger",
    "SendRequest": "worker.delivery.accept",
    "State": "worker.ledger",
    "Text": "worker.messages",
    "UnknownMessage": "worker.producer",
    "UnknownSender": "worker.ledger",
}
__all__ = [
    "IdempotencyConflict",
    "InvalidMessage",
    "LedgerError",
    "MessageStatus",
    "Producer",
    "RecallStatus",
    "SendRequest",
    "State",
    "Text",
    "UnknownMessage",
    "UnknownSender",
]


def __getattr__(name: str) -> object:
    """Load a public name when it is first used: the simulator and the messages need none of the servers' libraries."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
