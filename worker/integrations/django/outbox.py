"""What a Django project asked to send while it is tested."""

from collections.abc import Iterable, Sequence
from functools import partial
from uuid import UUID

from django.db import connections, transaction

from worker.delivery.accept import AcceptanceRules, CheckedRequest
from worker.delivery.campaigns import CheckedCampaign, Recipient
from worker.ledger import Campaign
from worker.testing import CapturedCampaign, CapturedMessage, Outbox


class ProjectOutbox(Outbox):
    """Everything that was asked for; `committed` is what of it would go out, without what was rolled back."""

    def __init__(self, alias: str) -> None:
        super().__init__()
        self.committed: list[CapturedMessage | CapturedCampaign] = []
        self._alias = alias

    def accept(self, requests: Sequence[CheckedRequest], rules: AcceptanceRules) -> list[UUID]:
        """Keep requests, all or none, and return their ids."""
        before = len(self)
        ids = super().accept(requests, rules)
        self._after_commit(self[before:])
        return ids

    def accept_campaign(self, campaign: CheckedCampaign, recipients: Iterable[Recipient]) -> Campaign:
        """Keep a campaign, or find the one that was kept before."""
        before = len(self)
        progress = super().accept_campaign(campaign, recipients)
        self._after_commit(self[before:])
        return progress

    def _after_commit(self, new: list[CapturedMessage | CapturedCampaign]) -> None:
        if connections[self._alias].in_atomic_block:
            transaction.on_commit(partial(self.committed.extend, new), using=self._alias)
        else:
            self.committed.extend(new)
