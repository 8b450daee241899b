"""What a durable send costs: the worker's CPU time for one message, against a bare loop of `requests`.

Bare loop and worker are measured in turns in one run. The worker's share is everything its process does: claim, token,
HTTP, judging, settling, and Celery.
"""

from statistics import median

from benchmarks.measuring import bare, durable, peak_memory, texts
from benchmarks.stage import stage

ROUNDS = 3


def measure(*, quick: bool = False) -> dict[str, float]:
    """Return `cpu_per_send_ratio`, the two times behind it in microseconds, sends/s and the worker's peak memory."""
    sends, bare_sends = (1_000, 500) if quick else (10_000, 3_000)
    ratios, durables, bares, speeds = [], [], [], []
    with stage() as running, running.worker() as worker:
        for turn in range(ROUNDS):
            bares.append(bare(running, turn, bare_sends))
            seconds, cpu = durable(running, worker, texts(f"user{turn}", sends))
            durables.append(cpu)
            speeds.append(sends / seconds)
            ratios.append(durables[-1] / bares[-1])
        memory = peak_memory(worker.pid)
    return {
        "cpu_per_send_ratio": median(ratios),
        "cpu_per_send_us": median(durables) * 1e6,
        "bare_cpu_per_send_us": median(bares) * 1e6,
        "sends_per_second": median(speeds),
        "rss_mb": memory,
    }
