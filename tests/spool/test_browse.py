"""Reading for people: every record once and in order, damage named, what is delivered meanwhile passed over."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from bridge.clock import SystemClock
from bridge.errors import SpoolUnusable
from bridge.ports import Offset
from bridge.spool.browse import browse
from bridge.spool.files import OsFiles
from bridge.spool.reading import Chunk
from bridge.spool.settings import SpoolSettings
from bridge.spool.spool import Spool
from bridge.spool.survey import Survey, survey_log

SMALL = SpoolSettings(segment_bytes=64 * 1024, max_bytes=4 * 1024 * 1024, max_record=64 * 1024)
COUNT = 500


def payload(number: int) -> bytes:
    return b"%05d" % number + bytes(1000)


@pytest.fixture
async def survey(tmp_path: Path) -> Survey:
    async with Spool(tmp_path, SMALL, SystemClock()) as spool:
        for number in range(0, COUNT, 10):
            await spool.lane.append([payload(number + one) for one in range(10)])
    return survey_log(OsFiles(), tmp_path / "lanes" / "default", "default")


def gathered(chunks: Iterable[Chunk]) -> tuple[list[Offset], list[Offset]]:
    offsets: list[Offset] = []
    lost: list[Offset] = []
    for chunk in chunks:
        offsets += chunk.offsets
        assert [int(found[:5]) for found in chunk.payloads] == chunk.offsets
        lost += [offset for damage in chunk.damage for offset in range(damage.first, damage.stop)]
    return offsets, lost


def test_every_record_comes_once_and_in_order(survey: Survey) -> None:
    assert len(survey.segments) > 5
    assert gathered(browse(OsFiles(), survey, 0)) == (list(range(COUNT)), [])


@pytest.mark.parametrize(("first", "stop"), [(0, 1), (123, 130), (499, 500), (499, 10_000), (500, 600), (60, 180)])
def test_any_stretch_can_be_read_alone(survey: Survey, first: int, stop: int) -> None:
    assert gathered(browse(OsFiles(), survey, first, stop)) == (list(range(first, min(stop, COUNT))), [])


def test_chunks_are_bounded(survey: Survey) -> None:
    sizes = [sum(map(len, chunk.payloads)) for chunk in browse(OsFiles(), survey, 0, budget=8192)]
    assert max(sizes) < 12_000


def test_damage_is_named_and_reading_goes_on(survey: Survey) -> None:
    path = survey.directory / survey.segments[2].name
    content = bytearray(path.read_bytes())
    content[10_000] ^= 1
    path.write_bytes(content)
    offsets, lost = gathered(browse(OsFiles(), survey, 0))
    assert len(lost) == 1
    assert sorted(offsets + lost) == list(range(COUNT))


def test_what_its_owner_deletes_meanwhile_is_no_damage(survey: Survey) -> None:
    chunks = browse(OsFiles(), survey, 0, budget=8192)
    first = next(chunks)
    for segment in survey.segments[:3]:
        (survey.directory / segment.name).unlink()
    offsets, lost = gathered(chunks)
    assert lost == []
    assert first.offsets == list(range(first.next))
    assert offsets == list(range(survey.segments[3].first, COUNT))


def test_a_file_that_its_owner_misses_is_damage(survey: Survey) -> None:
    missing = survey.segments[3]
    (survey.directory / missing.name).unlink()
    offsets, lost = gathered(browse(OsFiles(), survey, 0, gone=lambda segment: segment is not missing))
    assert lost == list(range(missing.first, survey.segments[4].first))
    assert sorted(offsets + lost) == list(range(COUNT))


def test_a_file_that_was_missing_before_is_damage(survey: Survey) -> None:
    (survey.directory / survey.segments[3].name).unlink()
    again = survey_log(OsFiles(), survey.directory, "default")
    offsets, lost = gathered(browse(OsFiles(), again, 0))
    assert lost == list(range(survey.segments[3].first, survey.segments[4].first))
    assert sorted(offsets + lost) == list(range(COUNT))


class Forbidden(OsFiles):
    def open(self, path: Path, flags: int) -> int:
        raise PermissionError(13, "Permission denied")


def test_missing_rights_are_an_error_and_no_damage(survey: Survey) -> None:
    with pytest.raises(SpoolUnusable, match="Permission denied"):
        list(browse(Forbidden(), survey, 0))


async def test_beside_a_running_owner_nothing_that_is_not_durable_is_seen(tmp_path: Path) -> None:
    async with Spool(tmp_path, SMALL, SystemClock()) as spool:
        await spool.lane.append([payload(0), payload(1)])
        survey = spool.lane.survey()
        await spool.lane.append([payload(2)])
        assert gathered(browse(OsFiles(), survey, 0)) == ([0, 1], [])
