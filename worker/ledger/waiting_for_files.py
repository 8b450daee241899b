"""Statements about due messages whose files WeCom does not know, or not for long enough any more.

Such a message is not claimed. It is put off, with a row of `upload_waits` for each file it lacks, and a row of
`uploads` asks for the file; the end of that upload finds the message and wakes it (`uploads.py`). Should nobody wake
it, it comes due again by itself.

Whoever puts messages off locks the row of the upload, and so does whoever wakes them: no message can begin to wait just
when the last ones are woken.
"""

from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Connection, Row, text

from worker.ledger.due import DUE
from worker.ledger.media import SPARE_SECONDS, USABLE

WAIT_SECONDS = 1800
"""A message is put off for so long; the end of its upload wakes it much earlier."""
ROWS_AT_ONCE = 5000
"""So many messages change in one transaction: nobody who waits for one of them waits long."""
WAITS = "waits for its file"
NOBODY_KNOWS_WHICH_FILE = (
    "a worker of an earlier release tried it and kept no media_id, so a repetition could not have the same bytes"
)

_USABLE = text(f"select reference, media_id from wecom.media where {USABLE} and reference = any(:references)")
_WRITE_DOWN = text("""
    update wecom.messages as message set media_ids = chosen.media_ids
    from jsonb_to_recordset(cast(:chosen as jsonb)) as chosen (id uuid, media_ids text[])
    where message.id = chosen.id
""")
_GIVE_UP = text("""
    update wecom.messages set state = 'unconfirmed', lease_until = null, error = :reason
    where id = any(cast(:ids as uuid[]))
""")

# Everybody takes the rows in the same order, and nobody waits in a circle.
_WANT = text("""
    insert into wecom.uploads (sender, reference, try_at, wanted_until)
    select :sender, reference, wecom.clock(), wecom.clock() + make_interval(secs => :wait_seconds)
    from unnest(cast(:references as text[])) as reference
    order by reference
    on conflict (sender, reference) do update set wanted_until = excluded.wanted_until
""")
_PUT_OFF = text("""
    update wecom.messages
    set state = 'scheduled', lease_until = null, error = :reason,
        send_at = wecom.clock() + make_interval(secs => :wait_seconds)
    where id = any(cast(:ids as uuid[]))
""")
# Messages that show the same files are often many and behind one another, as in a campaign.
_NEXT_WITH_THESE_FILES = text(f"""
    select next.id
    from (values (0), (1), (2)) as rank (priority)
    cross join lateral (
        select id, files from wecom.messages
        where sender = :sender and priority = rank.priority and resend_until is null and {DUE}
        order by send_at
        limit :most
    ) as next
    where next.files && cast(:references as text[])
""")
# Ids are handed over as arrays: how many rows of a large table a join would find, Postgres could only guess.
_PUT_OFF_OTHERS = text("""
    with held as materialized (
        select id from wecom.messages
        where id = any(cast(:others as uuid[]))
          and state = 'scheduled' and send_at <= wecom.clock() and resend_until is null
        for update skip locked
    )
    update wecom.messages
    set error = :reason, send_at = wecom.clock() + make_interval(secs => :wait_seconds)
    where id = any(array(select id from held))
    returning id
""")
_NOTE_WAITS = text("""
    insert into wecom.upload_waits (message, reference, sender, attempt)
    select message.id, file.reference, :sender, message.attempt
    from wecom.messages as message cross join unnest(message.files) as file (reference)
    where message.id = any(cast(:ids as uuid[])) and file.reference = any(:references)
    on conflict (message, reference) do update set attempt = excluded.attempt
""")
_REASON = text("""
    select upload.reason from wecom.upload_waits as wait
    join wecom.uploads as upload on upload.sender = wait.sender and upload.reference = wait.reference
    where wait.message = :message and wait.attempt = :attempt
    order by upload.reason nulls last, wait.reference limit 1
""")


def take_media_ids(connection: Connection, sender: str, claimed: Sequence[Row[Any]]) -> dict[UUID, tuple[str, ...]]:
    """Say under which media_ids claimed messages show their files, and write it down, in the transaction of the claim.

    A first try takes those that live long enough. A message of unknown fate has those of its earlier try, whatever
    became of them since: a repetition with others would be another message to WeCom.

    The claims of messages that are not in the answer are over: they are put off until their files are uploaded.
    """
    first_tries = [row for row in claimed if row.resend_until is None]
    repetitions = [row for row in claimed if row.resend_until is not None]
    references = sorted({reference for row in first_tries for reference in row.files})
    known: dict[str, str] = {}
    if references:
        asked = {"sender": sender, "references": references, "spare_seconds": SPARE_SECONDS}
        known = {row.reference: row.media_id for row in connection.execute(_USABLE, asked)}
    chosen = {
        row.id: tuple(known[reference] for reference in row.files)
        for row in first_tries
        if known.keys() >= set(row.files)
    }
    if chosen:
        rows = [{"id": str(message), "media_ids": media_ids} for message, media_ids in chosen.items()]
        connection.execute(_WRITE_DOWN, {"chosen": orjson.dumps(rows).decode()})
    waiting = [row.id for row in first_tries if row.id not in chosen]
    if waiting:
        _put_off(connection, sender, waiting, [reference for reference in references if reference not in known])
    lost = [row.id for row in repetitions if row.media_ids is None]
    if lost:
        connection.execute(_GIVE_UP, {"ids": lost, "reason": NOBODY_KNOWS_WHICH_FILE})
    return chosen | {row.id: tuple(row.media_ids) for row in repetitions if row.media_ids is not None}


def reason_to_wait(connection: Connection, message: UUID, attempt: int) -> str | None:
    """Say why a scheduled message waits for its file; None if it does not wait for one."""
    row = connection.execute(_REASON, {"message": message, "attempt": attempt}).one_or_none()
    return None if row is None else f"{WAITS}: {row.reason or 'it is being uploaded'}"


def _put_off(connection: Connection, sender: str, waiting: Collection[UUID], missing: Sequence[str]) -> None:
    parameters = {
        "sender": sender,
        "references": list(missing),
        "wait_seconds": WAIT_SECONDS,
        "reason": WAITS,
        "most": ROWS_AT_ONCE,
    }
    connection.execute(_WANT, parameters)
    connection.execute(_PUT_OFF, parameters | {"ids": list(waiting)})
    others = list(connection.scalars(_NEXT_WITH_THESE_FILES, parameters))
    if others:
        others = list(connection.scalars(_PUT_OFF_OTHERS, parameters | {"others": others}))
    connection.execute(_NOTE_WAITS, parameters | {"ids": [*waiting, *others]})
