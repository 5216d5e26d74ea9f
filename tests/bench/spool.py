"""The spool alone: what a record costs, and that neither a start nor memory depends on the backlog.

``python -m tests.bench.spool [--gib 10]`` prints the figures. Every figure is taken in a process of its own, which
has done nothing else. A backlog is filled without syncing, which is not what is measured, and left as a
``kill -9`` leaves it.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bridge.clock import SystemClock
from bridge.spool.files import OsFiles
from bridge.spool.settings import SpoolSettings
from bridge.spool.spool import Spool
from tests.disk.wear import Wear
from tests.disk.wear import measure as measure_wear
from tests.kit.daemon import ROOT

RECORD = 300
GROUP = 200
COUNT = 200_000
LARGE = 4096
SETTINGS = SpoolSettings(max_bytes=1 << 44)
MIB, GIB = 1 << 20, 1 << 30


class Unsynced(OsFiles):
    """Syncs nothing: for filling only."""

    def fdatasync(self, fd: int) -> None:
        pass


@dataclass(frozen=True)
class Cost:
    """CPU time in microseconds for one record of 300 bytes in groups of 200, all threads together."""

    append_us: float
    read_us: float
    settle_us: float


@dataclass(frozen=True)
class Opening:
    """A start after a ``kill -9``.

    Attributes:
        backlog: bytes that wait.
        segments: files that they are in.
        seconds: from nothing to open, the interpreter's own start left out.
        rss: resident bytes then.
        peak: most resident bytes after a million records, or all there are, were read and settled.
    """

    backlog: int
    segments: int
    seconds: float
    rss: int
    peak: int


@dataclass(frozen=True)
class SpoolFigures:
    """Everything about the spool alone; ``behind`` is the cost with the backlog in the way."""

    cost: Cost
    behind: Cost
    empty: Opening
    full: Opening
    wear: Wear | None


def measure(folder: Path, backlog: int) -> SpoolFigures:
    """Measures in ``folder``; what reaches the device only as root."""
    empty, full = folder / "empty", folder / "full"
    _child("fill", empty, 0)
    _child("fill", full, backlog)
    opened, opened_full = (Opening(**_child("open", path, 0)) for path in (empty, full))
    cost, behind = (Cost(**_child("cost", path, 0)) for path in (empty, full))
    return SpoolFigures(cost, behind, opened, opened_full, measure_wear() if os.geteuid() == 0 else None)


def lines(figures: SpoolFigures) -> Iterator[str]:
    """The figures for people."""
    full, empty = figures.full, figures.empty
    yield (
        f"spool, CPU µs per record of {RECORD} bytes in groups of {GROUP}, empty / behind a backlog: append "
        f"{figures.cost.append_us:.1f} / {figures.behind.append_us:.1f}, read {figures.cost.read_us:.1f} / "
        f"{figures.behind.read_us:.1f}, settle {figures.cost.settle_us:.2f} / {figures.behind.settle_us:.2f}"
    )
    yield (
        f"spool of {full.backlog / GIB:.1f} GiB in {full.segments:,} segments after a kill -9: open after "
        f"{full.seconds:.2f} s (empty {empty.seconds:.2f} s) with {full.rss / MIB:.1f} MiB (empty "
        f"{empty.rss / MIB:.1f} MiB), at most {full.peak / MIB:.1f} MiB while it was read"
    )
    if figures.wear is None:
        yield "what reaches the device is measured as root only"
    else:
        wear = figures.wear
        yield (
            f"to the device (ext4): {wear.commit_bytes:,.0f} bytes and {wear.commit_flushes:.2f} flushes per "
            f"small commit; draining a backlog wrote {100 * wear.drain_share:.2f} % of it"
        )


def _child(task: str, path: Path, size: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.bench.spool", "--task", task, str(path), str(size)]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


async def _fill(path: Path, size: int) -> dict[str, float]:
    async with Spool(path, SETTINGS, SystemClock(), Unsynced()) as spool:
        spool.lane.cursor("cloud")
        group = [os.urandom(LARGE) for _ in range(16)]
        for _ in range(0, size, LARGE * len(group)):
            await spool.lane.append(group)
        await spool.lane.append([b"the last"])
        print("{}", flush=True)
        os._exit(0)


async def _open(path: Path, _: int) -> dict[str, float]:
    begun = time.monotonic()
    async with Spool(path, SETTINGS, SystemClock()) as spool:
        seconds = time.monotonic() - begun
        cursor = spool.lane.cursor("cloud")
        figures = Opening(
            backlog=spool.lane.bytes_used,
            segments=len(list((path / "lanes" / "default").glob("*.seg"))),
            seconds=seconds,
            rss=_memory("VmRSS"),
            peak=0,
        )
        # Read, but not settled for good: the next process finds the same backlog.
        taken = 0
        while taken < min(1_000_000, spool.lane.range[1]):
            taken += len((await cursor.read(1000, 1 << 20)).offsets)
        print(json.dumps(asdict(figures) | {"peak": _memory("VmHWM")}), flush=True)
        os._exit(0)


async def _cost(path: Path, _: int) -> dict[str, float]:
    async with Spool(path, SETTINGS, SystemClock()) as spool:
        lane, cursor = spool.lane, spool.lane.cursor("fresh")
        await lane.discard("fresh", range(lane.range[1]))
        payloads = [os.urandom(RECORD) for _ in range(GROUP)]
        append = read = settle = 0.0
        for _ in range(COUNT // GROUP):
            begun = time.process_time()
            await lane.append(payloads)
            appended = time.process_time()
            batch = await cursor.read(GROUP, 1 << 30)
            taken = time.process_time()
            cursor.settle(batch.offsets)
            settled = time.process_time()
            append, read, settle = append + appended - begun, read + taken - appended, settle + settled - taken
        return {
            name: 1e6 * seconds / COUNT
            for name, seconds in (("append_us", append), ("read_us", read), ("settle_us", settle))
        }


TASKS = {"fill": _fill, "open": _open, "cost": _cost}


def _memory(key: str) -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split(f"{key}:")[1].split()[0]) * 1024


def main() -> None:
    """Runs and prints."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.spool", description=__doc__)
    parser.add_argument("--gib", type=float, default=10.0, help="size of the backlog")
    parser.add_argument("--folder", type=Path, help="where, instead of the folder for temporary files")
    parser.add_argument("--task", choices=TASKS, help=argparse.SUPPRESS)
    parser.add_argument("rest", nargs="*", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.task is not None:
        print(json.dumps(asyncio.run(TASKS[args.task](Path(args.rest[0]), int(args.rest[1])))))
        return
    with tempfile.TemporaryDirectory(prefix="bench-spool-", dir=args.folder) as folder:
        print("\n".join(lines(measure(Path(folder), int(args.gib * GIB)))))


if __name__ == "__main__":
    main()
