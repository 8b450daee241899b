"""Statements about senders: who can send, with what credentials, and who is paused."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, RowMapping, delete, select, text, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError

from worker.encryption import KeyRing, SecretKeyError
from worker.ledger.bounds import shortened, storable
from worker.ledger.connection import LedgerError
from worker.ledger.parked_calls import end_every_parking
from worker.ledger.schema import SenderRow
from worker.ledger.standing_aside import end_standing_aside
from worker.ledger.transactions import InDoubt, transact
from worker.messages.sender import Sender

# Producers may have no right to read the credentials, so they are asked for only where they are needed.
_FIND = text("""
    select name, provider, agentid, account_cap, settings, paused_reason, paused_until, park_seconds,
           wecom.clock() as now
    from wecom.senders where name = :name
""")
_ALL = text("""
    select name, provider, agentid, account_cap, settings, paused_reason, paused_until, park_seconds
    from wecom.senders order by name
""")

# A parking is not renewed by the other calls that were under way, and never shortens a pause by hand.
_PARK = text("""
    update wecom.senders
    set paused_reason = :reason, paused_until = wecom.clock() + make_interval(secs => :seconds), park_seconds = :seconds
    where name = :name and (paused_reason is null or paused_until <= wecom.clock())
""")

_END_PARKING = text("""
    update wecom.senders set paused_reason = null, paused_until = null, park_seconds = 0
    where name = :name and park_seconds > 0 and (paused_reason is null or paused_until <= wecom.clock())
""")

_ON_THEIR_WAY = text("""
    select count(*) from wecom.messages
    where sender = :name and (state = 'sending' or (state = 'scheduled' and resend_until is not null))
