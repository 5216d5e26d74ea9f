"""A program with a spool that is worth cutting the power of: its output is what it promises.

``ACK <offset> <number>``  payload ``number`` is durable there
``LOW <cursor> <offset>``  that cursor is durably there
``WILL <cursor> <offset>`` that cursor may from now on be as far as that
``DROP <offset>``          a limit may from now on have deleted what lies below
"""

import asyncio
import os
import random
import sys
from functools import lru_cache
from pathlib import Path

from bridge.ports import Lane
from bridge.spool.settings import SpoolSettings
from tests.crash import inside

SETTINGS = SpoolSettings(segment_bytes=64 * 1024, max_bytes=320 * 1024, max_record=64 * 1024, cursor_interval=0.02)
CURSORS = {"cloud": 0.0, "local": 0.4}
"""Their names, and the share of the fresh records: one reads in order, one reads the fresh first."""


@lru_cache(maxsize=4096)
def payload_of(number: int) -> bytes:
    """The one payload with that number; some are tiny, some span many blocks."""
    rng = random.Random(number)
    size = rng.choice((0, 20, 300, 300, 300, 3000, 9000))
    return b"%d:" % number + rng.randbytes(size)


def promise(text: str) -> None:
    os.write(1, text.encode() + b"\n")


class History:
    """One run after the other over the same directory."""

    def __init__(self, path: Path, seed: int, *, restarts: int) -> None:
        self._path = path
        self._rng = random.Random(seed)
        self._restarts = restarts
        self._number = 0

    async def run(self) -> None:
        for _ in range(self._restarts):
            async with inside.new_spool(self._path, SETTINGS) as spool:
                lane = inside.lane_of(spool)
                # Known before the first record, so that nothing is deleted that one of them still wants.
                for name, share in CURSORS.items():
                    lane.cursor(name, share)
                for _ in range(self._rng.randint(8, 16)):
                    await self._step(lane)
                lows = {name: lane.cursor(name).position().settled for name in CURSORS}
            for name, low in lows.items():
                promise(f"LOW {name} {low}")

    async def _step(self, lane: Lane) -> None:
        await asyncio.gather(*[self._append(lane) for _ in range(self._rng.choice((1, 1, 3, 8)))])
        for name in CURSORS:
            if self._rng.random() < (0.6 if name == "cloud" else 0.15):
                await self._deliver(lane, name)

    async def _append(self, lane: Lane) -> None:
        numbers = range(self._number + 1, self._number + 1 + self._rng.choice((1, 1, 2, 5)))
        self._number = numbers[-1]
        first = await lane.append([payload_of(number) for number in numbers], {"n": self._number})
        promise("\n".join(f"ACK {first + index} {number}" for index, number in enumerate(numbers)))

    async def _deliver(self, lane: Lane, name: str) -> None:
        cursor = lane.cursor(name)
        if not cursor.position().waiting:
            return
        try:
            async with asyncio.timeout(0.2):
                batch = await cursor.read(self._rng.randint(1, 30), 100_000)
        except TimeoutError:
            return
        promise(f"WILL {name} {batch.offsets[-1] + 1}")
        done = list(batch.offsets)
        if self._rng.random() < 0.3:
            done = done[len(done) // 2 :]
        cursor.settle(done)
        if self._rng.random() < 0.5:
            await asyncio.sleep(0.04)
            promise(f"LOW {name} {inside.durable_low_of(lane, name)}")


def main() -> None:
    inside.announce_drops(lambda offset: promise(f"DROP {offset}"))
    path, seed, restarts = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    asyncio.run(History(path, seed, restarts=restarts).run())


if __name__ == "__main__":
    main()
