"""What the local WeCom has written down, read as it grows."""

from worker.simulator.control import SimulatorControl
from worker.simulator.record import Delivery


class Record:
    """All deliveries so far, and who was addressed by them; for one thread."""

    def __init__(self, wecom: SimulatorControl) -> None:
        self._wecom = wecom
        self.deliveries: list[Delivery] = []
        self.members: set[str] = set()

    def read(self) -> list[Delivery]:
        """Read what came since the last time, and return everything."""
        new = self._wecom.deliveries(len(self.deliveries))
        self.deliveries += new
        self.members |= {user for delivery in new for user in (*delivery.served, *delivery.dropped)}
        return self.deliveries
