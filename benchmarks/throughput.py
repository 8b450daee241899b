"""Sends a second of one worker process, against Celery with a task a message, wechatpy and one commit a row.

Both have their messages waiting when they begin, and both are timed by the simulator: from the first call that comes in
to the last. All of it is measured in turns.
"""

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from rich.console import Console
from sqlalchemy import text

from benchmarks.measuring import durable, texts, wait_until
from benchmarks.peer_environment import WECHATPY, peer_python
from benchmarks.stage import AGENTID, CORPID, CORPSECRET, Stage, stage
from worker.servers import broker_form

ROUNDS = 3
POOLS = {"prefork": 2, "threads": 100}
PATIENCE_SECONDS = 300
PEER_STOP_SECONDS = 30


def measure(*, quick: bool = False) -> dict[str, float]:
    """Return `throughput_vs_peer_0ms` and `..._80ms`, each against the peer's better pool, and all speeds.

    Without a package index there is no peer, and only our own speeds are measured.
    """
    figures: dict[str, float] = {}
    with stage() as running:
        python = peer_python(running.folder / "peer")
        if python is None:
            Console().print(f"{WECHATPY} cannot be installed (no package index?): the comparison is skipped")
        for milliseconds in (0, 80):
            running.simulator.change_settings(latency=milliseconds / 1000)
            speeds = _speeds(running, python, milliseconds, quick=quick)
            figures |= {f"{name}_{milliseconds}ms_per_s": median(values) for name, values in speeds.items()}
            if python is not None:
                ratios = [max(turn) for turn in zip(*(speeds[pool] for pool in POOLS), strict=True)]
                figures[f"throughput_vs_peer_{milliseconds}ms"] = median(
                    ours / theirs for ours, theirs in zip(speeds["ours"], ratios, strict=True)
                )
    return figures


def _speeds(running: Stage, python: Path | None, milliseconds: int, *, quick: bool) -> dict[str, list[float]]:
    """Return sends a second of us and of the peer's pools, measured in turns."""
    slow = milliseconds > 0
    ours = 1_000 if quick else 10_000
    theirs = (
        {"prefork": 40 if slow else 200, "threads": 200}
        if quick
        else {"prefork": 300 if slow else 2_000, "threads": 2_000}
    )
    speeds: dict[str, list[float]] = {name: [] for name in ("ours", *(POOLS if python else ()))}
    for turn in range(1 if quick else ROUNDS):
        mark = f"{milliseconds}-{turn}"
        with running.worker() as worker:
            speeds["ours"].append(_timed(running, ours, lambda: durable(running, worker, texts(f"ours-{mark}", ours))))  # noqa: B023
        for pool in POOLS if python else ():
            assert python is not None
            speeds[pool].append(_peer_speed(running, python, pool, f"{pool}-{mark}", theirs[pool]))
    return speeds


def _peer_speed(running: Stage, python: Path, pool: str, mark: str, sends: int) -> float:
    environment = _peer_environment(running, POOLS[pool])
    subprocess.run(
        [str(python), str(Path(__file__).with_name("peer.py")), mark, str(sends)], env=environment, check=True
    )

    def all_sent() -> bool:
        with running.ledger.engine.connect() as connection:
            rows = connection.scalar(
                text("select count(*) from peer_messages where userid like :mark"), {"mark": f"{mark}-%"}
            )
        return bool(rows == sends)

    def work() -> None:
        with _peer_worker(python, pool, environment, running.folder / f"peer-{mark}.log"):
            wait_until(all_sent, PATIENCE_SECONDS)

    return _timed(running, sends, work)


def _timed(running: Stage, sends: int, work: Callable[[], object]) -> float:
    """Return the sends a second that the simulator saw."""
    seen = running.simulator.counters().deliveries
    work()
    moments = [delivery.at for delivery in running.simulator.iterate_deliveries(seen)]
    assert len(moments) == sends, f"{len(moments)} calls instead of {sends}"
    return (sends - 1) / (max(moments) - min(moments))


@contextmanager
def _peer_worker(python: Path, pool: str, environment: dict[str, str], log: Path) -> Iterator[None]:
    command = [str(python), "-m", "celery", "-A", "peer", "--quiet", "worker", "-P", pool, "-c", str(POOLS[pool])]
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [*command, "--without-mingle", "--without-gossip", "--without-heartbeat", "-Q", "peer"],
            cwd=Path(__file__).parent,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as process,
    ):
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(PEER_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def _peer_environment(running: Stage, concurrency: int) -> dict[str, str]:
    return {
        **os.environ,
        "PEER_BROKER_URL": broker_form(running.environment["WECOM_REDIS_URL"]),
        "PEER_DATABASE_URL": running.environment["WECOM_DATABASE_URL"],
        "PEER_API_BASE_URL": running.simulator.base_url,
        "PEER_CORPID": CORPID,
        "PEER_CORPSECRET": CORPSECRET,
        "PEER_AGENTID": str(AGENTID),
        "PEER_POOL": str(concurrency),
    }
