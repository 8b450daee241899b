"""A million recipients of one text: from `campaign()` to the last answer."""

import time

from benchmarks.stage import SENDER, stage
from worker import Text

RECIPIENTS = 1_000_000
LATENCY_SECONDS = 0.02


def measure(*, quick: bool = False) -> dict[str, float]:
    """Return the seconds until a worker has sent everything at 20 ms API latency, and those that storing took."""
    recipients = 20_000 if quick else RECIPIENTS
    with stage() as running, running.worker():
        running.simulator.change_settings(latency=LATENCY_SECONDS)
        seen = running.simulator.counters().deliveries
        began = time.monotonic()
        running.producer.campaign(
            "million",
            sender=SENDER,
            message=Text(content="公司年会改到周五下午三点"),
            recipients=(f"member{number}" for number in range(recipients)),
        )
        stored = time.monotonic() - began
        running.wait_until_sent()
        done = time.monotonic() - began
        deliveries = list(running.simulator.iterate_deliveries(seen))
        served = sum(len(delivery.served) for delivery in deliveries)
        assert served == recipients, f"{served} served instead of {recipients}"
    return {"million_s": done, "million_stored_s": stored, "million_calls": len(deliveries)}
