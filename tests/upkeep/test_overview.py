"""``list`` and ``stat`` say what is there, for whom, and what only a running bridge can know."""

from pathlib import Path

from tests.kit.desk import TAKERS, confirm, desk_at, looking, record, refused, said


async def test_every_segment_is_listed_with_its_range(tmp_path: Path) -> None:
    async with desk_at(tmp_path) as desk:
        for number in range(300):
            await desk.open_spool.lane.append([record(number, data=b'"' + b"x" * 1000 + b'"')])
        segments, answer = await said(desk, "queue list")
    mine = [segment for segment in segments if segment["lane"] == "default"]
    assert len(mine) > 3
    assert mine[0]["first"] == 0
    assert [one["stop"] for one in mine] == [*(one["first"] for one in mine[1:]), 300]
    assert all(segment["age"] >= 0 for segment in mine)
    assert {lane["name"]: lane["records"] for lane in answer["lanes"]} == {
        "default": 300,
        "alarms": 0,
        "dead-letters": 0,
    }
    async with looking(tmp_path) as onlooker:
        one, only = await said(onlooker, "queue list", lane="default")
        assert [segment["first"] for segment in one] == [segment["first"] for segment in mine]
        assert [lane["name"] for lane in only["lanes"]] == ["default"]


async def test_what_waits_is_told_for_each_sink(tmp_path: Path) -> None:
    async with desk_at(tmp_path, {**TAKERS, "default": ["cloud", "archive", "old"]}) as desk:
        await desk.open_spool.lane.append([record(number) for number in range(10)])
        await desk.open_spool.dead_letters.append([refused(1), refused(2)])
        for sink, count in (("cloud", 10), ("archive", 3), ("old", 1)):
            await confirm(desk, "default", sink, count)
        await desk.open_spool.lane.purge(2)
        _, stat = await said(desk, "queue stat")
    lane = stat["lanes"][0]
    assert (lane["name"], lane["records"], lane["lost"]) == ("default", 8, {"purged": 1})
    assert {sink["name"]: (sink["waiting"], sink["configured"]) for sink in lane["sinks"]} == {
        "cloud": (0, True),
        "archive": (7, True),
        "old": (8, True),
    }
    assert [sink["oldest"] is None for sink in lane["sinks"]] == [True, False, False]
    assert stat["dead_letters"]["open"] == 2
    assert stat["wear"]["syncs"] > 0
    async with looking(tmp_path) as onlooker:
        _, stopped = await said(onlooker, "queue stat")
    assert (stopped["wear"], stopped["lanes"][0]["lost"], stopped["running"]) == (None, None, False)
    assert {sink["name"]: sink["configured"] for sink in stopped["lanes"][0]["sinks"]}["old"] is False
    assert stopped["lanes"][0]["max_bytes"] == lane["max_bytes"]
