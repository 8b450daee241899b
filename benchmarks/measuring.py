"""What several benchmarks measure: the CPU a worker spends on sends, and the bare loop's beside it."""

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import psutil
import requests

from benchmarks.stage import AGENTID, CORPID, CORPSECRET, SENDER, Stage
from worker import SendRequest, Text


def texts(mark: str, sends: int) -> list[SendRequest]:
    """Return personalised texts to different members."""
    return [
        SendRequest(SENDER, Text(content=f"Payslip {number}: 工资条已发放，请查收"), users=[f"{mark}-{number}"])
        for number in range(sends)
    ]


def durable(running: Stage, worker: psutil.Process, requested: Sequence[SendRequest]) -> tuple[float, float]:
    """Have messages sent; return the seconds for all of them, and the worker's CPU seconds for one."""
    running.store(requested)
    before, began = _cpu_seconds(worker), time.monotonic()
    running.let_go()
    running.wait_until_sent()
    return time.monotonic() - began, (_cpu_seconds(worker) - before) / len(requested)


def bare(running: Stage, turn: int, sends: int) -> float:
    """Return the CPU seconds of one send in a bare loop."""
    base = running.simulator.base_url
    token = requests.get(f"{base}/cgi-bin/gettoken", {"corpid": CORPID, "corpsecret": CORPSECRET}, timeout=10).json()[
        "access_token"
    ]
    url = f"{base}/cgi-bin/message/send?access_token={token}&agentid={AGENTID}"
    command = [sys.executable, "-m", "benchmarks.bare_loop", url, str(turn * sends), str(sends)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def peak_memory(process: int) -> float:
    """Return the peak resident memory of a process in megabytes (Linux)."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("the kernel does not tell the peak memory of a process")


def wait_until(true: Callable[[], bool], seconds: float) -> None:
    """Wait for something.

    Raises:
        TimeoutError: it did not come true in time.
    """
    until = time.monotonic() + seconds
    while not true():
        if time.monotonic() > until:
            raise TimeoutError(f"still waiting after {seconds:.0f} s")
        time.sleep(0.02)


def _cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
