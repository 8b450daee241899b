"""The API families messages can be sent through; a new one is a module and a line in `open_providers`."""

from collections.abc import Callable, Mapping

from redis import Redis

from worker.encryption import KeyRing
from worker.messages.sender import Sender
from worker.providers.base import Provider
from worker.providers.wecom.client import WeComClient
from worker.providers.wecom.provider import WeCom
from worker.providers.wecom.tokens import Tokens
from worker.settings import Settings, SettingsError

CREDENTIAL_NAMES: Mapping[str, tuple[str, ...]] = {"wecom": WeCom.credential_names}
"""What each provider needs to authenticate, in the order in which `wecom senders add` asks for it."""

_APPS: Mapping[str, Callable[[Sender], str]] = {"wecom": WeCom.app}


def same_app(one: Sender, other: Sender) -> bool:
    """Whether two senders with their credentials are one app to their provider."""
    return one.provider == other.provider and _APPS[one.provider](one) == _APPS[other.provider](other)


def open_client(settings: Settings) -> WeComClient:
    """Prepare the connections of this process to WeCom; none is opened yet.

    Raises:
        SettingsError: the certificates in WECOM_CA_BUNDLE cannot be read.
    """
    try:
        return WeComClient(
            settings.api_base_url,
            connections=settings.connections,
            connect_timeout=settings.connect_timeout,
            read_timeout=settings.read_timeout,
            proxy=settings.proxy.get_secret_value() if settings.proxy else None,
            ca_bundle=str(settings.ca_bundle) if settings.ca_bundle else None,
        )
    except OSError as error:  # as ssl.SSLError is one
        raise SettingsError(
            f"WECOM_CA_BUNDLE: {settings.ca_bundle} holds no certificates that can be read ({error.strerror or error})"
        ) from None


def open_providers(settings: Settings, redis: Redis, key_ring: KeyRing) -> Mapping[str, Provider]:
    """Make all providers ready for use by this process; no call is made yet."""
    client = open_client(settings)
    return {"wecom": WeCom(client, Tokens(redis, key_ring, client.slowest_call))}


__all__ = ["CREDENTIAL_NAMES", "open_client", "open_providers", "same_app"]
