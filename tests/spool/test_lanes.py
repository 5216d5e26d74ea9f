"""Several lanes in one spool, and what people may do to them."""

import asyncio
import shutil
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from bridge.clock import SystemClock
from bridge.errors import SpoolTooNew
from bridge.spool import spool as spool_module
from bridge.spool.layout import Header, parse_header
from bridge.spool.settings import DeadLetterSettings, LaneSettings, SpoolSettings
from bridge.spool.spool import OPERATOR, Spool
from tests.kit.faulty_files import FaultyFiles
from tests.spool.places import PATH, drain

KIB = 1024
SMALL = SpoolSettings(segment_bytes=64 * KIB, max_bytes=1024 * KIB, max_record=64 * KIB)
TWO: Mapping[str, LaneSettings] = {"alarms": LaneSettings(priority=9), "bulk": LaneSettings(priority=-1)}


def spool_at(path: Path, lanes: Mapping[str, LaneSettings] = TWO, **more: Any) -> Spool:
    return Spool(path, SMALL, SystemClock(), lanes=lanes, **more)


def tree(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()}


async def test_lanes_are_separate_logs_in_the_order_of_their_priority(tmp_path: Path) -> None:
    async with spool_at(tmp_path) as spool:
        assert list(spool.lanes) == ["alarms", "default", "bulk"]
        assert await spool.lanes["alarms"].append([b"a"]) == 0
        assert await spool.lanes["bulk"].append([b"b"]) == 0
        assert await spool.lane.append([b"c"]) == 0
    async with spool_at(tmp_path) as spool:
        for name, payload in (("alarms", b"a"), ("bulk", b"b"), ("default", b"c")):
            assert await drain(spool.lanes[name].cursor("cloud"), 1) == [payload]


async def test_a_lane_has_limits_of_its_own(tmp_path: Path) -> None:
    lanes = {"alarms": LaneSettings(max_bytes=300 * KIB, on_full="block", max_age=7, commit_interval=0.5)}
    async with spool_at(
        tmp_path, lanes, dead_letters=DeadLetterSettings(max_bytes=2048 * KIB, max_age=9)
    ) as spool:
        limits = spool.lanes["alarms"].limits
        assert (limits.max_bytes, limits.on_full, limits.max_age) == (300 * KIB, "block", 7)
        assert limits.commit_interval == 0.5
        assert (spool.lane.limits.max_bytes, spool.lane.limits.on_full) == (1024 * KIB, "drop-oldest")
        assert (spool.dead_letters.limits.max_bytes, spool.dead_letters.limits.max_age) == (2048 * KIB, 9)


async def test_what_is_left_of_a_removed_lane_is_still_there(tmp_path: Path) -> None:
    async with spool_at(tmp_path) as spool:
        spool.lanes["alarms"].cursor("cloud")
        await spool.lanes["alarms"].append([b"a"])
    async with spool_at(tmp_path, {}) as spool:
        assert "alarms" in spool.removed_lanes
        assert next(iter(spool.lanes)) == "default"
        assert await drain(spool.lanes["alarms"].cursor("cloud"), 1) == [b"a"]
        assert [lane.configured for lane in spool.report().lanes if lane.name == "alarms"] == [False]


async def test_a_foreign_folder_among_the_lanes_is_named_and_left_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "lanes" / "lost+found").mkdir(parents=True)
    (tmp_path / "lanes" / "lost+found" / "x").write_bytes(b"x")
    async with spool_at(tmp_path) as spool:
        assert "lost+found" not in spool.lanes
    assert "lost+found: holds no segments, ignored" in caplog.text
    assert (tmp_path / "lanes" / "lost+found" / "x").read_bytes() == b"x"


@pytest.mark.parametrize("newer", ["alarms", "default", "dead-letters"])
async def test_one_file_of_a_later_version_and_nothing_at_all_is_touched(tmp_path: Path, newer: str) -> None:
    killed = tmp_path / "killed"
    async with spool_at(tmp_path / "now") as spool:
        for log in (*spool.lanes.values(), spool.dead_letters):
            # The second is proven by nothing behind it: after a kill a start writes it again.
            await log.append([b"x"])
            await log.append([b"y"])
        shutil.copytree(tmp_path / "now", killed)
    folder = killed / newer if newer == "dead-letters" else killed / "lanes" / newer
    segment = max(folder.glob("*.seg"))
    content = segment.read_bytes()
    header = parse_header(content)
    assert header is not None
    later = Header(9, *(getattr(header, slot) for slot in Header.__slots__[1:]))
    segment.write_bytes(later.pack() + content[80:])
    before = tree(killed)
    with pytest.raises(SpoolTooNew, match=segment.name):
        await spool_at(killed).__aenter__()
    after = tree(killed)
    assert {name: content for name, content in after.items() if name != "LOCK"} == {
        name: content for name, content in before.items() if name != "LOCK"
    }


# --- what people do ---------------------------------------------------------------------------------------


