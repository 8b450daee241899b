"""Tables of the ledger as Django reads them, for the admin pages; nothing is ever written through these.

The app has no migrations: `manage.py wecom migrate` makes the tables.
"""

from typing import Any, ClassVar

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper

from worker.integrations.django import wecom
from worker.ledger import State


class TextArray(models.Field):
    """A column `text[]`, only read; Django's own ArrayField would need another app to be installed."""

    def db_type(self, connection: BaseDatabaseWrapper) -> str:  # noqa: ARG002 - Django's interface
        """Name the type in Postgres."""
        return "text[]"


class LedgerManager(models.Manager[Any]):
    """Reads where the ledger is."""

    def get_queryset(self) -> models.QuerySet[Any]:
        """Begin a query in the database of the ledger."""
        return super().get_queryset().using(wecom.database)


class Sender(models.Model):
    """An identity that can send; its credentials are none of Django's business."""

    name = models.TextField(primary_key=True)

    objects = LedgerManager()

    class Meta:
        """Where it is stored."""

        managed = False
        db_table = '"wecom"."senders"'
        default_permissions = ()
        ordering: ClassVar = ["name"]

    def __str__(self) -> str:
        return str(self.name)


class Campaign(models.Model):
    """A named set of messages with one purpose."""

    sender_id: str
    id = models.UUIDField(primary_key=True)
    sender = models.ForeignKey(Sender, models.DO_NOTHING, db_column="sender", db_constraint=False, related_name="+")
    name = models.TextField()
    body = models.JSONField("message")
    messages = models.IntegerField()
    recipients = models.IntegerField()
    duplicates = models.IntegerField()
    requested_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    paused_reason = models.TextField()
    cancelled_at = models.DateTimeField()
    created_at = models.DateTimeField()

    objects = LedgerManager()

    class Meta:
        """Where it is stored, and what a person may be allowed."""

        managed = False
        db_table = '"wecom"."campaigns"'
        default_permissions = ("view",)
        permissions: ClassVar = [
            ("recall_campaign", "Can recall campaign"),
            ("retry_campaign", "Can retry failed messages of campaign"),
            ("pause_campaign", "Can pause and resume campaign"),
        ]

    def __str__(self) -> str:
        return str(self.name)


class Message(models.Model):
    """One API call: whom it names, what it says, when it is due, what became of it."""

    sender_id: str
    id = models.UUIDField(primary_key=True)
    part_of = models.UUIDField()
    sender = models.ForeignKey(Sender, models.DO_NOTHING, db_column="sender", db_constraint=False, related_name="+")
    campaign = models.ForeignKey(
        Campaign, models.DO_NOTHING, db_column="campaign", db_constraint=False, null=True, related_name="+"
    )
    state = models.TextField(choices=[(state.value, state.value) for state in State])
    requested_at = models.DateTimeField()
    send_at = models.DateTimeField("due at")
    expires_at = models.DateTimeField()
    touser = TextArray("members")
    toparty = TextArray("departments")
    totag = TextArray("tags")
    body = models.JSONField("message")
    msgid = models.TextField()
    errcode = models.IntegerField()
    error = models.TextField()
    sent_at = models.DateTimeField()
    recall_requested_at = models.DateTimeField()
    recalled_at = models.DateTimeField()
    recall_error = models.TextField()

    objects = LedgerManager()

    class Meta:
        """Where it is stored, and what a person may be allowed."""

        managed = False
        db_table = '"wecom"."messages"'
        default_permissions = ("view",)
        permissions: ClassVar = [
            ("recall_message", "Can recall message"),
            ("retry_message", "Can retry failed message"),
        ]

    def __str__(self) -> str:
        return str(self.pk)
