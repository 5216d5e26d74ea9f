"""A part of a log that one reader reads in order, and what was read ahead of it."""

import asyncio
from bisect import bisect_left
from collections.abc import Callable

from bridge.ports import Batch, Offset
from bridge.spool.book import Ledger
from bridge.spool.reading import Chunk, Place
from bridge.spool.shelf import Shelf


class Stretch:
    """The offsets from ``start`` up to but not ``stop``, or on and on.

    Every record of it that is not settled is served once, in order. What is settled is jumped over: whole
    segments of it are not read.

    Args:
        settled: called with the number of records that turned out to be lost, which settles them.

    Attributes:
        start: what lies between it and ``served`` was served, or need not be.
        served: behind the last offset that was served.
        next: the offset to read from the log next; what lies before it is served or read ahead.
        stop: behind the last offset; None for the stretch that grows with the log.
        fetching: the read of the disk that is under way.
    """

    def __init__(
        self,
        shelf: Shelf,
        ledger: Ledger,
        settled: Callable[[int], None],
        start: Offset,
        stop: Offset | None = None,
    ) -> None:
        self._shelf = shelf
        self._ledger = ledger
        self._settled = settled
        self._place: Place | None = None
        self._offsets: list[Offset] = []
        self._payloads: list[bytes] = []
        self._at = 0
        self.start: Offset = start
        self.served: Offset = start
        self.next: Offset = start
        self.stop = stop
        self.fetching: asyncio.Task[Chunk] | None = None

    @property
    def done(self) -> bool:
        """Whether all of it was served; to be asked when it is not :meth:`ready`."""
        return self.stop is not None and self.next >= self.stop

    @property
    def waits(self) -> bool:
        """Whether there is something to serve, be it on the disk; to be asked after :meth:`ready`."""
        return self._at < len(self._offsets) or self.fetching is not None

    def ready(self) -> bool:
        """Whether a record can be served at once; begins to read ahead when none can.

        When it is not, either :attr:`fetching` has to be waited for, or it is :attr:`done`, or the log has to
        grow beyond ``next``.
        """
        while True:
            offsets, at, low = self._offsets, self._at, self._ledger.low
            while at < len(offsets) and offsets[at] < low:
                at += 1
            self._at = at
            if at < len(offsets):
                return True
            self._offsets, self._payloads, self._at = [], [], 0
            if not self._read_on():
                return False

    def serve(self, max_records: int, max_bytes: int) -> Batch:
        """The next records; only when it is :meth:`ready`."""
        offsets, payloads, at = self._offsets, self._payloads, self._at
        stop, size = at, 0
        limit = min(len(offsets), at + max(1, max_records))
        while stop < limit:
            size += len(payloads[stop])
            if size > max_bytes and stop > at:
                break
            stop += 1
        self._at = stop
        self.served = offsets[stop - 1] + 1
        return Batch(offsets[at:stop], payloads[at:stop])

    def settle(self, first: Offset, stop: Offset) -> int:
        """Settles those of the offsets that were served; returns how many were not settled before."""
        return self._ledger.settle(max(first, self.start), min(stop, self.served))

    def end_at(self, stop: Offset) -> None:
        """Moves the end. What was read ahead is given up, and read again when its turn comes."""
        self.close()
        if self._at < len(self._offsets):
            self.next = self._offsets[self._at]
        self._offsets, self._payloads, self._at = [], [], 0
        self.stop = stop

    def close(self) -> None:
        """Gives up what is being read."""
        if self.fetching is not None:
            self.fetching.cancel()
            self.fetching = None

    def _read_on(self) -> bool:
        """Reads ahead; False when there is nothing yet."""
        if self.fetching is not None:
            if not self.fetching.done():
                return False
            chunk = self.fetching.result()
            self.fetching = None
            self._take(chunk)
            return True
        self.next = self._ledger.unsettled(self.next)
        if self.next >= (self._shelf.durable if self.stop is None else self.stop):
            return False
        latest = self._shelf.latest(self.next, self._place)
        if latest is None:
            # A cancelled read leaves the fetch to the next one.
            fetch = self._shelf.fetch(self.next, self._place)
            self.fetching = asyncio.create_task(fetch, name="read of the spool")
            return False
        self._take(latest)
        return True

    def _take(self, chunk: Chunk) -> None:
        ledger, stop = self._ledger, self.stop
        offsets, payloads = chunk.offsets, chunk.payloads
        self._place = chunk.place
        if stop is not None and chunk.next > stop:
            count = bisect_left(offsets, stop)
            offsets, payloads = offsets[:count], payloads[:count]
            chunk.next = stop
        lost = sum(ledger.settle(damage.first, min(damage.stop, chunk.next)) for damage in chunk.damage)
        if lost:
            ledger.skipped += lost
            self._settled(lost)
        self.next = max(self.next, chunk.next)
        if ledger.above or (offsets and offsets[0] < ledger.low):
            wanted = [index for index, offset in enumerate(offsets) if not ledger.is_settled(offset)]
            offsets = [offsets[index] for index in wanted]
            payloads = [payloads[index] for index in wanted]
        self._offsets, self._payloads, self._at = offsets, payloads, 0
