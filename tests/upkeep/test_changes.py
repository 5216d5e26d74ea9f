"""``import``, ``purge`` and ``forget``: durable when answered, and nothing more than was asked for."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bridge.errors import CommandFailed
from bridge.spool.envelope import unpack_event
from bridge.spool.settings import LaneSettings
from bridge.upkeep.changes import LINE_ROOM
from bridge.upkeep.desk import Desk
from bridge.wire.json_lines import encode_line
from tests.kit.desk import SETTINGS, TAKERS, confirm, desk_at, event, everything, looking, record, said


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with desk_at(tmp_path) as opened:
        yield opened


def line(number: int) -> bytes:
    return encode_line(event(number)) + b"\n"


async def ids(desk: Desk, lane: str = "default") -> list[str]:
    return [unpack_event(payload).event.id for payload in await desk.open_spool.lanes[lane].recent(10_000)]


@pytest.mark.parametrize("size", [1, 7, 100, 1_000_000])
async def test_events_are_stored_as_they_are_however_they_are_cut(desk: Desk, size: int) -> None:
    content = b"".join(line(number) for number in range(50))
    pieces = [content[at : at + size] for at in range(0, len(content), size)]
    _, answer, progress = await everything(desk, "queue import", pieces)
    assert answer == {"lane": "default", "stored": 50, "refused": 0, "lines": 50}
    assert (progress[-1].done, progress[-1].line) == (50, 50)
    stored = [unpack_event(payload) for payload in await desk.open_spool.lane.recent(100)]
    assert [one.event for one in stored] == [event(number) for number in range(50)]
    assert all(one.receipt is None and one.only is None for one in stored)


async def test_lines_that_hold_no_event_are_named_and_the_others_stored(desk: Desk) -> None:
    long = b'"' + b"x" * (2 * SETTINGS.max_record + LINE_ROOM) + b'"\n'
    large = encode_line(event(5, b'"' + b"x" * SETTINGS.max_record + b'"')) + b"\n"
    upload = [line(1) + b"garbage\n" + line(2), b"\n" + long[:100_000], long[100_000:] + line(3) + large]
    refused, answer = await said(desk, "queue import", upload, lane="alarms")
    assert [(one["line"], one["refused"][:30]) for one in refused] == [
        (2, "no JSON object"),
        (5, "the line is longer than any ev"),
        (7, "the event has 65,"),
    ] or [one["line"] for one in refused] == [2, 5, 7]
    assert (answer["stored"], answer["refused"], answer["lines"]) == (3, 3, 7)
    assert await ids(desk, "alarms") == ["1", "2", "3"]


async def test_a_line_without_an_end_is_not_stored(desk: Desk) -> None:
    _, answer = await said(desk, "queue import", [line(1) + line(2)[:-1]])
    assert answer["stored"] == 1


async def test_an_import_goes_on_with_a_line(desk: Desk) -> None:
    upload = [line(number) for number in range(1, 6)]
    _, answer, progress = await everything(desk, "queue import", upload, from_line=4)
    assert answer["stored"] == 2
    assert await ids(desk) == ["4", "5"]
    assert progress[-1].line == 5


async def test_a_lane_that_is_not_configured_takes_nothing(desk: Desk) -> None:
    with pytest.raises(CommandFailed, match=r"no lane 'alarm' in .*; its lanes are: default, alarms"):
        await said(desk, "queue import", [line(1)], lane="alarm")


async def test_a_full_lane_that_refuses_says_how_far_it_came(tmp_path: Path) -> None:
    lanes = {"default": LaneSettings(max_bytes=256 * 1024, on_full="reject-newest")}
    upload = [line(number) * 1 for number in range(5000)]
    chunks = [b"".join(upload[at : at + 100]) for at in range(0, 5000, 100)]
    async with desk_at(tmp_path, lanes=lanes) as desk:
        desk.open_spool.lane.cursor("cloud")
        with pytest.raises(CommandFailed, match=r"full .*events up to line \d+ are stored") as caught:
            await said(desk, "queue import", chunks)
        stored = len(await ids(desk))
    assert f"{stored:,} events up to line {stored} " in str(caught.value)


async def test_a_purge_takes_what_is_named_and_nothing_else(desk: Desk, tmp_path: Path) -> None:
    await desk.open_spool.lane.append([record(number) for number in range(10)])
    await desk.open_spool.lanes["alarms"].append([record(100)])
    await confirm(desk, "default", "cloud", 2)
    desk.open_spool.lane.cursor("archive")

    _, told = await said(desk, "queue purge", lane="default", before=5, only_tell=True)
    assert told["lanes"] == [{"name": "default", "records": 5, "sinks": {"cloud": 3, "archive": 5}}]
    _, done = await said(desk, "queue purge", lane="default", before=5)
    assert done["lanes"] == [{"name": "default", "stop": 5, "lost": 5}]
    _, stat = await said(desk, "queue stat")
    assert [sink["waiting"] for lane in stat["lanes"] for sink in lane["sinks"]] == [5, 5, 1]

    _, one = await said(desk, "queue purge", sink="cloud", lane="default")
    assert one["lanes"] == [{"name": "default", "stop": 10, "lost": 5}]
    async with looking(tmp_path) as onlooker:
        _, seen = await said(onlooker, "queue stat")
    assert [sink["waiting"] for lane in seen["lanes"] for sink in lane["sinks"]] == [0, 5, 1]

    await said(desk, "queue purge")
    _, empty = await said(desk, "queue stat")
    assert [sink["waiting"] for lane in empty["lanes"] for sink in lane["sinks"]] == [0, 0, 0]
    assert empty["lanes"][0]["lost"] == {"purged": 15}
    with pytest.raises(CommandFailed, match="name the lane"):
        await said(desk, "queue purge", before=5)


async def test_an_orphan_is_forgotten_durably_and_a_configured_sink_is_not(tmp_path: Path) -> None:
    async with desk_at(tmp_path, {"default": ["cloud", "old"], "alarms": ["old"]}) as before:
        await before.open_spool.lane.append([record(number) for number in range(3)])
        for lane in ("default", "alarms"):
            before.open_spool.lanes[lane].cursor("old")
        await confirm(before, "default", "cloud", 1)
    async with desk_at(tmp_path) as desk:
        with pytest.raises(CommandFailed, match="the sink cloud is configured"):
            await said(desk, "queue forget", sink="cloud")
        with pytest.raises(CommandFailed, match="sink 'odd'; the orphans are: old"):
            await said(desk, "queue forget", sink="odd")
        with pytest.raises(CommandFailed, match="say what"):
            await said(desk, "queue forget")
        _, told = await said(desk, "queue forget", sink="old", only_tell=True)
        assert told["lanes"] == [{"name": "default", "waiting": 3}, {"name": "alarms", "waiting": 0}]
        await said(desk, "queue forget", sink="old", lane="alarms")
        (default, alarms) = await desk.lanes()
        assert ("old" in default.cursors, "old" in alarms.cursors) == (True, False)
        await said(desk, "queue forget", sink="old")
        async with looking(tmp_path) as onlooker:
            assert [*(await onlooker.lanes("default"))[0].cursors] == ["cloud"]


async def test_a_removed_lane_is_forgotten_when_no_sink_waits_for_it(tmp_path: Path) -> None:
    async with desk_at(tmp_path, {**TAKERS, "aaa": ["cloud"]}) as before:
        await before.open_spool.lanes["aaa"].append([record(1)])
        before.open_spool.lanes["aaa"].cursor("cloud")
    async with desk_at(tmp_path) as desk:
        desk.open_spool.lanes["aaa"].cursor("cloud")
        with pytest.raises(CommandFailed, match="still has to get 1 events"):
            await said(desk, "queue forget", lane="aaa")
        with pytest.raises(CommandFailed, match="is configured"):
            await said(desk, "queue forget", lane="alarms")
        await confirm(desk, "aaa", "cloud", 1)
        await said(desk, "queue forget", lane="aaa")
        assert not (tmp_path / "lanes" / "aaa").exists()
        assert [survey.name for survey in await desk.lanes()] == ["default", "alarms"]
        await desk.open_spool.lane.append([record(2)])
    async with desk_at(tmp_path) as again:
        assert await ids(again) == ["2"]
