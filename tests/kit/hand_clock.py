"""A clock that a test turns by hand."""

from dataclasses import dataclass

from bridge.clock import Moment

SECOND = 1_000_000_000


@dataclass
class HandClock:
    """Stands still until somebody turns it.

    Attributes:
        wall: seconds since 1970 as the wall clock has it.
        boot: seconds since the machine started.
        synchronised: whether the wall clock is disciplined.
        boot_id: which start of the machine it is.
    """

    wall: float = 1_700_000_000.0
    boot: float = 1000.0
    synchronised: bool = True
    boot_id: bytes = b"bootboot"

    def now(self) -> Moment:
        return Moment(int(self.wall * SECOND), int(self.boot * SECOND), self.synchronised)

    def monotonic(self) -> float:
        return self.boot
