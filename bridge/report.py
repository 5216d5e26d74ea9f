"""What the running bridge says about itself: plain facts that ``status`` shows and the control socket carries."""

from dataclasses import dataclass
from typing import Literal

State = Literal["starting", "up", "down", "paused", "stopped"]
"""``down``: away, retried with backoff. ``paused``: somebody has to mend something."""


@dataclass(frozen=True, slots=True)
class SourceReport:
    """One source.

    Attributes:
        since: seconds in this state.
        received: frames taken from the peer since the process started.
        stored: events made durable of them.
        dead: frames that became dead letters.
        lost: frames dropped before they could be stored, by reason.
        last_error: the latest error, or None.
        last_reading: seconds since the latest frame, or None.
    """

    name: str
    kind: str
    peer: str
    state: State
    since: float
    received: int
    stored: int
    dead: int
    lost: dict[str, int]
    last_error: str | None
    last_reading: float | None


@dataclass(frozen=True, slots=True)
class SinkReport:
    """One sink.

    Attributes:
        since: seconds in this state.
        delivered: events confirmed by the peer since the process started.
        rejected: events the peer refused for good, now dead letters.
        waiting: events in the spool that this sink has not confirmed.
        skipped: events that a limit or damage took before this sink had them.
        oldest: age in seconds of the oldest waiting event, or None when nothing waits.
        retries: sends that failed and were tried again.
        last_error: the latest error, or None.
    """

    name: str
    kind: str
    peer: str
    state: State
    since: float
    delivered: int
    rejected: int
    waiting: int
    skipped: int
    oldest: float | None
    retries: int
    last_error: str | None


@dataclass(frozen=True, slots=True)
class SpoolReport:
    """The on-disk queue.

    Attributes:
        bytes_used: bytes of the segments of all lanes, dead letters included.
        max_bytes: the configured limit of the default lane.
        events: records between the oldest and the newest of the default lane.
        dead_letters: records in the dead letters.
        dropped: records that a limit deleted before every sink had them, since the process started.
        damaged: records lost to damage on the disk, since the process started.
        writable: False while the disk refuses writes; readings are then not acknowledged.
        last_error: the latest disk error, or None.
    """

    path: str
    bytes_used: int
    max_bytes: int
    events: int
    dead_letters: int
    dropped: int
    damaged: int
    writable: bool
    last_error: str | None


@dataclass(frozen=True, slots=True)
class BridgeReport:
    """The whole bridge at one instant.

    Attributes:
        uptime: seconds since the process started.
        stopping: True once a stop was asked for.
    """

    version: str
    pid: int
    gateway: str
    uptime: float
    stopping: bool
    clock_synchronised: bool
    spool: SpoolReport
    sources: tuple[SourceReport, ...]
    sinks: tuple[SinkReport, ...]
