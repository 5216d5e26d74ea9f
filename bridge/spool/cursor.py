"""One sink's view of a log."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence

from bridge.ports import Batch, CursorPosition, Offset
from bridge.spool.book import MAX_WRITTEN_RANGES, Ledger, runs
from bridge.spool.layout import CHUNK
from bridge.spool.shelf import Shelf
from bridge.spool.stretches import Stretch

MAX_STRETCHES = 64
"""Into so many stretches a backlog is split at most; each may leave a settled range in the state on the disk."""

_LAG_GRAIN = 512
"""With n stretches, what is fresh may lag by n of so many parts of all that waits before it is split again."""

_MAX_CREDIT = 4 * CHUNK
"""How many bytes of its share what is fresh makes up for, after the disk kept it waiting."""


class LogCursor:
    """The cursor of one sink; see :class:`bridge.ports.Cursor` for what it promises.

    With a ``live_share``, a reader that has fallen behind, so that what comes next has to be read from the
    disk, leaves that for later: what lies between its place and the durable end becomes a stretch of *backlog*,
    and the *live* stretch goes on at the end. While both wait the live one has its share of the bytes; the
    backlog, its oldest stretch first, has the rest. When the backlog is empty only the live stretch is left, and
    everything comes in order again.

    The live stretch may fall behind again, and is split again; the more stretches there are, the further it may
    lag before that: by 1/512 of all that waits for each, and in any case by the 256 KiB that are kept in memory.
    With 64 of them it is read in order until a stretch is done.

    Args:
        settled: called with the number of records that were settled, so that they find their way to the disk.
        live_share: share of the bytes for what is fresh, below 1; with 0 everything is read in order.
    """

    def __init__(
        self, shelf: Shelf, ledger: Ledger, settled: Callable[[int], None], live_share: float = 0.0
    ) -> None:
        if not 0 <= live_share < 1:
            raise ValueError(f"a live share is at least 0 and below 1, not {live_share}")
        self._shelf = shelf
        self._ledger = ledger
        self._settled = settled
        self._live_share = live_share
        self._live = Stretch(shelf, ledger, settled, ledger.low)
        self._backlog: deque[Stretch] = deque()
        self._credit = 0.0
        self._growth: asyncio.Task[None] | None = None
        self._oldest: tuple[Offset, bytes] | None = None

    async def read(self, max_records: int, max_bytes: int) -> Batch:
        """The next durable records that were not yet read; waits for at least one."""
        while True:
            if self._live_share and self._live.next < self._shelf.held:
                self._split()
            stretch = self._choose() if self._backlog else self._live if self._live.ready() else None
            if stretch is not None:
                batch = stretch.serve(max_records, max_bytes)
                if self._backlog:
                    self._charge(stretch, batch)
                return batch
            await self._wait()

    def settle(self, offsets: Sequence[Offset]) -> None:
        """These are done for ever."""
        count = 0
        for first, stop in runs(offsets):
            count += self._live.settle(first, stop)
            for stretch in self._backlog:
                count += stretch.settle(first, stop)
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
        for stretch in (self._live, *self._backlog):
            stretch.close()
        if self._growth is not None:
            self._growth.cancel()
            self._growth = None

    # --- live and backlog -----------------------------------------------------------------------------

    def _split(self) -> None:
        """Leaves what the live stretch is behind by to the backlog, unless that would be one split too many."""
        live, end = self._live, self._shelf.durable
        # Ranges that an earlier run left count too: they stay until the backlog between them is read.
        count = max(len(self._backlog) + 1, self._ledger.spread)
        if count >= (MAX_STRETCHES if self._backlog else MAX_WRITTEN_RANGES // 2):
            return
        if self._backlog and (end - live.next) * _LAG_GRAIN < self._ledger.waiting(end) * count:
            return
        if self._backlog and live.served == live.start:
            # Nothing of it was served: the backlog before it just grows.
            live.close()
            self._backlog[-1].end_at(end)
        else:
            live.end_at(end)
            self._backlog.append(live)
        self._live = Stretch(self._shelf, self._ledger, self._settled, end)

    def _choose(self) -> Stretch | None:
        """The stretch whose turn it is, of those that have something now."""
        live = self._live if self._live.ready() else None
        backlog = self._oldest_backlog()
        if live is not None and (backlog is None or self._credit >= 0):
            return live
        return backlog

    def _oldest_backlog(self) -> Stretch | None:
        """The oldest stretch of backlog, when it has something now; forgets those that are done."""
        while self._backlog:
            oldest = self._backlog[0]
            if oldest.ready():
                return oldest
            if not oldest.done:
                return None
            self._backlog.popleft()
            following = self._backlog[0] if self._backlog else self._live
            # All of it was served: so the served part of the next one reaches down to its start.
            following.start = oldest.start
        return None

    def _charge(self, stretch: Stretch, batch: Batch) -> None:
        """Keeps the account of the live stretch: the bytes that it is owed, or has had too early."""
        size = sum(map(len, batch.payloads))
        if stretch is not self._live:
            # Who has nothing fresh saves nothing up.
            most = _MAX_CREDIT if self._live.waits else 0
            self._credit = min(self._credit + size * self._live_share, most)
            # The disk works while the batch is on its way: or the fresh would be served out of turn.
            stretch.ready()
        elif self._credit >= 0:
            # Otherwise it was served because the backlog had nothing yet, which is no debt.
            self._credit -= size * (1 - self._live_share)

    async def _wait(self) -> None:
        """Waits until a stretch may have something."""
        fetches = [self._live.fetching, self._backlog[0].fetching if self._backlog else None]
        waited: list[asyncio.Task[object]] = [fetch for fetch in fetches if fetch is not None]
        if not waited:
            await self._shelf.grown(self._live.next)
            return
        if self._live.fetching is None:
            # A disk that reads slowly must not hold up what is fresh.
            if self._growth is None or self._growth.done():
                self._growth = asyncio.create_task(
                    self._shelf.grown(self._live.next), name="wait for the spool to grow"
                )
            waited.append(self._growth)
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
