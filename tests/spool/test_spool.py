import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bridge.clock import SystemClock
from bridge.errors import SpoolLocked, SpoolTooNew, SpoolUnusable
from bridge.spool.envelope import unpack_dead_letter, unpack_event
from bridge.spool.layout import Header, parse_header
from bridge.spool.settings import SpoolSettings
from bridge.spool.spool import Spool
from tests.spool.places import drain

SMALL = SpoolSettings(segment_bytes=64 * 1024, max_bytes=1024 * 1024, max_record=64 * 1024)
GOLDEN = Path(__file__).parent / "golden"


def spool_at(path: Path, settings: SpoolSettings = SMALL, **more: Any) -> Spool:
    return Spool(path, settings, SystemClock(), **more)


HOLD = """
import asyncio, sys
from pathlib import Path
from typing import Any
from bridge.clock import SystemClock
from bridge.spool.settings import SpoolSettings
from bridge.spool.spool import Spool
async def main():
    async with Spool(Path(sys.argv[1]), SpoolSettings(), SystemClock()):
        print("held", flush=True)
        await asyncio.to_thread(sys.stdin.read)
asyncio.run(main())
"""


@contextmanager
def another_owner(path: Path) -> Iterator[int]:
    """Another process holds the spool, until it is killed."""
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as owner:
        try:
            assert owner.stdout is not None
            assert owner.stdout.readline() == b"held\n"
            yield owner.pid
        finally:
            owner.kill()


async def test_what_was_appended_comes_back_in_order_after_a_restart(tmp_path: Path) -> None:
    sent = [b"%d" % number for number in range(3000)]
    async with spool_at(tmp_path / "new" / "spool") as spool:
        for at in range(0, 3000, 50):
            assert await spool.lane.append(sent[at : at + 50]) == at
    async with spool_at(tmp_path / "new" / "spool") as spool:
        assert await drain(spool.lane.cursor("cloud"), 3000) == sent


async def test_what_was_settled_does_not_come_back(tmp_path: Path) -> None:
    async with spool_at(tmp_path) as spool:
        await spool.lane.append([b"a", b"b", b"c", b"d"])
        cursor = spool.lane.cursor("cloud")
        cursor.settle([0, 2][: len((await cursor.read(4, 100)).offsets)])
    async with spool_at(tmp_path) as spool:
        cursor = spool.lane.cursor("cloud")
        assert (await cursor.read(5, 100)).payloads == [b"b", b"d"]
        assert cursor.position().waiting == 2


async def test_a_dead_sink_does_not_hold_back_another(tmp_path: Path) -> None:
    async with spool_at(tmp_path) as spool:
        spool.lane.cursor("dead")
        await spool.lane.append([b"a", b"b"])
        assert await drain(spool.lane.cursor("alive"), 2) == [b"a", b"b"]
        assert spool.lane.cursor("dead").position().waiting == 2


async def test_dead_letters_are_a_log_of_their_own(tmp_path: Path) -> None:
    async with spool_at(tmp_path) as spool:
        await spool.dead_letters.append([b"x"])
        await spool.lane.append([b"y"])
        report = spool.report()
        assert (report.events, report.dead_letters) == (1, 1)
        assert await spool.dead_letters.recent(9) == [b"x"]


async def test_a_cursor_without_an_owner_is_named(tmp_path: Path) -> None:
    async with spool_at(tmp_path) as spool:
        await spool.lane.append([b"a"])
        spool.lane.cursor("old")
    async with spool_at(tmp_path, owners=lambda _: ["new"]) as spool:
        spool.lane.cursor("new")
        assert spool.lane.orphans == {"old": 1}
        assert spool.report().lanes[0].orphans == {"old": 1}


async def test_a_second_owner_is_refused_and_told_the_first(tmp_path: Path) -> None:
    with another_owner(tmp_path) as pid, pytest.raises(SpoolLocked, match=rf"pid {pid}\b"):
        await spool_at(tmp_path).__aenter__()
    async with spool_at(tmp_path) as spool:
        assert await spool.lane.append([b"a"]) == 0
        assert (tmp_path / "LOCK").read_text() == f"{os.getpid()}\n"


async def test_a_spool_can_be_entered_once_at_a_time_within_a_process(tmp_path: Path) -> None:
    async with spool_at(tmp_path):
        with pytest.raises(SpoolLocked):
            await spool_at(tmp_path).__aenter__()


async def test_a_file_in_its_place_makes_it_unusable(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("")
    with pytest.raises(SpoolUnusable, match="spool"):
        await spool_at(tmp_path / "spool").__aenter__()
    with pytest.raises(SpoolUnusable, match="spool"):
        await spool_at(tmp_path / "spool" / "below").__aenter__()


async def test_a_later_format_is_refused_and_the_lock_is_free_again(tmp_path: Path) -> None:
    async with spool_at(tmp_path) as spool:
        await spool.lane.append([b"a"])
    segment = next((tmp_path / "lanes" / "default").glob("*.seg"))
    content = segment.read_bytes()
    header = parse_header(content)
    assert header is not None
    later = Header(9, *(getattr(header, slot) for slot in Header.__slots__[1:]))
    segment.write_bytes(later.pack() + content[80:])
    for _ in range(2):
        with pytest.raises(SpoolTooNew, match=segment.name):
            await spool_at(tmp_path).__aenter__()
    assert segment.read_bytes() == later.pack() + content[80:]


async def test_the_spool_of_version_one_opens(tmp_path: Path) -> None:
    for source in GOLDEN.rglob("*.seg"):
        target = tmp_path / source.relative_to(GOLDEN)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes())
    async with spool_at(tmp_path) as spool:
        assert spool.lane.marks() == {"sequence:/boiler": 4}
        cursor = spool.lane.cursor("cloud")
        assert cursor.position().settled == 1
        stored = [unpack_event(payload) for payload in await drain(cursor, 2)]
        assert [one.event.id for one in stored] == ["id-2", "id-4"]
        assert stored[0].event.extensions == (("sequence", "00000000000000000002"), ("rack", 7), ("test", True))
        assert stored[0].receipt is not None
        assert (stored[0].receipt.packet, stored[0].receipt.digest) == (2, 2002)
        letters = [unpack_dead_letter(payload) for payload in await spool.dead_letters.recent(9)]
        assert [(letter.reason, letter.frame) for letter in letters] == [("no JSON", b"21.5;")]
        assert spool.report().damaged == 0
