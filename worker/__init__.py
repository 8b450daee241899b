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
    from worker.delivery.accept import (
        IdempotencyConflict,
    )
    from worker.delivery.campaigns import (
        CampaignConflict,
    )
    from worker.delivery.requests import (
        SendRequest,
    )
    from worker.ledger import (
        Campaign,
        HistoryEntry,
        LedgerError,
        MessageStatus,
        PerhapsStored,
        RecallStatus,
        Schedule,
        ScheduleExists,
        State,
        UnknownCampaign,
        UnknownSchedule,
        UnknownSender,
    )
    from worker.messages import (
        ButtonInteraction,
        CardUpdate,
        ContentItem,
        File,
        Image,
        InvalidMessage,
        Markdown,
        MediaFile,
        MiniProgramNotice,
        MpNews,
        MpNewsArticle,
        MultipleInteraction,
        News,
        NewsArticle,
        NewsNotice,
        Text,
        TextCard,
        TextNotice,
        Video,
        Voice,
        VoteInteraction,
    )
    from worker.producer import (
        Producer,
        UnknownMessage,
    )

_NAMES = {
    "worker.delivery.accept": ("IdempotencyConflict",),
    "worker.delivery.campaigns": ("CampaignConflict",),
    "worker.delivery.requests": ("SendRequest",),
    "worker.ledger": (
        "Campaign",
        "HistoryEntry",
        "LedgerError",
        "MessageStatus",
        "PerhapsStored",
        "RecallStatus",
        "Schedule",
        "ScheduleExists",
        "State",
        "UnknownCampaign",
        "UnknownSchedule",
        "UnknownSender",
    ),
    "worker.messages": (
        "ButtonInteraction",
        "CardUpdate",
        "ContentItem",
        "File",
        "Image",
        "InvalidMessage",
        "Markdown",
        "MediaFile",
        "MiniProgramNotice",
        "MpNews",
        "MpNewsArticle",
        "MultipleInteraction",
        "News",
        "NewsArticle",
        "NewsNotice",
        "Text",
        "TextCard",
        "TextNotice",
        "Video",
        "Voice",
        "VoteInteraction",
    ),
    "worker.producer": (
        "Producer",
        "UnknownMessage",
    ),
}
_HOMES = {name: home for home, names in _NAMES.items() for name in names}
__all__ = [
    "ButtonInteraction",
    "Campaign",
    "CampaignConflict",
    "CardUpdate",
    "ContentItem",
    "File",
    "HistoryEntry",
    "IdempotencyConflict",
    "Image",
    "InvalidMessage",
    "LedgerError",
    "Markdown",
    "MediaFile",
    "MessageStatus",
    "MiniProgramNotice",
    "MpNews",
    "MpNewsArticle",
    "MultipleInteraction",
    "News",
    "NewsArticle",
    "NewsNotice",
    "PerhapsStored",
    "Producer",
    "RecallStatus",
    "Schedule",
    "ScheduleExists",
    "SendRequest",
    "State",
    "Text",
    "TextCard",
    "TextNotice",
    "UnknownCampaign",
    "UnknownMessage",
    "UnknownSchedule",
    "UnknownSender",
    "Video",
    "Voice",
    "VoteInteraction",
]


def __getattr__(name: str) -> object:
    """Load a public name when it is first used: the simulator and the messages need none of the servers' libraries."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
