"""A Django project in this very process: its database is that of the test, and holds the ledger too.

Django is configured once a process; what a test changes are the address of the database and the setting WECOM.
"""

from collections.abc import Callable, Iterator
from uuid import uuid4

import django
import pytest
from django.conf import settings
from django.core.management import call_command
from django.db import connection
from django_database import of_django
from sqlalchemy import Engine, text

from worker.integrations.django import wecom

if not settings.configured:
    settings.configure(
        SECRET_KEY="of tests",
        ALLOWED_HOSTS=["testserver"],
        DATABASES={"default": {"ENGINE": "django.db.backends.postgresql", "NAME": "each test names its own"}},
        INSTALLED_APPS=[
            "django.contrib.admin",
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "django.contrib.sessions",
            "django.contrib.messages",
            "worker.integrations.django",
        ],
        MIDDLEWARE=[
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
            "django.contrib.messages.middleware.MessageMiddleware",
        ],
        TEMPLATES=[
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "APP_DIRS": True,
                "OPTIONS": {
                    "context_processors": [
                        "django.template.context_processors.request",
                        "django.contrib.auth.context_processors.auth",
                        "django.contrib.messages.context_processors.messages",
                    ]
                },
            }
        ],
        PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
        ROOT_URLCONF="project_urls",
        USE_TZ=True,
        WECOM={},
    )
    django.setup()


def use_database(url: str) -> None:
    """Point Django's database to another server."""
    connection.close()
    connection.settings_dict.update(of_django(url))


@pytest.fixture(scope="session")
def template_of_project(template: Engine) -> Iterator[str]:
    """The name of a database with Django's tables and ours."""
    name = f"wecom_test_project_{uuid4().hex[:8]}"
    with template.connect() as administration:
        copied = template.get_execution_options()["template"]
        administration.execute(text(f"create database {name} template {copied}"))
    use_database(template.url.set(database=name).render_as_string(hide_password=False))
    call_command("migrate", verbosity=0)
    connection.close()
    yield name
    with template.connect() as administration:
        administration.execute(text(f"drop database {name} with (force)"))


@pytest.fixture
def database_url(template: Engine, template_of_project: str) -> Iterator[str]:
    """The URL of a database of this test's own, with Django's tables too; Django is connected to it."""
    name = f"wecom_test_{uuid4().hex[:12]}"
    with template.connect() as administration:
        administration.execute(text(f"create database {name} template {template_of_project} strategy file_copy"))
    url = template.url.set(database=name).render_as_string(hide_password=False)
    use_database(url)
    yield url
    connection.close()
    with template.connect() as administration:
        administration.execute(text(f"drop database {name} with (force)"))


@pytest.fixture
def project(environment: dict[str, str], ledger: object) -> Iterator[Callable[..., None]]:
    """Give the project other settings: `project(DATABASE_URL=...)`. At first it shares its database with the ledger."""
    del ledger
    base = {name.removeprefix("WECOM_"): value for name, value in environment.items() if name != "WECOM_DATABASE_URL"}

    def project(**changes: object) -> None:
        settings.WECOM = base | changes
        wecom.close()

    project()
    yield project
    wecom.close()
    settings.WECOM = {}
