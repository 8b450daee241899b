"""Runs the shop with all it needs in one terminal: Postgres, Redis, a worker, beat, a local WeCom. Ctrl-C stops all.

The environment variable PORT names the shop's port; without it, any free one is taken.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Thread
from typing import IO

from app import create_app
from werkzeug.serving import make_server

from worker.servers import open_servers

os.environ.setdefault("WECOM_HOME", ".wecom-example-flask")


@contextmanager
def everything_else() -> Iterator[None]:
    """Run `wecom up --simulator`, and yield when it runs."""
    up = subprocess.Popen(
        [sys.executable, "-m", "worker.cli", "up", "--simulator"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # Ctrl-C comes to us first
    )
    assert up.stdout is not None  # noqa: S101 - it was asked for
    try:
        for line in up.stdout:
            print(line, end="", flush=True)
            if "running:" in line:
                break
        else:
            raise SystemExit(up.wait())
        Thread(target=pass_on, args=(up.stdout,), daemon=True).start()
        yield
    finally:
        up.send_signal(signal.SIGTERM)
        up.wait()


def pass_on(lines: IO[str]) -> None:
    """Print what the others say."""
    for line in lines:
        print(line, end="", flush=True)


def interrupt(*_: object) -> None:
    """Stop as after Ctrl-C."""
    raise KeyboardInterrupt


signal.signal(signal.SIGTERM, interrupt)
with suppress(KeyboardInterrupt), everything_else():
    database = open_servers().database_url
    shop = make_server(
        "127.0.0.1",
        int(os.environ.get("PORT", "0")),
        create_app({"SQLALCHEMY_DATABASE_URI": database, "WECOM_DATABASE_URL": database}),
        threaded=True,
    )
    address = f"http://127.0.0.1:{shop.port}"
    print(f"the shop is open: {address}")
    print(f"    curl -L -d userid=zhangsan -d item=Coffee {address}/orders", flush=True)
    shop.serve_forever()
