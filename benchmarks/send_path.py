"""What a durable send costs: the worker's CPU time for one message, against a bare loop of `requests`.

Bare loop and worker are measured in turns in one run. The worker's share is everything its process does: claim, token,
HTTP, judging, settling, and Celery.
"""

import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import requests

from benchmarks.stage import AGENTID, CORPID, CORPSECRET, SENDER, Stage, stage
from worker import SendRequest, Text

SENDS = 10_000
BARE_SENDS = 3_000
ROUNDS = 3


def measure() -> dict[str, float]:
    """Return `cpu_per_send_ratio`, the two times behind it in microseconds, sends/s and the worker's peak memory."""
    ratios, durable, bare, speeds = [], [], [], []
    with stage() as running, running.worker() as worker:
        for turn in range(ROUNDS):
            bare.append(_bare(running, turn))
            seconds, cpu = _durable(running, worker.cpu_times, turn)
            durable.append(cpu)
            speeds.append(SENDS / seconds)
            ratios.append(durable[-1] / bare[-1])
        memory = _peak_memory(worker.pid)
    return {
        "cpu_per_send_ratio": median(ratios),
        "cpu_per_send_us": median(durable) * 1e6,
        "bare_cpu_per_send_us": median(bare) * 1e6,
        "sends_per_second": median(speeds),
        "rss_mb": memory,
    }


def _durable(running: Stage, cpu_times, turn: int) -> tuple[float, float]:  # noqa: ANN001 - psutil is untyped
    """Return the seconds for all sends, and the worker's CPU seconds for one."""
    requested = [
        SendRequest(SENDER, Text(content=f"Payslip {number}: 工资条已发放，请查收"), users=[f"user{turn}-{number}"])
        for number in range(SENDS)
    ]
    # Stored first, so that producing and sending do not share the two processors.
    running.ledger.senders.pause(SENDER, "until all is stored")
    running.producer.send_many(requested)
    before, began = cpu_times(), time.monotonic()
    running.ledger.senders.resume(SENDER)
    running.wait_until_sent()
    after = cpu_times()
    return time.monotonic() - began, (after.user + after.system - before.user - before.system) / SENDS


def _bare(running: Stage, turn: int) -> float:
    """Return the CPU seconds of one send in a bare loop."""
    base = running.simulator.base_url
    token = requests.get(f"{base}/cgi-bin/gettoken", {"corpid": CORPID, "corpsecret": CORPSECRET}, timeout=10).json()[
        "access_token"
    ]
    url = f"{base}/cgi-bin/message/send?access_token={token}&agentid={AGENTID}"
    command = [sys.executable, "-m", "benchmarks.bare_loop", url, str(turn * BARE_SENDS), str(BARE_SENDS)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _peak_memory(pid: int) -> float:
    """Return the peak resident memory of a process in megabytes (Linux)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("the kernel does not tell the peak memory of a process")
