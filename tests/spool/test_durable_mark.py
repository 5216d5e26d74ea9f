"""A group makes itself durable, and nothing that waits behind it."""

import asyncio
import errno
import itertools

import pytest

from bridge.clock import SystemClock
from bridge.spool import committer
from bridge.spool.settings import SpoolSettings
from bridge.spool.spool import Spool
from tests.kit.faulty_files import FaultyFiles
from tests.spool.places import PATH, drain

SETTINGS = SpoolSettings(segment_bytes=64 * 1024, max_bytes=512 * 1024, max_record=60_000)


async def test_what_waits_behind_a_group_is_neither_acknowledged_nor_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committer, "delays", lambda: itertools.repeat(0.001))
    files = FaultyFiles()
    files.make(PATH)
    payloads = [b"%d" % number + bytes(20_000) for number in range(3)]
    async with Spool(PATH, SETTINGS, SystemClock(), files) as spool:
        cursor = spool.lane.cursor("cloud")
        await spool.lane.append([b"before"])
        # Each is too large to share a group with another; only the first finds the disk at work.
        files.faults["fdatasync"] = [0, *[errno.EIO] * 100_000]
        appends = [asyncio.create_task(spool.lane.append([payload])) for payload in payloads]
        async with asyncio.timeout(10):
            while spool.report().writable:
                await asyncio.sleep(0.001)
        assert [append.done() for append in appends] == [True, False, False]
        assert cursor.position().waiting == 2
        assert await drain(cursor, 2) == [b"before", payloads[0]]
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(cursor.read(1, 100_000), 0.05)
        files.faults.clear()
        await asyncio.gather(*appends)
        assert await drain(cursor, 2) == payloads[1:]
        assert spool.report().damaged == 0
