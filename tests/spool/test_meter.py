"""The meter counts what the disk is asked to do, and knows what it has not answered."""

import os
import threading
from pathlib import Path

import pytest

from bridge.spool.meter import Meter
from tests.kit.faulty_files import FaultyFiles


class Hanging(FaultyFiles):
    """Syncs that hang until they are let go."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.go = threading.Event(), threading.Event()

    def fdatasync(self, fd: int) -> None:
        self.begun.set()
        self.go.wait(10)
        super().fdatasync(fd)


def opened(meter: Meter) -> int:
    return meter.open(Path("/x"), os.O_RDWR | os.O_CREAT)


@pytest.mark.parametrize(
    ("position", "size", "blocks"),
    [(0, 1, 4096), (0, 4096, 4096), (0, 4097, 8192), (4090, 10, 8192), (8192, 0, 0)],
)
def test_bytes_and_the_blocks_they_touch_are_counted(position: int, size: int, blocks: int) -> None:
    meter = Meter(FaultyFiles())
    meter.pwrite(opened(meter), bytes(size), position)
    assert (meter.written, meter.blocks) == (size, blocks)


def test_a_short_write_counts_what_was_taken() -> None:
    files = FaultyFiles()
    files.short_writes = True
    meter = Meter(files)
    assert meter.pwrite(opened(meter), bytes(9), 0) == meter.written == 3


def test_syncs_are_counted_with_their_time() -> None:
    now = iter([float(number) for number in range(100)])
    meter = Meter(FaultyFiles(), lambda: next(now))
    fd = opened(meter)
    meter.fdatasync(fd)
    meter.fsync(fd)
    assert (meter.syncs, meter.sync_seconds, meter.slowest_sync) == (2, 2.0, 1.0)


def test_a_call_that_fails_is_answered_too() -> None:
    meter = Meter(FaultyFiles())
    with pytest.raises(OSError, match="No such file"):
        meter.open(Path("/missing"), os.O_RDONLY)
    assert meter.stalled() == (0.0, "")


def test_a_sync_that_hangs_is_known_while_it_hangs() -> None:
    files = Hanging()
    now = [5.0]
    meter = Meter(files, lambda: now[0])
    fd = opened(meter)
    assert meter.stalled() == (0.0, "")
    thread = threading.Thread(target=meter.fdatasync, args=(fd,))
    thread.start()
    assert files.begun.wait(10)
    now[0] = 17.0
    assert meter.stalled() == (12.0, "fdatasync")
    files.go.set()
    thread.join(10)
    assert meter.stalled() == (0.0, "")
