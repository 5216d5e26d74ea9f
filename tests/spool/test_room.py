"""The limits of a lane: what gives way, what is refused, what waits, and that all of it recovers by itself."""

import asyncio
import errno
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from bridge.errors import LaneFull
from bridge.spool import committer
from bridge.spool.settings import OnFull, SpoolSettings
from bridge.spool.spool import Spool
from tests.kit.faulty_files import FaultyFiles
from tests.kit.hand_clock import HandClock
from tests.spool.places import LANE, PATH, drain

KIB = 1024
RECORD = 30_000


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committer, "delays", lambda: itertools.repeat(0.001))
    monkeypatch.setattr(committer, "POLL", 0.02)
    monkeypatch.setattr(committer, "_REST", 0.001)


@pytest.fixture
def files() -> FaultyFiles:
    files = FaultyFiles()
    files.make(PATH)
    return files


@asynccontextmanager
async def spool_with(
    files: FaultyFiles, on_full: OnFull, clock: HandClock | None = None, **settings: object
) -> AsyncIterator[Spool]:
    """A spool with room for five small segments, and a cursor that has confirmed nothing."""
    limits = {"segment_bytes": 64 * KIB, "max_bytes": 512 * KIB, "max_record": 64 * KIB, "min_free_disk": 0}
    made = SpoolSettings.model_validate({**limits, "on_full": on_full, "cursor_interval": 600, **settings})
    async with Spool(PATH, made, clock or HandClock(), files) as spool:
        spool.lane.cursor("cloud")
        yield spool


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


async def fill(spool: Spool) -> int:
    """Appends until the lane is full; returns how many records it took."""
    for number in range(1000):
        append = asyncio.create_task(spool.lane.append([b"%d:" % number + bytes(RECORD)]))
        await until(lambda append=append: append.done() or spool.lane.full is not None)  # type: ignore[misc]
        if not append.done() or append.exception() is not None:
            return number
    raise AssertionError("it is never full")


def names(payloads: list[bytes]) -> list[int]:
    return [int(payload.split(b":")[0]) for payload in payloads]


def test_the_default_drops_the_oldest() -> None:
    assert SpoolSettings().on_full == "drop-oldest"


async def test_a_full_lane_that_blocks_acknowledges_nothing_and_loses_nothing(
    files: FaultyFiles, caplog: pytest.LogCaptureFixture
) -> None:
    async with spool_with(files, "block") as spool:
        count = await fill(spool)
        assert spool.report().lanes[0].full == "max_bytes"
        waiting = asyncio.create_task(spool.lane.append([b"%d:" % (count + 1)]))
        await asyncio.sleep(0.1)
        assert not waiting.done()
        assert "is full (max_bytes), on_full = block" in caplog.text
        assert len([line for line in caplog.messages if "is full" in line]) == 1
        assert spool.lane.bytes_used <= 512 * KIB
        # What the sink confirms makes room, without anybody's help.
        got = await drain(spool.lane.cursor("cloud"), count)
        assert names(got) == list(range(count))
        await asyncio.wait_for(waiting, 10)
        assert spool.report().lanes[0].full is None
        assert names(await drain(spool.lane.cursor("cloud"), 2)) == [count, count + 1]
        assert not spool.lane.losses
        assert "lane default has room again" in caplog.text


async def test_a_full_lane_that_refuses_says_so_at_once_and_keeps_what_it_has(files: FaultyFiles) -> None:
    async with spool_with(files, "reject-newest") as spool:
        count = await fill(spool)
        with pytest.raises(LaneFull, match="max_bytes"):
            await spool.lane.append([b"x"])
        # Nothing of what was refused has an offset.
        assert spool.lane.range[1] == count
        assert names(await drain(spool.lane.cursor("cloud"), count)) == list(range(count))
        await until(lambda: spool.lane.full is None)
        assert await spool.lane.append([b"%d:" % count]) == count
        assert names(await drain(spool.lane.cursor("cloud"), 1)) == [count]


