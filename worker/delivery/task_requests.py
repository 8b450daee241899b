"""What programs that know only Celery ask for: each task's arguments, judged, and what is written for them."""

import hashlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import Any
from uuid import UUID

from sqlalchemy import Connection

from worker.delivery.accept import AcceptanceRules, accept, check
from worker.delivery.campaigns import CampaignRequest, accept_campaign, check_campaign
from worker.delivery.requests import SendRequest, read_time
from worker.ledger import Ledger, find_key, storable
from worker.messages import InvalidMessage

MOST_RECIPIENTS = 10_000
"""A campaign's recipients travel in one broker message; brokers are made for small ones."""
LONGEST_TASK_ID = 200
"""Of what a program calls its task: an index of Postgres holds nothing long, and Celery's own ids have 36."""

Due = Mapping[str, int]
"""For how many messages each sender is to be rung for."""


@dataclass(frozen=True, slots=True)
class Step:
    """What is to be done for a request.

    Attributes:
        write: writes what was asked for, in the transaction of a connection.
        beforehand: what takes transactions of its own, while nothing else is held; doing it again changes nothing.
    """

    write: Callable[[Connection], Due]
    beforehand: Callable[[], object] | None = None


@dataclass(frozen=True, slots=True)
class TaskRequest:
    """A task as the broker carried it; `at` is the time that Celery's own eta or countdown asked for.

    Its id is one that the ledger can hold: the sender chose it, and an id that is too long is replaced by its SHA-256.
    """

    task: str
    task_id: str
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    at: str | None = None

    def __post_init__(self) -> None:
        """Make the id one that the ledger can hold; read back from there, it stays the same."""
        task_id = storable(self.task_id)
        if len(task_id) > LONGEST_TASK_ID:
            task_id = f"sha256:{hashlib.sha256(task_id.encode()).hexdigest()}"
        object.__setattr__(self, "task_id", task_id)

    @property
    def own_key(self) -> str:
        """The idempotency key of a request that names none: a broker may hand over the same task twice."""
        return f"celery:{self.task_id}"


@dataclass(frozen=True, slots=True)
class Desk:
    """Where requests are taken over: the ledger, and the rules by which it accepts."""

    ledger: Ledger
    rules: AcceptanceRules


def read(request: TaskRequest, desk: Desk) -> Step:
    """Judge a request without a transaction, perhaps downloading files; return what writes it.

    Raises:
        InvalidMessage: it cannot be carried out.
    """
    task = TASKS.get(request.task)
    if task is None:
        nearest = get_close_matches(request.task, TASKS, n=1)
        meant = f"did you mean {nearest[0]}?" if nearest else f"there are {', '.join(TASKS)}"
        raise InvalidMessage(f"task: this release has none named {request.task!r}; {meant}")
    signature = inspect.signature(task)
    try:
        given = signature.bind(request, desk, *request.args, **request.kwargs)
    except TypeError as error:
        names = ", ".join(list(signature.parameters)[OWN_PARAMETERS:])
        raise InvalidMessage(f"arguments: {error}; {request.task} takes {names}") from None
    for name, value in given.arguments.items():
        kind, words = KINDS.get(name, (object, ""))
        if not isinstance(value, kind):
            raise InvalidMessage(f"{name}: {words} is needed, not {type(value).__name__}")
    return task(*given.args, **given.kwargs)


def send(
    request: TaskRequest,
    desk: Desk,
    /,
    sender: str,
    message: Mapping[str, Any],
    users: Sequence[str] | None = None,
    parties: Sequence[int | str] | None = None,
    tags: Sequence[int | str] | None = None,
    *,
    everyone: bool = False,
    at: str | None = None,
    expires: str | None = None,
    urgent: bool = False,
    idempotency_key: str | None = None,
) -> Step:
    """Read a `wecom.send`; a due time that passed in the queue means now."""
    named = {"users": users, "parties": parties, "tags": tags, "everyone": everyone}
    asked = SendRequest.from_json(
        sender,
        message,
        at=at or request.at,
        expires=expires,
        urgent=urgent,
        idempotency_key=idempotency_key or request.own_key,
        late_is_now=True,
        **{name: value for name, value in named.items() if value},
    )
    checked = check(asked, desk.rules)

    def write(connection: Connection) -> Due:
        accept(desk.ledger, connection, [checked], desk.rules)
        return {sender: 1}

    return Step(write)


