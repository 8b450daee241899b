"""The sender `default`, made by three settings alone."""

from contextlib import suppress

from worker.ledger import Ledger, LedgerError, SenderExists
from worker.messages.sender import Sender
from worker.settings import Settings

DEFAULT = "default"


def ensure_default_sender(ledger: Ledger, settings: Settings) -> None:
    """Make the sender `default` from WECOM_CORPID, WECOM_CORPSECRET and WECOM_AGENTID, or bring it up to date.

    Nothing happens unless all three are set. A changed secret also ends a pause that the old one may have caused.

    Raises:
        LedgerError: `default` belongs to another corp and has messages, which would go out through the wrong one.
    """
    if settings.corpid is None or settings.corpsecret is None or settings.agentid is None:
        return
    credentials = {"corpid": settings.corpid, "corpsecret": settings.corpsecret.get_secret_value()}
    if DEFAULT not in ledger.senders.names():
        with suppress(SenderExists):  # another process was faster
            ledger.senders.add(Sender(DEFAULT, "wecom", settings.agentid, credentials))
    stored, _ = ledger.senders.open(DEFAULT)
    if stored.credentials.get("corpid") != settings.corpid and ledger.history.counts(DEFAULT):
        raise LedgerError(
            f"the sender {DEFAULT!r} here belongs to the corp {stored.credentials.get('corpid')} and has messages; "
            "they must not go out through another. Begin a ledger of its own for WECOM_CORPID: set WECOM_HOME to a "
            "new directory, or name another database"
        )
    if (stored.agentid, dict(stored.credentials)) != (settings.agentid, credentials):
        ledger.senders.replace_credentials(DEFAULT, settings.agentid, credentials)
