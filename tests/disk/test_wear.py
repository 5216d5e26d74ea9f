"""How much is written: a small commit costs little, and draining a backlog costs next to nothing."""

from pathlib import Path

import pytest

from bridge.clock import SystemClock
from bridge.spool.files import OsFiles
from bridge.spool.settings import SpoolSettings
from bridge.spool.spool import Spool
from tests.disk.wear import BACKLOG, SMALL, drain_all, measure


class Counting(OsFiles):
    """Counts the bytes that are handed to the disk."""

    def __init__(self) -> None:
        self.written = 0

    def pwrite(self, fd: int, data: bytes | memoryview, position: int) -> int:
        written = super().pwrite(fd, data, position)
        self.written += written
        return written


async def test_draining_a_backlog_writes_less_than_two_percent_of_it(tmp_path: Path) -> None:
    files = Counting()
    async with Spool(tmp_path, SpoolSettings(), SystemClock(), files) as spool:
        spool.lane.cursor("cloud")
        for _ in range(BACKLOG // SMALL // 500):
            await spool.lane.append([bytes(SMALL)] * 500)
        filled = files.written
        assert filled >= BACKLOG * 0.99
        await drain_all(spool)
    drained = files.written - filled
    assert 0 < drained < BACKLOG * 0.02


@pytest.mark.slow
def test_little_of_it_reaches_the_device() -> None:
    wear = measure()
    print(wear)
    assert SMALL <= wear.commit_bytes <= 8192
    assert 0 < wear.drain_share < 0.02
