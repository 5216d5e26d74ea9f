"""One process owns a spool: while it lives, whatever it starts, and not a moment longer."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bridge.clock import SystemClock
from bridge.errors import SpoolLocked
from bridge.spool.settings import SpoolSettings
from bridge.spool.spool import Spool

OWNER = """
import asyncio, subprocess, sys
from pathlib import Path
from bridge.clock import SystemClock
from bridge.spool.settings import SpoolSettings
from bridge.spool.spool import Spool
async def main():
    async with Spool(Path(sys.argv[1]), SpoolSettings(), SystemClock()) as spool:
        await spool.lane.append([b"kept"])
        child = subprocess.Popen(["sleep", "600"], close_fds=False)
        print(child.pid, flush=True)
        await asyncio.to_thread(sys.stdin.read)
asyncio.run(main())
"""


@contextmanager
def owner_with_a_child(path: Path) -> Iterator[tuple[int, int]]:
    """A process that holds the spool and has started another that inherits what can be inherited."""
    command = [sys.executable, "-c", OWNER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        child = int(owner.stdout.readline())
        try:
            yield owner.pid, child
        finally:
            owner.kill()
            os.kill(child, signal.SIGKILL)


def spool_at(path: Path) -> Spool:
    return Spool(path, SpoolSettings(), SystemClock())


async def test_the_lock_ends_with_its_owner_though_a_child_of_it_lives_on(tmp_path: Path) -> None:
    with owner_with_a_child(tmp_path) as (owner, child):
        with pytest.raises(SpoolLocked, match=rf"pid {owner}\b"):
            await spool_at(tmp_path).__aenter__()
        os.kill(owner, signal.SIGKILL)
        await asyncio.to_thread(os.waitid, os.P_PID, owner, os.WEXITED | os.WNOWAIT)
        os.kill(child, 0)
        async with spool_at(tmp_path) as spool:
            assert await spool.lane.recent(9) == [b"kept"]


async def test_a_pid_left_by_a_dead_owner_keeps_nobody_out(tmp_path: Path) -> None:
    (tmp_path / "LOCK").write_text(f"{os.getpid()}\n")
    async with spool_at(tmp_path) as spool:
        await spool.lane.append([b"a"])


def contents(path: Path) -> dict[Path, bytes]:
    """Every file but the prepared ones, which the owner makes in its own time."""
    return {file: file.read_bytes() for file in path.rglob("*") if file.is_file() and file.suffix != ".tmp"}


async def test_whoever_is_refused_touches_nothing(tmp_path: Path) -> None:
    async with spool_at(tmp_path) as spool:
        await spool.lane.append([b"a"])
        before = contents(tmp_path)
        with pytest.raises(SpoolLocked):
            await spool_at(tmp_path).__aenter__()
        assert contents(tmp_path) == before
        assert await spool.lane.append([b"b"]) == 1
