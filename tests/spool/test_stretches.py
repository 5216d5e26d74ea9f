import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bridge.clock import SystemClock
from bridge.spool.book import Ledger
from bridge.spool.journal import Group, Journal
from bridge.spool.layout import Item
from bridge.spool.shelf import Shelf
from bridge.spool.stretches import Stretch
from tests.kit.faulty_files import FaultyFiles

LOG = Path("/log")


@pytest.fixture
def files() -> FaultyFiles:
    files = FaultyFiles()
    files.make(LOG)
    return files


@pytest.fixture
def shelf(files: FaultyFiles) -> Iterator[Shelf]:
    """Five segments of ten records."""
    journal = Journal(files, LOG, SystemClock(), segment_bytes=64 * 1024, generation=0, offset=0)
    with ThreadPoolExecutor(1) as readers:
        shelf = Shelf(files, LOG, readers)
        for first in range(0, 50, 10):
            item = Item(first, [b"<%d>" % number for number in range(first, first + 10)], None)
            shelf.add(journal.publish(Group(first, first + 10, None, [item], 1000)))
            shelf.advance(first + 10, journal.position)
        yield shelf
    journal.abandon()


@pytest.fixture
def lost() -> list[int]:
    return []


async def everything(stretch: Stretch) -> list[int]:
    offsets: list[int] = []
    async with asyncio.timeout(10):
        while True:
            if stretch.ready():
                offsets += stretch.serve(3, 1000).offsets
            elif stretch.fetching is not None:
                await asyncio.wait([stretch.fetching])
            else:
                return offsets


async def test_a_stretch_ends_where_it_should(shelf: Shelf, lost: list[int]) -> None:
    stretch = Stretch(shelf, Ledger(0), lost.append, 5, 25)
    assert await everything(stretch) == list(range(5, 25))
    assert stretch.done
    assert not stretch.waits
    assert lost == []


async def test_a_stretch_without_an_end_goes_on_with_the_log(shelf: Shelf, lost: list[int]) -> None:
    stretch = Stretch(shelf, Ledger(0), lost.append, 45)
    assert await everything(stretch) == list(range(45, 50))
    assert not stretch.done
    shelf.advance(52, shelf.tail_position, [Item(50, (b"a", b"b"), None)])
    assert await everything(stretch) == [50, 51]


async def test_settled_segments_are_not_even_opened(shelf: Shelf, files: FaultyFiles, lost: list[int]) -> None:
    ledger = Ledger(0, [(3, 42)])
    before = files.calls["open"]
    assert await everything(Stretch(shelf, ledger, lost.append, 0, 50)) == [0, 1, 2, *range(42, 50)]
    assert files.calls["open"] - before == 2


async def test_what_a_limit_takes_is_not_served(shelf: Shelf, lost: list[int]) -> None:
    ledger = Ledger(0)
    stretch = Stretch(shelf, ledger, lost.append, 0, 30)
    while not stretch.ready():
        assert stretch.fetching is not None
        await asyncio.wait([stretch.fetching])
    ledger.settle(0, 8)
    assert (stretch.ready(), list(stretch.serve(9, 1000).offsets)) == (True, [8, 9])
    ledger.settle(0, 30)
    assert await everything(stretch) == []
    assert stretch.done


async def test_damage_is_settled_as_far_as_the_stretch_goes(
    shelf: Shelf, files: FaultyFiles, lost: list[int]
) -> None:
    files.unlink(LOG / shelf.segments[2].name)
    ledger = Ledger(0)
    assert await everything(Stretch(shelf, ledger, lost.append, 15, 26)) == list(range(15, 20))
    assert (lost, ledger.skipped, ledger.ranges) == ([6], 6, ((20, 26),))


async def test_only_what_was_served_is_settled(shelf: Shelf, lost: list[int]) -> None:
    ledger = Ledger(0)
    stretch = Stretch(shelf, ledger, lost.append, 5, 30)
    assert stretch.settle(0, 99) == 0
    while not stretch.ready():
        assert stretch.fetching is not None
        await asyncio.wait([stretch.fetching])
    stretch.serve(2, 1000)
    assert stretch.settle(0, 99) == 2
    assert ledger.ranges == ((5, 7),)


async def test_a_new_end_gives_up_what_was_read_ahead_and_loses_nothing(shelf: Shelf, lost: list[int]) -> None:
    stretch = Stretch(shelf, Ledger(0), lost.append, 0)
    while not stretch.ready():
        assert stretch.fetching is not None
        await asyncio.wait([stretch.fetching])
    assert list(stretch.serve(3, 1000).offsets) == [0, 1, 2]
    stretch.end_at(14)
    assert await everything(stretch) == list(range(3, 14))
    assert not stretch.ready()
    stretch.end_at(20)
    assert not stretch.ready()
    assert stretch.fetching is not None
    stretch.end_at(17)
    assert await everything(stretch) == [14, 15, 16]
