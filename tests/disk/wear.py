"""What of the spool's work reaches the device: a card wears with it, whatever the program says it wrote."""

import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from bridge.clock import SystemClock
from bridge.spool.settings import MIB, SpoolSettings
from bridge.spool.spool import Spool
from tests.kit.daemon import ROOT
from tests.kit.volume import Volume

SMALL = 300
"""Bytes of a usual reading."""
COMMITS = 200
BACKLOG = 64 * MIB


@dataclass(frozen=True)
class Wear:
    """What reached the block device, the work of the file system included.

    Attributes:
        commit_bytes: bytes for one durable commit of one small record.
        commit_flushes: flushes for it.
        drain_share: bytes written while a backlog was drained, as a share of its size.
        drain_bytes: the same in bytes.
        drain_flushes: flushes meanwhile.
    """

    commit_bytes: float
    commit_flushes: float
    drain_share: float
    drain_bytes: int
    drain_flushes: int


def measure() -> Wear:
    """Measures on an ext4 of its own; needs root.

    Raises:
        subprocess.CalledProcessError: it could not be measured.
    """
    command = [sys.executable, "-m", "tests.disk", "wear", "--on", "ext4", "--mib", "256", "--turns", "1"]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return Wear(**json.loads(done.stdout))


async def on_volume(volume: Volume, turns: int) -> str:
    """The figures as JSON, the mean of so many turns."""
    found = [await _one(volume, volume.path / f"spool{turn}") for turn in range(turns)]
    names = asdict(found[0])
    return json.dumps({name: sum(getattr(one, name) for one in found) / turns for name in names})


async def _one(volume: Volume, path: Path) -> Wear:
    async with Spool(path, SpoolSettings(), SystemClock()) as spool:
        spool.lane.cursor("cloud")
        await spool.lane.append([bytes(SMALL)] * 10)
        volume.sync()
        begun = volume.written()
        for _ in range(COMMITS):
            await spool.lane.append([bytes(SMALL)])
        volume.sync()
        committed = volume.written()
        for _ in range(BACKLOG // SMALL // 500):
            await spool.lane.append([bytes(SMALL)] * 500)
        volume.sync()
        filled = volume.written()
        await drain_all(spool)
    volume.sync()
    drained = volume.written()
    return Wear(
        (committed[0] - begun[0]) / COMMITS,
        (committed[1] - begun[1]) / COMMITS,
        (drained[0] - filled[0]) / BACKLOG,
        drained[0] - filled[0],
        drained[1] - filled[1],
    )


async def drain_all(spool: Spool) -> None:
    """Reads and settles everything, as a sink does that takes a hundred at a time."""
    cursor = spool.lane.cursor("cloud")
    while cursor.position().waiting:
        cursor.settle((await cursor.read(100, 1 << 20)).offsets)
