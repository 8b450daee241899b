"""One request on its way out, and the fact on which its fate is judged: whether any of it left this process."""

import time
from collections.abc import Callable, Sequence

from worker.providers.base import nothing


class CallBroken(Exception):  # noqa: N818 - no fault of ours
    """A call brought no whole answer; the text says why, in words that hold no address and no secret."""


class Departure:
    """One request: its body, how long it may take, and whether it has left.

    Exceptions cannot tell what arrived: libraries wrap them, and the same reset means one thing before the first byte
    and another thing after it. So `left` is the only judge of that.

    Attributes:
        body: the body's pieces, in their order; None for a request without one.
        seconds: from the first byte of the request to the last of the answer.
        keep_going: asked again and again while it is under way, if given; False ends it.
        left: whether a byte of the request itself was handed to the connection; what opens the connection (to a proxy,
            or for TLS) does not count.
        until: the monotonic moment by which the answer must be whole; it is known once the request leaves.
        held_back_by: what `before_leaving` raised.
    """

    __slots__ = ("_before_leaving", "body", "held_back_by", "keep_going", "left", "seconds", "until")

    def __init__(
        self,
        body: Sequence[bytes] | None,
        seconds: float,
        before_leaving: Callable[[], None] = nothing,
        keep_going: Callable[[], bool] | None = None,
    ) -> None:
        self.body = body
        self.seconds = seconds
        self.keep_going = keep_going
        self.left = False
        self.until = 0.0
        self.held_back_by: Exception | None = None
        self._before_leaving = before_leaving

    @property
    def size(self) -> int:
        """Bytes of the body."""
        return sum(map(len, self.body or ()))

    @property
    def stopped(self) -> bool:
        """Whether it shall not go on."""
        return self.keep_going is not None and not self.keep_going()

    def leave(self) -> None:
        """Ask whether the request may leave, and note that it does."""
        try:
            self._before_leaving()
        except Exception as error:
            self.held_back_by = error
            raise
        self.left = True
        self.until = time.monotonic() + self.seconds
