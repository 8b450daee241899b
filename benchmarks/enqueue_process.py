"""A producer that takes over a campaign of so many rows, and says how much memory it took at most."""

import os
import sys

from benchmarks.enqueue import TEXT, recipients
from benchmarks.measuring import peak_memory
from benchmarks.stage import SENDER
from worker import Producer


def main(rows: int) -> None:
    """Take over a campaign; print the peak resident memory in megabytes."""
    name = f"process {rows}"
    Producer().campaign(name, sender=SENDER, message=TEXT, recipients=recipients(f"process{rows}", rows))
    print(peak_memory(os.getpid()))


if __name__ == "__main__":
    main(int(sys.argv[1]))
