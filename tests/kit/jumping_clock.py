"""A clock whose wall time jumps when the test says so; what only grows goes on growing."""

import os
import time

from bridge.clock import Moment

YEAR_NS = 365 * 86_400 * 1_000_000_000
TEN_YEARS_NS = 10 * YEAR_NS


class JumpingClock:
    """Implements :class:`bridge.clock.Clock`.

    Attributes:
        wall_ns: how far the wall clock is off.
        synchronised: what it says of itself.
        boot_id: changes with :meth:`reboot`.
    """

    def __init__(self) -> None:
        self.wall_ns = 0
        self.synchronised = True
        self.boot_id = os.urandom(8)
        self._booted_ns = time.monotonic_ns()

    def now(self) -> Moment:
        boot_ns = time.monotonic_ns() - self._booted_ns
        return Moment(time.time_ns() + self.wall_ns, boot_ns, self.synchronised)

    def monotonic(self) -> float:
        return (time.monotonic_ns() - self._booted_ns) / 1e9

    def jump(self, wall_ns: int) -> None:
        """The wall clock is set."""
        self.wall_ns += wall_ns

    def reboot(self) -> None:
        """Another boot: the clocks that count from there begin anew."""
        self.boot_id = os.urandom(8)
        self._booted_ns = time.monotonic_ns()
