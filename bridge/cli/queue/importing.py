"""``edge-bridge queue import``."""

import argparse
import asyncio
import json
import os
import stat
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from bridge.cli.reach import ask
from bridge.errors import BridgeError, CommandFailed
from bridge.run.health import events
from bridge.upkeep.lines import Progress

_CHUNK = 64 * 1024


def command(args: argparse.Namespace) -> int:
    """Stores the events of a file; names the lines that hold none, and is 1 then."""
    latest = Progress("events", 0)

    def told(progress: Progress) -> None:
        nonlocal latest
        latest = progress

    def show(raw: bytes) -> None:
        refused = json.loads(raw)
        print(f"line {refused['line']:,} refused: {refused['refused']}", file=sys.stderr)

    wanted = {"lane": args.lane, "from_line": max(1, args.from_line)}
    with _opened(args.file) as stream:
        try:
            answer: dict[str, Any] = ask(
                args.config, "queue import", wanted, show, upload=_pieces(stream), told=told
            )
        except BridgeError:
            if latest.line:
                print(
                    f"{events(latest.done)} of the lines before {latest.line + 1:,} are stored; go on with: "
                    f"--from-line {latest.line + 1}",
                    file=sys.stderr,
                )
            raise
    if args.json:
        print(json.dumps(answer, indent=2))
    else:
        refused = f", {answer['refused']:,} lines refused" if answer["refused"] else ""
        print(f"{events(answer['stored'])} stored in lane {answer['lane']}{refused}")
    return CommandFailed.exit_code if answer["refused"] else 0


@contextmanager
def _opened(name: str) -> Iterator[BinaryIO]:
    if name == "-":
        yield sys.stdin.buffer
        return
    try:
        stream = Path(name).open("rb")  # noqa: SIM115 - closed below
    except OSError as error:
        raise CommandFailed(f"{name} cannot be read: {error.strerror or error}") from error
    with stream:
        yield stream


async def _pieces(stream: BinaryIO) -> AsyncIterator[bytes]:
    """The file in pieces, its last line ended."""
    last = b"\n"
    async for piece in _read(stream):
        last = piece
        yield piece
    if not last.endswith(b"\n"):
        yield b"\n"


async def _read(stream: BinaryIO) -> AsyncIterator[bytes]:
    try:
        mode = os.fstat(stream.fileno()).st_mode
        if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(stream.fileno()):
            # What comes when it wants must be left when somebody presses Ctrl-C.
            reader = asyncio.StreamReader()
            loop = asyncio.get_running_loop()
            await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), stream)
            while piece := await reader.read(_CHUNK):
                yield piece
        else:
            while piece := stream.read(_CHUNK):
                yield piece
    except OSError as error:
        raise CommandFailed(f"the file cannot be read: {error.strerror or error}") from error
