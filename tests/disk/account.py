"""A spool with one writer and one reader, and an account of every record between them."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Self

from bridge.clock import SystemClock
from bridge.spool.settings import KIB, MIB, SpoolSettings
from bridge.spool.spool import Spool
from tests.crash.history import payload_of

SETTINGS = SpoolSettings(segment_bytes=64 * KIB, max_bytes=256 * MIB, max_record=64 * KIB, cursor_interval=0.05)
"""More than any volume of these tests has: it is the disk that is full, not the lane."""

PATIENCE = 120.0


class Account:
    """What went in and came out of one spool, over its restarts. The number of each payload is its offset.

    Attributes:
        appended: how many records were acknowledged.
        delivered: how many records came out.
        lost: how many records the spool says it dropped.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._asked = 0
        self._skipped = 0
        self._spool: Spool | None = None
        self.appended = 0
        self.delivered = 0
        self.lost = 0

    async def __aenter__(self) -> Self:
        """Opens the spool (again)."""
        self._spool = await Spool(self._path, SETTINGS, SystemClock()).__aenter__()
        self._skipped = 0
        self._spool.lane.cursor("cloud")
        return self

    async def __aexit__(self, *exception: object) -> None:
        """Closes it in order."""
        await self.spool.__aexit__(None, None, None)

    @property
    def spool(self) -> Spool:
        assert self._spool is not None
        return self._spool

    async def append(self, count: int = 1) -> None:
        """Appends ``count`` records, several at once; returns when each is acknowledged."""
        numbers = range(self._asked, self._asked + count)
        self._asked += count
        offsets = await asyncio.gather(*[self.spool.lane.append([payload_of(number)]) for number in numbers])
        assert offsets == list(numbers), "offsets are not what the order of calls gives"
        self.appended += count

    async def drain(self) -> None:
        """Takes out everything that is there, and checks that it is everything there can be."""
        cursor = self.spool.lane.cursor("cloud")
        behind = -1
        async with asyncio.timeout(PATIENCE):
            while cursor.position().waiting:
                batch = await cursor.read(500, 1 << 20)
                assert behind < batch.offsets[0], "out of order"
                assert batch.payloads == [payload_of(offset) for offset in batch.offsets], "other bytes"
                behind = batch.offsets[-1]
                self.delivered += len(batch.offsets)
                cursor.settle(batch.offsets)
        skipped = cursor.position().skipped
        self.lost += skipped - self._skipped
        self._skipped = skipped

    def assert_complete(self) -> None:
        """Every acknowledged record came out once, or is among those that the spool says it dropped."""
        assert self.spool.report().damaged == 0, "false alarm"
        assert self.delivered + self.lost == self.appended, (
            f"{self.appended} acknowledged, {self.delivered} delivered, {self.lost} counted as dropped"
        )

    async def until(self, holds: Callable[[], bool], what: str) -> None:
        """Waits until ``holds``."""
        try:
            async with asyncio.timeout(PATIENCE):
                while not holds():
                    await asyncio.sleep(0.005)
        except TimeoutError:
            raise AssertionError(f"never: {what}; {self.spool.report()}") from None

    async def until_refused(self) -> "asyncio.Task[None]":
        """Appends until the disk refuses; returns the append that waits for it."""
        async with asyncio.timeout(PATIENCE):
            while True:
                append = asyncio.create_task(self.append(4))
                while not append.done():
                    if not self.spool.report().writable:
                        return append
                    await asyncio.sleep(0.001)
                await append

    async def assert_stopped(self, append: "asyncio.Task[None]") -> None:
        """Nothing is acknowledged, and what is stored can be read."""
        waiting = self.spool.lane.cursor("cloud").position().waiting
        before = self.delivered
        await self.drain()
        assert self.delivered - before == waiting > 0, "what is stored could not be read"
        await asyncio.sleep(0.1)
        assert not append.done(), "acknowledged although the disk cannot be written"
        assert not self.spool.report().writable
