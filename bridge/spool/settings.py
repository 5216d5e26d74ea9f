"""The ``[spool]`` table of the configuration."""

from typing import Self

from pydantic import Field, model_validator

from bridge.settings import ByteSize, Duration, Settings

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB


class SpoolSettings(Settings):
    """The on-disk queue between sources and sinks."""

    max_bytes: ByteSize = Field(default=1 * GIB, ge=256 * KIB)
    """Space on the disk for readings that wait; when it is used up, the oldest are dropped and counted.

    At least four segments, and four of the largest records. Dead letters have a tenth of it besides, at least
    1 MiB.
    """

    segment_bytes: ByteSize = Field(default=4 * MIB, ge=64 * KIB, le=64 * MIB)
    """Size of one file of the queue: the grain in which space is taken and given back.

    Larger segments cost more time at a start after a power cut, smaller ones more directory work.
    """

    max_record: ByteSize = Field(default=1 * MIB, ge=1 * KIB, le=16 * MIB)
    """The largest single reading that is stored; a larger one becomes a dead letter."""

    commit_interval: Duration = Field(default=0, ge=0, le=60)
    """The shortest time between two writes to the disk while somebody waits for one.

    0 writes as soon as the disk is free: the lowest latency. A flash card wears with every write, so one
    that has to last takes 0.1 to 1 second; a device is acknowledged that much later, nothing is lost.
    """

    cursor_interval: Duration = Field(default=5, ge=0, le=600)
    """How long what a sink confirmed may stay unwritten when nothing else is written.

    After a power cut at most that much is sent twice.
    """

    @model_validator(mode="after")
    def _holds_four(self) -> Self:
        if self.max_bytes < 4 * self.segment_bytes:
            msg = f"max_bytes must hold four segments: at least {4 * self.segment_bytes} bytes"
            raise ValueError(msg)
        if self.max_bytes < 4 * self.max_record:
            msg = f"max_bytes must hold four records of max_record bytes: at least {4 * self.max_record}"
            raise ValueError(msg)
        return self
