"""Encrypts what must not be readable in Postgres, in Redis, or in a backup of either."""

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import orjson
from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from worker.settings import Settings

KEY_FILE = "secret.key"


class SecretKeyError(Exception):
    """The keys are missing, malformed, or not those the value was encrypted with; the text says what to do."""


class KeyRing:
    """Fernet keys: the first encrypts, all decrypt, so that keys can be changed without a pause."""

    def __init__(self, keys: list[str]) -> None:
        try:
            self._fernet = MultiFernet([Fernet(key) for key in keys])
        except ValueError:
            raise SecretKeyError(
                "WECOM_SECRET_KEYS holds something that is no Fernet key: each is 32 bytes in URL-safe base64 "
                "(44 characters), separated by commas; make one with `wecom secrets generate`"
            ) from None

    def encrypt(self, values: Mapping[str, object]) -> bytes:
        """Encrypt a JSON object."""
        return self._fernet.encrypt(orjson.dumps(values))

    def decrypt(self, encrypted: bytes) -> dict[str, str]:
        """Decrypt what `encrypt` made.

        Raises:
            SecretKeyError: none of the keys fits.
        """
        try:
            values: dict[str, str] = orjson.loads(self._fernet.decrypt(encrypted))
        except InvalidToken:
            raise SecretKeyError(
                "the stored credentials were encrypted with another key: put the key in use then into "
                "WECOM_SECRET_KEYS (several are allowed, the newest first), or add the sender again"
            ) from None
        return values


def load_key_ring(settings: Settings) -> KeyRing:
    """Take the keys from WECOM_SECRET_KEYS or, with the embedded Postgres, from a file made on first use.

    Raises:
        SecretKeyError: a Postgres of one's own is named but no key.
    """
    if settings.secret_keys is not None:
        keys = [key.strip() for key in settings.secret_keys.get_secret_value().split(",")]
        return KeyRing([key for key in keys if key])
    if settings.database_url is not None:
        raise SecretKeyError(
            "WECOM_SECRET_KEYS is not set: credentials in your own Postgres are encrypted with a key only you hold; "
            "make one with `wecom secrets generate` and keep it apart from the database"
        )
    return KeyRing([_key_of(settings.home)])


def _key_of(home: Path) -> str:
    """Read the key kept beside the embedded servers, making it first if need be; only its owner can read it."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = home / KEY_FILE
    made = home / f"{KEY_FILE}.{os.getpid()}"
    if not path.exists():
        descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(Fernet.generate_key())
        # A link appears whole or not at all: of several processes that start at once, one key wins.
        with suppress(FileExistsError):
            path.hardlink_to(made)
        made.unlink()
    return path.read_text().strip()
