"""Statements about uploads: which are due, who makes one, and what becomes of the messages that wait for it.

A row of `uploads` is an upload that is wanted (`waiting_for_files.py` says by whom); it goes once the file is there or
refused.
"""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Engine, TextClause, text

from worker.ledger.due import UPLOAD_DUE, UPLOADS_ALLOWED
from worker.ledger.media import KEEP, SPARE_SECONDS, USABLE
from worker.ledger.parked_calls import LAST_PARKED, Calls, end_parking, park

ROWS_AT_ONCE = 5000
"""So many messages change in one transaction: nobody who waits for one of them waits long."""

_DUE = text(f"""
    select count(*) from (
        select from wecom.uploads as upload
        where upload.sender = :sender and {UPLOAD_DUE} and {UPLOADS_ALLOWED} limit :most
    ) as due
""")
_CLAIM = text(f"""
    with next as (
        select upload.reference from wecom.uploads as upload
        where upload.sender = :sender and {UPLOAD_DUE} and {UPLOADS_ALLOWED}
          and (cast(:most_bytes as bigint) is null or not exists (
              select from wecom.media_files as file
              where file.reference = upload.reference and octet_length(file.content) > :most_bytes))
        order by upload.try_at
        limit 1
        for update of upload skip locked
    )
    update wecom.uploads as upload
    set attempt = attempt + 1, lease_until = wecom.clock() + make_interval(secs => :lease_seconds)
    from next
    where upload.sender = :sender and upload.reference = next.reference
    returning upload.reference, attempt, pause_seconds, coalesce(({LAST_PARKED}), 0) as limit_seconds,
              exists (select from wecom.media where {USABLE} and media.reference = upload.reference) as there
""")

_OURS = "sender = :sender and reference = :reference and attempt = :attempt"
_HOLD = text(
    f"update wecom.uploads set lease_until = wecom.clock() + make_interval(secs => :lease_seconds) where {_OURS}"
)
_END = text(f"delete from wecom.uploads where {_OURS}")
_TRY_AGAIN = text(f"""
    update wecom.uploads
    set lease_until = null, pause_seconds = :pause_seconds, reason = :reason,
        try_at = wecom.clock() + make_interval(secs => :pause_seconds)
    where {_OURS}
""")
_GIVE_BACK = text(f"update wecom.uploads set lease_until = null, reason = coalesce(:reason, reason) where {_OURS}")

_NEXT_WAITS = text("""
    select message, attempt from wecom.upload_waits where sender = :sender and reference = :reference limit :most
""")
# Ids are handed over as arrays: how many rows of a large table a join would find, Postgres could only guess. A message
# that somebody else holds at this moment has its turn a moment later.
_LOCK = text("""
    select id from wecom.messages where id = any(cast(:messages as uuid[])) order by id for update skip locked
""")
_STILL_WAITS = """
    from unnest(cast(:messages as uuid[]), cast(:attempts as int[])) as wait (message, attempt)
    where message.id = wait.message and message.id = any(cast(:locked as uuid[]))
      and message.state = 'scheduled' and message.attempt = wait.attempt and message.resend_until is null
"""
_WAKE = text(f"""
    update wecom.messages as message set send_at = wecom.clock(), error = null
    {_STILL_WAITS}
    returning cast(null as uuid) as campaign
""")
_FAIL = text(f"""
    with failed as (
        update wecom.messages as message set state = 'failed', errcode = :errcode, error = :reason
        {_STILL_WAITS}
        returning message.id, message.attempt, message.campaign
    ), noted as (
        insert into wecom.attempts (message, attempt, at, category, errcode, reason, http_status, milliseconds)
        select id, attempt, wecom.clock(), :category, :errcode, :reason, :http_status, :milliseconds from failed
    )
    select distinct campaign from failed where campaign is not null
""")
_END_WAITS = text("""
    delete from wecom.upload_waits where message = any(cast(:locked as uuid[])) and reference = :reference
""")
_DROP = text("""
    with unwanted as (
        delete from wecom.uploads
        where wanted_until <= wecom.clock() and (lease_until is null or lease_until <= wecom.clock())
        returning sender, reference
    )
    delete from wecom.upload_waits as wait using unwanted
    where wait.sender = unwanted.sender and wait.reference = unwanted.reference
""")


@dataclass(frozen=True, slots=True)
class ClaimedUpload:
    """An upload this worker alone makes until its lease ends.

    Attributes:
        sender: for whom.
        reference: of the file.
        attempt: fences what is stored about it.
        pause_seconds: for how long it paused after its last failure; 0 if there was none.
        limit_seconds: for how long all uploads of the sender paused after their last limit; 0 if there was none.
        there: WeCom has the file already, and only the messages that wait for it are to be woken.
    """

    sender: str
    reference: str
    attempt: int
    pause_seconds: int
    limit_seconds: int
    there: bool

    @property
    def key(self) -> dict[str, Any]:
        """What names it in statements."""
        return {"sender": self.sender, "reference": self.reference, "attempt": self.attempt}


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a file will never be taken, as it is stored about the messages that show it."""

    category: str
    errcode: int | None
    reason: str
    http_status: int | None = None
    milliseconds: int = 0


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of some of the messages that waited for an upload.

    Attributes:
        finished: none is left, and the upload is over.
        messages: how many had their turn.
        campaigns: of the messages that failed.
    """

    finished: bool
    messages: int = 0
    campaigns: tuple[UUID, ...] = ()


