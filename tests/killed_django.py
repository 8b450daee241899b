"""A Django project that sends in its transactions; see killed_programs.py."""

import os
from contextlib import suppress

import django
from django.conf import settings
from django.db import connection, transaction
from django_database import of_django
from killed_programs import Attempt, message_of, recipient_of, run

from worker.integrations.django import wecom


class RollBackError(Exception):
    """What makes a transaction roll back."""


def open_program() -> Attempt:
    def attempt(number: int, commits: bool) -> None:  # noqa: FBT001 - as every program is called
        with suppress(RollBackError), transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("insert into orders values (%s)", [number])
            wecom.send("hr", message_of(number), users=[recipient_of(number)])
            if not commits:
                raise RollBackError

    return attempt


if __name__ == "__main__":
    settings.configure(
        DATABASES={"default": of_django(os.environ["WECOM_DATABASE_URL"])},
        INSTALLED_APPS=["worker.integrations.django"],
        WECOM={"DATABASE": "default"},
    )
    django.setup()
    run(open_program)
