"""The threads on which one process uploads files, apart from those that send messages."""

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

AT_ONCE = 8
OF_ONE_SENDER = 4
"""Uploads of a process at once; one sender with many files leaves room for others."""
SMALL_BYTES = 1024 * 1024
LARGE_AT_ONCE = 2
"""Larger files are few at once: each of up to 20 MiB is in memory, some three times over, while it is uploaded."""


class UploadThreads:
    """Bounds how much is uploaded at once; safe to use from many threads."""

    def __init__(self) -> None:
        self.large = threading.BoundedSemaphore(LARGE_AT_ONCE)
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="wecom-upload")
        self._at_work: Counter[str] = Counter()
        self._lock = threading.Lock()

    def start(self, sender: str, wanted: int, work: Callable[[], object]) -> None:
        """Have threads do some work for a sender, as many as are wanted and free; do not wait for them."""
        with self._lock:
            free = min(OF_ONE_SENDER - self._at_work[sender], AT_ONCE - self._at_work.total())
            begun = max(0, min(wanted, free))
            self._at_work[sender] += begun
        for _ in range(begun):
            self._threads.submit(self._do, sender, work)

    def close(self) -> None:
        """Wait for the work under way, which ends soon once the process is to stop."""
        self._threads.shutdown()

    def _do(self, sender: str, work: Callable[[], object]) -> None:
        try:
            work()
        finally:
            with self._lock:
                self._at_work -= Counter({sender: 1})
