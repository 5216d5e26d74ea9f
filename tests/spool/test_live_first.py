"""A cursor that reads what is fresh first, while what waits since an outage is read with the rest."""

import asyncio
import errno
import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from bridge.clock import SystemClock
from bridge.ports import Batch
from bridge.spool import shelf
from bridge.spool.book import MAX_WRITTEN_RANGES
from bridge.spool.cursor import MAX_STRETCHES, LogCursor
from bridge.spool.log import Log
from bridge.spool.settings import SpoolSettings
from bridge.spool.spool import Spool
from tests.kit.faulty_files import FaultyFiles
from tests.spool.places import LANE, PATH

SETTINGS = SpoolSettings(segment_bytes=64 * 1024, max_bytes=64 * 1024 * 1024, max_record=64 * 1024)
SMALL = SETTINGS.model_copy(update={"max_bytes": 320 * 1024})
MEMORY = 16 * 1024


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


async def test_a_long_row_of_outages_splits_and_writes_a_bounded_number_of_times(files: FaultyFiles) -> None:
    async with opened(files) as log:
        cursor = log.cursor("a", 0.9)
        served: list[int] = []
        spread = 0
        for _ in range(2 * MAX_STRETCHES):
            await fill(log, 40)
            served += await take(cursor)
            await log.append([b"fresh"])
            served += await take(cursor)
            spread = max(spread, cursor._ledger.spread)
            assert len(cursor._backlog) < MAX_STRETCHES
        assert 10 < spread <= MAX_STRETCHES
        served += await drained(cursor)
        assert sorted(served) == list(range(2 * MAX_STRETCHES * 41))
        assert cursor._ledger.spread == 0


async def test_outages_without_a_fresh_record_cost_no_stretch(files: FaultyFiles) -> None:
    async with opened(files) as log:
        cursor = log.cursor("a", 0.5)
        served = []
        for _ in range(20):
            await fill(log, 40)
            served += await take(cursor)
        assert len(cursor._backlog) == 1
        assert served + await drained(cursor) == list(range(800))


async def test_restarts_in_mid_backlog_keep_what_is_written_bounded(files: FaultyFiles) -> None:
    served: list[int] = []
    for _ in range(30):
        async with opened(files) as log:
            cursor = log.cursor("a", 0.5)
            await fill(log, 20)
            served += await take(cursor, 2)
            await log.append([b"fresh"])
            served += await take(cursor)
            assert cursor._ledger.spread < MAX_WRITTEN_RANGES // 2
    async with opened(files) as log:
        served += await drained(log.cursor("a", 0.5))
    assert sorted(served) == list(range(30 * 21))


async def test_what_was_settled_before_a_restart_costs_no_reading(files: FaultyFiles) -> None:
    async with opened(files) as log:
        await fill(log, 1000)
        cursor = log.cursor("a", 0.5)
        first = await take(cursor)
        while len(cursor._backlog[0]._offsets) < 1:
            await asyncio.sleep(0)
        cursor._ledger.settle(10, 950)
        cursor._settled(940)
    async with opened(files) as log:
        cursor = log.cursor("a", 0.5)
        before = files.calls["pread"]
        rest = await drained(cursor)
        # The first segment, and the one in which the settled ones end: 15 lie between.
        assert files.calls["pread"] - before <= 6
        assert first + rest == [*range(10), *range(950, 1000)]


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


async def test_a_limit_in_mid_backlog_costs_what_it_drops_and_no_more(files: FaultyFiles) -> None:
    async with opened(files, SMALL) as log:
        cursor = log.cursor("a", 0.5)
        await fill(log, 150)
        served = [*await take(cursor), *await take(cursor)]
        await fill(log, 250)
        position = cursor.position()
        assert position.skipped == position.settled - len(served) > 0
        assert len(cursor._backlog) == 1
        served += await take(cursor)
        await fill(log, 1, 10)
        assert await take(cursor) == [400]
        assert served + await drained(cursor) == [*served[:8], *range(position.settled, 400)]
        assert cursor.position().skipped == position.skipped


async def test_a_limit_that_takes_whole_stretches_is_survived(files: FaultyFiles) -> None:
    async with opened(files, SMALL) as log:
        cursor = log.cursor("a", 0.5)
        served: list[int] = []
        for _ in range(4):
            await fill(log, 60)
            served += await take(cursor)
            await log.append([b"fresh"])
            served += await take(cursor)
        assert len(cursor._backlog) > 2
        await fill(log, 1000)
        low = cursor.position().settled
        assert low > 244
        assert sorted(await drained(cursor)) == list(range(low, 1244))
        assert cursor.position().skipped == low - len(served)


def damage(files: FaultyFiles, number: int) -> None:
    """Destroys the payload of one record, wherever it lies."""
    wanted = b"<%d>" % number
    for name in files.names(LANE):
        if name.endswith(".seg") and (at := files.content(LANE / name).find(wanted)) >= 0:
            files.corrupt(LANE / name, at, b"x")


async def test_damage_in_either_stretch_is_counted_once(files: FaultyFiles) -> None:
    async with opened(files) as log:
        for number in range(300):
            await log.append([b"<%d>" % number + bytes(1000)])
        log.cursor("other")
    async with opened(files) as log:
        cursor = log.cursor("a", 0.5)
        assert await take(cursor) == [0, 1, 2]
        for number in range(300, 500):
            await log.append([b"<%d>" % number + bytes(1000)])
        lost = {17, 18, 250, 299, 300, 301, 320}
        for number in lost:
            damage(files, number)
        served = await drained(cursor)
        assert sorted(served) == sorted(set(range(3, 500)) - lost)
        assert cursor.position().skipped == len(lost) == log.damaged
        await drained(log.cursor("other"))
        assert log.damaged == len(lost)


async def test_a_lost_segment_over_the_end_of_a_stretch_is_counted_once(files: FaultyFiles) -> None:
    async with opened(files) as log:
        await fill(log, 20_000, 100, group=200)
        cursor = log.cursor("a", 0.5)
        served = await take(cursor)
        end = cursor._live.start
        # More than is in memory, but little of all that waits: the live stretch reads it from the disk.
        await fill(log, 40)
        segment = next(each for each in reversed(log._shelf.segments) if each.first < end)
        following = next((each.first for each in log._shelf.segments if each.first > end), 20_040)
        files.unlink(LANE / segment.name)
        assert segment.first < end < following
        while len(served) < 20_040 - following + segment.first:
            served += await take(cursor)
        assert sorted(served) == [*range(segment.first), *range(following, 20_040)]
        reading = asyncio.create_task(take(cursor))
        while cursor.position().waiting:
            await asyncio.sleep(0.001)
        await log.append([b"fresh"])
        assert await reading == [20_040]
        assert cursor.position().skipped == log.damaged == following - segment.first


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
