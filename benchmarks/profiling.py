"""Where the CPU time of the send path goes: `make profile`, written to `benchmarks/profile.txt`.

With py-spy installed a worker is watched from outside while it sends; its samples hold every thread. Without it the
standard library's profiler counts the CPU time of every thread of a delivery in this process, and short functions then
seem to cost more than they do.
"""

import cProfile
import pstats
import shutil
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path

from benchmarks.measuring import texts
from benchmarks.stage import SENDER, Stage, stage
from worker.delivery.deliver import deliver
from worker.delivery.office import open_office
from worker.settings import load_settings

SENDS = 5_000
SAMPLED_SENDS = 30_000
SAMPLES_A_SECOND = 100
SAMPLED_SECONDS = 8
TOP = 30
PROFILE = Path(__file__).with_name("profile.txt")


def main() -> None:
    """Write the profile and show it."""
    with stage() as running:
        py_spy = shutil.which("py-spy")
        lines = _sampled(running, py_spy) if py_spy else _profiled(running)
    PROFILE.write_text("\n".join(lines) + "\n")
    print(PROFILE.read_text())


def _sampled(running: Stage, py_spy: str) -> list[str]:
    """Watch a worker that sends."""
    samples = running.folder / "samples.txt"
    options = ["--nonblocking", "--gil", "--format", "raw", "--rate", str(SAMPLES_A_SECOND)]
    options += ["--duration", str(SAMPLED_SECONDS), "--output", str(samples)]
    with running.worker() as worker:
        running.store(texts("profiled", SAMPLED_SENDS))
        running.let_go()
        subprocess.run([py_spy, "record", "--pid", str(worker.pid), *options], check=True, capture_output=True)
        running.wait_until_sent()
    own: Counter[str] = Counter()
    for line in samples.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        own[stack.split(";")[-1].rsplit(":", 1)[0]] += int(count)
    total = own.total()
    heading = f"py-spy: {total} samples in {SAMPLED_SECONDS} s of threads that held the GIL; own time"
    return [heading, *(f"{count / total:6.1%}  {place}" for place, count in own.most_common(TOP))]


def _profiled(running: Stage) -> list[str]:
    """Deliver in this process, with a profiler in every thread."""
    chosen = {name.removeprefix("WECOM_").lower(): value for name, value in running.environment.items()}
    running.store(texts("profiled", SENDS))
    profilers: list[cProfile.Profile] = []

    def begin(*_: object) -> None:
        profiler = cProfile.Profile(time.thread_time)
        profilers.append(profiler)
        profiler.enable()  # replaces this function in the thread that called it

    threading.setprofile(begin)
    own = cProfile.Profile(time.thread_time)
    office = open_office(load_settings(**chosen), lambda *_: None)
    running.let_go()
    own.enable()
    while deliver(office, SENDER, lambda: None).more_due:
        pass
    own.disable()
    threading.setprofile(None)
    office.close()
    report = running.folder / "report.txt"
    with report.open("w") as output:
        statistics = pstats.Stats(own, *profilers, stream=output)
        statistics.strip_dirs().sort_stats("tottime").print_stats(TOP)
    return [f"cProfile: {SENDS} messages, {len(profilers) + 1} threads; own time", *report.read_text().splitlines()]


if __name__ == "__main__":
    main()
