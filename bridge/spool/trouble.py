"""Whether the disk takes what is written, told once when it stops and once when it starts again."""

import logging

from bridge.clock import Clock

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
