"""Fills a spool: ``python -m tests.bench.fill FOLDER EVENTS``."""

import asyncio
import sys
from pathlib import Path

from bridge.clock import SystemClock
from bridge.event import Event, timestamp
from bridge.spool.envelope import pack_event
from bridge.spool.settings import SpoolSettings
from bridge.spool.spool import Spool
from tests.kit.publisher import reading

GROUP = 1000


async def fill(folder: Path, events: int) -> None:
    """Appends ``events`` readings as the daemon would store them."""
    clock = SystemClock()
    async with Spool(folder, SpoolSettings(max_bytes=1 << 34), clock) as spool:
        for first in range(0, events, GROUP):
            numbers = range(first, min(events, first + GROUP))
            await spool.lane.append([_stored(number, clock) for number in numbers])


def _stored(number: int, clock: SystemClock) -> bytes:
    now = clock.now()
    event = Event(
        id=f"bench-{number}",
        source="urn:edge-bridge:gw1/boiler",
        type="com.example.boiler.reading.measured",
        time=timestamp(now.wall_ns),
        datacontenttype="application/json",
        extensions=(("sequence", f"{number + 1:020}"),),
        data=reading(number),
    )
    return pack_event(event, "boiler", now, clock.boot_id, None)


if __name__ == "__main__":
    asyncio.run(fill(Path(sys.argv[1]), int(sys.argv[2])))
