"""A look at a spool from outside: right, whatever its owner does meanwhile, and without a change."""

import os
from pathlib import Path

import pytest

from bridge.clock import SystemClock
from bridge.errors import SpoolUnusable
from bridge.spool.envelope import CursorState
from bridge.spool.files import OsFiles
from bridge.spool.layout import Segment
from bridge.spool.settings import SpoolSettings
from bridge.spool.spool import Spool
from bridge.spool.survey import Survey, birth_of, survey_log
from tests.spool.places import drain

SMALL = SpoolSettings(segment_bytes=64 * 1024, max_bytes=4 * 1024 * 1024, max_record=64 * 1024)


async def fill(path: Path, count: int, *, settled: int = 0) -> None:
    async with Spool(path, SMALL, SystemClock()) as spool:
        cursor = spool.lane.cursor("cloud")
        for number in range(0, count, 10):
            await spool.lane.append([b"%d" % (number + one) + bytes(1000) for one in range(10)])
        await drain(cursor, settled)


def lane(path: Path) -> Path:
    return path / "lanes" / "default"


async def test_a_stopped_spool_is_seen_as_its_owner_saw_it(tmp_path: Path) -> None:
    async with Spool(tmp_path, SMALL, SystemClock()) as spool:
        cursor = spool.lane.cursor("cloud")
        await spool.lane.append([b"%d" % number for number in range(100)])
        await drain(cursor, 30)
        cursor.settle([])
        inside = spool.lane.survey()
    outside = survey_log(OsFiles(), lane(tmp_path), "default")
    assert (outside.start, outside.stop, outside.proven) == (inside.start, inside.stop, 100)
    assert outside.waiting("cloud") == inside.waiting("cloud") == 70
    assert outside.waiting("never seen") == 100
    assert [segment.name for segment in outside.segments] == [segment.name for segment in inside.segments]


def changed(path: Path) -> dict[Path, tuple[int, int]]:
    """When everything was written to last, and its length; when it was read does not matter."""
    found = {one: one.stat() for one in (path, *path.rglob("*"))}
    return {one: (stat.st_mtime_ns, stat.st_size) for one, stat in found.items()}


async def test_looking_changes_nothing(tmp_path: Path) -> None:
    await fill(tmp_path, 500)
    before = changed(tmp_path)
    survey = survey_log(OsFiles(), lane(tmp_path), "default")
    birth_of(OsFiles(), survey, survey.segments[0])
    assert changed(tmp_path) == before


async def test_what_an_unclean_stop_left_unproven_is_part_of_it(tmp_path: Path) -> None:
    async with Spool(tmp_path, SMALL, SystemClock()) as spool:
        await spool.lane.append([b"1"])
        await spool.lane.append([b"2"])
        copy = {path.name: path.read_bytes() for path in lane(tmp_path).glob("*.seg")}
    killed = tmp_path / "killed"
    killed.mkdir()
    for name, content in copy.items():
        (killed / name).write_bytes(content)
    survey = survey_log(OsFiles(), killed, "default")
    assert (survey.proven, survey.stop) == (1, 2)


class Deleting(OsFiles):
    """The owner publishes a new segment and deletes the old one between two calls."""

    def __init__(self, times: int) -> None:
        self.times = times

    def open(self, path: Path, flags: int) -> int:
        if self.times and path.suffix == ".seg":
            self.times -= 1
            successor = path.with_name(f"{int(path.name[:10]) + 1:010d}{path.name[10:]}")
            path.rename(successor)
        return super().open(path, flags)


async def test_a_segment_that_goes_away_meanwhile_is_looked_for_again(tmp_path: Path) -> None:
    await fill(tmp_path, 10)
    assert survey_log(Deleting(2), lane(tmp_path), "default").stop == 10
    with pytest.raises(SpoolUnusable, match="changes faster"):
        survey_log(Deleting(1000), lane(tmp_path), "default")


def test_a_directory_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(SpoolUnusable, match="cannot be read"):
        survey_log(OsFiles(), tmp_path / "no", "default")


async def test_the_age_of_a_segment_is_known_within_one_boot(tmp_path: Path) -> None:
    await fill(tmp_path, 10)
    survey = survey_log(OsFiles(), lane(tmp_path), "default")
    birth = birth_of(OsFiles(), survey, survey.segments[0])
    assert birth is not None
    age = birth.age(SystemClock())
    assert age is not None
    assert age >= 0
    os.truncate(lane(tmp_path) / survey.segments[0].name, 10)
    assert birth_of(OsFiles(), survey, survey.segments[0]) is None


def test_settled_ranges_count_for_what_waits_and_for_single_records() -> None:
    cursors = {"cloud": CursorState(10, ((12, 14), (18, 25)))}
    survey = Survey("a", Path(), (Segment(1, 5, 0, 100),), 5, 20, 20, 0, cursors)
    unsettled = [offset for offset in range(5, 20) if not survey.is_settled("cloud", offset)]
    assert unsettled == [10, 11, 14, 15, 16, 17]
    assert survey.waiting("cloud") == len(unsettled)
    assert survey.low("cloud") == 10
    assert not survey.is_settled("other", 5)
