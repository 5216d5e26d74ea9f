import asyncio
from pathlib import Path

from bridge.clock import SystemClock
from bridge.ports import Cursor
from bridge.spool.settings import SpoolSettings
from bridge.spool.spool import Spool

SMALL = SpoolSettings(segment_bytes=64 * 1024, max_bytes=1024 * 1024)


def spool_at(path: Path, settings: SpoolSettings = SMALL) -> Spool:
    return Spool(path, settings, SystemClock())


async def drain(cursor: Cursor, count: int) -> list[bytes]:
    payloads: list[bytes] = []
    async with asyncio.timeout(20):
        while len(payloads) < count:
            batch = await cursor.read(100, 100_000)
            payloads += batch.payloads
            cursor.settle(batch.offsets)
    return payloads


async def test_what_was_appended_comes_back_in_order_after_a_restart(tmp_path: Path) -> None:
    sent = [b"%d" % number for number in range(3000)]
    async with spool_at(tmp_path) as spool:
        for at in range(0, 3000, 50):
            assert await spool.lane.append(sent[at : at + 50]) == at
    async with spool_at(tmp_path) as spool:
        assert await drain(spool.lane.cursor("cloud"), 3000) == sent


async def test_what_was_settled_does_not_come_back(tmp_path: Path) -> None:
    async with spool_at(tmp_path) as spool:
        await spool.lane.append([b"a", b"b", b"c"])
        cursor = spool.lane.cursor("cloud")
        batch = await cursor.read(2, 100)
        cursor.settle(batch.offsets)
    async with spool_at(tmp_path) as spool:
        cursor = spool.lane.cursor("cloud")
        assert (await cursor.read(5, 100)).payloads == [b"c"]
        assert cursor.position().waiting == 1


async def test_marks_outlive_a_restart(tmp_path: Path) -> None:
    async with spool_at(tmp_path) as spool:
        await spool.lane.append([b"a"], {"n": 7})
        assert spool.lane.marks() == {"n": 7}
    async with spool_at(tmp_path) as spool:
        assert spool.lane.marks() == {"n": 7}
