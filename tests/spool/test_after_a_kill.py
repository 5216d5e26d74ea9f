"""What an unclean stop leaves is there from the first moment on."""

import shutil
from pathlib import Path

from bridge.clock import SystemClock
from bridge.spool.settings import SpoolSettings
from bridge.spool.spool import Spool


def spool_at(path: Path) -> Spool:
    return Spool(path, SpoolSettings(segment_bytes=64 * 1024, max_bytes=1024 * 1024), SystemClock())


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
