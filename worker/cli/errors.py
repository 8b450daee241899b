"""The errors a person can act upon, each in one line; the rest are faults of this program and keep their traceback."""

import click
from kombu.exceptions import OperationalError as BrokerError
from psycopg.errors import InsufficientPrivilege
from redis import RedisError
from sqlalchemy.exc import DBAPIError, OperationalError

from worker.embedded import EmbeddedError
from worker.encryption import SecretKeyError
from worker.ledger import LedgerError, PerhapsStored, unreachable
from worker.messages import InvalidMessage
from worker.settings import SettingsError

SPEAKS_FOR_ITSELF = (SettingsError, LedgerError, SecretKeyError, EmbeddedError, InvalidMessage)


class InDoubtError(click.ClickException):
    """Nobody knows whether a command did what it was asked for; 2 is click's own exit status, for wrong usage."""

    exit_code = 3


def in_words(error: Exception) -> click.ClickException | None:
    """Return what ends a command with one line and an exit status; None for an error nobody foresaw."""
    sentence = in_one_line(error)
    if sentence is None:
        return None
    return InDoubtError(sentence) if isinstance(error, PerhapsStored) else click.ClickException(sentence)


def in_one_line(error: Exception) -> str | None:
    """Say what is wrong and what to do, without secrets; None for an error nobody foresaw."""
    sentence = _sentence(error)
    return None if sentence is None else " ".join(sentence.split())


def _sentence(error: Exception) -> str | None:
    if isinstance(error, SPEAKS_FOR_ITSELF):
        return str(error)
    if isinstance(error, OperationalError):
        return unreachable(error)
    if isinstance(error, DBAPIError) and isinstance(error.orig, InsufficientPrivilege):
        refusal = str(error.orig).strip().splitlines()[0]
        return f"Postgres refused: {refusal}; grant it to the user in WECOM_DATABASE_URL, or name another user there"
    if isinstance(error, RedisError):
        return f"Redis cannot be used ({error}); check WECOM_REDIS_URL and that the server runs"
    if isinstance(error, BrokerError):
        return f"the broker cannot be reached ({error}); check WECOM_BROKER_URL and that the server runs"
    return None