def campaign(
    request: TaskRequest,
    desk: Desk,
    /,
    name: str,
    sender: str,
    message: Mapping[str, Any],
    recipients: Sequence[str | Mapping[str, Any]],
    *,
    at: str | None = None,
    expires: str | None = None,
    urgent: bool = False,
) -> Step:
    """Read a `wecom.campaign`; the same one again finds what was stored."""
    if len(recipients) > MOST_RECIPIENTS:
        raise InvalidMessage(
            f"recipients: {len(recipients)} are named, one task carries at most {MOST_RECIPIENTS}; send several "
            "campaigns, or one with Producer.campaign or `wecom campaign create`"
        )
    asked = CampaignRequest(
        name,
        sender,
        message,
        read_time("at", at or request.at),
        read_time("expires", expires),
        urgent,
        late_is_now=True,
    )
    checked = check_campaign(asked, desk.rules)

    def write(connection: Connection) -> Due:
        return {sender: accept_campaign(desk.ledger, connection, checked, recipients, desk.rules).messages}

    return Step(write)


def recall(
    request: TaskRequest,
    desk: Desk,
    /,
    message_id: str | None = None,
    *,
    sender: str | None = None,
    idempotency_key: str | None = None,
    campaign: str | None = None,
) -> Step:
    """Read a `wecom.recall` of one message, by its id or by its sender and key, or of a campaign; it cannot wait."""
    if [message_id, idempotency_key, campaign].count(None) != 2 or (idempotency_key and not sender):
        raise InvalidMessage(
            "arguments: name a message by message_id or by sender and idempotency_key, or name a campaign"
        )
    due = read_time("eta", request.at)
    if due and due > datetime.now(UTC):
        raise InvalidMessage(
            f"eta: a recall is carried out at once, it cannot wait until {due.isoformat()}; send it without Celery's "
            "eta or countdown, when it is due"
        )
    if campaign:
        found = desk.ledger.campaigns.find(campaign, sender)
        return Step(
            lambda _: {found.sender: found.messages}, beforehand=lambda: desk.ledger.campaigns.take_back(found.id)
        )

    def write(connection: Connection) -> Due:
        message = _uuid(message_id) if message_id else _of_key(connection, sender or "", idempotency_key or "")
        statuses = desk.ledger.recalls.request(message, connection)
        if not statuses:
            raise InvalidMessage(f"message_id: no message has the id {message}")
        return {status.sender: 1 for status in statuses}

    return Step(write)


def _uuid(message_id: str) -> UUID:
    try:
        return UUID(str(message_id))  # Celery's JSON knows UUIDs
    except ValueError:
        raise InvalidMessage(f"message_id: {message_id!r} is no message id") from None


def _of_key(connection: Connection, sender: str, key: str) -> UUID:
    holder = find_key(connection, sender, key)
    if holder is None:
        raise InvalidMessage(f"idempotency_key: no message of {sender!r} has the key {key!r}")
    return holder.message


TASKS: Mapping[str, Callable[..., Step]] = {"wecom.send": send, "wecom.campaign": campaign, "wecom.recall": recall}
OWN_PARAMETERS = 2
"""How many parameters of such a function are not arguments of the task."""
TEXT, FLAG = ((str, "text"), (bool, "true or false"))
IDS = ((list, tuple, type(None)), "a list")
KINDS: Mapping[str, tuple[type | tuple[type, ...], str]] = {
    "sender": TEXT,
    "name": TEXT,
    "users": IDS,
    "parties": IDS,
    "tags": IDS,
    "everyone": FLAG,
    "urgent": FLAG,
    "recipients": ((list, tuple), "a list of userids, or of rows with the key userid,"),
    "message_id": ((str, UUID, type(None)), "the id of a message"),
}
"""What the arguments must be that nobody looks at later."""