class Uploads:
    """The uploads of a ledger."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def due(self, sender: str, most: int) -> int:
        """Return how many uploads of a sender nobody is at and could be made now, counted up to `most`."""
        with self._engine.connect() as connection:
            return int(connection.execute(_DUE, {"sender": sender, "most": most}).scalar_one())

    def claim(self, sender: str, lease_seconds: float, most_bytes: int | None = None) -> ClaimedUpload | None:
        """Take the upload that has been due longest, of a file of at most so many bytes; None if there is none."""
        parameters = {
            "sender": sender,
            "lease_seconds": lease_seconds,
            "most_bytes": most_bytes,
            "calls": Calls.UPLOADS.value,
            "spare_seconds": SPARE_SECONDS,
        }
        with self._engine.begin() as connection:
            row = connection.execute(_CLAIM, parameters).one_or_none()
        return None if row is None else ClaimedUpload(sender, *row)

    def renew(self, claimed: ClaimedUpload, lease_seconds: float) -> bool:
        """Hold an upload for so many more seconds; return False if another worker has taken it over."""
        with self._engine.begin() as connection:
            return _hold(connection, claimed, lease_seconds)

    def keep(self, claimed: ClaimedUpload, media_id: str, life_seconds: float, lease_seconds: float) -> bool:
        """Store under which media_id a file was uploaded; return False if another worker has taken the upload over."""
        with self._engine.begin() as connection:
            if not _hold(connection, claimed, lease_seconds):
                return False
            connection.execute(
                KEEP,
                {
                    "sender": claimed.sender,
                    "reference": claimed.reference,
                    "media_id": media_id,
                    "life": life_seconds,
                },
            )
            end_parking(connection, claimed.sender, Calls.UPLOADS)
        return True

    def wake(self, claimed: ClaimedUpload, lease_seconds: float) -> Settled:
        """Let some of the messages that waited for a file be due now."""
        return self._settle(claimed, lease_seconds, _WAKE, {})

    def fail(self, claimed: ClaimedUpload, refusal: Refusal, lease_seconds: float) -> Settled:
        """Fail some of the messages that waited for a file which WeCom does not take."""
        parameters = {
            "category": refusal.category,
            "errcode": refusal.errcode,
            "reason": refusal.reason,
            "http_status": refusal.http_status,
            "milliseconds": refusal.milliseconds,
        }
        return self._settle(claimed, lease_seconds, _FAIL, parameters)

    def try_again(self, claimed: ClaimedUpload, pause_seconds: int, reason: str) -> None:
        """Have an upload that failed made again after a pause."""
        with self._engine.begin() as connection:
            connection.execute(_TRY_AGAIN, claimed.key | {"pause_seconds": pause_seconds, "reason": reason})

    def limit(self, claimed: ClaimedUpload, seconds: int, reason: str) -> None:
        """Give an upload back and make none for its sender for so many seconds."""
        with self._engine.begin() as connection:
            park(connection, claimed.sender, Calls.UPLOADS, reason, seconds)
            connection.execute(_GIVE_BACK, claimed.key | {"reason": reason})

    def give_back(self, claimed: ClaimedUpload) -> None:
        """Let another worker make an upload at once."""
        with self._engine.begin() as connection:
            connection.execute(_GIVE_BACK, claimed.key | {"reason": None})

    def drop_what_nobody_wants(self) -> None:
        """Delete uploads for which no message has asked for a while."""
        with self._engine.begin() as connection:
            connection.execute(_DROP)

    def _settle(
        self, claimed: ClaimedUpload, lease_seconds: float, statement: TextClause, parameters: dict[str, Any]
    ) -> Settled:
        with self._engine.begin() as connection:
            if not _hold(connection, claimed, lease_seconds):
                return Settled(finished=True)
            waits = connection.execute(_NEXT_WAITS, claimed.key | {"most": ROWS_AT_ONCE}).all()
            if not waits:
                connection.execute(_END, claimed.key)
                return Settled(finished=True)
            messages = [wait.message for wait in waits]
            locked = list(connection.scalars(_LOCK, {"messages": messages}))
            held = {"messages": messages, "attempts": [wait.attempt for wait in waits], "locked": locked}
            campaigns = connection.scalars(statement, parameters | held).all()
            connection.execute(_END_WAITS, {"locked": locked, "reference": claimed.reference})
        return Settled(finished=False, messages=len(locked), campaigns=tuple(filter(None, campaigns)))


def _hold(connection: Connection, claimed: ClaimedUpload, lease_seconds: float) -> bool:
    return connection.execute(_HOLD, claimed.key | {"lease_seconds": lease_seconds}).rowcount == 1
