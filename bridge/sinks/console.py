"""Events to standard output, one JSON object per line: to look at, or for the next program in a pipe.

A reader that does not read (a full pipe, a terminal stopped with Ctrl-S) must not stop the bridge. So writing
happens in a thread that first asks whether there is room, and never holds more than one small piece.
"""

import asyncio
import os
import select
import threading
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Literal

from bridge.errors import Unavailable
from bridge.event import Event
from bridge.ports import Delivery, Site
from bridge.sinks.settings import SinkSettings
from bridge.wire import json_format

STANDARD_OUTPUT = 1
_PIECE = select.PIPE_BUF
"""A pipe that is ready for writing takes this much without blocking (pipe(7))."""
_ASK_AGAIN_MS = 50
_PATIENCE = 30.0
"""Seconds without any progress after which the reader counts as gone."""
_NO_LINE_BREAKS = bytes.maketrans(b"\r\n", b"  ")
"""A line break in JSON text is white space between tokens, nothing else (RFC 8259, 2 and 7)."""


class ConsoleSettings(SinkSettings):
    """A sink that writes each event as a line of JSON to standard output."""

    kind: Literal["console"] = "console"

    def build(self, name: str, site: Site) -> "ConsoleSink":
        """The sink that this table describes; does no I/O."""
        return ConsoleSink()


class ConsoleSink:
    """A :class:`bridge.ports.Sink` to a file descriptor.

    Args:
        fd: where to write; it is neither changed nor closed.
        patience: seconds without progress after which the reader counts as gone.
    """

    max_events = 256
    max_bytes = 1024 * 1024

    def __init__(self, fd: int = STANDARD_OUTPUT, patience: float = _PATIENCE) -> None:
        self._fd = fd
        self._patience = patience
        self._torn = False

    @property
    def peer(self) -> str:
        """There is no address."""
        return "standard output"

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Delivery]:
        """Checks that there is a standard output.

        Raises:
            Unavailable: it is closed.
        """
        try:
            os.fstat(self._fd)
        except OSError as error:
            raise Unavailable(f"{self.peer} is closed: {error.strerror}") from error
        yield self

    async def idle(self) -> None:
        """Waits for ever: that nobody reads any more shows at the next write."""
        await asyncio.get_running_loop().create_future()

    async def send(self, batch: Sequence[Event]) -> None:
        """Returns when every line was written.

        Raises:
            Unavailable: the reader is gone, or has not read anything for a while; lines written whole count as
                confirmed.
        """
        lines = [json_format.encode(event).translate(_NO_LINE_BREAKS) + b"\n" for event in batch]
        # A line that was cut off before must not swallow the beginning of this one.
        start = b"\n" if self._torn else b""
        writing = _Writing(self._fd, start + b"".join(lines), self._patience)
        work = asyncio.create_task(asyncio.to_thread(writing.run))
        try:
            await asyncio.shield(work)
        except OSError as error:
            why = f"{self.peer}: {error.strerror or error}"
            raise Unavailable(why, confirmed=range(_whole(lines, writing.written - len(start)))) from error
        finally:
            writing.stop()
            await asyncio.wait({work})
            _ = work.exception()  # seen, also when somebody cancelled us
            if writing.written:
                self._torn = writing.torn


class _Writing:
    """One piece of work for the thread.

    Attributes:
        written: bytes that went out so far.
    """

    def __init__(self, fd: int, data: bytes, patience: float) -> None:
        self._fd = fd
        self._data = memoryview(data)
        self._patience = patience
        self._stopped = threading.Event()
        self.written = 0

    @property
    def torn(self) -> bool:
        """Whether what went out ends in the middle of a line."""
        return self.written > 0 and self._data[self.written - 1] != ord("\n")

    def stop(self) -> None:
        """Ends :meth:`run` within a moment."""
        self._stopped.set()

    def run(self) -> None:
        """Writes everything, or until stopped.

        Raises:
            OSError: the reader is gone; ``TimeoutError``: it does not read.
        """
        ready = select.poll()
        ready.register(self._fd, select.POLLOUT)
        progress = time.monotonic()
        while self.written < len(self._data) and not self._stopped.is_set():
            try:
                count = self._write_piece() if ready.poll(_ASK_AGAIN_MS) else 0
            except BlockingIOError:
                count = 0
            if count:
                self.written += count
                progress = time.monotonic()
            elif time.monotonic() - progress > self._patience:
                raise TimeoutError(f"nothing was read for {self._patience:g} s")

    def _write_piece(self) -> int:
        return os.write(self._fd, self._data[self.written : self.written + _PIECE])


def _whole(lines: Sequence[bytes], size: int) -> int:
    """How many lines fit into the first ``size`` bytes."""
    for number, line in enumerate(lines):
        size -= len(line)
        if size < 0:
            return number
    return len(lines)
