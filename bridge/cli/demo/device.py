"""A simulated serial device on a pseudo-terminal.

A serial line cannot repeat what nobody listened to. So this device has flow control, like one with RTS/CTS: it
holds its readings while the port is closed or while it is told to, and says a reading only once.
"""

import asyncio
import contextlib
import json
import os
import select
import tty
from pathlib import Path
from types import TracebackType
from typing import Self

NEXT_LOOK = 0.01
"""Seconds between two looks at a port that is closed or full."""


class SimulatedDevice:
    """Says numbered readings as lines of JSON, at a steady rate, to whoever has the port open.

    Args:
        link: path of the port: a symbolic link that stays the same, as below ``/dev/serial/by-id``.
        rate: readings per second.
    """

    def __init__(self, link: Path, rate: float) -> None:
        self._link = link
        self._rate = rate
        self._master = -1
        self._speaking = asyncio.Event()
        self._silent = asyncio.Event()
        self._silent.set()
        self._task: asyncio.Task[None] | None = None
        self.sent = 0

    async def __aenter__(self) -> Self:
        """Makes the port; the device is silent at first."""
        self._master, port = os.openpty()
        tty.setraw(port)
        self._link.symlink_to(os.ttyname(port))
        # From the first close on, the kernel reports a closed port as a hang-up.
        os.close(port)
        os.set_blocking(self._master, False)
        self._task = asyncio.create_task(self._live(), name="simulated device")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Unplugs the device."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        os.close(self._master)
        self._link.unlink(missing_ok=True)

    def speak(self) -> None:
        """Lets the readings flow; the first bytes are an empty line, which ends whatever came before."""
        self._speaking.set()

    async def hold(self) -> None:
        """Holds the readings; returns when the last one that was begun has been handed over."""
        self._speaking.clear()
        await self._silent.wait()

    @property
    def port_is_open(self) -> bool:
        """Whether somebody has the port open."""
        poll = select.poll()
        poll.register(self._master, 0)
        return not any(events & select.POLLHUP for _, events in poll.poll(0))

    async def _live(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._speaking.wait()
            self._silent.clear()
            await self._hand_over(b"\n")
            due = loop.time()
            while self._speaking.is_set():
                await self._hand_over(self._reading(self.sent + 1))
                self.sent += 1
                due += 1 / self._rate
                await asyncio.sleep(due - loop.time())
            self._silent.set()

    def _reading(self, number: int) -> bytes:
        celsius = 70 + (number * 37 % 100) / 10
        return json.dumps({"device": "boiler-1", "n": number, "celsius": celsius}).encode() + b"\n"

    async def _hand_over(self, line: bytes) -> None:
        while line:
            written = 0
            if self.port_is_open:
                # The line discipline holds a few kilobytes; more only when the other end has read.
                with contextlib.suppress(BlockingIOError):
                    written = os.write(self._master, line)
            line = line[written:]
            if line:
                await asyncio.sleep(NEXT_LOOK)
