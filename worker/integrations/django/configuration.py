"""Which settings a Django project gives wecom-worker, and which database holds its ledger."""

from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from django.conf import settings as django_settings
from django.db import DEFAULT_DB_ALIAS, connections
from django.utils.connection import ConnectionDoesNotExist
from sqlalchemy import URL

from worker.settings import Settings, SettingsError, load_settings

OWN_NAMES = frozenset({"DATABASE", "OUTBOX_IN_TESTS"})
"""Names in `WECOM` that only Django projects have."""
PSYCOPG_OPTIONS = frozenset({"autocommit", "context", "cursor_factory", "prepare_threshold", "row_factory"})
"""Options of a connection that libpq does not know; the ledger has its own."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """What a Django project has set.

    Attributes:
        settings: the settings of wecom-worker.
        alias: the database of Django that holds the ledger too; None if the ledger is elsewhere.
        outbox_in_tests: whether what is sent in Django's test environment goes to `wecom.outbox` alone.
    """

    settings: Settings
    alias: str | None
    outbox_in_tests: bool


def configured() -> Configuration:
    """Read the setting `WECOM`; what it leaves out comes from the variables `WECOM_*`.

    The ledger is in the database of Django that `DATABASE` names, or in the server of `DATABASE_URL`. Without
    either it is in the database `default` if that is Postgres.

    Raises:
        SettingsError: one line naming what cannot be used, and what it must be.
    """
    given = project_settings()
    own = {name: given.pop(name) for name in OWN_NAMES & given.keys()}
    chosen = load_settings(**{name.lower(): value for name, value in given.items()})
    alias = own.get("DATABASE")
    if alias is not None and given.get("DATABASE_URL") is not None:
        raise SettingsError("WECOM: DATABASE and DATABASE_URL name two places for the ledger; leave one of them out")
    if alias is None and chosen.database_url is None and _is_postgres(DEFAULT_DB_ALIAS):
        alias = DEFAULT_DB_ALIAS
    if alias is not None:
        given["DATABASE_URL"] = database_url(alias)
        chosen = load_settings(**{name.lower(): value for name, value in given.items()})
    return Configuration(chosen, alias, own.get("OUTBOX_IN_TESTS", True))


def project_settings() -> dict[str, Any]:
    """Return the setting `WECOM` as it stands.

    Raises:
        SettingsError: it holds something that is no setting.
    """
    given = getattr(django_settings, "WECOM", {})
    if not isinstance(given, dict):
        raise SettingsError(f'WECOM: a dict is needed, like {{"REDIS_URL": "redis://..."}}, not {type(given).__name__}')
    known = OWN_NAMES | {name.upper() for name in Settings.model_fields}
    for name in given:
        if name not in known:
            raise SettingsError(f"WECOM: {name!r} is no setting{_nearest(name, known)}")
    return dict(given)


def database_url(alias: str) -> str:
    """Write how Django reaches a database as a URL.

    Raises:
        SettingsError: there is no such database, or it is no Postgres.
    """
    if not _is_postgres(alias):
        raise SettingsError(
            f"WECOM: DATABASE names {alias!r}, which is no Postgres in DATABASES; name one that is, or leave "
            "DATABASE out and set DATABASE_URL to the ledger's own Postgres"
        )
    asked = connections[alias].get_connection_params()
    query = {name: str(value) for name, value in asked.items() if name not in PSYCOPG_OPTIONS}
    user, password, database = (query.pop(name, None) for name in ("user", "password", "dbname"))
    # The rest stands in the query, where a host may be a directory of sockets, or several hosts.
    url = URL.create("postgresql+psycopg", user, password, database=database, query=query)
    return url.render_as_string(hide_password=False)


def _is_postgres(alias: str) -> bool:
    try:
        return connections[alias].vendor == "postgresql"
    except ConnectionDoesNotExist:
        return False


def _nearest(name: object, known: frozenset[str]) -> str:
    near = get_close_matches(str(name).upper().removeprefix("WECOM_"), known, n=1)
    return f"; did you mean {near[0]!r}?" if near else "; docs/settings.md lists them, without the prefix WECOM_"
