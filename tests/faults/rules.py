"""Which request is spoilt, and how."""

import random
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, auto

from faults.conversation import Matches, Request


class Action(Enum):
    """What becomes of a request that matches."""

    PASS = auto()
    """Nothing: it is only counted."""
    ANSWER = auto()
    """The client gets `answer` in place of the server's, which never hears of the request; then the connection ends."""
    CUT = auto()
    """The connection ends before the request is passed on."""
    LOSE_ANSWER = auto()
    """The server carries the request out; once its answer is complete the connection ends, and the client sees
    nothing of the answer."""
    WITHHOLD_ANSWER = auto()
    """The same, but the connection stays and nothing comes any more."""
    SILENCE = auto()
    """Neither this request nor anything else passes in either direction any more; the connection stays."""
    DELAY = auto()
    """The request is passed on after `seconds`."""
    DELAY_ANSWER = auto()
    """The answer begins to pass back after `seconds`."""
    DRIP_ANSWER = auto()
    """The answer passes back a byte at a time, with `seconds` between two."""


@dataclass
class Rule:
    """What happens to requests that match; its words are those of the simulator's faults.

    Attributes:
        matches: which requests.
        action: what becomes of them.
        after: so many matching requests are left alone first (`after=4, times=1` is the fifth).
        times: at most so many are spoilt; None is no end.
        probability: how likely one is spoilt, 0 to 1, drawn from `seed`.
        seconds: for delays and drips.
        reset: a connection that ends does so with RST instead of FIN.
        answer: what the client is answered, as bytes on the wire.
        seen: how many matched; counted here.
        fired: how many were spoilt; counted here.
    """

    matches: Matches
    action: Action
    after: int = 0
    times: int | None = None
    probability: float = 1.0
    seed: int = 0
    seconds: float = 0.0
    reset: bool = False
    answer: bytes = b""
    seen: int = field(default=0, init=False)
    fired: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)
        self._changed = threading.Condition()

    def takes(self, request: Request) -> bool:
        """Count a request, and say whether it is one to spoil."""
        if not self.matches(request):
            return False
        with self._changed:
            self.seen += 1
            taken = (
                self.action is not Action.PASS
                and self.seen > self.after
                and (self.times is None or self.fired < self.times)
                and self._chance.random() < self.probability
            )
            self.fired += taken
            self._changed.notify_all()
            return taken

    def wait(self, times: int = 1, seconds: float = 30) -> None:
        """Wait until it has spoilt so many requests.

        Raises:
            TimeoutError: it has not within `seconds`.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self.fired >= times, seconds):
                raise TimeoutError(f"{self.action.name} fired {self.fired} times, not {times}, of {self.seen} seen")


class Rules:
    """All rules of a proxy, in the order they were added; they may change at any time, from any thread."""

    def __init__(self) -> None:
        self._rules: tuple[Rule, ...] = ()

    def __iter__(self) -> Iterator[Rule]:
        return iter(self._rules)

    def add(self, rule: Rule) -> Rule:
        """Add a rule, and return it, for its counts."""
        self._rules = (*self._rules, rule)
        return rule

    def clear(self) -> None:
        """Spoil nothing any more; answers under way keep their fate."""
        self._rules = ()

    def choose(self, request: Request) -> Rule | None:
        """Have every rule count a request, and return the first that takes it."""
        takers = [rule for rule in self._rules if rule.takes(request)]
        return takers[0] if takers else None
