"""A sender: an identity that can send, known by a short name."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Sender:
    """One sender, as a worker needs it.

    Attributes:
        name: its short name (`hr-notices`), unique in a ledger.
        provider: the API family it sends through (`wecom`).
        agentid: the app's id, for providers that have one.
        credentials: what the provider needs to authenticate; never part of the representation.
        account_cap: the corp's account cap; WeCom admits 200 times as many person-times a day (doc 90312).
        paused_reason: why it does not send, or None.
        paused_until: when the pause ends by itself; None means when somebody resumes it.
        calls_per_minute: its own limit of calls in any 60 s, or None.
        calls_at_once: its own limit of calls under way at once, over all processes, or None.
        park_seconds: how long its last parking lasted, 0 once it sends again; the next one lasts twice as long.
    """

    name: str
    provider: str
    agentid: int | None = None
    credentials: Mapping[str, str] = field(default_factory=dict, repr=False)
    account_cap: int | None = None
    calls_per_minute: int | None = None
    calls_at_once: int | None = None
    paused_reason: str | None = None
    paused_until: datetime | None = None
    park_seconds: int = 0

    def paused(self, now: datetime) -> bool:
        """Whether it may not send at this moment."""
        return self.paused_reason is not None and (self.paused_until is None or self.paused_until > now)

    @property
    def stopped(self) -> bool:
        """Whether it is paused until somebody resumes it, with its recalls and card updates."""
        return self.paused_reason is not None and self.paused_until is None
