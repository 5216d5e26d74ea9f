"""The segments of a log as readers see them: where an offset lies, and what can be read from there."""

import asyncio
import errno
import logging
import os
from bisect import bisect_right
from collections.abc import Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from bridge.backoff import delays
from bridge.hush import Hush
from bridge.ports import Offset
from bridge.spool.files import Files
from bridge.spool.layout import (
    CARRIES,
    CHUNK,
    EVENT,
    GAP,
    HEADER_SIZE,
    UNREADABLE,
    Read,
    Segment,
    scan,
    split_marks,
)
from bridge.spool.quarantine import MAX_RANGE, Quarantine
from bridge.spool.recovery import tolerant

log = logging.getLogger(__name__)

_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP})
_READ_TRIES = 8
"""How often a segment that cannot be read at all is tried before it counts as damaged."""
_HINT_DISTANCE = 64 * 1024
_MAX_REMEMBERED = 1024


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
    """

    offsets: list[Offset] = field(default_factory=list)
    payloads: list[bytes] = field(default_factory=list)
    damage: list[Damage] = field(default_factory=list)
    next: Offset = 0
    place: Place | None = None


class Shelf:
    """The segments of one log, and how far they are durable. Lives on the event loop; reads in threads.

    Attributes:
        segments: in order; the last may still grow.
        durable: every offset below it can be read.
        damaged: records lost to damage since the start.
    """

    def __init__(self, files: Files, directory: Path, executor: Executor) -> None:
        self._files = files
        self._directory = directory
        self._executor = executor
        self._quarantine = Quarantine(files, directory / "quarantine")
        self._waiters: list[asyncio.Future[None]] = []
        self._hush = Hush()
        self._remembered: dict[tuple[Offset, Offset], None] = {}
        self._hints: list[tuple[Offset, int]] = []
        self.segments: list[Segment] = []
        self.durable: Offset = 0
        self.tail_position = 0
        self.damaged = 0

    @property
    def first(self) -> Offset:
        """The oldest offset that may still be there."""
        return self.segments[0].first if self.segments else self.durable

    @property
    def bytes_used(self) -> int:
        """Bytes of all segments."""
        return sum(segment.size for segment in self.segments)

    def add(self, segment: Segment) -> None:
        """A new segment follows; the one before will not grow any more."""
        self.segments.append(segment)
        self._hints = []

    def advance(self, durable: Offset, position: int) -> None:
        """Everything below ``durable`` is on the disk, up to ``position`` of the last segment."""
        known = self._hints[-1][1] if self._hints else 0
        if position - known >= _HINT_DISTANCE:
            self._hints.append((durable, position))
        self.durable = durable
        self.tail_position = position
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def grown(self, offset: Offset) -> None:
        """Waits until ``offset`` can be read."""
        while self.durable <= offset:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter

    async def fetch(self, offset: Offset, place: Place | None, budget: int = CHUNK) -> Chunk:
        """The records from ``offset`` on, about ``budget`` bytes of them, none beyond what is durable.

        An empty chunk with a higher ``next`` means that nothing is left in between. Waits, with backoff,
        while the disk cannot be read at all.
        """
        offset = max(offset, self.first)
        waits = delays(0.1, 10.0)
        for attempt in range(_READ_TRIES + 1):
            if offset >= self.durable:
                return Chunk(next=offset)
            index = bisect_right(self.segments, offset, key=lambda segment: segment.first) - 1
            if index < 0:
                return Chunk(next=self.first)
            segment = self.segments[index]
            last = index == len(self.segments) - 1
            stop = self.durable if last else min(self.segments[index + 1].first, self.durable)
            job = _Job(
                files=self._files,
                path=self._directory / segment.name,
                segment=segment,
                place=self._place(segment, offset, place, last=last),
                want=offset,
                stop=stop,
                end=self.tail_position if last and self.tail_position else segment.size,
                budget=budget,
                final=attempt == _READ_TRIES,
            )
            loop = asyncio.get_running_loop()
            try:
                chunk = await loop.run_in_executor(self._executor, job.run)
            except OSError as error:
                if segment not in self.segments:
                    offset = max(offset, self.first)
                    continue
                if self._hush(f"read {error.errno}"):
                    log.warning("%s cannot be read: %s; trying again", job.path, error.strerror)
                await asyncio.sleep(next(waits))
                continue
            if segment not in self.segments and chunk.damage:
                offset = max(offset, self.first)
                continue
            if chunk.damage:
                await self._report(segment, chunk.damage)
            return chunk
        return Chunk(next=offset)

    def _place(self, segment: Segment, offset: Offset, place: Place | None, *, last: bool) -> Place:
        if place is not None and place.generation == segment.generation and place.expected <= offset:
            return place
        if last:
            at = bisect_right(self._hints, (offset, 1 << 62)) - 1
            if at >= 0:
                return Place(segment.generation, self._hints[at][1], self._hints[at][0])
        return Place(segment.generation, HEADER_SIZE, segment.first)

    async def _report(self, segment: Segment, damage: Sequence[Damage]) -> None:
        """Counts, names and keeps damage, once however many readers meet it."""
        for one in damage:
            key = (one.first, one.stop)
            if one.known or key in self._remembered:
                continue
            self._remembered[key] = None
            while len(self._remembered) > _MAX_REMEMBERED:
                del self._remembered[next(iter(self._remembered))]
            self.damaged += one.stop - one.first
            told = self._hush("damage", one.stop - one.first)
            if told:
                log.error(
                    "%s is damaged: records %d to %d are lost (%d lost since the last such line); what is left of "
                    "them is kept in quarantine/. The disk or card may be failing.",
                    self._directory / segment.name,
                    one.first,
                    one.stop - 1,
                    told,
                )
            if one.data:
                keep = partial(self._quarantine.keep, segment.name, one.start, one.data)
                await asyncio.get_running_loop().run_in_executor(self._executor, keep)


@dataclass(frozen=True, slots=True)
class _Job:
    """One blocking read of one segment."""

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
            if not self.final and error.errno not in _GONE:
                raise
            return self._lost(error)
        try:
            if not self.final:
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
        except OSError:
            for at in range(self.place.position, self.end, 4096):
                with suppress(OSError):
                    self.files.pread(fd, 1, at)
                    return
            raise

    def _lost(self, error: OSError) -> Chunk:
        log.error("%s cannot be read: %s", self.path, error.strerror)
        return Chunk(next=self.stop, damage=[Damage(self.want, self.stop, 0, b"")])

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