""")

_IN_DOUBT = InDoubt("`wecom senders show` tells how the sender stands")


class UnknownSender(LedgerError):  # noqa: N818 - what a producer reads
    """No sender has this name."""

    def __init__(self, name: str, known: list[str]) -> None:
        advice = f"known senders: {', '.join(known)}" if known else "add one with `wecom senders add`"
        super().__init__(f"there is no sender named {name!r}; {advice}")


class SenderExists(LedgerError):  # noqa: N818 - it says what is the matter
    """A sender has this name already."""


class Senders:
    """The senders of a ledger; workers and the CLI have the key ring, producers need none."""

    def __init__(self, engine: Engine, key_ring: KeyRing | None) -> None:
        self._engine = engine
        self._key_ring = key_ring

    def add(self, sender: Sender) -> None:
        """Store a new sender, its credentials encrypted.

        Raises:
            SenderExists: the name is taken.
        """
        row = insert(SenderRow).values(
            name=sender.name,
            provider=sender.provider,
            agentid=sender.agentid,
            account_cap=sender.account_cap,
            settings={
                name: value
                for name, value in (
                    ("calls_per_minute", sender.calls_per_minute),
                    ("calls_at_once", sender.calls_at_once),
                )
                if value is not None
            },
            credentials=(encrypted := self._keys.encrypt(sender.credentials)),
        )

        def add(connection: Connection) -> None:
            stored = connection.execute(row.on_conflict_do_nothing().returning(SenderRow.name)).one_or_none()
            if stored is not None:
                return
            # What is encrypted is never the same twice: these were stored by an earlier try.
            if connection.scalar(select(SenderRow.credentials).where(SenderRow.name == sender.name)) != encrypted:
                raise SenderExists(
                    f"a sender named {sender.name!r} exists already; choose another name, or say --replace to give "
                    "that one these credentials"
                )

        transact(self._engine, add, _IN_DOUBT)

    def replace_credentials(
        self, name: str, agentid: int | None, credentials: Mapping[str, str], *, another_app: bool = False
    ) -> None:
        """Give a sender other credentials and end the pause the old ones may have caused.

        Raises:
            UnknownSender: there is none of that name.
            LedgerError: they are of another app, and messages are on their way that only the one before can repeat:
                another app's repetition would be a second message to WeCom.
        """
        encrypted = self._keys.encrypt(credentials)

        def replace_them(connection: Connection) -> None:
            self._row(connection, name)
            if another_app and (found := int(connection.execute(_ON_THEIR_WAY, {"name": name}).scalar_one())):
                raise LedgerError(
                    f"{found} of the messages of {name} are being sent or of unknown fate, and only the app that tried "
                    "them may repeat them; try again when they are cleared up, within an hour, or add the new app as a "
                    "sender of its own"
                )
            self._let_go_on(connection, name, agentid=agentid, credentials=encrypted)

        transact(self._engine, replace_them, _IN_DOUBT)

    def reencrypt(self) -> int:
        """Encrypt all credentials anew with the first key, and return of how many senders.

        Raises:
            SecretKeyError: none of the keys fits a sender, which the text names; those before it are done.
        """
        names = self.names()
        for name in names:
            while not self._reencrypted(name):
                pass  # somebody replaced the credentials meanwhile, perhaps still with an older key
        return len(names)

    def names(self) -> list[str]:
        """Return all names, sorted."""
        with self._engine.connect() as connection:
            return list(connection.scalars(select(SenderRow.name).order_by(SenderRow.name)))

    def all(self) -> list[Sender]:
        """Return all senders by name, without their credentials."""
        with self._engine.connect() as connection:
            return [_sender(row) for row in connection.execute(_ALL).mappings()]

    def find(self, name: str) -> Sender:
        """Return one sender without its credentials.

        Raises:
            UnknownSender: there is none of that name.
        """
        with self._engine.connect() as connection:
            return _sender(self._row(connection, name))

    def open(self, name: str) -> tuple[Sender, datetime]:
        """Return one sender with its credentials, and the database's time.

        Raises:
            UnknownSender: there is none of that name.
            SecretKeyError: the credentials were encrypted with another key.
        """
        with self._engine.connect() as connection:
            row = self._row(connection, name)
            encrypted = connection.scalars(select(SenderRow.credentials).where(SenderRow.name == name)).one()
        return replace(_sender(row), credentials=self._keys.decrypt(encrypted)), row["now"]

    def opened_like(self, sender: Sender) -> list[Sender]:
        """Return the senders of the same provider and agentid with their credentials, as far as those can be read."""
        with self._engine.connect() as connection:
            names = connection.scalars(
                select(SenderRow.name).where(
                    (SenderRow.provider == sender.provider) & SenderRow.agentid.is_not_distinct_from(sender.agentid)
                )
            ).all()
        opened = []
        for name in names:
            with suppress(SecretKeyError, UnknownSender):
                opened.append(self.open(name)[0])
        return opened

    def require(self, name: str, connection: Connection) -> datetime:
        """Check in a producer's transaction that a sender exists, and return the database's time.

        Raises:
            UnknownSender: there is none of that name.
        """
        now: datetime = self._row(connection, name)["now"]
        return now

    def pause(self, name: str, reason: str) -> None:
        """Stop a sender until somebody resumes it; its messages wait.

        Raises:
            UnknownSender: there is none of that name.
        """
        self._change(name, paused_reason=shortened(reason), paused_until=None)

    def resume(self, name: str) -> None:
        """Let a sender send again, make the calls that are parked, and have every worker try that stands aside.

        Raises:
            UnknownSender: there is none of that name.
        """
        transact(self._engine, lambda connection: self._let_go_on(connection, name), _IN_DOUBT)

    def limit(
        self, name: str, *, account_cap: int | None, calls_per_minute: int | None, calls_at_once: int | None
    ) -> None:
        """Set a sender's limits; None means none of its own.

        Raises:
            UnknownSender: there is none of that name.
        """
        limits = {"calls_per_minute": calls_per_minute, "calls_at_once": calls_at_once}
        self._change(
            name,
            account_cap=account_cap,
            settings={limit: number for limit, number in limits.items() if number is not None},
        )

    def park(self, name: str, reason: str, seconds: int) -> None:
        """Stop a sender for a while, unless it is stopped already."""
        with self._engine.begin() as connection:
            connection.execute(_PARK, {"name": name, "reason": shortened(reason), "seconds": seconds})

    def end_parking(self, name: str) -> None:
        """Forget how long a sender was parked, now that it sends again."""
        with self._engine.begin() as connection:
            connection.execute(_END_PARKING, {"name": name})

    def remove(self, name: str) -> None:
        """Remove a sender that has no messages.

        Raises:
            UnknownSender: there is none of that name.
            LedgerError: messages name it, so that it is part of the history, or schedules do.
        """
        removed = False

        def remove(connection: Connection) -> None:
            nonlocal removed
            if not removed:  # or an earlier try had no answer to its COMMIT
                self._row(connection, name)
            connection.execute(delete(SenderRow).where(SenderRow.name == name))
            removed = True

        try:
            transact(self._engine, remove, _IN_DOUBT)
        except IntegrityError:
            raise LedgerError(
                f"{name!r} has messages or schedules, and history must keep its sender; `wecom senders pause {name}` "
                "stops it"
            ) from None

    @property
    def _keys(self) -> KeyRing:
        if self._key_ring is None:
            raise SecretKeyError("this program was started without the secret keys and cannot read credentials")
        return self._key_ring

    def _row(self, connection: Connection, name: str) -> RowMapping:
        # Postgres refuses these in any text, so no sender can be called so.
        row = None if storable(name) != name else connection.execute(_FIND, {"name": name}).mappings().one_or_none()
        if row is None:
            raise UnknownSender(
                name, list(connection.scalars(select(SenderRow.name).order_by(SenderRow.name).limit(20)))
            )
        return row

    def _reencrypted(self, name: str) -> bool:
        def reencrypt(connection: Connection) -> bool:
            stored = connection.scalar(select(SenderRow.credentials).where(SenderRow.name == name))
            if stored is None:
                return True
            try:
                anew = self._keys.encrypt(self._keys.decrypt(stored))
            except SecretKeyError as error:
                raise SecretKeyError(f"{name}: {error}") from None
            unchanged = (SenderRow.name == name) & (SenderRow.credentials == stored)
            return connection.execute(update(SenderRow).where(unchanged).values(credentials=anew)).rowcount == 1

        return transact(self._engine, reencrypt, _IN_DOUBT)

    def _let_go_on(self, connection: Connection, name: str, **values: Any) -> None:  # noqa: ANN401 - column values
        self._write(connection, name, paused_reason=None, paused_until=None, park_seconds=0, **values)
        end_every_parking(connection, name)
        end_standing_aside(connection, name)

    def _change(self, name: str, **values: Any) -> None:  # noqa: ANN401
        transact(self._engine, lambda connection: self._write(connection, name, **values), _IN_DOUBT)

    def _write(self, connection: Connection, name: str, **values: Any) -> None:  # noqa: ANN401
        self._row(connection, name)
        connection.execute(update(SenderRow).where(SenderRow.name == name).values(values))


def _sender(row: RowMapping) -> Sender:
    return Sender(
        name=row["name"],
        provider=row["provider"],
        agentid=row["agentid"],
        account_cap=row["account_cap"],
        calls_per_minute=row["settings"].get("calls_per_minute"),
        calls_at_once=row["settings"].get("calls_at_once"),
        paused_reason=row["paused_reason"],
        paused_until=row["paused_until"],
        park_seconds=row["park_seconds"],
    )
