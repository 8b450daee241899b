"""The settings of the shop, which runs on this machine alone."""

import os
from pathlib import Path

from sqlalchemy import make_url

from worker.servers import open_servers

os.environ.setdefault("WECOM_HOME", str(Path(__file__).resolve().parents[3] / ".wecom-example-django"))

# A real project names its Postgres here; this one uses the embedded one, which is started if it does not run.
address = make_url(open_servers().database_url)
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": address.database,
        "USER": address.username,
        "HOST": address.query["host"],
        "PORT": address.query["port"],
    }
}

# The ledger shares the database, so orders and messages share transactions. The rest comes from the environment.
WECOM = {"DATABASE": "default"}

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "worker.integrations.django",
    "shop",
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
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
]
ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
DEBUG = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
ROOT_URLCONF = "shop.urls"
SECRET_KEY = "of an example"  # noqa: S105 - it guards nothing
STATIC_URL = "static/"
TIME_ZONE = "Asia/Shanghai"
USE_TZ = True
