"""What a migration of a large ledger costs those who write meanwhile: from revision 0003 to the newest, a million rows.

Producers, workers and a dispatcher of an earlier release run all the while. `beside_the_writes` is `wecom migrate`;
`at_one_go` carries out the same as releases before did: all of it in one transaction, with plain CREATE INDEX.
"""

import io
import re
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
from alembic import command
from alembic.config import Config

from tests.earlier_releases import ADD_SENDER, FILL, driver_url, release_of, running
from worker.embedded import EmbeddedServers
from worker.ledger import migrate, open_engine
from worker.ledger.revisions import MIGRATIONS

FROM = "0003"
"""Behind it come the two largest indexes, over the members of every message and over its campaign."""
APART_SECONDS = 0.02
"""Two producers, so that they send nearly a hundred messages a second."""


def measure(*, quick: bool = False) -> dict[str, float]:
    """Return the seconds of the slowest writes, the statements that failed, and the seconds of the migration."""
    messages = 20_000 if quick else 1_000_000
    return _figures("at_one_go", _at_one_go, messages) | _figures("beside_the_writes", _beside_the_writes, messages)


def _figures(name: str, change: Callable[[str], None], messages: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory(prefix="wecom-bench-") as folder, EmbeddedServers(Path(folder)) as servers:
        database_url = servers.database_url
        engine = open_engine(database_url)
        migrate(engine, FROM)
        engine.dispose()
        with psycopg.connect(driver_url(database_url), autocommit=True) as connection:
            connection.execute(ADD_SENDER)
            connection.execute(FILL, {"messages": messages})
            connection.execute("vacuum analyze wecom.messages")
        with running(release_of(FROM), database_url, lock_timeout="0", pause=APART_SECONDS) as programs:
            time.sleep(2)
            at_rest = max(programs.slowest.values())
            programs.slowest.clear()
            began = time.monotonic()
            failed = 0
            try:
                change(database_url)
            except psycopg.Error as error:
                print(f"{name}: {error}")
                failed = 1
            took = time.monotonic() - began
    return {
        f"{name}_slowest_write_at_rest_s": at_rest,
        f"{name}_slowest_store_s": programs.slowest["store"],
        f"{name}_slowest_claim_s": programs.slowest["claim"],
        f"{name}_slowest_settle_s": programs.slowest["settle"],
        f"{name}_failed_statements": len(programs.errors),
        f"{name}_failed_migrations": failed,
        f"{name}_took_s": took,
    }


def _beside_the_writes(database_url: str) -> None:
    engine = open_engine(database_url)
    migrate(engine)
    engine.dispose()


def _at_one_go(database_url: str) -> None:
    printed = io.StringIO()
    config = Config(output_buffer=printed)
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    command.upgrade(config, f"{FROM}:head", sql=True)
    plain = re.sub(r"(?m)^(begin|commit|lock table .*|set .*);$", "", printed.getvalue(), flags=re.IGNORECASE)
    with psycopg.connect(driver_url(database_url)) as connection:
        connection.execute(plain.replace("CONCURRENTLY", "").replace("concurrently", ""))
