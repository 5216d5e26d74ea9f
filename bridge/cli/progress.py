"""How far long work is: one line on a terminal, nothing anywhere else. And questions to people."""

import sys
import time
from types import TracebackType
from typing import Self

from bridge.cli.sizes import size
from bridge.errors import CommandFailed
from bridge.upkeep.lines import Progress

_EVERY = 0.1
"""Seconds between two looks of the line."""
_PATIENCE = 0.5
"""Work that takes no longer than that needs no line."""


class Meter:
    """A line on standard error that says how far it is, gone when it is over."""

    def __init__(self) -> None:
        self._begun = time.monotonic()
        self._latest = 0.0
        self._width = 0

    def __enter__(self) -> Self:
        """Nothing yet."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Takes the line away."""
        self.clear()

    def show(self, progress: Progress) -> None:
        """Says how far it is, not too often, if somebody sees it."""
        now = time.monotonic()
        if now - self._begun < _PATIENCE or now - self._latest < _EVERY or not sys.stderr.isatty():
            return
        self._latest = now
        line = words(progress)
        print(f"\r{line:<{self._width}}", end="", file=sys.stderr, flush=True)
        self._width = len(line)

    def clear(self) -> None:
        """Takes the line away, so that something else can be said."""
        if self._width:
            print(f"\r{'':<{self._width}}\r", end="", file=sys.stderr, flush=True)
            self._width = 0


def words(progress: Progress) -> str:
    """How far it is, in words."""

    def told(count: int) -> str:
        return size(count) if progress.what == "bytes" else f"{count:,}"

    unit = "" if progress.what == "bytes" else f" {progress.what}"
    if not progress.total:
        return f"{told(progress.done)}{unit}"
    share = min(100, 100 * progress.done // progress.total)
    return f"{told(progress.done)} of {told(progress.total)}{unit} ({share} %)"


def confirmed(question: str, *, yes: bool) -> bool:
    """Whether somebody agrees: ``yes`` on the command line, or on the terminal now.

    Raises:
        CommandFailed: there is no terminal to ask at.
    """
    if yes:
        return True
    if not sys.stdin.isatty():
        raise CommandFailed(f"{question} There is no terminal to ask at: add --yes to do it.")
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() in ("y", "yes"):
        return True
    print("Nothing was done.", file=sys.stderr)
    return False
