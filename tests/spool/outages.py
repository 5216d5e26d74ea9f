"""A sink that was away: a log with little in memory, and a reader that falls behind soon."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bridge.clock import SystemClock
from bridge.spool.cursor import LogCursor
from bridge.spool.log import Log
from bridge.spool.settings import SpoolSettings
from bridge.spool.spool import Spool
from tests.kit.faulty_files import FaultyFiles
from tests.spool.places import PATH

SETTINGS = SpoolSettings(segment_bytes=64 * 1024, max_bytes=64 * 1024 * 1024, max_record=64 * 1024)
MEMORY = 16 * 1024
"""How much of the latest is kept in memory, for the tests that say so."""


@asynccontextmanager
async def opened(files: FaultyFiles, settings: SpoolSettings = SETTINGS) -> AsyncIterator[Log]:
    async with asyncio.timeout(20), Spool(PATH, settings, SystemClock(), files) as spool:
        assert isinstance(spool.lane, Log)
        yield spool.lane


async def fill(log: Log, count: int, size: int = 1000, *, group: int = 5) -> None:
    for at in range(0, count, group):
        await log.append([bytes(size)] * min(group, count - at))


async def take(cursor: LogCursor, max_records: int = 100, max_bytes: int = 4000) -> list[int]:
    """Reads and settles one batch, when the disk has what was asked of it."""
    await disk(cursor)
    batch = await cursor.read(max_records, max_bytes)
    cursor.settle(batch.offsets)
    return list(batch.offsets)


async def disk(cursor: LogCursor) -> None:
    fetches = [stretch.fetching for stretch in (cursor._live, *cursor._backlog) if stretch.fetching is not None]
    if fetches:
        await asyncio.wait(fetches)


async def drained(cursor: LogCursor) -> list[int]:
    offsets: list[int] = []
    while cursor.position().waiting:
        offsets += await take(cursor)
    return offsets
