"""The time that passes on this machine, also while it sleeps; its wall clock may be wrong or set anew."""

import time

_COUNTER = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def elapsed() -> float:
    """Return seconds since some moment in the past; where the system can, they go on while the machine sleeps."""
    return time.clock_gettime(_COUNTER)
