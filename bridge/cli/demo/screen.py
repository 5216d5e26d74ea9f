"""What people see of the demonstration: a live view on a terminal, plain lines anywhere else."""

import os
import shutil
import sys
import time
from dataclasses import dataclass
from typing import Protocol, TextIO

BAR = 28
PLAIN_EVERY = 2.0
"""Seconds between two lines of figures where nothing can be drawn over."""


@dataclass(frozen=True, slots=True)
class Facts:
    """The figures of one instant.

    Attributes:
        sent: readings that the device handed over.
        stored: readings that the daemon reports as durable.
        waiting: events in the spool that the receiver has not confirmed; None while the daemon does not answer.
        received: different readings at the receiver.
        daemon: what the daemon does, in a word.
        port_open: whether the daemon has the serial port open.
        uplink: whether the receiver can be reached.
    """

    sent: int
    stored: int
    waiting: int | None
    received: int
    daemon: str
    port_open: bool
    uplink: bool


class Screen(Protocol):
    """Where the story is told."""

    def announce(self, text: str) -> None:
        """Says what happens next; stays to be read."""
        ...

    def show(self, facts: Facts) -> None:
        """Shows the figures of this instant, perhaps over those of the last."""
        ...

    def close(self, *summary: str) -> None:
        """Leaves the terminal as it was, with these last lines."""
        ...


class PlainScreen:
    """Lines that only ever follow each other, for files and pipes."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._began = time.monotonic()
        self._next = self._began

    def announce(self, text: str) -> None:
        """One line with the time since the start."""
        self._line(text)

    def show(self, facts: Facts) -> None:
        """One line of figures, every other second."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + PLAIN_EVERY
        waiting = "?" if facts.waiting is None else f"{facts.waiting:,}"
        self._line(
            f"    sent {facts.sent:,}  stored {facts.stored:,}  waiting {waiting}  received {facts.received:,}"
        )

    def close(self, *summary: str) -> None:
        """The last lines."""
        for line in ("", *summary):
            print(line, file=self._out, flush=True)

    def _line(self, text: str) -> None:
        print(f"{time.monotonic() - self._began:5.1f} s  {text}", file=self._out, flush=True)


class LiveScreen:
    """Figures that are drawn over on a terminal, below the lines that stay."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._began = time.monotonic()
        self._drawn = 0
        self._scale = 1000
        self._facts: Facts | None = None
        self._colours = "NO_COLOR" not in os.environ

    def announce(self, text: str) -> None:
        """A line above the figures."""
        self._wipe()
        marked = self._paint("1", f"{self._clock()}  {text}")
        print(f" {marked}", file=self._out)
        self._draw()

    def show(self, facts: Facts) -> None:
        """Draws the figures anew."""
        self._facts = facts
        self._scale = max(self._scale, facts.waiting or 0)
        self._wipe()
        self._draw()

    def close(self, *summary: str) -> None:
        """Puts the last lines in the place of the figures."""
        self._facts = None
        self._wipe()
        for line in ("", *summary):
            print(line, file=self._out)
        self._out.flush()

    def _draw(self) -> None:
        if self._facts is not None:
            width = shutil.get_terminal_size().columns
            lines = ["", *self._picture(self._facts), ""]
            self._drawn = len(lines)
            # A line longer than the terminal would break the counting of lines.
            fits = width >= max(map(len, lines))
            self._out.write(
                "\n".join(self._coloured(line) if fits else line[: width - 1] for line in lines) + "\n"
            )
        self._out.flush()

    def _picture(self, facts: Facts) -> list[str]:
        serial = "━━━▶" if facts.port_open else "━ ✗ "
        uplink = "━━━▶" if facts.uplink else "━ ✗ "
        waiting = facts.waiting or 0
        bar = "█" * round(BAR * waiting / self._scale)
        return [
            f"   device {serial} bridge ({facts.daemon}) {uplink} receiver",
            f"   sent      {facts.sent:>9,}",
            f"   stored    {facts.stored:>9,}",
            f"   waiting   {'?' if facts.waiting is None else f'{waiting:,}':>9}  {bar:<{BAR}}",
            f"   received  {facts.received:>9,}",
        ]

    def _coloured(self, line: str) -> str:
        for word, colour in (("━━━▶", "32"), ("━ ✗ ", "31"), ("(killed)", "1;31"), ("█", "33")):
            whole = word * line.count(word) if word == "█" else word
            if whole and whole in line:
                line = line.replace(whole, self._paint(colour, whole))
        return line

    def _wipe(self) -> None:
        if self._drawn:
            self._out.write(f"\x1b[{self._drawn}F\x1b[J")
            self._drawn = 0

    def _paint(self, colour: str, text: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self._colours else text

    def _clock(self) -> str:
        minutes, seconds = divmod(int(time.monotonic() - self._began), 60)
        return f"{minutes}:{seconds:02d}"


def screen_for_this_terminal() -> Screen:
    """The live view if standard output is a terminal that can draw it, plain lines otherwise."""
    encoding = (sys.stdout.encoding or "").lower().replace("-", "")
    can_draw = sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb" and encoding == "utf8"
    return LiveScreen(sys.stdout) if can_draw else PlainScreen(sys.stdout)
