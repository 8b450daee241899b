"""Which senders are one app, so that they share its limits."""

from collections.abc import Mapping

from worker.ledger import Senders
from worker.messages.sender import Sender
from worker.providers.base import Provider


class SendersOfApps:
    """Finds out which senders are one app; their providers know by their credentials."""

    def __init__(self, senders: Senders, providers: Mapping[str, Provider]) -> None:
        self._senders = senders
        self._providers = providers

    def of(self, sender: Sender) -> str:
        """Name the app of a sender."""
        return self._providers[sender.provider].app(sender)

    def senders(self, sender: Sender) -> list[str]:
        """Return the names of all senders of the same app whose credentials can be read here."""
        app = self.of(sender)
        others = {other.name for other in self._senders.opened_like(sender) if self.of(other) == app}
        return sorted(others | {sender.name})
