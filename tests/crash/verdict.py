"""Whether a spool found after a power cut keeps what was promised before it."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from bridge.clock import SystemClock
from bridge.spool.log import Log
from bridge.spool.spool import Spool
from tests.crash.history import CURSORS, SETTINGS, payload_of

ROOMY = SETTINGS.model_copy(update={"max_bytes": 64 * 1024 * 1024})
"""What is looked at must not be dropped for being looked at."""


@dataclass
class Promises:
    """What a history had said."""

    acked: dict[int, int] = field(default_factory=dict)
    low: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CURSORS, 0))
    high: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CURSORS, 0))
    dropped: int = 0

    @classmethod
    def parse(cls, output: bytes) -> "Promises":
        said = cls()
        for line in output.decode().splitlines():
            match line.split():
                case ["ACK", offset, number]:
                    said.acked[int(offset)] = int(number)
                case ["LOW", name, offset]:
                    said.low[name] = max(said.low[name], int(offset))
                case ["WILL", name, offset]:
                    said.high[name] = max(said.high[name], int(offset))
                case ["DROP", offset]:
                    said.dropped = max(said.dropped, int(offset))
        return said


async def judge(path: Path, output: bytes) -> None:
    """Opens the spool, compares, goes on, opens it again; raises AssertionError for a broken promise."""
    said = Promises.parse(output)
    before = await _inspect(path, said, more=b"after the cut")
    after = await _inspect(path, said, more=None)
    assert after == [*before, b"after the cut"], "the second start found something else"


async def _inspect(path: Path, said: Promises, *, more: bytes | None) -> list[bytes]:
    async with asyncio.timeout(20), Spool(path, ROOMY, SystemClock()) as spool:
        lane = spool.lane
        assert isinstance(lane, Log)
        while lane._shelf.durable < lane._writer.queue.next:
            await asyncio.sleep(0.001)
        start = max(lane._shelf.first, lane._book.start)
        payloads = list(await lane.recent(10**9))
        _compare(start, payloads if more is not None else payloads[:-1], lane, said)
        assert spool.report().damaged == 0, "false alarm"
        assert spool.report().dropped == 0, "deleted before that was durable"
        if more is not None:
            await lane.append([more])
            assert list(await lane.recent(1)) == [more]
        return payloads


def _compare(start: int, payloads: list[bytes], lane: Log, said: Promises) -> None:
    numbers = [int(payload.split(b":")[0]) for payload in payloads]
    assert payloads == [payload_of(number) for number in numbers], "other bytes than were stored"
    assert _rises(numbers), "out of order, or twice"
    stored = set(numbers)
    lost = [number for offset, number in said.acked.items() if offset >= start and number not in stored]
    assert not lost, f"acknowledged and lost: {lost}"
    allowed = max(said.dropped, min(max(said.high[name], said.dropped) for name in CURSORS))
    assert start <= allowed, f"the log begins at {start}, though nothing above {allowed} was to be deleted"
    for name in CURSORS:
        low = lane._book.ledgers[name].low if name in lane._book.ledgers else 0
        assert low >= said.low[name], f"{name} went back from {said.low[name]} to {low}"
        assert low <= max(said.high[name], said.dropped, start), f"{name} is ahead of what it confirmed"
    mark = lane.marks().get("n", 0)
    assert mark >= max(said.acked.values(), default=0), "an acknowledged mark went back"
    assert not numbers or mark >= numbers[-1], "a number would be given twice"


def _rises(numbers: Iterable[int]) -> bool:
    return all(a < b for a, b in pairwise(numbers))
