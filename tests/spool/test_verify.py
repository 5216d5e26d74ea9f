"""The check of a log: any flipped byte that matters is found and named, and what is no damage is not called so."""

import os
from pathlib import Path

import pytest

from bridge.clock import SystemClock
from bridge.errors import SpoolUnusable
from bridge.spool.files import OsFiles
from bridge.spool.layout import EVENT, HEADER_SIZE, UNREADABLE, Found, scan
from bridge.spool.settings import SpoolSettings
from bridge.spool.spool import Spool
from bridge.spool.survey import Survey, survey_log
from bridge.spool.verify import Checked, Finding, verify

SMALL = SpoolSettings(segment_bytes=64 * 1024, max_bytes=4 * 1024 * 1024, max_record=64 * 1024)
COUNT = 300


def whole(payload: bytes) -> None:
    if not payload.endswith(b"."):
        raise ValueError("the payload has no end")


async def make(path: Path, *, marks: bool = False) -> Survey:
    async with Spool(path, SMALL, SystemClock()) as spool:
        cursor = spool.lane.cursor("cloud")
        for number in range(0, COUNT, 10):
            payloads = [b"%d" % (number + one) + bytes(500) + b"." for one in range(10)]
            await spool.lane.append(payloads, {"n": number} if marks else None)
            batch = await cursor.read(1, 1)
            cursor.settle(batch.offsets)
    return again(path)


def again(path: Path) -> Survey:
    return survey_log(OsFiles(), path / "lanes" / "default", "default")


def checked(survey: Survey) -> tuple[list[Finding], list[Checked]]:
    found = list(verify(OsFiles(), survey, whole))
    return [one for one in found if isinstance(one, Finding)], [one for one in found if isinstance(one, Checked)]


def flip(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 0x10
    path.write_bytes(content)


def records(survey: Survey, index: int) -> list[Found]:
    path = survey.directory / survey.segments[index].name
    content = path.read_bytes()
    found = scan(lambda at, size: content[at : at + size], HEADER_SIZE, len(content), survey.segments[index].salt)
    return [record for record in map(Found._make, found) if record.kind != UNREADABLE]


async def test_a_good_log_has_nothing_to_be_said_of(tmp_path: Path) -> None:
    survey = await make(tmp_path, marks=True)
    findings, steps = checked(survey)
    assert findings == []
    assert sum(step.records for step in steps) >= COUNT
    assert sum(step.size for step in steps) <= survey.bytes_used


async def test_a_flipped_byte_of_any_event_is_found_and_named(tmp_path: Path) -> None:
    survey = await make(tmp_path)
    for index in (0, 1, len(survey.segments) - 1):
        path = survey.directory / survey.segments[index].name
        good = path.read_bytes()
        for record in [record for record in records(survey, index) if record.kind == EVENT][::7]:
            for position in (record.start, record.start + 9, record.start + 32, record.start + 300):
                flip(path, position)
                (finding,), _ = checked(survey)
                assert finding.damage
                assert finding.file == path.name
                assert (finding.first, finding.stop) == (record.offset, record.offset + 1)
                assert finding.position <= position < finding.end
                path.write_bytes(good)


async def test_a_flipped_byte_of_a_header_or_of_cursors_is_found_and_loses_nothing(tmp_path: Path) -> None:
    survey = await make(tmp_path)
    path = survey.directory / survey.segments[0].name
    good = path.read_bytes()
    states = [record for record in records(survey, 0) if record.kind != EVENT]
    assert len(states) > 1
    for position in (0, 30, states[0].start + 2, states[0].start + 40, states[1].start + 8):
        flip(path, position)
        findings, _ = checked(again(tmp_path))
        assert [(finding.damage, finding.first == finding.stop) for finding in findings] == [(True, True)]
        path.write_bytes(good)


async def test_a_missing_and_a_cut_segment_are_damage(tmp_path: Path) -> None:
    survey = await make(tmp_path)
    segment, following = survey.segments[1:3]
    os.truncate(survey.directory / segment.name, 5000)
    cut, _ = checked(again(tmp_path))
    assert cut[-1].stop == following.first
    assert all(finding.damage for finding in cut)
    (survey.directory / segment.name).unlink()
    (missing,), _ = checked(again(tmp_path))
    assert (missing.first, missing.stop, missing.damage) == (segment.first, following.first, True)


async def test_a_file_that_its_owner_misses_is_damage_and_one_that_was_deleted_is_none(tmp_path: Path) -> None:
    survey = await make(tmp_path)
    (survey.directory / survey.segments[0].name).unlink()
    assert checked(survey)[0] == []
    (finding,) = [
        one for one in verify(OsFiles(), survey, whole, gone=lambda _: False) if isinstance(one, Finding)
    ]
    assert (finding.first, finding.stop, finding.what) == (0, survey.segments[1].first, "the file is missing")


async def test_a_write_that_a_power_cut_tore_is_no_damage(tmp_path: Path) -> None:
    async with Spool(tmp_path / "one", SMALL, SystemClock()) as spool:
        await spool.lane.append([b"first."])
        await spool.lane.append([b"second."])
        await spool.lane.append([b"third.", b"fourth."])
        copy = {path.name: path.read_bytes() for path in spool.lane.survey().directory.glob("*.seg")}
    log = tmp_path / "cut" / "lanes" / "default"
    log.mkdir(parents=True)
    ((name, content),) = copy.items()
    torn = content.replace(b"third.", b"thirx.")
    (log / name).write_bytes(torn)
    findings, _ = checked(again(tmp_path / "cut"))
    assert [finding.damage for finding in findings] == [False]
    (log / name).write_bytes(content.replace(b"first.", b"firsx."))
    findings, _ = checked(again(tmp_path / "cut"))
    assert [(finding.damage, finding.first) for finding in findings] == [(True, 0)]


async def test_a_payload_that_says_nothing_is_damage(tmp_path: Path) -> None:
    async with Spool(tmp_path, SMALL, SystemClock()) as spool:
        await spool.lane.append([b"fine.", b"half", b"fine."])
    (finding,), _ = checked(again(tmp_path))
    assert (finding.first, finding.stop, finding.damage) == (1, 2, True)
    assert "no end" in finding.what


class Forbidden(OsFiles):
    def open(self, path: Path, flags: int) -> int:
        raise PermissionError(13, "Permission denied")


async def test_what_cannot_be_read_is_not_called_good(tmp_path: Path) -> None:
    survey = await make(tmp_path)
    with pytest.raises(SpoolUnusable, match="Permission denied"):
        list(verify(Forbidden(), survey, whole))
