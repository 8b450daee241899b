"""A producer that was opened before its process was forked: every process sends, at the first try."""

import base64
import os
import subprocess
import sys
from pathlib import Path

import orjson
import pytest
from forking_program import CHILDREN, MESSAGES
from redis import Redis
from sqlalchemy import text

from worker.ledger import Ledger
from worker.messages.sender import Sender

AGENTID = 1000002
PROGRAM = Path(__file__).resolve().parents[1] / "forking_program.py"


@pytest.mark.parametrize("kind", ["plain", "flask", "django"])
def test_after_a_fork_children_and_parent_send_at_the_first_try(
    kind: str, ledger: Ledger, environment: dict[str, str], redis_url: str
) -> None:
    senders = ["before", "after", "meanwhile", *(f"child{child}" for child in range(CHILDREN))]
    for name in senders:
        ledger.senders.add(Sender(name, "wecom", AGENTID, {"corpid": "ww1", "corpsecret": "secret"}))
    ran = subprocess.run(
        # Forks of processes with threads are what this is about.
        [sys.executable, "-W", "ignore:This process:DeprecationWarning", str(PROGRAM), kind],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.stderr == ""
    assert ran.returncode == 0
    meanwhile = int(ran.stdout)
    with ledger.engine.connect() as connection:
        named = sorted(connection.scalars(text("select touser[1] from wecom.messages")))
    children = [f"child{child}-{number}" for child in range(CHILDREN) for number in range(MESSAGES)]
    parent = [f"{when}-{number}" for when in ("before", "after") for number in range(MESSAGES)]
    assert named == sorted(children + parent + [f"meanwhile-{number}" for number in range(meanwhile)])
    with Redis.from_url(redis_url) as redis:
        rung = {
            orjson.loads(base64.b64decode(orjson.loads(bell)["body"]))[0][0]
            for bell in redis.lrange("wecom.deliver", 0, -1)
        }
    assert rung == set(senders)
