"""The ``[spool]``, ``[lanes.NAME]`` and ``[dead_letters]`` tables of the configuration."""

from typing import Literal, Self

from pydantic import Field, model_validator

from bridge.settings import ByteSize, Duration, Settings

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

DEFAULT_LANE = "default"
"""The lane that exists without being named."""

OnFull = Literal["drop-oldest", "reject-newest", "block"]
"""What happens to readings when a lane has used up its limits."""


class SpoolSettings(Settings):
    """The on-disk queue between sources and sinks.

    ``max_bytes``, ``max_age``, ``min_free_disk``, ``on_full`` and ``commit_interval`` are what every lane has that
    does not say otherwise in its own table ``[lanes.NAME]``.
    """

    max_bytes: ByteSize = Field(default=1 * GIB, ge=256 * KIB)
    """Space on the disk for readings that wait in one lane; what happens when it is used up is said by
    ``on_full``.

    At least four segments, and four of the largest records.
    """

    max_age: Duration | None = Field(default=None, gt=0, examples=["30d"])
    """Readings that are older are not delivered any more; they are counted. Default: they never grow too old.

    The age is measured by the clock that runs since the machine was started; over a restart of the machine only
    between moments at which the wall clock was synchronised. What has no certain age is kept.
    """

    min_free_disk: ByteSize | None = Field(default=None, ge=0, examples=["200MiB"])
    """Space on the file system that is left to others: a lane with a backlog is full when less is free. Default: a
    twentieth of the file system, at most 64 MiB. A lane always keeps room for what it needs to deliver what comes
    in."""

    on_full: OnFull = "drop-oldest"
    """What happens when a lane is full, or the disk is: "drop-oldest" gives the oldest readings up, counted and
    logged; "reject-newest" refuses what comes in (a broker with MQTT 5 is told so, to others it is acknowledged;
    counted and logged as lost); "block" acknowledges nothing until there is room, so that the local broker keeps
    it. A serial device cannot be held: what its ``max_pending`` does not hold is dropped and counted."""

    segment_bytes: ByteSize = Field(default=4 * MIB, ge=64 * KIB, le=64 * MIB)
    """Size of one file of the queue: the grain in which space is taken and given back.

    Larger segments cost more time at a start after a power cut, smaller ones more directory work.
    """

    max_record: ByteSize = Field(default=1 * MIB, ge=1 * KIB, le=16 * MIB)
    """The largest single reading that is stored; a larger one becomes a dead letter."""

    commit_interval: Duration = Field(default=0, ge=0, le=60)
    """The shortest time between two writes to the disk while somebody waits for one.

    0 writes as soon as the disk is free: the lowest latency. A flash card wears with every write, so one
    that has to last takes 0.1 to 1 second; a device is acknowledged that much later, nothing acknowledged is lost.
    """

    cursor_interval: Duration = Field(default=5, ge=0, le=600)
    """How long what a sink confirmed may stay unwritten when nothing else is written.

    After a power cut at most that much is sent twice.
    """

    stall_timeout: Duration = Field(default=120, ge=0, le=86400)
    """When a disk has not answered for so long, systemd's watchdog is told no more that all is well, and restarts
    the service. 0 never gives up waiting."""

    @model_validator(mode="after")
    def _holds_four(self) -> Self:
        for problem in too_small(self.max_bytes, self):
            raise ValueError(problem)
        return self


class LaneSettings(Settings):
    """A lane: one queue of its own within the spool, ``[lanes.NAME]``; the name is the identity of its data.

    Sources choose their lane with ``lane`` and ``lane_rules``. The lane "default" exists without being named.
    What is left in a lane that leaves the configuration is still delivered.
    """

    priority: int = Field(default=0, ge=-100, le=100)
    """A sink is given what waits in a lane of higher priority first."""
    max_bytes: ByteSize | None = Field(default=None, ge=256 * KIB, examples=["64MiB"])
    """As in [spool], for this lane."""
    max_age: Duration | None = Field(default=None, gt=0, examples=["7d"])
    """As in [spool], for this lane."""
    min_free_disk: ByteSize | None = Field(default=None, ge=0, examples=["100MiB"])
    """As in [spool], for this lane: a lane that must outlive others in a full disk gets a smaller one."""
    on_full: OnFull | None = Field(default=None, examples=["block"])
    """As in [spool], for this lane."""
    commit_interval: Duration | None = Field(default=None, ge=0, le=60, examples=["1s"])
    """As in [spool], for this lane: telemetry may wait a second to spare the card while alarms do not."""


class DeadLetterSettings(Settings):
    """Where readings are kept that can never be decoded or delivered, each with its reason.

    See them with ``edge-bridge dead-letters``. When their space is used up the oldest are dropped, counted.
    """

    max_bytes: ByteSize | None = Field(default=None, ge=256 * KIB, examples=["100MiB"])
    """Space on the disk. Default: a tenth of ``max_bytes`` in [spool], at least 1 MiB and four of the largest
    records."""
    max_age: Duration | None = Field(default=None, gt=0, examples=["90d"])
    """How long they are kept. Default: until their space is used up."""


def too_small(max_bytes: int, spool: SpoolSettings) -> list[str]:
    """What is wrong with a ``max_bytes``, given the sizes of segments and records; nothing when it is fine."""
    found = []
    if max_bytes < 4 * spool.segment_bytes:
        found.append(f"max_bytes must hold four segments: at least {4 * spool.segment_bytes} bytes")
    if max_bytes < 4 * spool.max_record:
        found.append(f"max_bytes must hold four records of max_record bytes: at least {4 * spool.max_record}")
    return found
