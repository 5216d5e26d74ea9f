import asyncio
import errno
import itertools
import logging

import pytest

from bridge.clock import SystemClock
from bridge.spool import shelf
from bridge.spool.settings import SpoolSettings
from bridge.spool.spool import Spool
from tests.kit.faulty_files import FaultyFiles
from tests.spool.places import LANE, PATH, drain

SETTINGS = SpoolSettings(segment_bytes=64 * 1024, max_bytes=512 * 1024, max_record=60_000)


def spool_on(files: FaultyFiles) -> Spool:
    return Spool(PATH, SETTINGS, SystemClock(), files)


@pytest.fixture
def files() -> FaultyFiles:
    files = FaultyFiles()
    files.make(PATH)
    return files


def segments(files: FaultyFiles) -> list[str]:
    return [name for name in files.names(LANE) if name.endswith(".seg")]


async def test_a_payload_that_is_too_large_stores_nothing(files: FaultyFiles) -> None:
    async with spool_on(files) as spool:
        with pytest.raises(ValueError, match="max_record"):
            await spool.lane.append([b"small", bytes(60_001)])
        assert await spool.lane.append([b"a"]) == 0


async def test_the_latest_records_can_be_read_back_over_segments(files: FaultyFiles) -> None:
    async with spool_on(files) as spool:
        assert await spool.lane.recent(5) == []
        for number in range(8):
            await spool.lane.append([b"%d" % number + bytes(30_000)])
        assert [payload[:1] for payload in await spool.lane.recent(3)] == [b"5", b"6", b"7"]
        assert len(await spool.lane.recent(10**9)) == 8
        assert await spool.lane.recent(0) == []


async def test_the_limit_takes_the_oldest_and_counts_them(files: FaultyFiles) -> None:
    async with spool_on(files) as spool:
        spool.lane.cursor("a")
        for number in range(20):
            await spool.lane.append([b"%02d" % number + bytes(50_000)])
        report = spool.report()
        position = spool.lane.cursor("a").position()
        assert report.bytes_used <= SETTINGS.max_bytes
        assert report.dropped == position.skipped > 10
        assert position.waiting == 20 - report.dropped == report.events
        first = (await drain(spool.lane.cursor("a"), position.waiting))[0]
        assert int(first[:2]) == report.dropped


async def test_a_disk_that_cannot_be_read_stops_no_answer_and_costs_nothing(
    files: FaultyFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shelf, "delays", lambda *_: itertools.repeat(0.0))
    async with Spool(PATH, SETTINGS, SystemClock(), files) as spool:
        await spool.lane.append([b"a", b"b"])
    async with Spool(PATH, SETTINGS, SystemClock(), files) as spool:
        cursor = spool.lane.cursor("cloud")
        files.broken["open"] = errno.EACCES
        async with asyncio.timeout(10):
            assert await spool.lane.recent(5) == []
            assert await cursor.oldest() is None
        files.broken.clear()
        assert await drain(cursor, 2) == [b"a", b"b"]


async def test_the_oldest_segment_removed_by_hand_is_counted(files: FaultyFiles) -> None:
    async with spool_on(files) as spool:
        spool.lane.cursor("a")
        for number in range(4):
            await spool.lane.append([b"%d" % number + bytes(50_000)])
    files.unlink(LANE / segments(files)[0])
    async with spool_on(files) as spool:
        assert spool.lane.cursor("a").position().skipped == 1
        assert spool.report().dropped == 1
        assert [payload[:1] for payload in await drain(spool.lane.cursor("a"), 3)] == [b"1", b"2", b"3"]


async def test_a_clean_restart_writes_nothing_until_something_is_appended(files: FaultyFiles) -> None:
    async with spool_on(files) as spool:
        await spool.lane.append([b"a"])
        await drain(spool.lane.cursor("x"), 1)
    before = {name: files.content(LANE / name) for name in files.names(LANE)}
    for _ in range(3):
        async with spool_on(files) as spool:
            assert spool.lane.cursor("x").position().waiting == 0
    assert before == {name: files.content(LANE / name) for name in files.names(LANE) if name in before}
    assert len(files.names(LANE)) == len(before)


async def test_restarts_do_not_pile_up_segments(files: FaultyFiles) -> None:
    for number in range(10):
        async with spool_on(files) as spool:
            await spool.lane.append([], {"n": number})
    assert len(segments(files)) <= 2


async def test_a_read_only_disk_is_read_and_said_so(files: FaultyFiles, caplog: pytest.LogCaptureFixture) -> None:
    async with spool_on(files) as spool:
        await spool.lane.append([b"a", b"b"])
    for call in ("pwrite", "create", "fallocate", "rename", "unlink", "ftruncate", "mkdir"):
        files.broken[call] = errno.EROFS
    caplog.set_level(logging.INFO)
    async with spool_on(files) as spool:
        assert not spool.report().writable
        assert spool.report().last_error == "Read-only file system"
        assert await drain(spool.lane.cursor("x"), 2) == [b"a", b"b"]
        files.broken.clear()
        await spool.lane.append([b"c"])
        # The dead letters find it out in their own time.
        async with asyncio.timeout(10):
            while not spool.report().writable:
                await asyncio.sleep(0.01)
    assert "can be written again" in caplog.text


async def test_what_a_kill_left_in_memory_is_written_again_before_anything_else(files: FaultyFiles) -> None:
    async with spool_on(files) as spool:
        await spool.lane.append([b"a"], {"n": 1})
        await spool.lane.append([b"b"], {"n": 2})
        files.kill()
    async with spool_on(files) as spool:
        assert spool.lane.marks() == {"n": 2}
        assert await spool.lane.append([b"c"], {"n": 3}) == 2
        assert await drain(spool.lane.cursor("x"), 3) == [b"a", b"b", b"c"]
        assert len(segments(files)) == 2
