"""What the parts of one log share."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ParamSpec, TypeVar

from bridge.clock import Clock
from bridge.spool.book import Book
from bridge.spool.files import Files
from bridge.spool.limits import Limits
from bridge.spool.retention import Retention
from bridge.spool.shelf import Shelf
from bridge.spool.trouble import Fullness, Trouble

P = ParamSpec("P")
R = TypeVar("R")


class InThread:
    """Runs blocking functions in the writer's thread.

    Args:
        executor: with one thread.
    """

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    async def __call__(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """What the function returned."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, partial(function, *args, **kwargs))


@dataclass(frozen=True, slots=True)
class Parts:
    """One log, taken apart.

    Attributes:
        name: of the lane, for people.
        directory: where its segments lie.
        files: the door to the disk.
        in_thread: runs what blocks.
        shelf: the segments.
        book: the cursors and marks.
        retention: which segments have to go.
        trouble: whether the disk takes what is written.
        fullness: whether there is room.
    """

    name: str
    directory: Path
    files: Files
    clock: Clock
    limits: Limits
    in_thread: InThread
    shelf: Shelf
    book: Book
    retention: Retention
    trouble: Trouble
    fullness: Fullness


async def first_of(seconds: float, *events: asyncio.Event) -> None:
    """Waits until one of the events is set, or that much time passed."""
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()
