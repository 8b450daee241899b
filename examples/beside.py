"""What an example runs beside itself: `wecom up --simulator`, so Postgres, Redis, a worker, beat and a local WeCom."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Thread
from typing import IO


@contextmanager
def stopped_by_control_c() -> Iterator[None]:
    """Let Ctrl-C and TERM end the block, quietly and in order."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    for stop in (signal.SIGINT, signal.SIGTERM):  # shells have what runs in the background ignore Ctrl-C
        signal.signal(stop, interrupt)
    with suppress(KeyboardInterrupt):
        yield


@contextmanager
def wecom_up() -> Iterator[None]:
    """Run `wecom up --simulator` as long as the block lasts, which begins once all of it runs."""
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
        Thread(target=_pass_on, args=(up.stdout,), daemon=True).start()
        yield
    finally:
        up.send_signal(signal.SIGTERM)
        up.wait()


def _pass_on(lines: IO[str]) -> None:
    for line in lines:
        print(line, end="", flush=True)
