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
        waiting: events in the spool that this sink has not confirmed, in all lanes.
        skipped: events that a limit or damage took before this sink had them.
        expired: events that were too old to be delivered.
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
    expired: int
    oldest: float | None
    retries: int
    last_error: str | None


@dataclass(frozen=True, slots=True)
class LaneReport:
    """One lane of the spool, or the dead letters.

    Attributes:
        configured: False for what is left of a lane that is not configured any more.
        first: offset of the oldest record.
        stop: the offset behind the newest durable record.
        events: records between the oldest and the newest; of dead letters those that are still open.
        bytes_used: bytes of its segments.
        max_age: seconds that a record is wanted, or None for ever.
        commit_interval: seconds between two writes at least: what a device says may wait so long for its
            acknowledgement.
        full: which limit leaves no room for more, or None.
        lost: records that left before every sink had them, by reason, since the process started.
        damaged: records lost to damage on the disk, since the process started.
        orphans: what cursors of removed sinks have not confirmed, by their name.
    """

    name: str
    priority: int
    configured: bool
    on_full: str
    first: int
    stop: int
    events: int
    bytes_used: int
    max_bytes: int
    max_age: float | None
    commit_interval: float
    full: str | None
    lost: dict[str, int]
    damaged: int
    orphans: dict[str, int]


@dataclass(frozen=True, slots=True)
class WearReport:
    """What the spool has cost the disk since the process started.

    Attributes:
        payload: bytes of the records that were stored.
        written: bytes written to files.
        blocks: bytes of the blocks of 4096 that these touched: what a flash card takes at least.
        syncs: calls of fsync and fdatasync.
        sync_seconds: time that they took.
        slowest_sync: seconds that the slowest of them took.
        commits: groups of records made durable, each by one write and one sync.
    """

    payload: int
    written: int
    blocks: int
    syncs: int
    sync_seconds: float
    slowest_sync: float
    commits: int


@dataclass(frozen=True, slots=True)
class SpoolReport:
    """The on-disk queue.

    Attributes:
        bytes_used: bytes of the segments of all lanes, dead letters included.
        events: records between the oldest and the newest of all lanes.
        dead_letters: dead letters that are still open.
        dropped: records that left before every sink had them, since the process started; ``lost`` of each lane
            says why.
        damaged: records lost to damage on the disk, since the process started.
        writable: False while the disk refuses writes; readings are then not acknowledged.
        stalled: seconds for which the disk has not answered the oldest call under way.
        last_error: the latest disk error, or None.
        lanes: every lane, by priority.
        letters: the log of dead letters.
        wear: what it costs the disk.
    """

    path: str
    bytes_used: int
    events: int
    dead_letters: int
    dropped: int
    damaged: int
    writable: bool
    stalled: float
    last_error: str | None
    lanes: tuple[LaneReport, ...]
    letters: LaneReport
    wear: WearReport


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