async def test_marks_and_cursors_are_written_while_a_lane_is_full(files: FaultyFiles) -> None:
    async with spool_with(files, "reject-newest") as spool:
        await fill(spool)
        for number in range(300):
            await spool.lane.append([], {"n": number})
        assert spool.lane.marks() == {"n": 299}
        assert spool.lane.bytes_used <= 512 * KIB


async def test_a_full_lane_that_blocks_can_be_stopped_and_started_again(files: FaultyFiles) -> None:
    async with spool_with(files, "block") as spool:
        count = await fill(spool)
        spool.lane.cursor("cloud")
    async with spool_with(files, "block") as spool:
        assert names(await drain(spool.lane.cursor("cloud"), count)) == list(range(count))


@pytest.mark.parametrize("call", ["fallocate", "pwrite"])
async def test_a_disk_without_space_is_waited_for_by_a_lane_that_blocks(files: FaultyFiles, call: str) -> None:
    async with spool_with(files, "block") as spool:
        for number in range(4):
            await spool.lane.append([b"%d:" % number + bytes(RECORD)])
        files.broken[call] = errno.ENOSPC
        tasks = [asyncio.create_task(spool.lane.append([b"%d:" % n + bytes(RECORD)])) for n in range(4, 8)]
        await until(lambda: not spool.report().writable)
        assert not all(task.done() for task in tasks)
        files.broken.clear()
        await asyncio.wait_for(asyncio.gather(*tasks), 10)
        assert names(await drain(spool.lane.cursor("cloud"), 8)) == list(range(8))
        assert not spool.lane.losses


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EIO])
async def test_a_disk_that_cannot_be_written_refuses_what_is_new_where_that_is_the_policy(
    files: FaultyFiles, code: int
) -> None:
    async with spool_with(files, "reject-newest") as spool:
        await spool.lane.append([b"0:"])
        files.broken.update(dict.fromkeys(("pwrite", "fallocate", "create", "rename"), code))
        with pytest.raises(LaneFull):
            await spool.lane.append([b"1:"])
        assert spool.lane.full == ("disk full" if code == errno.ENOSPC else "disk cannot be written")
        with pytest.raises(LaneFull):
            await spool.lane.append([b"2:"])
        files.broken.clear()
        await until(lambda: spool.lane.full is None)
        assert await spool.lane.append([b"3:"]) == 1
        assert names(await drain(spool.lane.cursor("cloud"), 2)) == [0, 3]


async def test_readings_are_refused_while_cursors_alone_wait_for_a_broken_disk(files: FaultyFiles) -> None:
    async with spool_with(files, "reject-newest") as spool:
        await spool.lane.append([b"0:"])
        files.broken.update(dict.fromkeys(("pwrite", "fallocate", "create", "rename"), errno.EROFS))
        marks = asyncio.create_task(spool.lane.append([], {"n": 1}))
        await until(lambda: spool.lane.full is not None)
        with pytest.raises(LaneFull):
            await spool.lane.append([b"1:"])
        files.broken.clear()
        await asyncio.wait_for(marks, 10)
        await until(lambda: spool.lane.full is None)
        assert spool.lane.marks() == {"n": 1}


async def test_space_that_a_sink_has_freed_in_memory_only_helps_a_full_disk(files: FaultyFiles) -> None:
    async with spool_with(files, "block") as spool:
        for number in range(6):
            await spool.lane.append([b"%d:" % number + bytes(RECORD)])
        await drain(spool.lane.cursor("cloud"), 6)
        files.broken["fallocate"] = errno.ENOSPC
        deleted = files.calls["unlink"]
        append = asyncio.create_task(spool.lane.append([b"6:" + bytes(RECORD)]))
        await until(lambda: files.calls["unlink"] > deleted)
        files.broken.clear()
        await asyncio.wait_for(append, 10)
        assert not spool.lane.losses


