"""What a Django project asked to send while it is tested."""

import sys
from collections.abc import Iterable, Sequence
from functools import partial
from uuid import UUID

from django.db import connections, transaction

from worker.delivery.accept import AcceptanceRules, CheckedRequest
from worker.delivery.campaign_rows import Recipient
from worker.delivery.campaigns import CheckedCampaign
from worker.ledger import Campaign
from worker.testing import CapturedCampaign, CapturedMessage, Outbox


def in_test_environment() -> bool:
    """Whether Django runs tests in this process: what is sent is captured then."""
    # Django has no public word for it; this is what setup_test_environment leaves until teardown_test_environment.
    # `mail.outbox` is none: the locmem backend makes one in any process, and there messages would be lost.
    # Who runs tests has imported the module; it is large, so others need not.
    state = getattr(sys.modules.get("django.test.utils"), "_TestState", None)
    return hasattr(state, "saved_data")


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
