"""``peek``, ``export`` and ``verify`` give what is there, to the byte, and only what a sink still has to get."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bridge.errors import CommandFailed
from bridge.upkeep.desk import Desk
from bridge.wire.json_lines import decode_line
from tests.kit.desk import confirm, desk_at, event, everything, looking, record, refused, said

COUNT = 20


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with desk_at(tmp_path) as opened:
        await opened.open_spool.lane.append([record(number) for number in range(COUNT)])
        await opened.open_spool.lanes["alarms"].append([record(100)])
        yield opened


async def offsets(desk: Desk, **args: Any) -> list[tuple[str, int]]:
    items, _ = await said(desk, "queue peek", **args)
    return [(item["lane"], item["offset"]) for item in items]


async def test_the_next_events_are_shown(desk: Desk) -> None:
    assert await offsets(desk, lane="default", count=3) == [("default", 0), ("default", 1), ("default", 2)]
    assert await offsets(desk, lane="default", count=2, from_=18) == [("default", 18), ("default", 19)]
    assert len(await offsets(desk)) == 10
    assert await offsets(desk, count=0) == []
    assert (await offsets(desk, count=1000))[-1] == ("alarms", 0)


async def test_an_event_is_shown_as_it_is_with_how_it_came(desk: Desk) -> None:
    (item,), _ = await said(desk, "queue peek", lane="default", count=1)
    assert (item["by"], item["only"], item["event"]["id"]) == ("scale", None, "0")
    assert item["age"] >= 0


async def test_a_sink_is_shown_what_it_has_not_confirmed(desk: Desk) -> None:
    await confirm(desk, "default", "cloud", 5)
    await desk.open_spool.lane.append([record(20, only="archive"), record(21, only="cloud")])
    assert await offsets(desk, sink="cloud", lane="default", count=1) == [("default", 5)]
    assert [at for _, at in await offsets(desk, sink="cloud", lane="default", from_=19)] == [19, 21]
    assert [at for _, at in await offsets(desk, sink="archive", from_=19, lane="default")] == [19, 20]


async def test_settled_stretches_in_between_are_left_out(desk: Desk) -> None:
    await desk.open_spool.lane.discard("cloud", [3, 4, 7])
    shown = await offsets(desk, sink="cloud", lane="default", count=6)
    assert [at for _, at in shown] == [0, 1, 2, 5, 6, 8]


async def test_an_offset_without_a_lane_means_nothing(desk: Desk) -> None:
    with pytest.raises(CommandFailed, match="name the lane"):
        await offsets(desk, from_=5)


async def test_an_export_is_the_events_byte_for_byte(desk: Desk) -> None:
    items, answer, progress = await everything(desk, "queue export", lane="default")
    assert [decode_line(item.raw) for item in items] == [event(number) for number in range(COUNT)]
    assert answer == {"exported": COUNT, "unreadable": 0, "lost": 0}
    assert (progress[-1].done, progress[-1].total) == (COUNT, COUNT)
    everywhere, _, all_progress = await everything(desk, "queue export")
    assert len(everywhere) == COUNT + 1
    assert all_progress[-1].done == all_progress[-1].total == COUNT + 1


async def test_what_cannot_be_exported_is_counted(desk: Desk) -> None:
    await desk.open_spool.lane.append([b"no event"])
    survey = desk.open_spool.lane.survey()
    path = survey.directory / survey.segments[0].name
    content = path.read_bytes()
    path.write_bytes(content.replace(b'{"v":21.50}', b'{"v":99.50}', 1))
    items, answer, _ = await everything(desk, "queue export", lane="default")
    assert len(items) == COUNT - 1
    assert answer == {"exported": COUNT - 1, "unreadable": 1, "lost": 1}
    shown, _ = await said(desk, "queue peek", lane="default", count=100)
    assert [item["offset"] for item in shown if "lost" in item] == [0]
    assert [item["offset"] for item in shown if "error" in item] == [COUNT]


async def test_a_check_looks_at_lanes_and_dead_letters(desk: Desk, tmp_path: Path) -> None:
    await desk.open_spool.dead_letters.append([refused(1)])
    findings, answer, progress = await everything(desk, "queue verify")
    assert findings == []
    assert answer["records"] >= COUNT + 2
    assert (answer["damaged"], answer["lost"]) == (0, 0)
    assert progress[-1].total is not None
    survey = desk.open_spool.dead_letters.survey()
    path = survey.directory / survey.segments[0].name
    content = path.read_bytes()
    path.write_bytes(content.replace(b"refused", b"refusex", 1))
    async with looking(tmp_path) as onlooker:
        for each in (desk, onlooker):
            (finding,), bad = await said(each, "queue verify")
            assert (finding["lane"], finding["first"], finding["path"]) == ("dead-letters", 0, str(path))
            assert (bad["damaged"], bad["lost"]) == (1, 1 if each is desk else finding["stop"] - finding["first"])
    assert (await said(desk, "queue verify", lane="default"))[1]["damaged"] == 0


async def test_a_file_that_somebody_deleted_is_missed_by_its_owner(desk: Desk) -> None:
    survey = desk.open_spool.lane.survey()
    (survey.directory / survey.segments[0].name).unlink()
    (finding,), _ = await said(desk, "queue verify", lane="default")
    assert finding["what"] == "the file is missing"
