"""What a chunk in work hears: whether its messages may still leave.

A message was claimed because it might be sent then. Until it leaves, the sender may be paused or parked, its campaign
paused, the message recalled, its time run out, a quiet window begin. Each message is asked about right before the
first byte of its request leaves, and at that moment the last look into the ledger began at most `HEARS_WITHIN` ago. So
what was committed a second earlier is obeyed. While the ledger cannot be asked, nothing leaves.
"""

import threading
from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from worker.delivery.clock import Clock
from worker.delivery.stagger import QuietWindows
from worker.elapsed import elapsed
from worker.ledger import ClaimedMessage, Holds, Priority
from worker.providers.base import HeldBack

HEARS_WITHIN = 1.0
"""Seconds after which at the latest a message obeys."""
LOOK_SECONDS = 0.3
"""Seconds between two looks; so a look may take the rest of `HEARS_WITHIN` before anything has to wait for it."""
FEEL_SECONDS = 0.05
"""How often a message that waits for a look feels whether it waits in vain."""


class Hearing:
    """What one chunk hears; one thread looks, many ask.

    Args:
        holds: where to look.
        sender: the name of the sender.
        clock: the database's time.
        quiet: the quiet windows.
        last_start: by `elapsed`, after which no call may begin.
        claimed_at: by `elapsed`, when the chunk began to be claimed; the claim was the first look.
        stopping: set when this worker stops.
    """

    def __init__(
        self,
        holds: Holds,
        sender: str,
        clock: Clock,
        quiet: QuietWindows,
        *,
        last_start: float,
        claimed_at: float,
        stopping: threading.Event,
    ) -> None:
        self._holds = holds
        self._sender = sender
        self._clock = clock
        self.last_start = last_start
        self._stopping = stopping
        self._halted = threading.Event()
        self._held: frozenset[UUID] = frozenset()
        self._looked_at = self._tried_at = claimed_at
        self._looked = threading.Condition()
        window = quiet.next_window(clock.latest())
        self._quiet_from = clock.until(window[0]) if window else float("inf")
        self._quiet_until = quiet.waiting_until(window[0]) if window else None

    @property
    def halted(self) -> bool:
        """Whether nothing of the chunk may leave any more."""
        return self._halted.is_set()

    def halt(self) -> None:
        """Let nothing of the chunk leave any more."""
        self._halted.set()

    def seconds_to_look(self) -> float:
        """Return in how many seconds the next look is due; 0 if it is."""
        return max(0.0, self._tried_at + LOOK_SECONDS - elapsed())

    def look(self, waiting: Collection[ClaimedMessage]) -> None:
        """Ask the ledger about the messages that have not been answered.

        Raises:
            SQLAlchemyError: the ledger cannot be asked; nothing leaves until it can.
        """
        began = self._tried_at = elapsed()
        held = self._holds.among(self._sender, waiting)
        if held.sender_stopped:
            self.halt()
        with self._looked:
            self._held, self._looked_at = held.messages, began
            self._looked.notify_all()

    def may_leave(self, message: ClaimedMessage) -> bool:
        """Say whether a message may leave now; this may wait for a look."""
        now = elapsed()
        if now - self._looked_at > HEARS_WITHIN:
            self._wait_for_a_look()
            now = elapsed()
        if now > self.last_start or self._halted.is_set() or self._stopping.is_set() or message.id in self._held:
            return False
        if message.expires_at is not None and message.expires_at <= self._clock.latest():
            return False
        return now < self._quiet_from or self._goes_in_a_quiet_window(message)

    def require(self, message: ClaimedMessage) -> None:
        """Ask once more, right before a message leaves.

        Raises:
            HeldBack: it must stay.
        """
        if not self.may_leave(message):
            raise HeldBack

    def _wait_for_a_look(self) -> None:
        with self._looked:
            while elapsed() - self._looked_at > HEARS_WITHIN:
                if elapsed() > self.last_start or self._halted.is_set() or self._stopping.is_set():
                    return
                self._looked.wait(FEEL_SECONDS)

    def _goes_in_a_quiet_window(self, message: ClaimedMessage) -> bool:
        """Whether a message is urgent or cannot wait for the end of the window; a claim judges alike."""
        if message.priority == Priority.URGENT:
            return True
        latest: list[datetime] = [one for one in (message.expires_at, message.resend_until) if one is not None]
        return bool(latest) and self._quiet_until is not None and min(latest) < self._quiet_until
