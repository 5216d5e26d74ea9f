"""What the commands work on: the same view with and without an owner, and names that do not exist are said."""

import time
from pathlib import Path

import pytest

from bridge.errors import CommandFailed, SpoolUnusable
from tests.kit.desk import TAKERS, confirm, desk_at, looking, record


async def test_an_owner_and_an_onlooker_see_the_same(tmp_path: Path) -> None:
    async with desk_at(tmp_path) as desk:
        await desk.open_spool.lane.append([record(number) for number in range(10)])
        await confirm(desk, "default", "cloud", 4)
        inside = {survey.name: survey.waiting("cloud") for survey in await desk.lanes()}
    async with looking(tmp_path) as onlooker:
        outside = {survey.name: survey.waiting("cloud") for survey in await onlooker.lanes()}
        assert (await onlooker.letters()).stop == 0
    assert inside == outside == {"default": 6, "alarms": 0}


async def test_a_removed_lane_comes_last_and_an_empty_folder_is_none(tmp_path: Path) -> None:
    async with desk_at(tmp_path, {**TAKERS, "aaa": ["cloud"]}) as desk:
        await desk.open_spool.lanes["aaa"].append([record(1)])
    (tmp_path / "lanes" / "empty").mkdir()
    async with looking(tmp_path) as onlooker:
        assert [survey.name for survey in await onlooker.lanes()][-1] == "aaa"
        assert len(await onlooker.lanes()) == 3


async def test_names_that_do_not_exist_are_said_with_those_that_do(tmp_path: Path) -> None:
    async with desk_at(tmp_path) as desk:
        with pytest.raises(CommandFailed, match="no lane 'alarm'; the lanes are: default, alarms"):
            await desk.lanes("alarm")
        with pytest.raises(CommandFailed, match="no sink 'clud'; the sinks are: archive, cloud"):
            desk.sink_of("clud", await desk.lanes())


async def test_without_a_spool_that_is_said(tmp_path: Path) -> None:
    async with looking(tmp_path / "none") as onlooker:
        with pytest.raises(SpoolUnusable, match="nothing was stored so far"):
            await onlooker.lanes()
    (tmp_path / "file").touch()
    async with looking(tmp_path / "file") as onlooker:
        with pytest.raises(SpoolUnusable, match="cannot be read"):
            await onlooker.lanes()


async def test_the_oldest_is_the_oldest_that_a_sink_has_not_confirmed(tmp_path: Path) -> None:
    async with desk_at(tmp_path) as desk:
        await desk.open_spool.lane.append([record(1)])
        later = time.monotonic()
        await desk.open_spool.lane.append([b"no event", record(2)])
        await confirm(desk, "default", "cloud", 1)
        (survey,) = await desk.lanes("default")
        first, second = await desk.oldest(survey, "archive"), await desk.oldest(survey, "cloud")
        assert first is not None
        assert second is not None
        assert second < first
        assert second <= time.monotonic() - later
        await confirm(desk, "default", "cloud", 2)
        (survey,) = await desk.lanes("default")
        assert await desk.oldest(survey, "cloud") is None


async def test_long_work_rests_as_long_as_it_works_where_others_need_the_processor(tmp_path: Path) -> None:
    def steps() -> list[int]:
        return [1, 2, 3]

    async with desk_at(tmp_path, paced=True) as desk:
        assert [step async for step in desk.each(iter(steps()))] == steps()
