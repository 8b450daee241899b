"""System checks: what would keep a project from sending, and what to do about it (`manage.py check`)."""

from collections.abc import Sequence
from typing import Any

from django.apps import AppConfig
from django.core import checks
from django.db import connections
from sqlalchemy import make_url
from sqlalchemy.exc import ArgumentError

from worker.integrations.django.configuration import configured
from worker.integrations.django.outbox import in_test_environment
from worker.ledger import LedgerError, open_engine, require_migrated
from worker.settings import SettingsError

MIGRATE = "run `manage.py wecom migrate`"


@checks.register("wecom")
def check_settings(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[checks.CheckMessage]:  # noqa: ANN401 - Django's interface
    """Check that the settings can be used, and that the ledger shares the database it could share."""
    del app_configs
    try:
        chosen = configured()
    except SettingsError as error:
        return [checks.Error(str(error), hint="docs/django.md tells about the setting WECOM", id="wecom.E001")]
    if chosen.alias is not None:
        database: Any = connections[chosen.alias]
        driver = database.Database.__name__
        if driver != "psycopg":
            return [
                checks.Error(
                    f"the database {chosen.alias!r} is reached through {driver}, and the ledger needs psycopg 3",
                    hint="install psycopg 3 (`pip install 'psycopg[binary]'`), or choose an ENGINE that uses it",
                    id="wecom.E002",
                )
            ]
        return []
    url = chosen.settings.database_url
    alias = _same_database(url.get_secret_value()) if url else None
    if alias is None:
        return []
    return [
        checks.Warning(
            f"the ledger is in the database {alias!r}, but Django is not told so: a crash between commit and send "
            "loses what is sent in a transaction",
            hint=f'in WECOM, put "DATABASE": "{alias}" in the place of DATABASE_URL',
            id="wecom.W001",
        )
    ]


@checks.register(checks.Tags.database)
def check_tables(
    app_configs: Sequence[AppConfig] | None,
    databases: Sequence[str] | None = None,
    **_: Any,  # noqa: ANN401 - Django's interface
) -> list[checks.CheckMessage]:
    """Check that the ledger can be reached and has its tables (`manage.py check --database default`)."""
    del app_configs
    try:
        chosen = configured()
    except SettingsError:
        return []  # the other check says so
    # A test run captures what is sent, and has no ledger.
    captured = in_test_environment() and chosen.outbox_in_tests
    if (
        chosen.alias is None
        or chosen.alias not in (databases or ())
        or captured
        or chosen.settings.database_url is None
    ):
        return []
    engine = open_engine(chosen.settings.database_url.get_secret_value())
    try:
        require_migrated(engine)
    except LedgerError as error:
        return [checks.Warning(str(error), hint=MIGRATE, id="wecom.W002")]
    finally:
        engine.dispose()
    return []


def _same_database(url: str) -> str | None:
    """Return which of Django's databases a URL names, judged by its words alone."""
    try:
        named = make_url(url)
    except (ArgumentError, ValueError):
        return None
    for alias in connections:
        asked = connections[alias].settings_dict
        of_django = (asked["NAME"], asked["HOST"] or "localhost", str(asked["PORT"] or 5432))
        of_ledger = (named.database, named.host or named.query.get("host", "localhost"), str(named.port or 5432))
        if connections[alias].vendor == "postgresql" and of_django == of_ledger:
            return alias
    return None
