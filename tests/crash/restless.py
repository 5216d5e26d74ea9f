"""A program that never rests, to be killed at any instant: what it says is what it promises.

``FOUND <json>``            what its start found, see :func:`found`
``TRY <number>``            payloads up to ``number`` may from now on be stored
``ACK <offset> <first> <last>``  those payloads are durable, from that offset on
``GOT <cursor> <json>``     pairs of offset and number, as they were read
``WILL <cursor> <offset>``  that cursor may from now on be as far as that
``LOW <cursor> <offset>``   that cursor is durably there
``DROP <offset>``           a limit may from now on have deleted what lies below
``CLOSED``                  the spool was closed in order
"""

import asyncio
import json
import os
import random
from pathlib import Path

from bridge.clock import SystemClock
from bridge.spool.log import Log
from bridge.spool.spool import Spool
from tests.crash import inside
from tests.crash.history import CURSORS, SETTINGS, payload_of

_STEPS = 400
"""How many steps it takes before it ends in order, when nobody kills it."""


def promise(text: str) -> None:
    data = text.encode() + b"\n"
    while data:
        data = data[os.write(1, data) :]


async def found(spool: Spool) -> dict[str, object]:
    """What lies in a spool just opened; each record as its offset, its number, and whether its bytes are right."""
    lane = spool.lane
    assert isinstance(lane, Log)
    async with asyncio.timeout(20):
        while lane._shelf.durable < lane._writer.queue.next:
            await asyncio.sleep(0)
    records: list[tuple[int, int, bool]] = []
    offset, place = max(lane._shelf.first, lane._book.start), None
    start = offset
    while offset < lane._shelf.durable:
        chunk = await lane._shelf.fetch(offset, place)
        for at, payload in zip(chunk.offsets, chunk.payloads, strict=True):
            number = int(payload.split(b":")[0])
            records.append((at, number, payload == payload_of(number)))
        offset, place = chunk.next, chunk.place
    report = spool.report()
    return {
        "start": start,
        "records": records,
        "cursors": {name: ledger.low for name, ledger in lane._book.ledgers.items()},
        "mark": lane.marks().get("n", 0),
        "damaged": report.damaged,
        "dropped": report.dropped,
    }


class Restless:
    """Appends, delivers and settles in random steps."""

    def __init__(self, lane: Log, number: int, rng: random.Random) -> None:
        self._lane = lane
        self._number = number
        self._rng = rng
        # A sink that is away now and then lets the limit drop the oldest.
        self._zeal = {name: rng.choice((0.0, 0.3, 0.9)) for name in CURSORS}

    async def step(self) -> None:
        await asyncio.gather(*[self._append() for _ in range(self._rng.choice((1, 1, 3, 8)))])
        for name in CURSORS:
            if self._rng.random() < self._zeal[name]:
                await self._deliver(name)

    async def _append(self) -> None:
        numbers = range(self._number + 1, self._number + 1 + self._rng.choice((1, 1, 2, 5)))
        self._number = numbers[-1]
        promise(f"TRY {self._number}")
        first = await self._lane.append([payload_of(number) for number in numbers], {"n": self._number})
        promise(f"ACK {first} {numbers[0]} {numbers[-1]}")

    async def _deliver(self, name: str) -> None:
        cursor = self._lane.cursor(name)
        if not cursor.position().waiting:
            return
        try:
            async with asyncio.timeout(0.2):
                batch = await cursor.read(self._rng.randint(1, 60), 200_000)
        except TimeoutError:
            return
        numbers = [int(payload.split(b":")[0]) for payload in batch.payloads]
        assert [payload_of(number) for number in numbers] == list(batch.payloads)
        promise(f"GOT {name} {json.dumps(list(zip(batch.offsets, numbers, strict=True)))}")
        promise(f"WILL {name} {batch.offsets[-1] + 1}")
        done = list(batch.offsets)
        if self._rng.random() < 0.2:
            done = done[len(done) // 2 :]
        cursor.settle(done)
        if self._rng.random() < 0.3:
            await asyncio.sleep(0.03)
            promise(f"LOW {name} {self._lane._book.ledgers[name].durable_low}")


async def _run(path: Path, seed: int) -> None:
    rng = random.Random(seed)
    async with Spool(path, SETTINGS, SystemClock()) as spool:
        lane = spool.lane
        assert isinstance(lane, Log)
        facts = await found(spool)
        promise(f"FOUND {json.dumps(facts)}")
        for name in CURSORS:
            lane.cursor(name)
        restless = Restless(lane, lane.marks().get("n", 0), rng)
        for _ in range(rng.randint(1, _STEPS)):
            await restless.step()
        lows = {name: lane.cursor(name).position().settled for name in CURSORS}
    for name, low in lows.items():
        promise(f"LOW {name} {low}")
    promise("CLOSED")


def live(path: Path, seed: int) -> None:
    """Lives over the spool in ``path`` until it is killed or has had enough."""
    inside.announce_drops(lambda offset: promise(f"DROP {offset}"))
    asyncio.run(_run(path, seed))
