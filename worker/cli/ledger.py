"""The ledger, opened for one command."""

from collections.abc import Iterator
from contextlib import contextmanager

from worker.delivery.default_sender import ensure_default_sender
from worker.encryption import load_key_ring
from worker.ledger import Ledger, open_engine, require_migrated
from worker.servers import embedded_database, open_servers
from worker.settings import settings


@contextmanager
def opened_ledger(*, with_keys: bool = False) -> Iterator[Ledger]:
    """Open the ledger of the settings, with the sender `default` if they make one.

    Args:
        with_keys: credentials will be read or written; without them a missing key is no obstacle.

    Raises:
        SettingsError, EmbeddedError, LedgerError, SecretKeyError: it cannot be used; the text says why.
    """
    chosen = settings()
    makes_default = None not in (chosen.corpid, chosen.corpsecret, chosen.agentid)
    key_ring = load_key_ring(chosen) if with_keys or makes_default else None
    ledger = Ledger(open_engine(open_servers(chosen).database_url, silence_seconds=chosen.silence_seconds), key_ring)
    try:
        require_migrated(ledger.engine, embedded_in=embedded_database(chosen))
        ensure_default_sender(ledger, chosen)
        yield ledger
    finally:
        ledger.engine.dispose()
