"""Statements of the reaper: reopen what dead workers held, and end what can no longer be sent."""

from dataclasses import dataclass

from sqlalchemy import Engine, TextClause, text

from worker.ledger.schema import State

# Whoever held the lease may have sent the message before it died. It is sent again while WeCom would recognise a
# repetition; past that only a person can know.
_REOPEN = text("""
    with expired as (
        select id, attempt, claimed_at, least(resend_until, claimed_at
                   + make_interval(secs => coalesce((body ->> 'duplicate_check_interval')::int, 0) - :margin_seconds)
               ) as resend_until
        from wecom.messages
        where state = 'sending' and lease_until <= wecom.clock()
        order by lease_until
        limit :most
        for update skip locked
    ), reopened as (
        update wecom.messages as message
        set state = case when expired.resend_until > wecom.clock() then 'scheduled' else 'unconfirmed' end,
            lease_until = null, resend_until = expired.resend_until, error = :reason, errcode = null
        from expired
        where message.id = expired.id
        returning message.id, message.state
    ), noted as (
        insert into wecom.attempts (message, attempt, at, category, reason, milliseconds)
        select id, attempt, claimed_at, 'uncertain', :reason, 0 from expired
    )
    select state, count(*) as messages from reopened group by state
""")

_EXPIRE = text("""
    with late as (
        select id from wecom.messages
        where state = 'scheduled' and expires_at <= wecom.clock() and resend_until is null
        limit :most for update skip locked
    )
    update wecom.messages as message set state = 'expired', error = coalesce(error, 'not sent before it expired')
    from late where message.id = late.id
""")

_GIVE_UP_DOUBTFUL = text("""
    with doubtful as (
        select id from wecom.messages
        where state = 'scheduled' and resend_until <= wecom.clock()
        limit :most for update skip locked
    )
    update wecom.messages as message set state = 'unconfirmed'
    from doubtful where message.id = doubtful.id
""")

# A producer's open transaction may hold a key it takes anew; it is passed over, not waited for.
_FORGET_KEYS = text("""
    delete from wecom.idempotency_keys
    where (sender, key) in (
        select sender, key from wecom.idempotency_keys where expires_at <= wecom.clock()
        limit :most for update skip locked
    )
""")

DIED = "the worker stopped before it stored the answer; sent or not, nobody here knows"
MOST_AT_ONCE = 10_000


@dataclass(frozen=True, slots=True)
class Reaped:
    """What the reaper found: how many messages changed, by what they became."""

    reopened: int = 0
    unconfirmed: int = 0
    expired: int = 0


class Reaper:
    """What is done for all senders at once, a bounded number of rows a transaction."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def reap(self, margin_seconds: float) -> Reaped:
        """Reopen messages whose worker died, and end those whose time has passed.

        `margin_seconds` is by how much the duplicate check must still cover a message when it is claimed again.
        """
        with self._engine.begin() as connection:
            parameters = {"margin_seconds": margin_seconds, "most": MOST_AT_ONCE, "reason": DIED}
            rows = connection.execute(_REOPEN, parameters).all()
        reopened = {row.state: row.messages for row in rows}
        return Reaped(
            reopened=reopened.get(State.SCHEDULED, 0),
            unconfirmed=reopened.get(State.UNCONFIRMED, 0) + self._all(_GIVE_UP_DOUBTFUL),
            expired=self._all(_EXPIRE),
        )

    def forget_keys(self) -> None:
        """Delete idempotency keys that have expired."""
        self._all(_FORGET_KEYS)

    def _all(self, statement: TextClause) -> int:
        """Run a statement, a bounded number of rows a transaction, until it finds no more; return how many it did."""
        total = 0
        while True:
            with self._engine.begin() as connection:
                done = connection.execute(statement, {"most": MOST_AT_ONCE}).rowcount
            total += done
            if done < MOST_AT_ONCE:
                return total
