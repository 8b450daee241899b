"""A large ledger: 10,000 senders and five million messages that wait for their time.

What the dispatcher asks is timed while some of the senders have something due, and what a member was sent while a
campaign is being written.
"""

import random
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from statistics import median, quantiles

from sqlalchemy import text

from benchmarks.stage import SENDER, Stage, stage
from worker import Text

DUE_SENDERS = 100
ASKED = 300
ENOUGH = 800
"""As many due messages as the dispatcher counts at most with the default settings."""

_SENDERS = text("""
    insert into wecom.senders (name, provider, agentid, credentials)
    select 'sender' || number, provider, agentid, credentials
    from wecom.senders, generate_series(1, :senders) as number where name = :model
""")
_MESSAGES = text("""
    insert into wecom.messages (id, sender, state, priority, requested_at, send_at, touser, toparty, totag, body)
    select gen_random_uuid(), 'sender' || 1 + number % :senders, 'scheduled', 1, due.at, due.at,
           array['member' || number % :members], '{}', '{}', '{"msgtype": "text", "text": {"content": "notice"}}'
    from generate_series(1, cast(:messages as bigint)) as number,
         lateral (select wecom.clock() + interval '1 day' + number * interval '1 ms' as at) as due
""")
_LET_SOME_BE_DUE = text("""
    update wecom.messages set send_at = wecom.clock()
    where id in (
        select (select id from wecom.messages where sender = 'sender' || number limit 1)
        from generate_series(1, :due) as number)
""")


def measure(*, quick: bool = False) -> dict[str, float]:
    """Return milliseconds: what the dispatcher asks, and a member's history at rest and while a campaign is written."""
    senders, messages, campaign = (200, 20_000, 5_000) if quick else (10_000, 5_000_000, 200_000)
    members = messages // 20
    with stage() as running:
        _fill(running, senders, messages, members)
        due = running.ledger.due
        quiet_until = due.now() + timedelta(minutes=3)
        asks: dict[str, Callable[[], object]] = {
            "dispatcher": lambda: (due.senders(ENOUGH, None), due.senders_with_errands()),
            "dispatcher_in_quiet_window": lambda: (due.senders(ENOUGH, quiet_until), due.senders_with_errands()),
        }
        figures = {f"{name}_ms": median(_milliseconds(ask) for _ in range(20)) for name, ask in asks.items()}
        chance = random.Random(1)
        at_rest = [_history(running, chance, members) for _ in range(ASKED)]
        writing = list(_histories_while_written(running, chance, members, campaign))
    percentiles = quantiles(writing, n=100, method="inclusive")
    return figures | {
        "history_ms": median(at_rest),
        "history_while_written_p50_ms": percentiles[49],
        "history_while_written_p99_ms": percentiles[98],
    }


def _fill(running: Stage, senders: int, messages: int, members: int) -> None:
    with running.ledger.engine.begin() as connection:
        connection.execute(_SENDERS, {"senders": senders, "model": SENDER})
    with running.ledger.engine.begin() as connection:
        connection.execute(_MESSAGES, {"senders": senders, "messages": messages, "members": members})
        connection.execute(_LET_SOME_BE_DUE, {"due": DUE_SENDERS})
    with running.ledger.engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT").execute(text("vacuum analyze wecom.messages"))


def _milliseconds(ask: Callable[[], object]) -> float:
    began = time.perf_counter()
    ask()
    return (time.perf_counter() - began) * 1000


def _history(running: Stage, chance: random.Random, members: int) -> float:
    return _milliseconds(lambda: running.producer.history(f"member{chance.randrange(members)}"))


def _histories_while_written(running: Stage, chance: random.Random, members: int, rows: int) -> Iterator[float]:
    """Ask again and again while a personalised campaign to the same members is stored."""
    recipients = ({"userid": f"member{number % members}", "number": number} for number in range(rows))
    writing = threading.Thread(
        target=lambda: running.producer.campaign(
            "written", sender=SENDER, message=Text(content="Notice {{ number }}"), recipients=recipients
        )
    )
    writing.start()
    while writing.is_alive():
        yield _history(running, chance, members)
    writing.join()
