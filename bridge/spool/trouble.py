"""Whether the disk takes what is written and a log has room, told once when that ends and once when it is back."""

import logging

from bridge.clock import Clock
from bridge.hush import Hush
from bridge.spool.settings import OnFull

log = logging.getLogger(__name__)


class Trouble:
    """The state of a log's disk.

    Attributes:
        writable: False from a failed publication to the next good write.
        last_error: the latest error of the disk, or None.
    """

    def __init__(self, name: str, clock: Clock) -> None:
        self._name = name
        self._clock = clock
        self._since = 0.0
        self.writable = True
        self.last_error: str | None = None

    def note(self, error: OSError) -> None:
        """Something failed that something else makes up for."""
        self.last_error = error.strerror or str(error)

    def begin(self, error: OSError) -> None:
        """Nothing can be written."""
        self.note(error)
        if not self.writable:
            return
        self.writable = False
        self._since = self._clock.monotonic()
        log.error(
            "%s cannot be written: %s. Nothing is acknowledged until it can; what is stored is still sent. "
            "Trying again; free space or mend the disk.",
            self._name,
            self.last_error,
        )

    def end(self) -> None:
        """Something was written."""
        if not self.writable:
            log.warning("%s can be written again after %.0f s", self._name, self._clock.monotonic() - self._since)
        self.writable = True


class Fullness:
    """Whether a log has room for more, told once when it has none and once when it has again.

    Attributes:
        why: what leaves no room, or None.
    """

    def __init__(self, name: str, clock: Clock, on_full: OnFull) -> None:
        self._name = name
        self._clock = clock
        self._on_full = on_full
        self._since = 0.0
        self._hush = Hush()
        self._told = False
        self.why: str | None = None

    def begin(self, why: str) -> None:
        """There is no room."""
        if self.why is None:
            self._since = self._clock.monotonic()
        self.why = why
        if self._told or not self._hush("full"):
            return
        self._told = True
        consequence = (
            "what comes in is refused and counted as lost"
            if self._on_full == "reject-newest"
            else "nothing is acknowledged until there is room: brokers keep it, serial devices cannot"
        )
        log.error(
            "%s is full (%s), on_full = %s: %s. There is room again when the sinks have confirmed what waits.",
            self._name,
            why,
            self._on_full,
            consequence,
        )

    def end(self) -> None:
        """There is room."""
        if self.why is not None and self._told:
            log.warning("%s has room again after %.0f s", self._name, self._clock.monotonic() - self._since)
            self._told = False
        self.why = None
