"""A serial device that can be plugged in and out: a pseudo-terminal behind a name that stays."""

import asyncio
import os
import pty
import tty
from pathlib import Path
from typing import Self


class PtyDevice:
    """A device on a pty; ``path`` is its stable name, as udev's by-id links are.

    The kernel's pty behaves as a tty does for all that the bridge needs: raw bytes, a hang-up when the device
    goes away, locks. It has no baud rate and no control lines.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ends: tuple[int, int] | None = None

    def __enter__(self) -> Self:
        self.plug()
        return self

    def __exit__(self, *_: object) -> None:
        if self._ends is not None:
            self.unplug()

    def plug(self) -> None:
        """The device is there: another terminal under the same name."""
        self._ends = pty.openpty()
        tty.setraw(self._ends[1])
        self.path.symlink_to(os.ttyname(self._ends[1]))

    def unplug(self) -> None:
        """The device is gone, and its name with it."""
        assert self._ends is not None
        self.path.unlink()
        for end in self._ends:
            os.close(end)
        self._ends = None

    async def say(self, data: bytes) -> None:
        """Sends every byte; waits while nobody reads, as a device with flow control does."""
        assert self._ends is not None
        master = self._ends[0]
        left = memoryview(data)
        os.set_blocking(master, False)
        while left:
            try:
                left = left[os.write(master, left) :]
            except BlockingIOError:
                await asyncio.sleep(0.001)

    def openers(self) -> int:
        """How many descriptors of this process hold the terminal, the device's own left out."""
        assert self._ends is not None
        terminal = os.ttyname(self._ends[1])
        links = [_target(entry) for entry in Path("/proc/self/fd").iterdir()]
        return links.count(terminal) - 1


def _target(entry: Path) -> str:
    try:
        return str(entry.readlink())
    except FileNotFoundError:  # the descriptor that lists the folder
        return ""