async def test_a_backlog_gives_way_when_others_need_the_disk(files: FaultyFiles) -> None:
    async with spool_with(files, "drop-oldest", min_free_disk="1MiB") as spool:
        files.size = 100 << 20
        for number in range(6):
            await spool.lane.append([b"%d:" % number + bytes(RECORD)])
        assert not spool.lane.losses
        files.size = 1 << 20  # somebody else has filled it
        for number in range(6, 12):
            await spool.lane.append([b"%d:" % number + bytes(RECORD)])
        assert set(spool.lane.losses) == {"min_free_disk"}
        assert len([name for name in files.names(LANE) if name.endswith(".seg")]) <= 2


async def test_without_a_backlog_a_full_disk_of_others_stops_nobody(files: FaultyFiles) -> None:
    files.size = 0
    async with spool_with(files, "block", min_free_disk="1MiB") as spool:
        for number in range(20):
            await asyncio.wait_for(spool.lane.append([b"%d:" % number + bytes(RECORD)]), 10)
            assert names(await drain(spool.lane.cursor("cloud"), 1)) == [number]
        assert not spool.lane.losses


async def test_what_is_too_old_leaves_the_disk_though_its_sink_is_away(files: FaultyFiles) -> None:
    clock = HandClock()
    async with spool_with(files, "block", clock, max_age=0.4) as spool:
        await spool.lane.append([b"0:"])
        await asyncio.sleep(0.1)
        assert not spool.lane.losses
        clock.boot += 1
        # The segment is closed first, and goes when the one after it is old as well.
        await until(lambda: len([name for name in files.names(LANE) if name.endswith(".seg")]) == 2)
        clock.boot += 1
        await until(lambda: spool.lane.losses == {"max_age": 1})
        await until(lambda: len([name for name in files.names(LANE) if name.endswith(".seg")]) == 1)
        assert spool.lane.cursor("cloud").position().waiting == 0
        assert spool.lane.cursor("cloud").position().skipped == 1


@pytest.mark.parametrize("years", [10, -10])
async def test_a_wall_clock_that_jumps_lets_nothing_expire(files: FaultyFiles, years: int) -> None:
    clock = HandClock()
    async with spool_with(files, "block", clock, max_age=0.4) as spool:
        for number in range(6):
            await spool.lane.append([b"%d:" % number + bytes(RECORD)])
            clock.wall += years * 365 * 86400
        await asyncio.sleep(0.3)
        assert not spool.lane.losses


async def test_after_a_restart_of_the_machine_only_synchronised_clocks_let_anything_expire(
    files: FaultyFiles,
) -> None:
    clock = HandClock(synchronised=False)
    async with spool_with(files, "block", clock) as spool:
        await spool.lane.append([b"0:" + bytes(RECORD)])
    clock.synchronised = True
    async with spool_with(files, "block", clock) as spool:
        await spool.lane.append([b"1:"])
    clock.boot_id, clock.boot = b"next one", 7.0
    clock.wall += 86400
    async with spool_with(files, "block", clock, max_age=60) as spool:
        await asyncio.sleep(0.1)
        await spool.lane.append([b"2:"])
        # The segment after the oldest was begun with a clock that could be trusted: so the oldest is too old.
        await until(lambda: spool.lane.losses == {"max_age": 1})
    clock.wall += 86400
    clock.synchronised = False
    async with spool_with(files, "block", clock, max_age=60) as spool:
        await asyncio.sleep(0.1)
        assert not spool.lane.losses


async def test_an_orphan_never_blocks(files: FaultyFiles) -> None:
    async with spool_with(files, "block") as spool:
        spool.lane.cursor("old")
        spool.lane.own(["cloud"])
        for number in range(60):
            await asyncio.wait_for(spool.lane.append([b"%d:" % number + bytes(RECORD)]), 10)
            await drain(spool.lane.cursor("cloud"), 1)
        assert set(spool.lane.losses) == {"wanted only by a removed sink"}
        assert spool.lane.bytes_used <= 512 * KIB
