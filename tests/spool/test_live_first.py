"""A cursor that reads what is fresh first, while what waits since an outage is read with the rest."""

import asyncio
import errno
import itertools
from collections.abc import Iterator

import pytest

from bridge.ports import Batch
from bridge.spool import shelf
from tests.kit.faulty_files import FaultyFiles
from tests.spool.outages import MEMORY, disk, drained, fill, opened, take
from tests.spool.places import PATH


@pytest.fixture(autouse=True)
def _little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a reader falls behind after a few records; and a disk is asked again at once."""
    monkeypatch.setattr(shelf, "CHUNK", MEMORY)
    monkeypatch.setattr(shelf, "delays", lambda *_: itertools.repeat(0.001))


@pytest.fixture
def files() -> FaultyFiles:
    files = FaultyFiles()
    files.make(PATH)
    return files


async def test_a_reader_that_keeps_up_reads_in_order(files: FaultyFiles) -> None:
    async with opened(files) as log:
        cursor = log.cursor("a", 0.5)
        for number in range(200):
            await log.append([bytes(1000)])
            assert await take(cursor) == [number]
        await fill(log, 10)
        assert await drained(cursor) == list(range(200, 210))


async def test_without_a_share_a_backlog_is_read_in_order(files: FaultyFiles) -> None:
    async with opened(files) as log:
        await fill(log, 100)
        cursor = log.cursor("a")
        first = await take(cursor)
        await log.append([b"fresh"])
        assert first + await drained(cursor) == list(range(101))


@pytest.mark.parametrize("share", [-0.1, 1.0, 7.0])
async def test_a_share_that_leaves_nothing_is_refused(files: FaultyFiles, share: float) -> None:
    async with opened(files) as log:
        with pytest.raises(ValueError, match="live share"):
            log.cursor("a", share)


async def test_after_an_outage_the_fresh_comes_first_and_the_backlog_in_order(files: FaultyFiles) -> None:
    async with opened(files) as log:
        cursor = log.cursor("a", 0.5)
        await fill(log, 100)
        assert await take(cursor) == [0, 1, 2, 3]
        await log.append([b"fresh"])
        assert await take(cursor) == [100]
        assert await drained(cursor) == list(range(4, 100))
        # Nothing is left of the split: in order again.
        await fill(log, 10)
        assert await drained(cursor) == list(range(101, 111))
        assert not cursor._backlog


async def test_what_was_read_ahead_before_an_outage_does_not_come_before_the_fresh(files: FaultyFiles) -> None:
    async with opened(files) as log:
        cursor = log.cursor("a", 0.5)
        await fill(log, 10)
        assert await take(cursor) == [0, 1, 2, 3]
        await fill(log, 100)
        await take(cursor)
        await log.append([b"fresh"])
        assert await take(cursor) == [110]
        assert await drained(cursor) == list(range(8, 110))


async def test_a_start_with_a_backlog_reads_the_fresh_first(files: FaultyFiles) -> None:
    async with opened(files) as log:
        log.cursor("a", 0.5)
        await fill(log, 100)
    async with opened(files) as log:
        cursor = log.cursor("a", 0.5)
        reading = asyncio.create_task(take(cursor))
        await asyncio.sleep(0)
        await log.append([b"fresh"])
        firsts = [await reading, await take(cursor), await take(cursor)]
        assert [100] in firsts
        assert sorted(itertools.chain(*firsts, await drained(cursor))) == list(range(101))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
async def test_while_both_wait_each_has_its_share_of_the_bytes(files: FaultyFiles, share: float) -> None:
    async with opened(files) as log:
        await fill(log, 3000)
        cursor = log.cursor("a", share)
        await take(cursor)
        fresh = total = 0
        for _ in range(400):
            # Always something fresh, and never more than is in memory.
            if log._shelf.durable - cursor._live.next < 3:
                await log.append([bytes(1000), bytes(3000), bytes(500)])
            await disk(cursor)
            batch = await cursor.read(100, 4000)
            size = sum(map(len, batch.payloads))
            total += size
            fresh += size if batch.offsets[0] >= 3000 else 0
            assert abs(fresh - share * total) <= 4000
        assert total > 800_000
        assert len(cursor._backlog) == 1


async def test_a_share_that_was_not_used_is_not_saved_up(files: FaultyFiles) -> None:
    async with opened(files) as log:
        await fill(log, 1000)
        cursor = log.cursor("a", 0.5)
        for _ in range(100):
            await take(cursor)
        await fill(log, 12, 1000, group=12)
        turns = [(await take(cursor))[0] >= 1000 for _ in range(6)]
        assert turns == [True, False, True, False, True, False]


async def test_a_disk_that_cannot_read_the_backlog_does_not_hold_up_the_fresh(
    files: FaultyFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shelf, "delays", lambda *_: itertools.repeat(3600))
    async with opened(files) as log:
        await fill(log, 100)
        cursor = log.cursor("a", 0.1)
        files.broken["pread"] = errno.EACCES
        for number in range(100, 200):
            reading = asyncio.create_task(cursor.read(10, 4000))
            for _ in range(number % 3):
                await asyncio.sleep(0)
            await log.append([b"fresh"])
            assert list((await reading).offsets) == [number]
        assert cursor._backlog


async def test_what_the_fresh_had_while_the_backlog_could_not_be_read_is_no_debt(files: FaultyFiles) -> None:
    async with opened(files) as log:
        await fill(log, 100)
        cursor = log.cursor("a", 0.5)
        files.broken["pread"] = errno.EACCES
        for number in range(100, 120):
            reading = asyncio.create_task(cursor.read(10, 4000))
            await asyncio.sleep(0)
            await log.append([bytes(4000)])
            assert list((await reading).offsets) == [number]
        files.broken.clear()
        while not cursor._backlog[0].ready():
            await asyncio.sleep(0.001)
        await log.append([bytes(4000)] * 3)
        turns = [(await take(cursor))[0] >= 100 for _ in range(6)]
        assert turns == [False, True, False, True, False, True]
        assert log.damaged == 0


async def test_every_fresh_record_is_served_within_two_reads_of_a_long_backlog(files: FaultyFiles) -> None:
    async with opened(files) as log:
        await fill(log, 50_000, 100, group=1000)
        cursor = log.cursor("a", 0.1)
        served: set[int] = set()
        for turn in range(500):
            await log.append([bytes(100)])
            served.update(await take(cursor, 50))
            served.update(await take(cursor, 50))
            assert 50_000 + turn in served or not turn
        assert len(served) > 20_000
        served.update(await drained(cursor))
        assert served == set(range(50_500))


async def test_what_was_not_served_cannot_be_settled_in_any_stretch(files: FaultyFiles) -> None:
    async with opened(files) as log:
        cursor = log.cursor("a", 0.5)
        await fill(log, 100)
        assert list((await cursor.read(2, 4000)).offsets) == [0, 1]
        await fill(log, 10, 10)
        batch = await cursor.read(3, 4000)
        assert list(batch.offsets) == [100, 101, 102]
        cursor.settle(range(200))
        assert cursor.position().settled == 2
        assert cursor.position().waiting == 110 - 5
        assert cursor._ledger.ranges == ((100, 103),)
        rest = await drained(cursor)
        assert sorted(rest) == [*range(2, 100), *range(103, 110)]


async def test_cancelled_reads_lose_nothing(files: FaultyFiles) -> None:
    async with opened(files) as log:
        await fill(log, 200)
        cursor = log.cursor("a", 0.5)
        served: list[int] = []
        patience: Iterator[int] = itertools.cycle((0, 1, 2, 5))

        async def read() -> None:
            batch: Batch = await cursor.read(7, 3000)
            served.extend(batch.offsets)
            cursor.settle(batch.offsets)

        while len(served) < 300:
            if log._shelf.durable < 300:
                await log.append([bytes(1000)])
            reading = asyncio.create_task(read())
            for _ in range(next(patience)):
                await asyncio.sleep(0)
            reading.cancel()
            await asyncio.wait([reading])
        assert sorted(served) == list(range(300))


async def test_a_closed_spool_leaves_nothing_running(files: FaultyFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelf, "delays", lambda *_: itertools.repeat(3600))
    async with opened(files) as log:
        await fill(log, 100)
        cursor = log.cursor("a", 0.5)
        files.broken["pread"] = errno.EACCES
        reading = asyncio.create_task(cursor.read(10, 4000))
        await asyncio.sleep(0.01)
        assert len(asyncio.all_tasks()) > 3
        reading.cancel()
        await asyncio.wait([reading])
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}
