"""The segments of a log as readers see them: where an offset lies, and what can be read from there."""

import asyncio
import logging
from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Executor
from functools import partial
from pathlib import Path

from bridge.backoff import delays
from bridge.hush import Hush
from bridge.ports import Offset
from bridge.spool.book import Ledger
from bridge.spool.files import Files
from bridge.spool.layout import (
    CHUNK,
    HEADER_SIZE,
    Item,
    Segment,
)
from bridge.spool.quarantine import Quarantine
from bridge.spool.reading import Chunk, Damage, Place, Reading

log = logging.getLogger(__name__)

_READ_TRIES = 8
"""How often a segment that cannot be read at all is tried before what the medium refuses counts as damaged."""
_HINT_DISTANCE = 64 * 1024
_MAX_REMEMBERED = 1024


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
        self._lost = Ledger(-1)
        self._hints: list[tuple[Offset, int]] = []
        self._latest: deque[Item] = deque()
        self._latest_bytes = 0
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

    def advance(self, durable: Offset, position: int, items: Sequence[Item] = ()) -> None:
        """Everything below ``durable`` is on the disk, up to ``position`` of the last segment.

        ``items`` are what was written just now; the latest are kept for readers that keep up.
        """
        for item in items:
            self._remember(item)
        known = self._hints[-1][1] if self._hints else 0
        if position - known >= _HINT_DISTANCE:
            self._hints.append((durable, position))
        self.durable = durable
        self.tail_position = position
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    @property
    def held(self) -> Offset:
        """What is durable from this offset on can be read without the disk."""
        return self._latest[0].first if self._latest else self.durable

    def latest(self, offset: Offset, place: Place | None) -> Chunk | None:
        """The records from ``offset`` on, when they are among the latest, which need no disk; else None."""
        if not self._latest or offset < self._latest[0].first:
            return None
        wanted: list[Item] = []
        for item in reversed(self._latest):
            if item.first + len(item.payloads) <= offset:
                break
            wanted.append(item)
        if not wanted:
            return None
        chunk = Chunk(place=place)
        for first, payloads, _ in reversed(wanted):
            skip = max(0, offset - first)
            chunk.offsets += range(first + skip, first + len(payloads))
            chunk.payloads += payloads[skip:]
        chunk.next = chunk.offsets[-1] + 1
        return chunk

    async def grown(self, offset: Offset) -> None:
        """Waits until ``offset`` can be read."""
        while self.durable <= offset:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter

    async def fetch(self, offset: Offset, place: Place | None, budget: int = CHUNK) -> Chunk:
        """The records from ``offset`` on, about ``budget`` bytes of them, none beyond what is durable.

        An empty chunk with a higher ``next`` means that nothing is left in between. Waits, with backoff,
        while the disk cannot be read at all; an empty chunk that goes no further says that it still cannot.
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
            job = Reading(
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

    def _remember(self, item: Item) -> None:
        latest = self._latest
        if latest and latest[-1].first + len(latest[-1].payloads) != item.first:
            latest.clear()
            self._latest_bytes = 0
        latest.append(item)
        self._latest_bytes += sum(map(len, item.payloads))
        while self._latest_bytes > CHUNK and len(latest) > 1:
            self._latest_bytes -= sum(map(len, latest.popleft().payloads))

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
            # Readers that begin at different offsets meet different parts of one hole.
            lost = 0 if one.known else self._lost.settle(one.first, one.stop)
            if not lost:
                continue
            if self._lost.spread > _MAX_REMEMBERED:
                self._lost = Ledger(-1, self._lost.ranges[_MAX_REMEMBERED // 2 :])
            self.damaged += lost
            told = self._hush("damage", lost)
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
