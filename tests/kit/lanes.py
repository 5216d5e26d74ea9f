"""A lane in memory with a gate before durability, and everything a cursor promises."""

import asyncio
from collections.abc import Mapping, Sequence

from bridge.errors import LaneFull
from bridge.ports import Batch, CursorPosition, Offset


class MemoryLane:
    """A lane whose appends become durable when ``gate`` is set (it is, at first); ``full`` refuses them."""

    def __init__(self) -> None:
        self.payloads: list[bytes] = []
        self.full: LaneFull | None = None
        self.durable = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self._marks: dict[str, int] = {}
        self._cursors: dict[str, MemoryCursor] = {}
        self.grown = asyncio.Condition()

    async def append(self, payloads: Sequence[bytes], marks: Mapping[str, int] | None = None) -> Offset:
        if self.full is not None:
            raise self.full
        first = len(self.payloads)
        self.payloads.extend(payloads)
        upto = len(self.payloads)
        await self.gate.wait()
        async with self.grown:
            self.durable = max(self.durable, upto)
            self._marks.update(marks or {})
            self.grown.notify_all()
        return first

    def marks(self) -> Mapping[str, int]:
        return dict(self._marks)

    async def recent(self, count: int) -> Sequence[bytes]:
        return self.payloads[: self.durable][-count:]

    def cursor(self, sink: str, live_share: float = 0.0) -> "MemoryCursor":
        return self._cursors.setdefault(sink, MemoryCursor(self))


class MemoryCursor:
    """A cursor over a :class:`MemoryLane`; ``settled`` lists every offset in the order it was settled."""

    def __init__(self, lane: MemoryLane) -> None:
        self._lane = lane
        self._read = 0
        self.settled: list[Offset] = []

    async def read(self, max_records: int, max_bytes: int) -> Batch:
        async with self._lane.grown:
            await self._lane.grown.wait_for(lambda: self._lane.durable > self._read)
            upto = min(self._lane.durable, self._read + max_records)
            offsets = range(self._read, upto)
            self._read = upto
            return Batch(offsets, [self._lane.payloads[offset] for offset in offsets])

    def settle(self, offsets: Sequence[Offset]) -> None:
        self.settled.extend(offsets)

    def position(self) -> CursorPosition:
        return CursorPosition(len(self.settled), self._lane.durable - len(self.settled), 0)

    async def oldest(self) -> bytes | None:
        waiting = sorted(set(range(self._lane.durable)) - set(self.settled))
        return self._lane.payloads[waiting[0]] if waiting else None
