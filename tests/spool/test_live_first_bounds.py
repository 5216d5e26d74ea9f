"""What a live-first reader costs at most, and what limits and damage take from it."""

import asyncio
import itertools

import pytest

from bridge.spool import shelf
from bridge.spool.book import MAX_WRITTEN_RANGES
from bridge.spool.cursor import MAX_STRETCHES
from tests.kit.faulty_files import FaultyFiles
from tests.spool.outages import MEMORY, SETTINGS, drained, fill, opened, take
from tests.spool.places import LANE, PATH

SMALL = SETTINGS.model_copy(update={"max_bytes": 320 * 1024})


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


async def test_a_burst_that_is_little_of_what_waits_stays_in_order(files: FaultyFiles) -> None:
    async with opened(files) as log:
        await fill(log, 20_000, 100, group=200)
        cursor = log.cursor("a", 0.9)
        await take(cursor)
        await fill(log, 40)
        fresh = [offset for _ in range(15) for offset in await take(cursor) if offset >= 20_000]
        assert fresh == list(range(20_000, 20_040))
        assert len(cursor._backlog) == 1


async def test_ranges_that_an_earlier_run_left_count_against_the_bound(files: FaultyFiles) -> None:
    async with opened(files) as log:
        await fill(log, 400)
        ledger = log.cursor("a", 0.5)._ledger
        for offset in range(1, 2 * MAX_STRETCHES, 2):
            ledger.settle(offset, offset + 1)
        log.cursor("a")._settled(MAX_STRETCHES)
    async with opened(files) as log:
        cursor = log.cursor("a", 0.5)
        served = await take(cursor, 1)
        await fill(log, 5)
        served += await take(cursor)
        assert served == [0, 400, 401, 402, 403]
        await fill(log, 100)
        served += await take(cursor)
        assert len(cursor._backlog) == 1
        assert sorted(served + await drained(cursor)) == [*range(0, 2 * MAX_STRETCHES, 2), *range(128, 505)]


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
