import asyncio
import errno
import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bridge.clock import SystemClock
from bridge.spool import shelf as shelf_module
from bridge.spool.journal import Group, Journal
from bridge.spool.layout import Item
from bridge.spool.shelf import Shelf
from tests.kit.faulty_files import FaultyFiles

LOG = Path("/log")


@pytest.fixture
def files() -> FaultyFiles:
    files = FaultyFiles()
    files.make(LOG)
    return files


@pytest.fixture
def shelf(files: FaultyFiles, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shelf]:
    """Three segments of ten records."""
    monkeypatch.setattr(shelf_module, "delays", lambda *_: itertools.repeat(0.0))
    journal = Journal(files, LOG, SystemClock(), segment_bytes=64 * 1024, generation=0, offset=0)
    with ThreadPoolExecutor(1) as readers:
        shelf = Shelf(files, LOG, readers)
        for first in (0, 10, 20):
            item = Item(first, [b"%d" % number for number in range(first, first + 10)], None)
            shelf.add(journal.publish(Group(first, first + 10, None, [item], 1000)))
            shelf.advance(first + 10, journal.position)
        yield shelf
    journal.abandon()


async def everything(shelf: Shelf) -> tuple[list[int], list[tuple[int, int]]]:
    offsets: list[int] = []
    damage: list[tuple[int, int]] = []
    offset, place = shelf.first, None
    while offset < shelf.durable:
        chunk = await shelf.fetch(offset, place)
        offsets += chunk.offsets
        damage += [(one.first, one.stop) for one in chunk.damage]
        offset, place = chunk.next, chunk.place
    return offsets, damage


async def test_reading_goes_on_from_segment_to_segment(shelf: Shelf) -> None:
    assert await everything(shelf) == (list(range(30)), [])


async def test_nothing_beyond_what_is_durable_is_read(shelf: Shelf) -> None:
    shelf.durable = 25
    assert (await everything(shelf))[0] == list(range(25))


async def test_a_missing_segment_is_counted_once_however_many_read(shelf: Shelf, files: FaultyFiles) -> None:
    files.unlink(LOG / shelf.segments[1].name)
    for _ in range(3):
        offsets, damage = await everything(shelf)
        assert offsets == [*range(10), *range(20, 30)]
        assert damage == [(10, 20)]
    assert shelf.damaged == 10


async def test_a_hole_is_counted_once_wherever_a_reader_begins(shelf: Shelf, files: FaultyFiles) -> None:
    files.unlink(LOG / shelf.segments[1].name)
    for offset, counted in ((15, 5), (17, 5), (10, 10), (19, 10)):
        assert [(one.first, one.stop) for one in (await shelf.fetch(offset, None)).damage] == [(offset, 20)]
        assert shelf.damaged == counted


async def test_damage_is_named_counted_and_kept(
    shelf: Shelf, files: FaultyFiles, caplog: pytest.LogCaptureFixture
) -> None:
    name = shelf.segments[1].name
    at = files.content(LOG / name).index(b"13\0")
    files.corrupt(LOG / name, at, b"xx")
    offsets, damage = await everything(shelf)
    assert sorted(set(range(30)) - set(offsets)) == [13]
    assert damage == [(13, 14)]
    assert shelf.damaged == 1
    assert name in caplog.text
    assert "records 13 to 13" in caplog.text
    assert len(files.names(LOG / "quarantine")) == 1


async def test_a_disk_that_is_away_for_a_moment_costs_nothing(shelf: Shelf, files: FaultyFiles) -> None:
    files.faults["open"] = [errno.EIO, errno.EIO]
    files.faults["pread"] = [errno.EIO] * 20
    assert await everything(shelf) == (list(range(30)), [])
    assert shelf.damaged == 0


async def test_too_few_descriptors_for_however_long_cost_nothing(shelf: Shelf, files: FaultyFiles) -> None:
    files.broken["open"] = errno.EMFILE
    for _ in range(3):
        chunk = await shelf.fetch(0, None)
        assert (chunk.offsets, chunk.damage, chunk.next) == ([], [], 0)
    files.broken.clear()
    assert await everything(shelf) == (list(range(30)), [])
    assert shelf.damaged == 0


async def test_the_latest_records_need_no_disk(shelf: Shelf, files: FaultyFiles) -> None:
    assert shelf.latest(29, None) is None
    shelf.advance(33, shelf.tail_position, [Item(30, (b"30", b"31"), None), Item(32, (b"32",), None)])
    files.broken["open"] = errno.EIO
    chunk = shelf.latest(31, None)
    assert chunk is not None
    assert (chunk.offsets, chunk.payloads, chunk.next) == ([31, 32], [b"31", b"32"], 33)
    assert shelf.latest(29, None) is None


async def test_the_latest_records_take_bounded_memory(shelf: Shelf) -> None:
    for offset in range(30, 130):
        shelf.advance(offset + 1, shelf.tail_position, [Item(offset, (bytes(10_000),), None)])
    chunk = shelf.latest(129, None)
    assert chunk is not None
    assert shelf.latest(90, None) is None


async def test_whoever_waits_is_woken_when_there_is_something(shelf: Shelf) -> None:
    waiting = asyncio.create_task(shelf.grown(30))
    await asyncio.sleep(0)
    shelf.advance(30, shelf.tail_position)
    await asyncio.sleep(0)
    assert not waiting.done()
    shelf.advance(31, shelf.tail_position)
    await waiting
