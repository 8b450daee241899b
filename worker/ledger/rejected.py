"""Statements about tasks that could not be carried out, which are kept until a person decides."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Engine, text

from worker.ledger.bounds import storable
from worker.ledger.transactions import InDoubt, transact

MOST_CHARACTERS = 16 * 2**20
"""So much of the arguments is kept; no request that could be carried out is nearly as long."""

_KEEP = text("""
    insert into wecom.rejected_requests as kept (task, task_id, arguments, reason, rejected_at)
    values (:task, :task_id, :arguments, :reason, wecom.clock())
    on conflict (task_id, md5(arguments)) do update
    set reason = excluded.reason, rejected_at = excluded.rejected_at,
        rejections = coalesce(cast(:counted as int), kept.rejections + 1)
    returning rejections
""")

_LIST = text("""
    select id, task, task_id, reason, rejected_at, rejections, arguments
    from wecom.rejected_requests
    where id > :after
    order by id
    limit :most
""")

_FIND = text("""
    select id, task, task_id, reason, rejected_at, rejections, arguments from wecom.rejected_requests where id = :id
""")

_COUNT = text("select count(*) from wecom.rejected_requests")

_TAKE = text("delete from wecom.rejected_requests where id = :id and rejections = :rejections")

_REJECT_AGAIN = text("""
    update wecom.rejected_requests
    set reason = :reason, rejected_at = wecom.clock(), rejections = rejections + 1
    where id = :id and rejections = :rejections
""")

_REMOVE = text("delete from wecom.rejected_requests where id = :id")

_FORGET = text("delete from wecom.rejected_requests where rejected_at < wecom.clock() - :age")


@dataclass(frozen=True, slots=True)
class RejectedRequest:
    """A request that waits for a person: what was asked for, why it was refused last, and how often."""

    id: int
    task: str
    task_id: str
    reason: str
    rejected_at: datetime
    rejections: int
    arguments: str

    def read_arguments(self) -> dict[str, Any] | None:
        """Return the arguments as they came, None if they were too long to be kept whole."""
        try:
            arguments: dict[str, Any] = json.loads(self.arguments)
        except ValueError:
            return None
        return arguments


class Rejected:
    """What a person can look at, have tried again, or remove."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def keep(self, task: str, task_id: str, arguments: Mapping[str, Any], reason: str) -> None:
        """Keep a request; the same one a second time only brings its reason up to date."""
        # What JSON itself does not know, such as a date, is kept as its text.
        written = json.dumps(arguments, ensure_ascii=False, default=str)
        row = {"task": task, "task_id": task_id, "arguments": written[:MOST_CHARACTERS], "reason": reason}
        values = {name: storable(value) for name, value in row.items()}
        counted: int | None = None

        def keep(connection: Connection) -> None:
            nonlocal counted  # a second try counts no second rejection
            counted = connection.scalar(_KEEP, values | {"counted": counted})

        transact(self._engine, keep, InDoubt("the broker hands the task over again"))

    def list(self, most: int = 100, *, after: int = 0) -> list[RejectedRequest]:
        """Return the requests that wait, the oldest first."""
        with self._engine.connect() as connection:
            return [RejectedRequest(*row) for row in connection.execute(_LIST, {"most": most, "after": after})]

    def find(self, number: int) -> RejectedRequest | None:
        """Return one request, or None if it does not wait any more."""
        with self._engine.connect() as connection:
            row = connection.execute(_FIND, {"id": number}).one_or_none()
        return RejectedRequest(*row) if row else None

    def count(self) -> int:
        """Return how many requests wait."""
        with self._engine.connect() as connection:
            return int(connection.scalar(_COUNT) or 0)

    def take(self, connection: Connection, request: RejectedRequest) -> bool:
        """Remove a request as it was read; return False if somebody else was quicker."""
        return bool(connection.execute(_TAKE, {"id": request.id, "rejections": request.rejections}).rowcount)

    def reject_again(self, request: RejectedRequest, reason: str) -> None:
        """Store why a request was refused this time, unless somebody else was quicker."""
        row = {"id": request.id, "rejections": request.rejections, "reason": storable(reason)}
        transact(
            self._engine,
            lambda connection: connection.execute(_REJECT_AGAIN, row).rowcount,
            InDoubt("try the request again"),
        )

    def remove(self, number: int) -> bool:
        """Remove a request for good; return False if it does not wait any more."""
        removed = False

        def remove(connection: Connection) -> bool:
            nonlocal removed  # perhaps by an earlier try
            removed = bool(connection.execute(_REMOVE, {"id": number}).rowcount) or removed
            return removed

        return transact(self._engine, remove, InDoubt("remove the request again"))

    def forget(self, age: timedelta) -> None:
        """Remove the requests that have waited for so long."""
        with self._engine.begin() as connection:
            connection.execute(_FORGET, {"age": age})
