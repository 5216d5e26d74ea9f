"""The spool on file systems that fill up, become read-only, break or hang, and are mended.

Each scenario runs in a mount namespace of its own. What needs a block device of its own needs root, and is slow.
"""

import asyncio
import sys

import pytest

from tests.kit.daemon import ROOT


async def play(scenario: str, *options: str, within: float = 110.0) -> None:
    """Runs one scenario; what it says is said when it fails."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.disk", scenario, *options),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    told = b""
    try:
        async with asyncio.timeout(within):
            told = await process.stdout.read()
            await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0, told.decode(errors="replace")[-6000:]


@pytest.mark.parametrize("scenario", ["fill_and_drain", "foreign_file", "read_only"])
async def test_a_disk_in_memory(scenario: str) -> None:
    await play(scenario, "--on", "tmpfs", "--turns", "2")


@pytest.mark.live
@pytest.mark.parametrize("scenario", ["daemon_full", "daemon_foreign_file", "daemon_read_only"])
async def test_the_daemon_on_a_disk_in_memory(scenario: str) -> None:
    await play(scenario, "--on", "tmpfs", "--turns", "1")


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    ("scenario", "turns"),
    [("fill_and_drain", 100), ("foreign_file", 50), ("read_only", 50), ("broken", 50), ("hanging", 20)],
)
async def test_an_ext4_of_its_own(scenario: str, turns: int) -> None:
    await play(scenario, "--on", "ext4", "--mib", "32", "--turns", str(turns), within=1000)


@pytest.mark.slow
@pytest.mark.live
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    ("scenario", "turns"),
    [("daemon_full", 5), ("daemon_foreign_file", 10), ("daemon_read_only", 10), ("daemon_broken", 10)],
)
async def test_the_daemon_on_an_ext4_of_its_own(scenario: str, turns: int) -> None:
    await play(scenario, "--on", "ext4", "--mib", "16", "--turns", str(turns), within=1000)
