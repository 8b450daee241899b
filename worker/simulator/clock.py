"""The simulator's clock, so that a test need not wait a day to see a recall refused."""

import time


class SettableClock:
    """Unix seconds that run like the machine's, shifted; or that stand still."""

    def __init__(self) -> None:
        self._shift = 0.0
        self._frozen: float | None = None

    def now(self) -> float:
        """The simulator's present, in Unix seconds."""
        return time.time() + self._shift if self._frozen is None else self._frozen

    @property
    def frozen(self) -> bool:
        """Whether the clock stands still."""
        return self._frozen is not None

    def set(self, instant: float, *, frozen: bool = False) -> None:
        """Go to an instant (Unix seconds) and run on from there, or stand still there."""
        self._shift = instant - time.time()
        self._frozen = instant if frozen else None

    def advance(self, seconds: float) -> None:
        """Move by so many seconds; a running clock runs on, a frozen one stays frozen."""
        if self._frozen is None:
            self._shift += seconds
        else:
            self._frozen += seconds

    def reset(self) -> None:
        """Run with the machine's clock again."""
        self._shift = 0.0
        self._frozen = None
