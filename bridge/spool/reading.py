"""One blocking read of one segment: records from an offset on, and what damage there is between them."""

import errno
import os
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from bridge.ports import Offset
from bridge.spool.files import Files
from bridge.spool.layout import CARRIES, EVENT, GAP, UNREADABLE, Read, Segment, scan, split_marks
from bridge.spool.quarantine import MAX_RANGE
from bridge.spool.tail import tolerant

_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP})
_BROKEN = frozenset({errno.EIO, errno.EUCLEAN, errno.EBADMSG})
"""What a medium says of bytes it has lost. Anything else, such as missing rights, says nothing about them."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where reading goes on.

    Attributes:
        generation: of the segment.
        position: in the segment.
        expected: the offset of the next record there, if nothing is damaged.
    """

    generation: int
    position: int
    expected: Offset


@dataclass(frozen=True, slots=True)
class Damage:
    """Offsets that could not be read.

    Attributes:
        first: the first of them.
        stop: behind the last of them.
        start: position of the damaged bytes in the segment.
        data: the damaged bytes, at most a bounded part of them.
        known: whether a record says that nothing is to be found there.
    """

    first: Offset
    stop: Offset
    start: int
    data: bytes
    known: bool = False


@dataclass(slots=True)
class Chunk:
    """What one read gave.

    Attributes:
        offsets: of the records, rising.
        payloads: one for each offset.
        damage: what could not be read on the way.
        next: the offset to go on with.
        place: where that is; None when it has to be looked up.
        unreadable: why nothing of the segment could be read, if that is so.
    """

    offsets: list[Offset] = field(default_factory=list)
    payloads: list[bytes] = field(default_factory=list)
    damage: list[Damage] = field(default_factory=list)
    next: Offset = 0
    place: Place | None = None
    unreadable: str | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """What is to be read; for a reader thread.

    Attributes:
        place: where to begin.
        want: the first offset that is wanted; what lies between is skipped.
        stop: behind the last offset that the segment holds.
        end: behind the last position that may be read.
        budget: about how many bytes of records are wanted.
        final: what the medium cannot read now counts as damage.
    """

    files: Files
    path: Path
    segment: Segment
    place: Place
    want: Offset
    stop: Offset
    end: int
    budget: int
    final: bool

    def run(self) -> Chunk:
        """Reads and parses.

        Raises:
            OSError: nothing can be read, and that may change.
        """
        try:
            fd = self.files.open(self.path, os.O_RDONLY)
        except OSError as error:
            if error.errno in _GONE or self._is_final(error):
                return self._lost(error)
            raise
        try:
            self._probe(fd)
            return self._parse(tolerant(self.files, fd))
        finally:
            with suppress(OSError):
                self.files.close(fd)

    def _probe(self, fd: int) -> None:
        """Raises when not even one block can be read: a disk that is away, rather than a bad block."""
        size = min(self.budget, self.end - self.place.position)
        try:
            self.files.pread(fd, max(size, 1), self.place.position)
        except OSError as error:
            if self._is_final(error):
                return
            for at in range(self.place.position, self.end, 4096):
                with suppress(OSError):
                    self.files.pread(fd, 1, at)
                    return
            raise

    def _is_final(self, error: OSError) -> bool:
        return self.final and error.errno in _BROKEN

    def _lost(self, error: OSError) -> Chunk:
        return Chunk(next=self.stop, damage=[Damage(self.want, self.stop, 0, b"")], unreadable=error.strerror)

    def _parse(self, read: Read) -> Chunk:
        chunk = Chunk()
        offsets, payloads, want, stop = chunk.offsets, chunk.payloads, self.want, self.stop
        expected = self.place.expected
        position = bad = self.place.position
        limit = position + self.budget
        exhausted = True
        for start, after, kind, flags, offset, _, payload in scan(read, position, self.end, self.segment.salt):
            if kind == EVENT and offset >= expected:
                if offset >= stop:
                    break
                if offset > expected:
                    self._hole(chunk, read, expected, offset, bad, start)
                expected = offset + 1
                if payload is None:
                    self._hole(chunk, read, offset, expected, start, after)
                elif offset >= want:
                    if not offsets:
                        limit = start + self.budget
                    offsets.append(offset)
                    payloads.append(split_marks(payload)[1] if flags & CARRIES else payload)
            elif kind == GAP and offset == expected:
                expected = self._gap(chunk, expected, payload)
            position = after
            if kind != UNREADABLE:
                bad = after
            if expected >= stop or (offsets and position >= limit):
                exhausted = False
                break
        if exhausted and expected < stop:
            self._hole(chunk, read, expected, stop, bad, self.end)
            expected = stop
        chunk.next = max(expected, want)
        chunk.place = Place(self.segment.generation, position, expected)
        return chunk

    def _gap(self, chunk: Chunk, offset: Offset, payload: bytes | None) -> Offset:
        """A gap that is known: returns the offset behind it."""
        stop = min(self.stop, offset + int.from_bytes((payload or b"")[:8], "little"))
        if stop > self.want:
            chunk.damage.append(Damage(max(offset, self.want), stop, 0, b"", known=True))
        return stop

    def _hole(self, chunk: Chunk, read: Read, first: Offset, stop: Offset, start: int, end: int) -> None:
        first = max(first, self.want)
        if first < stop:
            data = read(start, min(end - start, MAX_RANGE)) if end > start else b""
            chunk.damage.append(Damage(first, stop, start, data.rstrip(b"\0")))
