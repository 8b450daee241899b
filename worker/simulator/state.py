"""One running simulator: its WeCom, its faults, and what it counted."""

import time
from dataclasses import dataclass, field

from worker.simulator.faults import ENDPOINTS, FaultPlan
from worker.simulator.rules import SimulatedWecom


@dataclass(slots=True)
class SimulatorState:
    """What all connections and the control share.

    Attributes:
        wecom: the rules and their memory.
        faults: which calls are spoilt.
        calls: calls that came in, by endpoint, spoilt or not.
        answers: whole JSON answers that went out, by endpoint and errcode.
        connections: connections accepted.
    """

    wecom: SimulatedWecom = field(default_factory=SimulatedWecom)
    faults: FaultPlan = field(default_factory=FaultPlan)
    calls: dict[str, int] = field(default_factory=lambda: dict.fromkeys(ENDPOINTS, 0))
    answers: dict[str, dict[int, int]] = field(default_factory=lambda: {endpoint: {} for endpoint in ENDPOINTS})
    connections: int = 0

    def reset(self) -> None:
        """Become as new; connections stay open."""
        self.wecom.reset()
        self.faults.reset()
        self.connections = 0
        for endpoint in ENDPOINTS:
            self.calls[endpoint] = 0
            self.answers[endpoint] = {}

    def count_answer(self, endpoint: str, errcode: int) -> None:
        """Count one answer that is about to go out."""
        counted = self.answers[endpoint]
        counted[errcode] = counted.get(errcode, 0) + 1

    def counters(self) -> dict[str, object]:
        """Everything counted, as `control.Counters` reads it."""
        return {
            "calls": self.calls,
            "answers": {
                endpoint: {str(errcode): count for errcode, count in counted.items()}
                for endpoint, counted in self.answers.items()
            },
            "faults": self.faults.fired,
            "connections": self.connections,
            "tokens_issued": self.wecom.apps.tokens_issued,
            **self.wecom.record.counts(),
            "uploads": len(self.wecom.media.uploads),
            "card_updates": len(self.wecom.card_updates.updates),
            "cpu_seconds": time.process_time(),
        }
