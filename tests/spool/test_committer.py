"""Group commit, and what happens when the disk refuses."""

import asyncio
import errno
import itertools
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest

from bridge.clock import SystemClock
from bridge.errors import SpoolUnusable
from bridge.spool import committer
from bridge.spool.committer import MAX_UNWRITTEN
from bridge.spool.journal import NEXT
from bridge.spool.settings import SpoolSettings
from bridge.spool.spool import Spool
from tests.kit.faulty_files import FaultyFiles
from tests.spool.places import LANE, PATH, drain

SETTINGS = SpoolSettings(segment_bytes=64 * 1024, max_bytes=512 * 1024, max_record=64 * 1024, cursor_interval=600)


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committer, "delays", lambda: itertools.repeat(0.001))


@pytest.fixture
def files() -> FaultyFiles:
    files = FaultyFiles()
    files.make(PATH)
    return files


@pytest.fixture
async def spool(files: FaultyFiles) -> AsyncIterator[Spool]:
    async with Spool(PATH, SETTINGS, SystemClock(), files) as spool:
        yield spool


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


def segments(files: FaultyFiles) -> list[str]:
    return [name for name in files.names(LANE) if name.endswith(".seg")]


async def test_everything_that_waits_shares_one_sync(spool: Spool, files: FaultyFiles) -> None:
    await spool.lane.append([b"first"])
    before = files.calls["fdatasync"]
    await asyncio.gather(*[spool.lane.append([b"%d" % number]) for number in range(200)])
    assert files.calls["fdatasync"] - before <= 2


async def test_nothing_returns_or_is_read_before_the_sync(spool: Spool, files: FaultyFiles) -> None:
    await spool.lane.append([b"first"])
    files.broken["fdatasync"] = errno.EIO
    append = asyncio.create_task(spool.lane.append([b"second"]))
    await until(lambda: not spool.report().writable)
    assert not append.done()
    assert spool.report().last_error == "Input/output error"
    assert await drain(spool.lane.cursor("a"), 1) == [b"first"]
    assert spool.lane.cursor("a").position().waiting == 0
    files.broken.clear()
    assert await append == 1
    assert spool.report().writable
    assert await drain(spool.lane.cursor("a"), 1) == [b"second"]


async def test_a_failed_sync_is_answered_with_a_new_segment(spool: Spool, files: FaultyFiles) -> None:
    await spool.lane.append([b"first"])
    files.faults["fdatasync"] = [errno.EIO]
    await spool.lane.append([b"second"])
    assert len(segments(files)) == 2
    assert spool.report().writable


