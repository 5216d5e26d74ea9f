"""Whether a component's peer is there: the state that ``status`` shows and the few log lines about it.

One line when a peer goes, one when it is back, whatever the number of retries between.
"""

import logging
import time
from collections.abc import Callable

from bridge.errors import Paused, PeerError
from bridge.hush import Hush
from bridge.report import State

log = logging.getLogger(__name__)

FLAPPING = 60.0
"""Seconds within which a component that keeps going up and down is written about only once."""


class Health:
    """State of one component.

    Args:
        label: the component for people, ``source boiler``.
        peer: what it talks to, without credentials.
        consequence: half a sentence for the line that says it is down: what happens to the readings.
        backlog: how many events wait for it, for the line that says it is back; None for a source.
    """

    def __init__(
        self,
        label: str,
        peer: str,
        *,
        consequence: str,
        backlog: Callable[[], int] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.label = label
        self.peer = peer
        self.state: State = "starting"
        self.last_error: str | None = None
        self.failures = 0
        self._consequence = consequence
        self._backlog = backlog
        self._monotonic = monotonic
        self._since = monotonic()
        self._left = self._since
        self._progressed = False
        self._told: State = "starting"
        self._hush = Hush(FLAPPING, monotonic=monotonic)

    @property
    def since(self) -> float:
        """Seconds in the present state."""
        return self._monotonic() - self._since

    def connected(self, peer: str | None = None) -> None:
        """The peer answered: the component is up."""
        if peer is not None:
            self.peer = peer
        if self.state == "up":
            return
        first = self._told == "starting"
        waited = self._monotonic() - self._left
        self._enter("up")
        backlog = self._backlog() if self._backlog else 0
        if first:
            waiting = f"; {events(backlog)} from before" if backlog else ""
            log.info("%s: connected to %s%s", self.label, self.peer, waiting)
        elif self._told != "up":
            waiting = f"; {events(backlog)} waiting" if self._backlog else ""
            log.info("%s: back after %s%s", self.label, spell(waited), waiting)
        self._told = "up"

    def progressed(self) -> None:
        """Something went through: the next failure starts with a short delay again."""
        self._progressed = True
        if self.state != "up":
            self.connected()

    def failed(self, error: PeerError) -> bool:
        """The peer failed.

        Returns:
            True when something had gone through since the last failure.
        """
        self.failures += 1
        self.last_error = error.why
        state: State = "paused" if isinstance(error, Paused) else "down"
        if self.state in ("up", "starting"):
            self._left = self._monotonic()
        changed = self.state != state
        if changed:
            self._enter(state)
        if changed or self._told != state:
            # Held back at first, because the one before was just told: an outage that stays must be told in time.
            self._tell(state, error, transitions=int(changed))
        progressed, self._progressed = self._progressed, False
        return progressed

    def stopped(self) -> None:
        """The component was stopped on purpose."""
        self._enter("stopped")

    def _enter(self, state: State) -> None:
        self.state = state
        self._since = self._monotonic()

    def _tell(self, state: State, error: PeerError, *, transitions: int) -> None:
        times = self._hush(state, transitions)
        if not times:
            return
        again = f" ({times} times since the last such line)" if times > 1 else ""
        if state == "paused":
            log.error(
                "%s: stopped: %s; %s, trying again every minute%s", self.label, error.why, self._consequence, again
            )
        else:
            log.warning("%s: down: %s; %s, trying again%s", self.label, error.why, self._consequence, again)
        self._told = state


def events(count: int) -> str:
    """A number of events for people: ``1 event``, ``12,345 events``."""
    return "1 event" if count == 1 else f"{count:,} events"


def spell(seconds: float) -> str:
    """A duration for people: ``4 s``, ``3 min 20 s``, ``5 h 12 min``, ``2 d 3 h``."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s" if whole >= 10 else f"{seconds:.1f} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"
