"""What the doctor asks about schedules: which of them are stopped."""

from collections.abc import Iterator

from worker.cli.findings import Finding, fault, fine
from worker.ledger import Ledger


def schedules(ledger: Ledger) -> Iterator[Finding]:
    """Name every schedule that is paused; the ledger must be there."""
    found = ledger.schedules.all()
    if found:
        yield fine(
            "schedules",
            "Schedules",
            f"{len(found)}, of which {sum(one.paused_reason is None for one in found)} are not paused",
        )
    for one in found:
        if one.paused_reason is not None:
            yield fault(
                "schedule.paused",
                f"Schedule {one.name}",
                f"paused: {one.paused_reason}",
                f"correct that, then `wecom schedule resume {one.name}`; it sends nothing meanwhile",
                schedule=one.name,
            )