@pytest.mark.parametrize("call", ["pwrite", "fdatasync", "fsync", "rename", "fallocate", "create"])
async def test_any_failing_call_is_made_up_for(
    spool: Spool, files: FaultyFiles, call: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await spool.lane.append([b"0"])
    files.faults["fdatasync"] = [errno.EIO]
    files.faults[call] = [0, errno.EIO, errno.EIO] if call == "fdatasync" else [errno.EIO, errno.EIO]
    await asyncio.gather(*[spool.lane.append([b"%d" % number]) for number in range(1, 20)])
    assert await drain(spool.lane.cursor("a"), 20) == [b"%d" % number for number in range(20)]
    assert len([record for record in caplog.records if "cannot be written" in record.message]) <= 1


async def test_marks_become_durable_with_their_payloads(spool: Spool, files: FaultyFiles) -> None:
    await spool.lane.append([b"a"], {"n": 1})
    files.broken["pwrite"] = errno.EIO
    append = asyncio.create_task(spool.lane.append([b"b"], {"n": 2}))
    await until(lambda: not spool.report().writable)
    assert spool.lane.marks() == {"n": 1}
    files.broken.clear()
    await append
    assert spool.lane.marks() == {"n": 2}


async def test_marks_alone_can_be_stored(spool: Spool) -> None:
    await spool.lane.append([], {"n": 5})
    assert spool.lane.marks() == {"n": 5}


async def test_a_full_disk_costs_the_oldest_and_is_counted(
    spool: Spool, files: FaultyFiles, caplog: pytest.LogCaptureFixture
) -> None:
    spool.lane.cursor("a")
    for number in range(4):
        await spool.lane.append([b"%d" % number + bytes(50_000)])
    assert len(segments(files)) == 4
    await until(lambda: NEXT in files.names(LANE))
    files.unlink(LANE / NEXT)
    files.faults["fallocate"] = [errno.ENOSPC, errno.ENOSPC]
    await spool.lane.append([b"4" + bytes(50_000)])
    assert spool.report().writable
    assert spool.report().dropped == 2
    assert spool.lane.cursor("a").position().skipped == 2
    assert "no space left" in caplog.text
    assert [payload[:1] for payload in await drain(spool.lane.cursor("a"), 3)] == [b"2", b"3", b"4"]


async def test_a_full_disk_with_nothing_to_drop_is_waited_for(spool: Spool, files: FaultyFiles) -> None:
    files.broken["fallocate"] = errno.ENOSPC
    append = asyncio.create_task(spool.lane.append([b"a"]))
    await until(lambda: not spool.report().writable)
    files.broken.clear()
    assert await append == 0


async def test_the_next_segment_is_kept_prepared(spool: Spool, files: FaultyFiles) -> None:
    await spool.lane.append([b"a"])
    await until(lambda: NEXT in files.names(LANE))
    assert len(files.content(LANE / NEXT)) == SETTINGS.segment_bytes


async def test_what_everybody_has_is_deleted(spool: Spool, files: FaultyFiles) -> None:
    spool.lane._retention._limits = replace(spool.lane.limits, recent_records=0)
    for number in range(5):
        await spool.lane.append([b"%d" % number + bytes(50_000)])
    await drain(spool.lane.cursor("a"), 5)
    await until(lambda: len(segments(files)) == 1)
    assert spool.report().dropped == 0


async def test_cursors_go_alone_after_enough_was_settled(spool: Spool, files: FaultyFiles) -> None:
    await spool.lane.append([b"x"] * (MAX_UNWRITTEN + 50))
    before = files.calls["fdatasync"]
    await drain(spool.lane.cursor("a"), MAX_UNWRITTEN + 50)
    await until(lambda: files.calls["fdatasync"] > before)


async def test_cursors_go_alone_when_they_lag_too_long(files: FaultyFiles) -> None:
    settings = SETTINGS.model_copy(update={"cursor_interval": 0.01})
    async with Spool(PATH, settings, SystemClock(), files) as spool:
        await spool.lane.append([b"x"])
        before = files.calls["fdatasync"]
        await drain(spool.lane.cursor("a"), 1)
        await until(lambda: files.calls["fdatasync"] > before)


async def test_commits_keep_their_distance(files: FaultyFiles) -> None:
    settings = SETTINGS.model_copy(update={"commit_interval": 0.2})
    async with Spool(PATH, settings, SystemClock(), files) as spool:
        await spool.lane.append([b"first"])
        before = files.calls["fdatasync"]
        tasks = []
        for number in range(20):
            tasks.append(asyncio.create_task(spool.lane.append([b"%d" % number])))
            await asyncio.sleep(0.001)
        await asyncio.gather(*tasks)
        assert files.calls["fdatasync"] - before == 1


async def test_closing_on_a_dead_disk_ends_and_says_so(files: FaultyFiles) -> None:
    async with Spool(PATH, SETTINGS, SystemClock(), files) as spool:
        await spool.lane.append([b"first"])
        files.broken["pwrite"] = errno.EIO
        append = asyncio.create_task(spool.lane.append([b"second"]))
        await until(lambda: not spool.report().writable)
    with pytest.raises(SpoolUnusable, match="Input/output error"):
        await append
    files.broken.clear()
    async with Spool(PATH, SETTINGS, SystemClock(), files) as spool:
        assert await drain(spool.lane.cursor("a"), 1) == [b"first"]


async def test_a_cancelled_append_is_not_taken_back(spool: Spool) -> None:
    append = asyncio.create_task(spool.lane.append([b"a"]))
    await asyncio.sleep(0)
    append.cancel()
    assert await spool.lane.append([b"b"]) == 1
    assert await drain(spool.lane.cursor("x"), 2) == [b"a", b"b"]


class Buggy(FaultyFiles):
    """Files with a bug of ours in them."""

    bug = False

    def pwrite(self, fd: int, data: bytes | memoryview, position: int) -> int:
        if self.bug:
            raise ValueError("a bug")
        return super().pwrite(fd, data, position)


async def test_a_writer_that_dies_of_a_bug_is_seen_and_lets_nobody_wait() -> None:
    files = Buggy()
    files.make(PATH)
    spool = await Spool(PATH, SETTINGS, SystemClock(), files).__aenter__()
    guard = asyncio.create_task(spool.guard())
    await spool.lane.append([b"a"])
    assert not guard.done()
    files.bug = True
    with pytest.raises(SpoolUnusable):
        await asyncio.wait_for(spool.lane.append([b"b"]), 10)
    with pytest.raises(RuntimeError, match="ended") as caught:
        await asyncio.wait_for(guard, 10)
    assert isinstance(caught.value.__cause__, ValueError)
    with pytest.raises(ValueError, match="a bug"):
        await spool.__aexit__(None, None, None)
