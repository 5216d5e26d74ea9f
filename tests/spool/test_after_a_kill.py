"""What an unclean stop leaves is there from the first moment on."""

import shutil
from pathlib import Path

from bridge.clock import SystemClock
from bridge.spool.settings import SpoolSettings
from bridge.spool.spool import Spool
from tests.spool.places import drain


def spool_at(path: Path) -> Spool:
    return Spool(
        path, SpoolSettings(segment_bytes=64 * 1024, max_bytes=1024 * 1024, max_record=64 * 1024), SystemClock()
    )


async def test_the_latest_records_include_what_is_being_written_again(tmp_path: Path) -> None:
    sent = [b"%d" % number for number in range(100)]
    async with spool_at(tmp_path / "first") as spool:
        for at in range(0, 100, 10):
            await spool.lane.append(sent[at : at + 10])
        # As a kill would leave it: acknowledged, and nothing later that proves it.
        shutil.copytree(tmp_path / "first", tmp_path / "killed")
    async with spool_at(tmp_path / "killed") as spool:
        assert await spool.lane.recent(1000) == sent
        assert spool.report().events == 100


async def test_the_latest_records_stay_over_kills_though_every_cursor_has_passed_them(tmp_path: Path) -> None:
    # A source that was killed before its acknowledgement went out is delivered them again.
    sent: list[bytes] = []
    for run in range(4):
        async with spool_at(tmp_path / str(run)) as spool:
            assert await spool.lane.recent(1000) == sent
            new = [b"%d.%d" % (run, number) for number in range(50)]
            await spool.lane.append(new[:25])
            await spool.lane.append(new[25:])
            await drain(spool.lane.cursor("cloud"), 50)
            await spool.lane.append([], {"forces": run + 1})  # a commit, with the cursor in it
            sent += new
            shutil.copytree(tmp_path / str(run), tmp_path / str(run + 1))
