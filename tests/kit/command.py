"""The command line as people use it: a process of its own."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.kit.daemon import ROOT


@dataclass(frozen=True)
class Done:
    """How a command ended.

    Attributes:
        code: its exit code.
        out: what it wrote to standard output.
        err: what it wrote to standard error.
    """

    code: int
    out: bytes
    err: str


async def edge(config: Path, *arguments: str, given: bytes = b"") -> Done:
    """Carries out ``edge-bridge`` with these arguments; ``given`` is its standard input."""
    async with command(config, *arguments) as process:
        out, err = await process.communicate(given)
    assert process.returncode is not None
    return Done(process.returncode, out, err.decode())


@asynccontextmanager
async def command(config: Path, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A command that runs; killed on leaving, if it still does."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bridge", *arguments, "--config", str(config)),
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "HOME": str(config.parent), "PYTHONUNBUFFERED": "1"},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=1 << 24,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
