"""Pauses a campaign of which too many messages fail, before the rest of it fails too."""

import logging
import threading
import time
from collections.abc import Iterable
from uuid import UUID

from worker.ledger import Campaigns

log = logging.getLogger(__name__)

LEAST_SETTLED = 50
"""Before so many messages are settled, a share says little."""
REST = 20
"""After a look at a campaign that took a second there is none for so many seconds: watching stays cheap at any size."""
MOST_REMEMBERED = 1000


class CampaignWatch:
    """Looks at campaigns whose messages fail; safe to use from many threads.

    `share` is the part of the settled messages that may not fail; 0 turns the watch off.
    """

    def __init__(self, campaigns: Campaigns, share: float) -> None:
        self._campaigns = campaigns
        self._share = share
        self._resting_until: dict[UUID, float] = {}
        self._lock = threading.Lock()

    def messages_failed(self, campaigns: Iterable[UUID]) -> None:
        """Pause those campaigns of which too many messages have failed."""
        if not self._share:
            return
        for campaign in campaigns:
            begin = time.monotonic()
            with self._lock:
                if begin < self._resting_until.get(campaign, 0):
                    continue
            reason = self._campaigns.pause_if_too_many_failed(campaign, self._share, LEAST_SETTLED)
            if reason is not None:
                log.error("the campaign %s is paused: %s", campaign, reason)
            end = time.monotonic()
            with self._lock:
                if len(self._resting_until) >= MOST_REMEMBERED:
                    self._resting_until.clear()
                self._resting_until[campaign] = end + REST * (end - begin)
