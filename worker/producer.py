"""What Django, Flask and plain Python programs call."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar, overload
from uuid import UUID

from sqlalchemy import Connection

from worker.delivery.accept import Acceptance, AcceptanceRules, CheckedRequest, check
from worker.delivery.campaign_doubt import find_written
from worker.delivery.campaign_rows import Recipient
from worker.delivery.campaigns import (
    CampaignRequest,
    CheckedCampaign,
    Rehearsal,
    accept_campaign,
    check_campaign,
    rehearse,
)
from worker.delivery.card_update import UpdateRequest
from worker.delivery.office import acceptance_rules
from worker.delivery.requests import SendRequest
from worker.ledger import (
    Campaign,
    HistoryEntry,
    InDoubt,
    LedgerError,
    MessageStatus,
    RecallStatus,
    Retry,
    Transaction,
)
from worker.messages import CardUpdate, Content
from worker.producer_ledger import ProducerLedger
from worker.schedules import PAUSED_BY_HAND, Schedules

Result = TypeVar("Result")


class UnknownMessage(LedgerError):  # noqa: N818 - what a producer reads
    """No message has this id."""


class Producer(ProducerLedger):
    """Hands messages over to the workers; keep one for the life of the program, it is safe to use from threads.

    Without arguments the servers are those of the settings (`WECOM_DATABASE_URL`, `WECOM_REDIS_URL`,
    `WECOM_BROKER_URL`). A producer needs no secret key: it never reads credentials.
    """

    def send(
        self,
        sender: str,
        message: Content,
        *,
        users: Iterable[str] = (),
        parties: Iterable[int | str] = (),
        tags: Iterable[int | str] = (),
        everyone: bool = False,
        at: datetime | None = None,
        expires: datetime | None = None,
        urgent: bool = False,
        idempotency_key: str | None = None,
        message_id: UUID | None = None,
        connection: Transaction | None = None,
    ) -> UUID:
        """Store one message for delivery and return its id; see `SendRequest` for the arguments.

        With `connection`, a SQLAlchemy Session or Connection or a psycopg connection, the message becomes part of the
        caller's transaction: it goes out after the commit, and after a roll-back it never existed.

        Raises:
            InvalidMessage: the message cannot be sent; the text says why.
            IdempotencyConflict: the key, or `message_id`, stands for another message.
            UnknownSender: there is no such sender.
            PerhapsStored: Postgres was asked to commit, and nobody knows whether it did; its `ids` are the message's
                id. Send it again with that as `message_id`: nothing is stored twice.
            LedgerError: Postgres cannot be reached or has no tables yet, or `connection` has no transaction that
                could be joined. Nothing was stored.
        """
        request = SendRequest(
            sender,
            message,
            users,
            parties,
            tags,
            everyone,
            at,
            expires,
            urgent,
            idempotency_key,
            message_id=message_id,
        )
        return self.send_many([request], connection=connection)[0]

    def send_many(self, requests: Iterable[SendRequest], *, connection: Transaction | None = None) -> list[UUID]:
        """Store many messages, all or none, and return their ids in order.

        Raises:
            InvalidMessage, IdempotencyConflict, UnknownSender, LedgerError: as for `send`.
            PerhapsStored: its `ids` are those of the requests, in their order.
        """
        # Files are read, perhaps downloaded, before a transaction is open.
        rules = acceptance_rules(self._settings)
        checked = [check(request, rules) for request in requests]
        if self.capture is not None:
            return self.capture.accept(checked, rules)
        return self._store(checked, rules, connection)

    def status(self, message_id: UUID | str) -> MessageStatus:
        """Return everything known about a message.

        Raises:
            UnknownMessage: no message has this id.
        """
        if self.capture is not None:
            status = self.capture.status(message_uuid(message_id))
        else:
            with self._ledger_errors():
                status = self._ledger.history.status(message_uuid(message_id))
        if status is None:
            raise _unknown(message_id)
        return status

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
        """Take a message back, with all parts of its audience; return where each part stands.

        What is not sent yet is cancelled at once. What is sent is recalled by a worker (state `recalling`), within
        the 24 hours WeCom allows. With `campaign` all its messages are taken back and its progress is returned; that
        takes several transactions, and can be repeated if it was interrupted.

        Raises:
            UnknownMessage: no message has this id.
            UnknownCampaign: no campaign has this name.
            PerhapsStored: nobody knows whether it was recalled; do it again.
        """
        if campaign is not None:
            return self._recall_campaign(campaign, sender)
        if message_id is None:
            raise UnknownMessage("name a message by its id, or a campaign")
        if self.capture is not None:
            statuses = self.capture.recall(message_uuid(message_id))
        else:
            message = message_uuid(message_id)
            statuses = self._transact(
                lambda transaction: self._ledger.recalls.request(message, transaction),
                connection,
                InDoubt("recall it again: it is taken back once", [message]),
            )
        if not statuses:
            raise _unknown(message_id)
        if self.capture is None:
            self._ring(statuses[0].sender, connection)
        return statuses

    def retry(self, message_id: UUID | str, *, connection: Transaction | None = None) -> bool:
        """Have a failed message sent again, with its failed parts; return False if nothing of it had failed.

        What expired or was taken back since, also with its campaign, is left alone.

        Raises:
            UnknownMessage: no message has this id.
            PerhapsStored: nobody knows whether it is sent again; do it again, or look at its status.
        """
        if self.capture is not None:
            self.status(message_id)  # only an unknown one is refused: nothing of what is captured ever fails
            return False
        message = message_uuid(message_id)
        again = InDoubt("retry it again, or look at its status: it is sent again once", [message])
        retried = self._transact(Retry(message).write, connection, again)
        if retried is None:
            raise _unknown(message_id)
        if retried.any_failed:
            self._ring(retried.sender, connection)
        return retried.any_failed

    def update_card(self, message_id: UUID | str, update: CardUpdate, *, connection: Transaction | None = None) -> None:
        """Change a card that was sent, once: a worker does it, and `status(...).card_updates` tells what became of it.

        Raises:
            InvalidMessage: the card cannot be updated, or was updated before.
            UnknownMessage: no message has this id.
            PerhapsStored: nobody knows whether the update was stored; `status(...).card_updates` tells.
        """
        message = message_uuid(message_id)
        look = InDoubt("look at status(...).card_updates, and do it again if there is none", [message])
        sender = self._transact(UpdateRequest(message, update).write, connection, look)
        if sender is None:
            raise _unknown(message_id)
        self._ring(sender, connection)

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
        """Store a message to many members, all or none; asking again with the same content finds what was stored.

        Texts of the message may be Jinja2 templates. If they depend on the recipient, each gets a message of its own;
        otherwise up to 1000 members share one.

        Args:
            name: unique among the campaigns of the sender.
            sender: the short name of a sender.
            message: what to send, or its form on the wire where a template is longer than the text may be.
            recipients: userids, or rows with the key `userid` and the values of the templates; read once, never kept.
            at: when to send, with a time zone; None means now. It is moved out of the quiet windows.
            expires: when sending has no use any more.
            urgent: go before everything else, in quiet windows too.
            connection: makes the campaign part of the caller's transaction.

        Raises:
            InvalidMessage: the message of a recipient cannot be sent; the text names the row and the field.
            CampaignConflict: the sender has a campaign of this name with other content.
            UnknownSender: there is no such sender.
            PerhapsStored: Postgres was asked to commit, and nobody knows whether it did; make it again with the same
                content.
            LedgerError: Postgres cannot be reached or has no tables yet. Nothing was stored.
        """
        rules = acceptance_rules(self._settings)
        checked = check_campaign(CampaignRequest(name, sender, message, at, expires, urgent), rules)
        if self.capture is not None:
            return self.capture.accept_campaign(checked, recipients)
        campaign = self._write_campaign(checked, recipients, rules, connection)
        self._ring(sender, connection, times=-(-campaign.messages // self._settings.chunk))
        return campaign

    def rehearse_campaign(
        self, name: str, *, sender: str, message: Content | Mapping[str, Any], recipients: Iterable[Recipient]
    ) -> Rehearsal:
        """Check a campaign as `campaign` would, and store nothing.

        Raises:
            InvalidMessage: as for `campaign`.
        """
        rules = acceptance_rules(self._settings)
        return rehearse(check_campaign(CampaignRequest(name, sender, message), rules), recipients, rules)

    def campaign_status(self, name: str, *, sender: str | None = None) -> Campaign:
        """Return a campaign and how many of its messages stand in each state.

        Raises:
            UnknownCampaign: no campaign has this name, or several senders have one.
        """
        if self.capture is not None:
            return self.capture.find_campaign(name, sender)
        with self._ledger_errors():
            return self._ledger.campaigns.find(name, sender)

    def campaigns(self, *, sender: str | None = None, limit: int = 100) -> list[Campaign]:
        """Return the newest campaigns and their progress."""
        with self._ledger_errors():
            return self._ledger.campaigns.newest(sender, limit)

    def pause_campaign(self, name: str, *, sender: str | None = None, reason: str = PAUSED_BY_HAND) -> Campaign:
        """Keep a campaign's messages from being sent until it is resumed; those on their way still arrive.

        Raises:
            UnknownCampaign: no campaign has this name, or several senders have one.
        """
        with self._ledger_errors():
            found = self._ledger.campaigns.find(name, sender)
            self._ledger.campaigns.pause(found.id, reason)
            return self._ledger.campaigns.find(name, found.sender)

    def resume_campaign(self, name: str, *, sender: str | None = None) -> Campaign:
        """Let a paused campaign go on.

        Raises:
            UnknownCampaign: no campaign has this name, or several senders have one.
        """
        with self._ledger_errors():
            found = self._ledger.campaigns.find(name, sender)
            self._ledger.campaigns.resume(found.id)
        return self._rung_for(name, found.sender)

    def cancel_campaign(self, name: str, *, sender: str | None = None) -> Campaign:
        """Cancel what of a campaign is not sent yet; what is sent stays.

        Raises:
            UnknownCampaign: no campaign has this name, or several senders have one.
        """
        with self._ledger_errors():
            found = self._ledger.campaigns.find(name, sender)
            self._ledger.campaigns.cancel(found.id)
            return self._ledger.campaigns.find(name, found.sender)

    def retry_campaign(self, name: str, *, sender: str | None = None) -> Campaign:
        """Have the failed messages of a campaign sent again, once it is not paused.

        Raises:
            UnknownCampaign: no campaign has this name, or several senders have one.
        """
        with self._ledger_errors():
            found = self._ledger.campaigns.find(name, sender)
            self._ledger.campaigns.retry(found.id)
        return self._rung_for(name, found.sender)

    def _recall_campaign(self, name: str, sender: str | None) -> Campaign:
        if self.capture is not None:
            return self.capture.recall_campaign(name, sender)
        with self._ledger_errors():
            found = self._ledger.campaigns.find(name, sender)
            self._ledger.campaigns.take_back(found.id)
        return self._rung_for(name, found.sender)

    def _rung_for(self, name: str, sender: str) -> Campaign:
        self._bell.ring(sender, self._settings.deliveries)
        return self.campaign_status(name, sender=sender)

    def history(self, userid: str, *, limit: int = 50) -> list[HistoryEntry]:
        """Return what a member was sent by name, newest first; case does not matter.

        Messages to departments, to tags and to `@all` name nobody and are not among them.
        """
        with self._ledger_errors():
            return self._ledger.history.of_member(userid, limit)

    @property
    def schedules(self) -> Schedules:
        """Messages and campaigns that are sent again and again."""
        return Schedules(lambda: self._ledger, self._ledger_errors, self._settings)

    def _store(
        self, checked: Sequence[CheckedRequest], rules: AcceptanceRules, connection: Transaction | None
    ) -> list[UUID]:
        ids = self._transact(
            Acceptance(self._ledger, checked, rules).write,
            connection,
            InDoubt(
                "send it again with message_id=..., which finds or stores exactly this message (docs/asking-again.md)",
                [one.id for one in checked],
            ),
            asked_before=any(one.request.message_id is not None for one in checked),
        )
        for sender in {one.request.sender for one in checked}:
            self._ring(sender, connection)
        return ids

    def _write_campaign(
        self,
        checked: CheckedCampaign,
        recipients: Iterable[Recipient],
        rules: AcceptanceRules,
        connection: Transaction | None,
    ) -> Campaign:
        written: list[Campaign] = []

        def write(transaction: Connection) -> Campaign:
            written.append(accept_campaign(self._ledger, transaction, checked, recipients, rules))
            return written[0]

        return self._transact(
            write,
            connection,
            InDoubt(
                f"make the campaign {checked.request.name!r} again with the same content: what was stored is found"
            ),
            look=lambda transaction: find_written(transaction, written[0]),
        )


def _unknown(message_id: UUID | str) -> UnknownMessage:
    return UnknownMessage(f"no message has the id {message_id}; `wecom send` and Producer.send return it")


def message_uuid(value: UUID | str) -> UUID:
    """Read a message id.

    Raises:
        UnknownMessage: it is none.
    """
    try:
        return value if isinstance(value, UUID) else UUID(value)
    except (ValueError, TypeError, AttributeError):
        raise UnknownMessage(
            f"{value!r} is no message id; ids look like 019a9f3e-6c1b-7c3a-9d52-0b5f3c1e2a77"
        ) from None
