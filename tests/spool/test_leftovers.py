"""What earlier attempts and earlier runs left in a directory is neither read as news nor written to."""

import asyncio
import errno
import random
from pathlib import Path

import pytest

from bridge.clock import SystemClock
from bridge.errors import SpoolUnusable
from bridge.spool.envelope import State, pack_state
from bridge.spool.journal import NEXT, Group, Journal
from bridge.spool.layout import Item
from bridge.spool.recovery import recover
from bridge.spool.settings import SpoolSettings
from bridge.spool.spool import Spool
from tests.kit.faulty_files import FaultyFiles
from tests.spool.places import LANE, PATH

LOG = Path("/log")
SNAPSHOT = pack_state(State(0, {}, {}, True))
SETTINGS = SpoolSettings(segment_bytes=64 * 1024, max_bytes=512 * 1024, max_record=60_000)


def publish(files: FaultyFiles, payloads: list[bytes]) -> str:
    journal = Journal(files, LOG, SystemClock(), segment_bytes=64 * 1024, generation=0, offset=0)
    segment = journal.publish(Group(0, len(payloads), SNAPSHOT, [Item(0, payloads, None)], 4096))
    journal.abandon()
    return segment.name


def test_what_a_killed_attempt_left_in_the_prepared_file_is_never_read() -> None:
    files = FaultyFiles()
    files.make(LOG)
    earlier = publish(files, [b"earlier %d" % number for number in range(100)])
    files.put(LOG / NEXT, files.content(LOG / earlier))
    files.unlink(LOG / earlier)
    publish(files, [b"a"])
    found = recover(files, LOG)
    assert (found.durable, found.next, found.rewrite) == (1, 1, [])


async def test_a_segment_found_at_a_start_is_never_written_to() -> None:
    files = FaultyFiles()
    files.make(PATH)
    async with Spool(PATH, SETTINGS, SystemClock(), files) as spool:
        await spool.lane.append([b"first"])
        await spool.lane.append([b"second"])
        files.kill()
    [found] = [name for name in files.names(LANE) if name.endswith(".seg")]
    before = files.content(LANE / found)
    async with Spool(PATH, SETTINGS, SystemClock(), files) as spool:
        assert await spool.lane.append([b"third"]) == 2
    after = files.content(LANE / found)
    assert before.startswith(after)
    assert b"second" in after


async def test_what_a_start_shows_of_an_unfinished_write_outlives_a_power_cut() -> None:
    files = FaultyFiles()
    files.make(PATH)
    async with Spool(PATH, SETTINGS, SystemClock(), files) as spool:
        await spool.lane.append([b"acknowledged"])
        # The bytes can be seen, no sync will ever write them, and there is no other way out.
        files.broken = {"fdatasync": errno.EIO, "create": errno.EROFS, "rename": errno.EROFS}
        append = asyncio.create_task(spool.lane.append([b"unfinished"]))
        async with asyncio.timeout(10):
            while spool.report().writable:
                await asyncio.sleep(0.001)
        files.kill()
    with pytest.raises(SpoolUnusable):
        await append
    files.broken = {}
    for cut in range(3):
        async with Spool(PATH, SETTINGS, SystemClock(), files) as spool:
            assert await spool.lane.recent(9) == [b"acknowledged", b"unfinished"]
            files.cut_power(random.Random(cut))
