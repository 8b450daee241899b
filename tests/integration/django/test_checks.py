"""What `manage.py check` says, and what projects can set."""

import io
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.core import checks, mail
from django.core.mail.backends.locmem import EmailBackend
from django.core.management import call_command
from django.db import connection, connections
from django.test import override_settings
from django.test.utils import setup_test_environment, teardown_test_environment
from sqlalchemy import make_url, text

from worker import State, Text
from worker.integrations.django import wecom
from worker.integrations.django.configuration import configured, database_url
from worker.ledger import Ledger
from worker.settings import SettingsError

Project = Callable[..., None]

pytestmark = pytest.mark.usefixtures("project")


def found(databases: list[str] | None = None) -> list[tuple[str | None, str]]:
    return [(one.id, str(one.msg)) for one in checks.run_checks(databases=databases)]


def test_a_project_in_order_has_nothing_to_be_told() -> None:
    assert found(["default"]) == []


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"REDIS_ULR": "redis://h"}, "WECOM: 'REDIS_ULR' is no setting; did you mean 'REDIS_URL'?"),
        ({"WECOM_CHUNK": 5}, "WECOM: 'WECOM_CHUNK' is no setting; did you mean 'CHUNK'?"),
        ({"zzz": 5}, "WECOM: 'zzz' is no setting; docs/settings.md lists them, without the prefix WECOM_"),
        ({"CHUNK": "many"}, "WECOM_CHUNK: must be a whole number"),
        ({"DATABASE": "elsewhere"}, "WECOM: DATABASE names 'elsewhere', which is no Postgres in DATABASES"),
        (
            {"DATABASE": "default", "DATABASE_URL": "postgresql://h/d"},
            "WECOM: DATABASE and DATABASE_URL name two places for the ledger; leave one of them out",
        ),
    ],
)
def test_a_setting_that_cannot_be_used_is_an_error_that_says_what_to_write(
    project: Project, wrong: dict[str, Any], complaint: str
) -> None:
    project(**wrong)
    [(number, words)] = found()
    assert number == "wecom.E001"
    assert words.startswith(complaint)
    with pytest.raises(SettingsError):
        wecom.send("hr", Text(content="hello"), users=["zhangsan"])


def test_a_setting_that_is_no_dict_is_an_error() -> None:
    with override_settings(WECOM=["REDIS_URL"]):
        assert found() == [("wecom.E001", 'WECOM: a dict is needed, like {"REDIS_URL": "redis://..."}, not list')]


def test_a_database_reached_through_psycopg2_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "Database", type("Driver", (), {"__name__": "psycopg2"})())
    assert found() == [
        ("wecom.E002", "the database 'default' is reached through psycopg2, and the ledger needs psycopg 3")
    ]


def test_a_ledger_in_djangos_database_that_django_is_not_told_of_is_a_warning(
    project: Project, database_url: str
) -> None:
    project(DATABASE_URL=database_url)
    [(number, words)] = found()
    assert number == "wecom.W001"
    assert "is in the database 'default', but Django is not told so" in words
    project(DATABASE_URL=make_url(database_url).set(database="another").render_as_string(hide_password=False))
    assert found() == []


def test_missing_tables_are_a_warning_of_the_database_check_and_wecom_migrate_makes_them(ledger: Ledger) -> None:
    with ledger.engine.begin() as own:
        own.execute(text("drop schema wecom cascade"))
    ledger.engine.dispose()
    assert found() == []
    [(number, words)] = found(["default"])
    assert number == "wecom.W002"
    assert "has no tables of wecom-worker yet" in words
    call_command("wecom", "migrate", stdout=io.StringIO())
    assert found(["default"]) == []


def test_missing_tables_are_told_of_also_if_mails_are_kept_in_memory_but_not_in_tests(ledger: Ledger) -> None:
    with ledger.engine.begin() as own:
        own.execute(text("drop schema wecom cascade"))
    ledger.engine.dispose()
    EmailBackend()
    try:
        assert [number for number, _ in found(["default"])] == ["wecom.W002"]
    finally:
        del mail.outbox
    setup_test_environment()
    try:
        assert found(["default"]) == []
    finally:
        teardown_test_environment()


def test_no_migration_is_ever_due() -> None:
    call_command("makemigrations", "--check", "--dry-run", verbosity=0)


def test_what_the_project_leaves_out_comes_from_the_environment(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WECOM_CHUNK", "7")
    monkeypatch.setenv("WECOM_DELIVERIES", "3")
    project(CHUNK=5, MEDIA_HOSTS=["files.example.com"])
    chosen = configured().settings
    assert (chosen.chunk, chosen.deliveries, chosen.media_hosts) == (5, 3, ("files.example.com",))


def test_a_url_in_the_environment_wins_over_the_database_that_is_shared_by_default_but_not_over_a_named_one(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WECOM_DATABASE_URL", "postgresql://elsewhere/ledger")
    project()
    assert configured().alias is None
    project(DATABASE="default")
    assert configured().alias == "default"


def test_a_project_on_sqlite_has_its_ledger_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "vendor", "sqlite")
    assert configured().alias is None


@pytest.mark.parametrize(
    ("asked", "url"),
    [
        (
            {"NAME": "shop", "USER": "me", "PASSWORD": "p@ss/word", "HOST": "db", "PORT": "5433"},
            "postgresql+psycopg://me:p%40ss%2Fword@/shop?client_encoding=UTF8&host=db&port=5433",
        ),
        (
            {"NAME": "shop", "HOST": "/run/pg", "OPTIONS": {"sslmode": "require", "prepare_threshold": 5}},
            "postgresql+psycopg:///shop?client_encoding=UTF8&host=%2Frun%2Fpg&sslmode=require",
        ),
        ({"NAME": "", "OPTIONS": {"service": "shop"}}, "postgresql+psycopg://?client_encoding=UTF8&service=shop"),
    ],
)
def test_the_address_of_the_ledger_is_that_of_djangos_database(asked: dict[str, Any], url: str) -> None:
    before = dict(connection.settings_dict)
    connection.settings_dict.update({"USER": "", "PASSWORD": "", "HOST": "", "PORT": "", "OPTIONS": {}} | asked)
    try:
        address = make_url(database_url("default"))
    finally:
        connection.settings_dict.update(before)
    expected = make_url(url)
    assert (address.set(query={}), dict(address.query)) == (expected.set(query={}), dict(expected.query))


def test_a_setting_that_a_test_overrides_holds_from_then_on() -> None:
    assert wecom.database == "default"
    with override_settings(WECOM={"DATABASE_URL": "postgresql://elsewhere/ledger"}):
        assert wecom.database is None
    assert wecom.database == "default"


@pytest.fixture(autouse=True)
def _connections_are_closed() -> Iterator[None]:
    yield
    connections.close_all()


def test_a_message_is_sent_to_a_database_with_another_alias(project: Project) -> None:
    connections.settings["ledger"] = {**connection.settings_dict}
    try:
        project(DATABASE="ledger")
        assert found(["ledger"]) == []
        message = wecom.send("hr", Text(content="hello"), users=["zhangsan"])
        assert wecom.status(message).state is State.SCHEDULED
    finally:
        connections["ledger"].close()
        del connections["ledger"]
        del connections.settings["ledger"]
