"""What the spool costs the disk, and whether the disk answers: every call to it goes through here."""

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

from bridge.spool.files import Entry, Files, Space

BLOCK = 4096
"""What a flash card takes at least for any change within it."""


class Meter:
    """Files that count what is written and know for how long a call has been waiting.

    Counters rise from any thread and are read from the event loop: each is right on its own.

    Attributes:
        written: bytes passed to ``pwrite``.
        blocks: bytes of the blocks of 4096 that these touched, each counted once per write.
        syncs: calls of ``fdatasync`` and ``fsync``.
        sync_seconds: time that they took.
        slowest_sync: seconds that the slowest of them took.
    """

    def __init__(self, files: Files, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._files = files
        self._monotonic = monotonic
        self._waiting: dict[int, tuple[float, str]] = {}
        self.written = 0
        self.blocks = 0
        self.syncs = 0
        self.sync_seconds = 0.0
        self.slowest_sync = 0.0

    def stalled(self) -> tuple[float, str]:
        """For how many seconds the oldest call has been waiting for the disk, and which; 0 when none waits."""
        oldest = min(self._waiting.copy().values(), default=None)
        return (0.0, "") if oldest is None else (self._monotonic() - oldest[0], oldest[1])

    def begin(self, call: str) -> float:
        """A call begins in this thread; returns when."""
        now = self._monotonic()
        self._waiting[threading.get_ident()] = now, call
        return now

    def end(self, begun: float, *, sync: bool) -> None:
        """The disk answered this thread's call, which had ``begun`` then."""
        self._waiting.pop(threading.get_ident(), None)
        if sync:
            took = self._monotonic() - begun
            self.syncs += 1
            self.sync_seconds += took
            self.slowest_sync = max(self.slowest_sync, took)

    # --- the port -------------------------------------------------------------------------------------

    def open(self, path: Path, flags: int) -> int:  # noqa: D102 - the protocol says it
        with _Call(self, "open"):
            return self._files.open(path, flags)

    def close(self, fd: int) -> None:  # noqa: D102
        with _Call(self, "close"):
            self._files.close(fd)

    def pread(self, fd: int, size: int, position: int) -> bytes:  # noqa: D102
        with _Call(self, "read"):
            return self._files.pread(fd, size, position)

    def pwrite(self, fd: int, data: bytes | memoryview, position: int) -> int:  # noqa: D102
        with _Call(self, "write"):
            taken = self._files.pwrite(fd, data, position)
        self.written += taken
        if taken > 0:
            self.blocks += ((position + taken - 1) // BLOCK - position // BLOCK + 1) * BLOCK
        return taken

    def fdatasync(self, fd: int) -> None:  # noqa: D102
        with _Call(self, "fdatasync", sync=True):
            self._files.fdatasync(fd)

    def fsync(self, fd: int) -> None:  # noqa: D102
        with _Call(self, "fsync", sync=True):
            self._files.fsync(fd)

    def fallocate(self, fd: int, size: int) -> None:  # noqa: D102
        with _Call(self, "fallocate"):
            self._files.fallocate(fd, size)

    def ftruncate(self, fd: int, size: int) -> None:  # noqa: D102
        with _Call(self, "ftruncate"):
            self._files.ftruncate(fd, size)

    def flock(self, fd: int) -> bool:  # noqa: D102
        return self._files.flock(fd)

    def rename(self, old: Path, new: Path) -> None:  # noqa: D102
        with _Call(self, "rename"):
            self._files.rename(old, new)

    def unlink(self, path: Path) -> None:  # noqa: D102
        with _Call(self, "unlink"):
            self._files.unlink(path)

    def mkdir(self, path: Path) -> None:  # noqa: D102
        with _Call(self, "mkdir"):
            self._files.mkdir(path)

    def rmdir(self, path: Path) -> None:  # noqa: D102
        with _Call(self, "rmdir"):
            self._files.rmdir(path)

    def listdir(self, path: Path) -> Sequence[Entry]:  # noqa: D102
        with _Call(self, "readdir"):
            return self._files.listdir(path)

    def folders(self, path: Path) -> Sequence[str]:  # noqa: D102
        with _Call(self, "readdir"):
            return self._files.folders(path)

    def space(self, path: Path) -> Space:  # noqa: D102
        with _Call(self, "statvfs"):
            return self._files.space(path)


class _Call:
    """One call to the disk, from beginning to end."""

    __slots__ = ("_begun", "_call", "_meter", "_sync")

    def __init__(self, meter: Meter, call: str, *, sync: bool = False) -> None:
        self._meter = meter
        self._call = call
        self._sync = sync
        self._begun = 0.0

    def __enter__(self) -> None:
        self._begun = self._meter.begin(self._call)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._meter.end(self._begun, sync=self._sync)
