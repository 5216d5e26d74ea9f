"""What a log may take of the disk and of time, put together from the tables of the configuration. No I/O."""

from collections import Counter
from dataclasses import dataclass

from bridge.spool.files import Space
from bridge.spool.settings import KIB, MIB, DeadLetterSettings, LaneSettings, OnFull, SpoolSettings

MAX_BYTES = "max_bytes"
MAX_AGE = "max_age"
MIN_FREE_DISK = "min_free_disk"
DISK_FULL = "disk full"
DISK_BROKEN = "disk cannot be written"
REMOVED_SINK = "wanted only by a removed sink"
PURGED = "purged"
MISSING = "missing at the start"
"""Reasons why records left a log, or never came into it, without every sink having confirmed them."""

TOLD = {
    MAX_BYTES: "max_bytes is reached",
    MAX_AGE: "they are older than max_age",
    MIN_FREE_DISK: "less than min_free_disk is free on the disk",
    DISK_FULL: "no space left on the disk",
    PURGED: "somebody has purged them",
}
"""What a log line says for a reason, where that is more than its name."""

Losses = Counter[str]
"""Records by such a reason."""

RECENT_RECORDS, RECENT_BYTES = 4096, 16 << 20
"""What stays although every cursor has passed it, as far as both allow: a source that is delivered something again
after a kill -9 finds in the latest records that it has it already."""

_FLOOR = 64 * MIB
_FLOOR_SHARE = 20


@dataclass(frozen=True, slots=True)
class Limits:
    """What a log may take.

    Attributes:
        max_bytes: of the disk, the prepared segment included.
        segment_bytes: one segment.
        commit_interval: seconds between two commits at least.
        cursor_interval: seconds that cursors may lag at most.
        max_age: seconds that a record is wanted, or None for ever.
        min_free_disk: bytes of the file system left to others; None for a share of it.
        on_full: what happens to records for which there is no room.
        recent_records: how many of the latest records stay although nobody needs them.
    """

    max_bytes: int
    segment_bytes: int
    commit_interval: float
    cursor_interval: float
    max_age: float | None = None
    min_free_disk: int | None = None
    on_full: OnFull = "drop-oldest"
    recent_records: int = RECENT_RECORDS

    def floor(self, space: Space) -> int:
        """How many bytes of a file system are left to others."""
        if self.min_free_disk is not None:
            return self.min_free_disk
        return min(_FLOOR, space.size // _FLOOR_SHARE)


def lane_limits(spool: SpoolSettings, lane: LaneSettings) -> Limits:
    """The limits of a lane."""
    return Limits(
        max_bytes=spool.max_bytes if lane.max_bytes is None else lane.max_bytes,
        segment_bytes=spool.segment_bytes,
        commit_interval=spool.commit_interval if lane.commit_interval is None else lane.commit_interval,
        cursor_interval=spool.cursor_interval,
        max_age=spool.max_age if lane.max_age is None else lane.max_age,
        min_free_disk=spool.min_free_disk if lane.min_free_disk is None else lane.min_free_disk,
        on_full=spool.on_full if lane.on_full is None else lane.on_full,
    )


def dead_letter_limits(spool: SpoolSettings, dead: DeadLetterSettings) -> Limits:
    """The limits of the dead letters, which must always find room: their oldest give way."""
    # A letter holds what a lane refused and its reason beside it.
    least = max(1 * MIB, 4 * spool.max_record)
    max_bytes = max(least, spool.max_bytes // 10) if dead.max_bytes is None else max(least, dead.max_bytes)
    return Limits(
        max_bytes=max_bytes,
        segment_bytes=max(64 * KIB, min(spool.segment_bytes, max_bytes // 8 // KIB * KIB)),
        commit_interval=spool.commit_interval,
        cursor_interval=spool.cursor_interval,
        max_age=dead.max_age,
        min_free_disk=spool.min_free_disk,
        recent_records=0,
    )
