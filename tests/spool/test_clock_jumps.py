"""The wall clock may jump by years, while the spool is open and between two runs: nothing depends on it."""

import itertools
from pathlib import Path

import pytest

from bridge.spool import retention
from bridge.spool.layout import HEADER_SIZE, parse_header, parse_name
from bridge.spool.settings import SpoolSettings
from bridge.spool.spool import Spool
from tests.kit.jumping_clock import TEN_YEARS_NS, JumpingClock
from tests.spool.places import drain

SETTINGS = SpoolSettings(segment_bytes=64 * 1024, max_bytes=16 * 1024 * 1024, max_record=64 * 1024)
JUMPS = (TEN_YEARS_NS, -2 * TEN_YEARS_NS, TEN_YEARS_NS, -60 * TEN_YEARS_NS // 10, 60 * TEN_YEARS_NS // 10)
"""Ten years forward, ten back; then to before 1970, as a box without a clock chip may start, and back."""


def payload(number: int) -> bytes:
    return b"%06d" % number + bytes(9_000)


async def test_jumps_while_it_runs_change_neither_order_nor_delivery(tmp_path: Path) -> None:
    clock = JumpingClock()
    async with Spool(tmp_path, SETTINGS, clock) as spool:
        cursor = spool.lane.cursor("cloud")
        taken: list[bytes] = []
        for turn, jump in enumerate(JUMPS):
            for number in range(20 * turn, 20 * turn + 20):
                assert await spool.lane.append([payload(number)], {"n": number}) == number
            taken += await drain(cursor, 12)
            clock.jump(jump)
        taken += await drain(cursor, cursor.position().waiting)
        report = spool.report()
        assert taken == [payload(number) for number in range(20 * len(JUMPS))]
        assert (report.dropped, report.damaged) == (0, 0)


async def test_jumps_between_runs_change_neither_order_nor_delivery(tmp_path: Path) -> None:
    clock = JumpingClock()
    taken: list[bytes] = []
    for run, (jump, synchronised) in enumerate(itertools.product(JUMPS, (True, False))):
        clock.synchronised = synchronised
        async with Spool(tmp_path, SETTINGS, clock) as spool:
            cursor = spool.lane.cursor("cloud")
            assert spool.lane.marks() == ({"n": 20 * run - 1} if run else {})
            for number in range(20 * run, 20 * run + 20):
                assert await spool.lane.append([payload(number)], {"n": number}) == number
            taken += await drain(cursor, 15)
            assert (spool.report().dropped, spool.report().damaged) == (0, 0)
        clock.jump(jump)
        clock.reboot()
    async with Spool(tmp_path, SETTINGS, clock) as spool:
        cursor = spool.lane.cursor("cloud")
        taken += await drain(cursor, cursor.position().waiting)
    assert taken == [payload(number) for number in range(20 * 2 * len(JUMPS))]


async def test_segments_of_the_future_go_like_all_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "RECENT_RECORDS", 0)
    clock = JumpingClock()
    async with Spool(tmp_path, SETTINGS, clock) as spool:
        cursor = spool.lane.cursor("cloud")
        for jump in JUMPS:
            clock.jump(jump)
            for number in range(20):
                await spool.lane.append([payload(number)])
        await drain(cursor, cursor.position().waiting)
    segments = sorted((tmp_path / "lanes" / "default").glob("*.seg"))
    assert len(segments) == 1


async def test_a_segment_says_what_the_clock_said_when_it_was_made(tmp_path: Path) -> None:
    clock = JumpingClock()
    clock.jump(TEN_YEARS_NS)
    clock.synchronised = False
    before = clock.now()
    async with Spool(tmp_path, SETTINGS, clock) as spool:
        await spool.lane.append([b"a"])
    [path] = (tmp_path / "lanes" / "default").glob("*.seg")
    assert parse_name(path.name, 0) is not None
    header = parse_header(path.read_bytes()[:HEADER_SIZE])
    assert header is not None
    assert before.wall_ns <= header.wall_ns <= clock.now().wall_ns
    assert (header.boot_id, header.synchronised) == (clock.boot_id, False)
