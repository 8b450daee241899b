"""What takes over from the ledger while a program is tested; `worker.testing` has the one there is."""

from collections.abc import Iterable, Sequence
from typing import Protocol
from uuid import UUID

from worker.delivery.accept import AcceptanceRules, CheckedRequest
from worker.delivery.campaign_rows import Recipient
from worker.delivery.campaigns import CheckedCampaign
from worker.ledger import Campaign, MessageStatus, RecallStatus


class Capture(Protocol):
    """Takes what producers were asked for, after it was checked and before anything is stored."""

    def accept(self, requests: Sequence[CheckedRequest], rules: AcceptanceRules) -> list[UUID]:
        """Take requests, all or none; see `accept.accept`."""

    def accept_campaign(self, campaign: CheckedCampaign, recipients: Iterable[Recipient]) -> Campaign:
        """Take a campaign whole, or find the one that was taken before; see `campaigns.accept_campaign`."""

    def status(self, message: UUID) -> MessageStatus | None:
        """Return what is known about a message, or None if there is no such message."""

    def recall(self, message: UUID) -> list[RecallStatus]:
        """Take a message and its parts back; return where each stands now, none if there is no such message."""

    def find_campaign(self, name: str, sender: str | None) -> Campaign:
        """Return a campaign, or raise UnknownCampaign."""

    def recall_campaign(self, name: str, sender: str | None) -> Campaign:
        """Take all messages of a campaign back, or raise UnknownCampaign."""
