"""The writing hand of a log: publishes segments and adds to the newest. Blocking; used by one thread at a time."""

import os
import random
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bridge.clock import Clock
from bridge.spool.files import Files, sync_directory, write_all
from bridge.spool.layout import (
    HEADER_SIZE,
    MAJOR,
    MINOR,
    RECORD_SIZE,
    SEAL,
    STATE,
    Encoder,
    Header,
    Item,
    Segment,
)

RESERVE = 4096
"""Bytes kept free at the end of a segment, so that cursors and the seal find room on a full disk."""

SMALL = 64 * 1024
"""Size of a segment that takes cursors while there is no room for records."""

NEXT = "next.tmp"
"""The segment to come, its blocks reserved; no part of the log."""

_WORTH_TRIMMING = 64 * 1024


@dataclass(frozen=True, slots=True)
class Group:
    """What is made durable together.

    Attributes:
        watermark: every offset below it was durable before.
        stop: the offset behind the group.
        state: payload of a state record that goes first, or None.
        items: the appends, in order.
        size: at least the bytes that all of it takes.
    """

    watermark: int
    stop: int
    state: bytes | None
    items: Sequence[Item]
    size: int


class Journal:
    """Writes the segments of one log.

    A descriptor that a write or sync failed on is never used again: the kernel may already have marked the
    lost pages clean. Whoever gets an ``OSError`` publishes the same group anew.

    Args:
        directory: of the log; it exists.
        generation: the highest generation ever seen there.
        offset: the next offset.
    """

    def __init__(
        self, files: Files, directory: Path, clock: Clock, *, segment_bytes: int, generation: int, offset: int
    ) -> None:
        self._files = files
        self._directory = directory
        self._clock = clock
        self._segment_bytes = segment_bytes
        self._generation = generation
        self._offset = offset
        self._fd: int | None = None
        self._segment: Segment | None = None
        self._created_ns = 0
        self.position = 0

    @property
    def active(self) -> Segment | None:
        """The segment that can be added to, if there is one."""
        return self._segment if self._fd is not None else None

    def fits(self, size: int) -> bool:
        """Whether that many bytes can be added to the active segment, its reserve left alone."""
        return self._has_room(size + RESERVE)

    def fits_reserve(self, size: int) -> bool:
        """Whether that many bytes can be added when the reserve may be used (less the room for a seal)."""
        return self._has_room(size + RECORD_SIZE)

    def extend(self, group: Group) -> int:
        """Adds a group to the active segment; durable on return.

        Returns:
            the position behind it.

        Raises:
            OSError: it may or may not be on the disk; the segment is given up.
        """
        assert self._fd is not None  # noqa: S101 - fits() said so
        assert self._segment is not None  # noqa: S101
        encoder = Encoder(self._segment.salt, group.watermark, self._seconds())
        if group.state is not None:
            encoder.record(STATE, 0, group.watermark, group.state)
        encoder.items(group.items, group.watermark)
        return self._write(encoder.joined(), group.stop)

    def publish(self, group: Group, *, small: bool = False) -> Segment:
        """Makes a new segment that begins with a group, whose state must be a snapshot; durable on return.

        It becomes the active segment, the one before is let go of. A ``small`` one has room for cursors only.

        Raises:
            OSError: the segment does not count, even if its name can be seen. The active segment is still
                there unless the name can be seen: nothing may be added behind a successor's back.
        """
        self._generation += 1
        moment = self._clock.now()
        salt = random.getrandbits(32)
        segment = Segment(self._generation, group.watermark, salt, 0)
        header = Header(
            MAJOR,
            MINOR,
            segment.generation,
            segment.first,
            group.stop,
            salt,
            moment.wall_ns,
            self._clock.boot_id,
            moment.boot_ns,
            moment.synchronised,
        )
        encoder = Encoder(salt, group.watermark, 0)
        if group.state is not None:
            encoder.record(STATE, 0, group.watermark, group.state)
        encoder.items(group.items, group.watermark)
        data = header.pack() + encoder.joined()
        segment.size = max(SMALL if small else self._segment_bytes, len(data) + RESERVE)
        fd = self._put(segment, data)
        with suppress(OSError):
            self._give_back_rest()
        self.abandon()
        self._fd, self._segment, self._created_ns = fd, segment, moment.boot_ns
        self.position = len(data)
        self._offset = group.stop
        return segment

    def prepare(self) -> None:
        """Reserves the blocks of the next segment, so that a full disk does not stop cursors and recovery.

        Raises:
            OSError: as the system says; nothing depends on it.
        """
        fd = self._files.open(self._directory / NEXT, os.O_RDWR | os.O_CREAT)
        try:
            self._files.fallocate(fd, self._segment_bytes)
        finally:
            self._files.close(fd)

    def seal(self) -> None:
        """Ends the active segment, if there is one: everything in it is durable, nothing will follow.

        Raises:
            OSError: the seal may be missing; nothing but a shorter recovery depends on it.
        """
        if self._fd is None or self._segment is None:
            return
        if self._has_room(RECORD_SIZE):
            encoder = Encoder(self._segment.salt, self._offset, self._seconds())
            encoder.record(SEAL, 0, self._offset, b"")
            self._write(encoder.joined(), self._offset)
        try:
            self._give_back_rest()
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Lets go of the active segment as it is."""
        fd, self._fd, self._segment = self._fd, None, None
        if fd is not None:
            with suppress(OSError):
                self._files.close(fd)

    def remove(self, segment: Segment) -> None:
        """Deletes a segment that is not the active one; one that is gone already is fine.

        Raises:
            OSError: as the system says.
        """
        with suppress(FileNotFoundError):
            self._files.unlink(self._directory / segment.name)

    def trim(self, segment: Segment, size: int) -> None:
        """Gives back what a segment of an earlier run reserved and never used.

        Raises:
            OSError: as the system says; nothing depends on it.
        """
        if size < HEADER_SIZE or segment.size - size < _WORTH_TRIMMING:
            return
        fd = self._files.open(self._directory / segment.name, os.O_RDWR)
        try:
            self._files.ftruncate(fd, size)
        finally:
            self._files.close(fd)
        segment.size = size

    def _give_back_rest(self) -> None:
        if self._fd is None or self._segment is None:
            return
        if self._segment.size - self.position >= _WORTH_TRIMMING:
            self._files.ftruncate(self._fd, self.position)
            self._segment.size = self.position

    def _has_room(self, size: int) -> bool:
        return self._fd is not None and self._segment is not None and self.position + size <= self._segment.size

    def _seconds(self) -> int:
        # By the clock that goes on during a suspend, as the header has it.
        return (self._clock.now().boot_ns - self._created_ns) // 1_000_000_000

    def _write(self, data: bytes, stop: int) -> int:
        assert self._fd is not None  # noqa: S101
        try:
            write_all(self._files, self._fd, data, self.position)
            self._files.fdatasync(self._fd)
        except OSError:
            self.abandon()
            raise
        self.position += len(data)
        self._offset = stop
        return self.position

    def _put(self, segment: Segment, data: bytes) -> int:
        """Writes, syncs, names, and makes the name durable, in this order."""
        temporary = self._directory / NEXT
        named = False
        fd = self._files.open(temporary, os.O_RDWR | os.O_CREAT)
        try:
            self._files.fallocate(fd, segment.size)
            self._files.ftruncate(fd, segment.size)
            write_all(self._files, fd, data, 0)
            self._files.fdatasync(fd)
            named = True
            self._files.rename(temporary, self._directory / segment.name)
            sync_directory(self._files, self._directory)
        except OSError:
            with suppress(OSError):
                self._files.close(fd)
            if named:
                self.abandon()
            # What failed once is not used again, under either name: attempts must not pile up on the disk.
            for path in (temporary, self._directory / segment.name):
                with suppress(OSError):
                    self._files.unlink(path)
            raise
        return fd
