"""Runs the shop's worker and two beats with all they need in one terminal; prints what arrives. Ctrl-C stops all."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from beside import stopped_by_control_c, wecom_up

from worker.cli.up_lock import beside_local_wecom
from worker.settings import load_settings
from worker.simulator.control import SimulatorControl

HERE = Path(__file__).resolve().parent
PROCESSES = (("worker", "--pool", "threads", "--concurrency", "2"), ("beat",), ("beat",))
LOOK_SECONDS = 0.5

os.environ.setdefault("WECOM_HOME", str(HERE.parents[1] / ".wecom-example-beat"))


@contextmanager
def shop() -> Iterator[None]:
    """Run the shop's processes as long as the block lasts."""
    celery = (sys.executable, "-m", "celery", "--app", "shop", "--quiet", "--workdir", str(HERE))
    started = [
        subprocess.Popen([*celery, *process, "--loglevel", "WARNING"], start_new_session=True) for process in PROCESSES
    ]
    try:
        yield
    finally:
        for process in started:
            process.terminate()
        for process in started:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


with (
    stopped_by_control_c(),
    wecom_up(),
    shop(),
    SimulatorControl(beside_local_wecom(load_settings()).api_base_url) as local_wecom,
):
    print("a worker and two beats of the shop run; what arrives at the local WeCom:", flush=True)
    seen = len(local_wecom.deliveries())
    while True:
        for delivery in local_wecom.deliveries(since=seen):
            print(f"{time.strftime('%H:%M:%S')}  {', '.join(delivery.served)}: {delivery.content}", flush=True)
            seen += 1
        time.sleep(LOOK_SECONDS)
