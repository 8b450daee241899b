"""Tries a sender's credentials once, from this machine."""

from contextlib import closing

from worker.cli.ledger import opened_ledger
from worker.cli.up_lock import beside_local_wecom
from worker.encryption import SecretKeyError, load_key_ring
from worker.providers import open_providers
from worker.providers.base import Answer, Category
from worker.redis_connection import open_redis
from worker.servers import open_servers
from worker.settings import settings


def try_credentials(name: str) -> Answer:
    """Ask the provider whether it accepts a sender's credentials; a refusal of the last seconds is forgotten.

    Returns an answer `UNREACHABLE` where it could not be asked from here, be it for want of a key.

    Raises:
        UnknownSender: there is none of that name.
    """
    chosen = beside_local_wecom(settings())
    try:
        key_ring = load_key_ring(chosen)
        with opened_ledger(with_keys=True) as ledger:
            sender, _ = ledger.senders.open(name)
    except SecretKeyError as error:
        return Answer(Category.UNREACHABLE, reason=str(error))
    with closing(open_redis(open_servers(chosen).redis_url)) as redis:
        provider = open_providers(chosen, redis, key_ring).get(sender.provider)
        if provider is None:
            return Answer(Category.UNREACHABLE, reason=f"this release knows no provider {sender.provider!r}")
        return provider.check(sender, again=True)


def refused(answer: Answer) -> bool:
    """Whether the credentials cannot be used anywhere until a person changes something."""
    return answer.category is Category.CONFIG and not answer.address_refused
