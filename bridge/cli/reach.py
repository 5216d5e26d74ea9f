"""Reaches the queue: through the control socket of a running bridge, or directly when none is running."""

import asyncio
import os
import pwd
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, aclosing
from pathlib import Path

from bridge.assemble import assemble, desk
from bridge.cli.progress import Meter
from bridge.config.load import load
from bridge.config.model import Config
from bridge.errors import SpoolLocked
from bridge.host.asking import Asking
from bridge.host.control import NotRunning
from bridge.upkeep.lines import Answer, Item, Progress, parse
from bridge.upkeep.table import READING, streams_of

Show = Callable[[bytes], None]
"""Is given each item of an answer, as it was written."""


def ask(
    config: Path,
    verb: str,
    args: Mapping[str, object],
    show: Show,
    *,
    upload: AsyncIterator[bytes] | None = None,
    told: Callable[[Progress], None] | None = None,
) -> dict[str, object]:
    """Has a verb carried out, wherever that can be done, and returns its final answer.

    Items are given to ``show`` as they come; how far it is is shown on a terminal, and given to ``told``.

    Raises:
        BridgeError: it could not be carried out; the message says why.
    """
    return asyncio.run(_ask(load(config), verb, args, show, upload, told))


async def _ask(
    config: Config,
    verb: str,
    args: Mapping[str, object],
    show: Show,
    upload: AsyncIterator[bytes] | None,
    told: Callable[[Progress], None] | None,
) -> dict[str, object]:
    asking = Asking(config.control_socket, verb, args, upload)
    running = await asking.connect()
    lines = asking.lines() if running else _directly(config, verb, args, upload)
    answer: dict[str, object] | None = None
    with Meter() as meter:
        async with aclosing(lines):
            async for line in lines:
                said = _understood(line)
                if isinstance(said, Item):
                    meter.clear()
                    show(said.raw)
                elif isinstance(said, Answer):
                    answer = said.value
                else:
                    meter.show(said)
                    if told is not None:
                        told(said)
    assert answer is not None  # noqa: S101 - both ways end with one, or raise
    return answer


async def _directly(
    config: Config, verb: str, args: Mapping[str, object], upload: AsyncIterator[bytes] | None
) -> AsyncGenerator[bytes, None]:
    """The lines of the answer, made in this process."""
    async with AsyncExitStack() as stack:
        threads = stack.enter_context(ThreadPoolExecutor(1, "command"))
        bridge = None
        if verb not in READING:
            bridge = assemble(config)
            become_owner(config.spool_dir)
            try:
                await stack.enter_async_context(bridge.at_rest())
            except SpoolLocked as error:
                raise SpoolLocked(f"{error}. It does not answer at {config.control_socket}") from error
        streams = streams_of(desk(config, bridge, threads, paced=False))
        blobs = await stack.enter_async_context(aclosing(streams[verb](args, upload or _nothing())))
        async for blob in blobs:
            for line in filter(None, blob.split(b"\n")):
                yield line


def _understood(line: bytes) -> Item | Progress | Answer:
    try:
        return parse(line)
    except ValueError as error:
        raise NotRunning(f"the answer cannot be understood ({error}): is another version running?") from error


async def _nothing() -> AsyncIterator[bytes]:
    nothing: tuple[bytes, ...] = ()
    for piece in nothing:
        yield piece


def become_owner(directory: Path) -> None:
    """As root: goes on as the user whom the spool belongs to, so that no file in it is made that he cannot use."""
    if os.geteuid() != 0:
        return
    there = next(path for path in (directory, *directory.parents) if path.exists())
    found = there.stat()
    if found.st_uid == 0:
        return
    try:
        os.initgroups(pwd.getpwuid(found.st_uid).pw_name, found.st_gid)
    except KeyError:
        os.setgroups([])
    os.setgid(found.st_gid)
    os.setuid(found.st_uid)
