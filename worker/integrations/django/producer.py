"""The producer of a Django project: it takes part in Django's transactions."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import cached_property, partial
from typing import Any, overload
from uuid import UUID

from django.core import mail
from django.db import DEFAULT_DB_ALIAS, connections, transaction
from sqlalchemy import Connection

from worker.delivery.accept import CheckedRequest, check, due_time, end_time
from worker.delivery.campaign_rows import Recipient
from worker.delivery.capture import Capture
from worker.delivery.office import acceptance_rules
from worker.delivery.requests import SendRequest
from worker.integrations.django.configuration import Configuration, configured
from worker.integrations.django.outbox import ProjectOutbox, in_test_environment
from worker.ledger import Campaign, InDoubt, LedgerError, RecallStatus, Transaction
from worker.messages import CardUpdate, Content
from worker.producer import Producer, message_uuid
from worker.producer_ledger import Result
from worker.producer_servers import ProducerServers
from worker.testing import CapturedCampaign, CapturedMessage


class DjangoProducer(Producer):
    """A `Producer` with the settings of the Django project.

    Inside `transaction.atomic()` of the database that holds the ledger, what is sent, recalled or updated is part of
    the transaction. If the ledger is elsewhere, it is checked at once and done after the commit. What is named by
    a campaign's name (`recall(campaign=...)`, `pause_campaign` and their like) is always done at once.
    """

    def __init__(self) -> None:  # the settings are read when something is sent first
        self._of_mails: list[Any] | None = None
        self._kept: ProjectOutbox | None = None

    def send_many(self, requests: Iterable[SendRequest], *, connection: Transaction | None = None) -> list[UUID]:
        """Store many messages, all or none, and return their ids in order; see `Producer.send_many`."""
        if connection is not None or not self._deferred():
            return super().send_many(requests, connection=connection)
        rules = acceptance_rules(self._settings)
        asked = [_judged_now(check(request, rules)) for request in requests]
        self._after_commit(partial(self._store, asked, rules, None))
        return [checked.id for checked in asked]

    @overload
    def recall(self, message_id: UUID | str, *, connection: Transaction | None = None) -> list[RecallStatus]: ...

    @overload
    def recall(self, *, campaign: str, sender: str | None = None) -> Campaign: ...

    def recall(
        self,
        message_id: UUID | str | None = None,
        *,
        campaign: str | None = None,
        sender: str | None = None,
        connection: Transaction | None = None,
    ) -> list[RecallStatus] | Campaign:
        """Take a message back, or a campaign; see `Producer.recall`.

        What is done after the commit only has no status yet: then the list is empty.
        """
        if campaign is not None:
            return super().recall(campaign=campaign, sender=sender)
        if message_id is not None and connection is None and self._deferred():
            self._after_commit(partial(super().recall, message_uuid(message_id)))
            return []
        return super().recall(message_id or "", connection=connection)

    def retry(self, message_id: UUID | str, *, connection: Transaction | None = None) -> bool:
        """Have a failed message sent again; see `Producer.retry`. What is done after the commit only counts as done."""
        if connection is not None or not self._deferred():
            return super().retry(message_id, connection=connection)
        self._after_commit(partial(super().retry, message_uuid(message_id)))
        return True

    def update_card(self, message_id: UUID | str, update: CardUpdate, *, connection: Transaction | None = None) -> None:
        """Change a card that was sent, once; see `Producer.update_card`."""
        if connection is not None or not self._deferred():
            super().update_card(message_id, update, connection=connection)
        else:
            self._after_commit(partial(super().update_card, message_uuid(message_id), update))

    def campaign(
        self,
        name: str,
        *,
        sender: str,
        message: Content | Mapping[str, Any],
        recipients: Iterable[Recipient],
        at: datetime | None = None,
        expires: datetime | None = None,
        urgent: bool = False,
        connection: Transaction | None = None,
    ) -> Campaign:
        """Store a message to many members, all or none; see `Producer.campaign`.

        Raises:
            LedgerError: also inside `transaction.atomic()` if the ledger is in another database: recipients are read
                once and never kept, so it cannot wait for the commit.
        """
        if connection is None and self._deferred():
            raise LedgerError(
                "a campaign cannot wait for the commit of another database: make it after the transaction, or share "
                'the database with the ledger (WECOM = {"DATABASE": ...}, see docs/django.md)'
            )
        return super().campaign(
            name,
            sender=sender,
            message=message,
            recipients=recipients,
            at=at,
            expires=expires,
            urgent=urgent,
            connection=connection,
        )

    def close(self) -> None:
        """Close the connections and forget the settings; both are there again if the producer is used again."""
        servers = self.__dict__.pop("_project_servers", None)
        if servers is not None:
            servers.close()
        self.__dict__.pop("_configured", None)

    @property
    def capture(self) -> Capture | None:  # type: ignore[override] # nobody sets it on an instance
        """Takes what is asked for in place of the ledger: `captured()`, or in Django's test environment the outbox."""
        if Producer.capture is not None:
            return Producer.capture
        return self._test_outbox() if self._configured.outbox_in_tests else None

    @property
    def database(self) -> str | None:
        """The alias of the database of Django that holds the ledger too; None if the ledger is elsewhere."""
        return self._configured.alias

    @property
    def outbox(self) -> list[CapturedMessage | CapturedCampaign]:
        """What would go out, in tests run by Django; each test begins with an empty list.

        Raises:
            AttributeError: this is no test.
        """
        kept = self._test_outbox()
        if kept is None:
            raise AttributeError("there is an outbox only in Django's test environment, see docs/django.md")
        return kept.committed

    def _test_outbox(self) -> ProjectOutbox | None:
        """Return the outbox of the running test; Django begins each test with a new outbox for mails, and so do we."""
        if not in_test_environment():
            return None
        mails = getattr(mail, "outbox", None)
        if self._kept is None or self._of_mails is not mails:
            self._of_mails, self._kept = mails, ProjectOutbox(self.database or DEFAULT_DB_ALIAS)
        return self._kept

    @cached_property
    def _configured(self) -> Configuration:
        return configured()

    @cached_property
    def _project_servers(self) -> ProducerServers:
        return ProducerServers(self._configured.settings)

    @property
    def _servers(self) -> ProducerServers:
        return self._project_servers

    def _transact(
        self,
        step: Callable[[Connection], Result],
        callers: Transaction | None,
        in_doubt: InDoubt,
        *,
        look: Callable[[Connection], Result] | None = None,
        asked_before: bool = False,
    ) -> Result:
        """Carry a step out in the transaction Django has begun, or in one of our own."""
        if callers is None and self._joined():
            django = connections[self.database or DEFAULT_DB_ALIAS]
            django.ensure_connection()
            callers = django.connection
        return super()._transact(step, callers, in_doubt, look=look, asked_before=asked_before)

    def _ring(self, sender: str, callers: Transaction | None, times: int = 1) -> None:
        """Ring now, or once Django has committed."""
        if callers is not None or not self._joined():
            super()._ring(sender, callers, times)
            return
        alias = self.database or DEFAULT_DB_ALIAS
        if connections[alias].in_atomic_block:  # otherwise Django is not told of the commit; the dispatcher finds it
            transaction.on_commit(partial(self._bell.ring, sender, times), using=alias)

    def _joined(self) -> bool:
        """Whether Django has begun a transaction in the database of the ledger."""
        alias = self.database
        return alias is not None and _in_transaction(alias)

    def _deferred(self) -> bool:
        """Whether Django has begun a transaction in its database, and the ledger is in another."""
        return not self._joined() and connections[DEFAULT_DB_ALIAS].in_atomic_block and self.capture is None

    def _after_commit(self, act: Callable[[], object]) -> None:
        """Act once Django has committed; what fails then is logged by Django as an error."""

        def act_after_commit() -> None:  # Django names it in its log, so it needs a name
            act()

        transaction.on_commit(act_after_commit, robust=True)


def _in_transaction(alias: str) -> bool:
    django = connections[alias]
    # get_autocommit() would connect, and a process that only sends needs no connection of Django's.
    autocommit = django.settings_dict["AUTOCOMMIT"] if django.connection is None else django.autocommit
    return django.in_atomic_block or not autocommit


def _judged_now(checked: CheckedRequest) -> CheckedRequest:
    """Judge the times of a request that waits for a commit: afterwards nobody is there to be told.

    Raises:
        InvalidMessage: it is due or expires in the past.
    """
    request = checked.request
    end_time(request.expires, due_time(request.at, datetime.now(UTC), late_is_now=request.late_is_now))
    return replace(checked, request=replace(request, late_is_now=True))
