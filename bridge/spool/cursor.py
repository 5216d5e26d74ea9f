"""One sink's view of a log."""

import asyncio
from collections.abc import Callable, Sequence

from bridge.ports import Batch, CursorPosition, Offset
from bridge.spool.book import Ledger, runs
from bridge.spool.reading import Chunk, Place
from bridge.spool.shelf import Shelf


class LogCursor:
    """The cursor of one sink; see :class:`bridge.ports.Cursor` for what it promises.

    Args:
        settled: called with the number of records that were settled, so that they find their way to the disk.
    """

    def __init__(self, shelf: Shelf, ledger: Ledger, settled: Callable[[int], None]) -> None:
        self._shelf = shelf
        self._ledger = ledger
        self._settled = settled
        self._next: Offset = ledger.low
        self._served: Offset = ledger.low
        self._place: Place | None = None
        self._offsets: list[Offset] = []
        self._payloads: list[bytes] = []
        self._at = 0
        self._fetching: asyncio.Task[Chunk] | None = None
        self._oldest: tuple[Offset, bytes] | None = None

    async def read(self, max_records: int, max_bytes: int) -> Batch:
        """The next durable records that were not yet read; waits for at least one."""
        while True:
            batch = self._serve(max_records, max_bytes)
            if batch is not None:
                return batch
            if self._fetching is None:
                await self._shelf.grown(self._next)
                chunk = self._shelf.latest(self._next, self._place)
                if chunk is not None:
                    self._take(chunk)
                    continue
                if self._fetching is None:
                    self._fetching = asyncio.create_task(
                        self._shelf.fetch(self._next, self._place), name="read of the spool"
                    )
            # A cancelled read leaves the fetch to the next one.
            await asyncio.wait([self._fetching])
            if self._fetching is not None and self._fetching.done():
                chunk = self._fetching.result()
                self._fetching = None
                self._take(chunk)

    def settle(self, offsets: Sequence[Offset]) -> None:
        """These are done for ever."""
        count = sum(self._ledger.settle(first, min(stop, self._served)) for first, stop in runs(offsets))
        if count:
            self._settled(count)

    def position(self) -> CursorPosition:
        """Where the cursor stands now."""
        ledger = self._ledger
        return CursorPosition(ledger.low, ledger.waiting(self._shelf.durable), ledger.skipped)

    async def oldest(self) -> bytes | None:
        """Payload of the oldest record not settled, or None when nothing waits."""
        offset = self._ledger.low
        if self._oldest is not None and self._oldest[0] == offset:
            return self._oldest[1]
        while offset < self._shelf.durable:
            chunk = await self._shelf.fetch(offset, None, 1)
            if chunk.next <= offset:
                break
            for found, payload in zip(chunk.offsets, chunk.payloads, strict=True):
                if not self._ledger.is_settled(found):
                    self._oldest = (self._ledger.low, payload)
                    return payload
            offset = max(chunk.next, self._ledger.low)
        return None

    def close(self) -> None:
        """Gives up what is being read."""
        if self._fetching is not None:
            self._fetching.cancel()
            self._fetching = None

    def _serve(self, max_records: int, max_bytes: int) -> Batch | None:
        """A batch from what was read ahead, or None when nothing is left of it."""
        offsets, payloads, at = self._offsets, self._payloads, self._at
        while at < len(offsets) and offsets[at] < self._ledger.low:
            at += 1
        stop, size = at, 0
        limit = min(len(offsets), at + max(1, max_records))
        while stop < limit:
            size += len(payloads[stop])
            if size > max_bytes and stop > at:
                break
            stop += 1
        self._at = stop
        if stop == at:
            self._offsets, self._payloads, self._at = [], [], 0
            return None
        self._served = offsets[stop - 1] + 1
        return Batch(offsets[at:stop], payloads[at:stop])

    def _take(self, chunk: Chunk) -> None:
        ledger = self._ledger
        lost = sum(ledger.settle(damage.first, damage.stop) for damage in chunk.damage)
        if lost:
            ledger.skipped += lost
            self._settled(lost)
        self._next = max(self._next, chunk.next)
        self._place = chunk.place
        self._offsets, self._payloads, self._at = chunk.offsets, chunk.payloads, 0
        if ledger.above or (chunk.offsets and chunk.offsets[0] < ledger.low):
            wanted = [index for index, offset in enumerate(chunk.offsets) if not ledger.is_settled(offset)]
            self._offsets = [chunk.offsets[index] for index in wanted]
            self._payloads = [chunk.payloads[index] for index in wanted]