async def test_a_purge_is_durable_counted_and_frees_the_disk(tmp_path: Path) -> None:
    async with spool_at(tmp_path) as spool:
        spool.lane.cursor("cloud")
        for number in range(8):
            await spool.lane.append([b"%d" % number + bytes(30_000)])
        used = spool.lane.bytes_used
        assert await spool.lane.purge(5) == 5
        assert [payload[:1] for payload in await drain(spool.lane.cursor("cloud"), 1)] == [b"5"]
        assert await spool.lane.purge() == 2
        assert spool.lane.bytes_used < used
        assert spool.lane.losses == {"purged": 7}
        assert await spool.lane.append([b"next"]) == 8
    async with spool_at(tmp_path) as spool:
        assert spool.lane.range == (8, 9)
        assert await drain(spool.lane.cursor("cloud"), 1) == [b"next"]


async def test_a_forgotten_orphan_is_gone_for_good_and_holds_nothing_any_more(tmp_path: Path) -> None:
    async with spool_at(tmp_path) as spool:
        spool.lane.cursor("old")
        await spool.lane.append([b"a"])
    async with spool_at(tmp_path, owners=lambda _: ["cloud"]) as spool:
        spool.lane.cursor("cloud")
        with pytest.raises(ValueError, match="configured"):
            await spool.lane.forget("cloud")
        assert not await spool.lane.forget("nobody")
        # There is a segment that names it and could be added to.
        await spool.lane.append([b"b"])
        assert await spool.lane.forget("old")
        # As a process that is killed now leaves it.
        shutil.copytree(tmp_path / "lanes", tmp_path / "later" / "lanes")
        assert spool.lane.orphans == {}
    async with spool_at(tmp_path / "later", owners=lambda _: ["cloud"]) as spool:
        assert "old" not in spool.lane.names
    async with spool_at(tmp_path, owners=lambda _: ["cloud"]) as spool:
        assert spool.lane.names == ("cloud",)


async def test_discarded_dead_letters_do_not_come_back(tmp_path: Path) -> None:
    async with spool_at(tmp_path) as spool:
        await spool.dead_letters.append([b"a", b"b", b"c"])
        assert await spool.dead_letters.discard(OPERATOR, [0, 2, 7]) == 2
        assert await spool.dead_letters.discard(OPERATOR, [0]) == 0
        assert spool.report().dead_letters == 1
    async with spool_at(tmp_path) as spool:
        assert spool.report().dead_letters == 1
        assert (await spool.dead_letters.cursor(OPERATOR).read(9, 999)).payloads == [b"b"]


@pytest.mark.parametrize("act", ["purge", "pass over", "discard"])
async def test_what_people_do_is_durable_on_return(tmp_path: Path, act: str) -> None:
    now, later = tmp_path / "now", tmp_path / "later"
    async with spool_at(now, owners=lambda _: ["cloud"]) as spool:
        lane = spool.lane
        for name in ("cloud", "local"):
            lane.cursor(name)
        for payload in (b"a", b"b", b"c"):
            await lane.append([payload])
        match act:
            case "purge":
                assert await lane.purge(2) == 2
            case "pass over":
                assert await lane.pass_over("cloud", 2) == 2
                assert lane.losses == {"purged": 2}
            case _:
                assert await lane.discard("cloud", [0, 1]) == 2
        # As a process that is killed now leaves it.
        shutil.copytree(now, later)
    async with spool_at(later) as spool:
        assert spool.lane.cursor("cloud").position().waiting == 1
        assert spool.lane.cursor("local").position().waiting == (1 if act == "purge" else 3)


# --- a disk that does not answer --------------------------------------------------------------------------


class Hanging(FaultyFiles):
    """Syncs of files that hang while ``hang`` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()
        self.go.set()

    def fdatasync(self, fd: int) -> None:
        self.go.wait(20)
        super().fdatasync(fd)


async def test_a_disk_that_hangs_is_shown_told_once_and_acknowledges_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(spool_module, "STALL", 0.05)
    monkeypatch.setattr(spool_module, "WATCH", 0.01)
    files = Hanging()
    files.make(PATH)
    async with Spool(PATH, SMALL, SystemClock(), files) as spool:
        await spool.lane.append([b"a"])
        files.go.clear()
        append = asyncio.create_task(spool.lane.append([b"b"]))
        async with asyncio.timeout(10):
            while "has not answered" not in caplog.text:
                await asyncio.sleep(0.01)
        assert spool.report().stalled > 0.05
        assert spool.stalled() > 0.05
        assert not append.done()
        # What is durable is still read.
        assert await drain(spool.lane.cursor("cloud"), 1) == [b"a"]
        await asyncio.sleep(0.2)
        files.go.set()
        await append
        async with asyncio.timeout(10):
            while "answers again" not in caplog.text:
                await asyncio.sleep(0.01)
        assert len([line for line in caplog.messages if "has not answered" in line]) == 1
        assert spool.stalled() < 0.05
