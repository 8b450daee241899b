"""What programs hand over while everything breaks, and what they do when a server does not answer."""

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar
from uuid import UUID

from chaos.house import SENDERS
from chaos.plan import Traffic
from redis import RedisError
from sqlalchemy.exc import SQLAlchemyError

from worker import File, LedgerError, PerhapsStored, Producer, SendRequest, Text

PORTION = 250
PATIENCE = 120
FILES = 4
CAMPAIGN = "Campaign "
"""How the messages of campaigns begin, and no others."""
PROBED = "probe-"
"""How the names of members begin who are addressed only to measure."""

Done = TypeVar("Done")


@dataclass
class Handed:
    """What was handed over, by what shows it: the agentid, the member and the content; a file's content is its type."""

    promised: set[tuple[int, str, str]] = field(default_factory=set)
    urgent: set[str] = field(default_factory=set)
    """Members who were sent something urgent, and nothing else."""


def keyed_requests(traffic: Traffic, chance: random.Random) -> list[SendRequest]:
    """Messages to many members and to a few near the limit of a minute; their keys allow storing to be tried again."""
    audiences = [(sender, f"user{n}") for n, sender in zip(range(traffic.messages), _in_turn(), strict=False)]
    often = [
        (sender, f"near{member}")
        for sender in SENDERS
        for member in range(traffic.near_members)
        for _ in range(traffic.near_messages)
    ]
    # What has to wait for a minute comes early, among others, so that the course does not end with waiting alone.
    early = audiences[: len(audiences) // 3] + often
    chance.shuffle(early)
    audiences = early + audiences[len(audiences) // 3 :]
    requests = [
        SendRequest(
            sender,
            Text(content=f"Message {n}"),
            users=(user,),
            urgent=n % 10 == 0 and user.startswith("user"),
            idempotency_key=f"key-{n}",
        )
        for n, (sender, user) in enumerate(audiences)
    ]
    files = [b"File %d " % number + b"x" * 200_000 for number in range(FILES)]
    requests += [
        SendRequest(
            sender,
            File(data=files[n % FILES], filename=f"{n % FILES}.txt"),
            users=(f"file{n}",),
            idempotency_key=f"file-{n}",
        )
        for n, sender in zip(range(traffic.files), _in_turn(), strict=False)
    ]
    return requests


def store_keyed(producer: Producer, requests: list[SendRequest]) -> None:
    """Store many at once, and again until it has worked."""
    for begin in range(0, len(requests), PORTION):
        until_it_works(lambda begin=begin: producer.send_many(requests[begin : begin + PORTION]))


def store_unkeyed(producer: Producer, traffic: Traffic) -> None:
    """Store one at a time without keys: what an error says decides how it is sent again."""
    for n, sender in zip(range(traffic.unkeyed), _in_turn(), strict=False):
        until_it_works(_Unkeyed(producer, sender, n))


class _Unkeyed:
    """One message of a program that knows no keys."""

    def __init__(self, producer: Producer, sender: str, number: int) -> None:
        self._producer = producer
        self._sender = sender
        self._number = number
        self._perhaps: UUID | None = None

    def __call__(self) -> None:
        """Send it; if it was perhaps stored, send it under that id the next time."""
        message, user = Text(content=f"Unkeyed {self._number}"), f"plain{self._number}"
        try:
            self._producer.send(self._sender, message, users=[user], message_id=self._perhaps)
        except PerhapsStored as error:
            (self._perhaps,) = error.ids
            raise


def store_campaigns(producer: Producer, traffic: Traffic) -> None:
    """Store one for each sender, by a name that allows storing to be tried again."""
    for sender in SENDERS:
        rows = [{"userid": member, "name": member} for member in campaign_members(traffic, sender)]
        message = Text(content=f"{CAMPAIGN}of {sender}: good morning, {{{{ name }}}}")
        until_it_works(
            lambda sender=sender, rows=rows, message=message: producer.campaign(
                campaign_name(sender), sender=sender, message=message, recipients=rows
            )
        )


def campaign_name(sender: str) -> str:
    return f"morning-{sender}"


def campaign_members(traffic: Traffic, sender: str) -> list[str]:
    return [f"{sender}-reader{n}" for n in range(traffic.campaign)]


def handed_over(traffic: Traffic, requests: list[SendRequest]) -> Handed:
    """Say what has to arrive."""
    handed = Handed()
    for request in requests:
        (user,) = request.users
        content = request.message.content if isinstance(request.message, Text) else request.message.msgtype
        handed.promised.add((SENDERS[request.sender], user, content))
        if request.urgent:
            handed.urgent.add(user)
    for n, sender in zip(range(traffic.unkeyed), _in_turn(), strict=False):
        handed.promised.add((SENDERS[sender], f"plain{n}", f"Unkeyed {n}"))
    for sender, agentid in SENDERS.items():
        handed.promised |= {
            (agentid, member, f"{CAMPAIGN}of {sender}: good morning, {member}")
            for member in campaign_members(traffic, sender)
        }
    return handed


def until_it_works(step: Callable[[], Done]) -> Done:
    """Do what a program does whose servers are restarting: try again."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            return step()
        except (LedgerError, RedisError, SQLAlchemyError):
            assert time.monotonic() < until, "the servers did not come back"
            time.sleep(0.1)


def _in_turn() -> Iterator[str]:
    while True:
        yield from SENDERS
