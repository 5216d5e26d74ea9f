import asyncio
from collections.abc import AsyncIterator

import pytest

from bridge.clock import SystemClock
from bridge.ports import Lane
from bridge.spool.settings import SpoolSettings
from bridge.spool.spool import Spool
from tests.kit.faulty_files import FaultyFiles
from tests.spool.places import PATH, drain

SETTINGS = SpoolSettings(segment_bytes=64 * 1024, max_bytes=1024 * 1024, max_record=64 * 1024)


@pytest.fixture
async def lane() -> AsyncIterator[Lane]:
    files = FaultyFiles()
    files.make(PATH)
    async with Spool(PATH, SETTINGS, SystemClock(), files) as spool:
        yield spool.lane


async def test_one_name_is_one_cursor(lane: Lane) -> None:
    assert lane.cursor("a") is lane.cursor("a")


async def test_a_read_waits_for_a_record_and_gets_it(lane: Lane) -> None:
    reading = asyncio.create_task(lane.cursor("a").read(10, 1000))
    await asyncio.sleep(0)
    await lane.append([b"x"])
    async with asyncio.timeout(5):
        assert (await reading).payloads == [b"x"]


async def test_a_batch_keeps_its_limits(lane: Lane) -> None:
    await lane.append([bytes(100)] * 10)
    cursor = lane.cursor("a")
    assert len((await cursor.read(3, 10_000)).offsets) == 3
    assert len((await cursor.read(100, 250)).offsets) == 2
    assert len((await cursor.read(100, 1)).offsets) == 1


async def test_reading_goes_on_whatever_is_settled(lane: Lane) -> None:
    await lane.append([b"%d" % number for number in range(6)])
    cursor = lane.cursor("a")
    assert list((await cursor.read(2, 100)).offsets) == [0, 1]
    assert list((await cursor.read(2, 100)).offsets) == [2, 3]
    cursor.settle([3, 0])
    assert list((await cursor.read(9, 100)).offsets) == [4, 5]


async def test_the_position_is_exact(lane: Lane) -> None:
    await lane.append([b"%d" % number for number in range(6)])
    cursor = lane.cursor("a")
    await cursor.read(6, 1000)
    assert (cursor.position().settled, cursor.position().waiting) == (0, 6)
    cursor.settle([1, 4])
    assert (cursor.position().settled, cursor.position().waiting) == (0, 4)
    cursor.settle([0])
    cursor.settle([0, 1])
    assert (cursor.position().settled, cursor.position().waiting, cursor.position().skipped) == (2, 3, 0)


async def test_what_was_not_read_cannot_be_settled(lane: Lane) -> None:
    await lane.append([b"a", b"b"])
    cursor = lane.cursor("a")
    await cursor.read(1, 100)
    cursor.settle([0, 1, 2, 99])
    assert (cursor.position().settled, cursor.position().waiting) == (1, 1)
    assert (await cursor.read(9, 100)).payloads == [b"b"]


async def test_a_cancelled_read_loses_nothing(lane: Lane) -> None:
    sent = [b"%d" % number for number in range(500)]
    cursor = lane.cursor("a")
    received: list[bytes] = []

    async def reader() -> None:
        while True:
            batch = await cursor.read(7, 1000)
            received.extend(batch.payloads)
            cursor.settle(batch.offsets)

    feeding = asyncio.create_task(feed(lane, sent))
    async with asyncio.timeout(20):
        while len(received) < len(sent):
            task = asyncio.create_task(reader())
            for _ in range(3):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
    await feeding
    assert received == sent


async def feed(lane: Lane, payloads: list[bytes]) -> None:
    for payload in payloads:
        await lane.append([payload])


async def test_a_reader_far_behind_gets_everything_from_the_disk(lane: Lane) -> None:
    sent = [b"%d:" % number + bytes(3000) for number in range(250)]
    for at in range(0, 250, 10):
        await lane.append(sent[at : at + 10])
    assert await drain(lane.cursor("a"), 250) == sent
    await lane.append([b"fresh"])
    assert await drain(lane.cursor("a"), 1) == [b"fresh"]


async def test_the_oldest_is_the_first_not_settled(lane: Lane) -> None:
    cursor = lane.cursor("a")
    assert await cursor.oldest() is None
    await lane.append([b"a", b"b", b"c"])
    assert await cursor.oldest() == b"a"
    await cursor.read(3, 100)
    cursor.settle([0, 1])
    assert await cursor.oldest() == b"c"
    cursor.settle([2])
    assert await cursor.oldest() is None
