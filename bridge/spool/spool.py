"""The on-disk queue of the bridge: one lane of events, one log of dead letters, one owner."""

import asyncio
import errno
import logging
import os
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from bridge.clock import Clock
from bridge.errors import SpoolLocked, SpoolUnusable
from bridge.ports import Lane
from bridge.report import SpoolReport
from bridge.spool.committer import Limits
from bridge.spool.files import Files, OsFiles, write_all
from bridge.spool.log import Log, make_directory
from bridge.spool.settings import KIB, MIB, SpoolSettings

log = logging.getLogger(__name__)

_READERS = 2
_LOCK_NAME = "LOCK"


class Spool:
    """The spool in one directory; to be entered with ``async with``.

    Entering takes the lock, finds what an earlier run left, and starts the writers. Leaving writes what
    waits, the cursors and a seal, and lets go of the lock.

    Args:
        path: the directory; made, with its parents, when it is not there.
        files: the door to the disk, for tests.
    """

    def __init__(self, path: Path, settings: SpoolSettings, clock: Clock, files: Files | None = None) -> None:
        self._path = path
        self._settings = settings
        self._clock = clock
        self._files = files or OsFiles()
        self._stack = AsyncExitStack()
        self._lock: int | None = None
        self._lane: Log | None = None
        self._dead_letters: Log | None = None

    async def __aenter__(self) -> Self:
        """Opens the spool.

        Raises:
            SpoolLocked: another process has it; the message names its pid.
            SpoolTooNew: a later major version wrote it; nothing was touched.
            SpoolUnusable: the directory can neither be made nor read.
        """
        async with AsyncExitStack() as stack:
            readers = ThreadPoolExecutor(_READERS, "spool-read")
            stack.callback(readers.shutdown)
            loop = asyncio.get_running_loop()
            stack.callback(self._release)
            trouble = await loop.run_in_executor(readers, self._take)
            self._lane = await self._enter(stack, "lanes/default", self._limits(), readers, trouble)
            self._dead_letters = await self._enter(
                stack, "dead-letters", self._dead_letter_limits(), readers, trouble
            )
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Closes the spool; what the disk refuses is given up after one try."""
        await self._stack.aclose()

    @property
    def lane(self) -> Lane:
        """The lane ``default``."""
        return self._open(self._lane)

    @property
    def dead_letters(self) -> Lane:
        """The log of dead letters."""
        return self._open(self._dead_letters)

    def orphans(self, known: Collection[str]) -> tuple[str, ...]:
        """Cursors of the lane that nobody in ``known`` owns: they hold space until ``max_bytes`` is reached."""
        return tuple(name for name in self._open(self._lane).names if name not in known)

    def report(self) -> SpoolReport:
        """What the spool says about itself."""
        lane, dead = self._open(self._lane), self._open(self._dead_letters)
        return SpoolReport(
            path=str(self._path),
            bytes_used=lane.bytes_used + dead.bytes_used,
            max_bytes=self._settings.max_bytes,
            events=lane.records,
            dead_letters=dead.records,
            dropped=lane.dropped + dead.dropped,
            damaged=lane.damaged + dead.damaged,
            writable=lane.writable and dead.writable,
            last_error=lane.last_error or dead.last_error,
        )

    @staticmethod
    def _open(part: Log | None) -> Log:
        if part is None:
            raise RuntimeError("the spool is not open")
        return part

    def _limits(self) -> Limits:
        settings = self._settings
        return Limits(
            settings.max_bytes, settings.segment_bytes, settings.commit_interval, settings.cursor_interval
        )

    def _dead_letter_limits(self) -> Limits:
        settings = self._settings
        max_bytes = max(1 * MIB, settings.max_bytes // 10, 2 * settings.max_record)
        segment_bytes = max(64 * KIB, min(settings.segment_bytes, max_bytes // 8 // KIB * KIB))
        return Limits(max_bytes, segment_bytes, settings.commit_interval, settings.cursor_interval)

    async def _enter(
        self,
        stack: AsyncExitStack,
        name: str,
        limits: Limits,
        readers: ThreadPoolExecutor,
        trouble: OSError | None,
    ) -> Log:
        writers = ThreadPoolExecutor(1, f"spool-write-{name.rpartition('/')[2]}")
        stack.callback(writers.shutdown)
        part = Log(
            self._path / name,
            files=self._files,
            clock=self._clock,
            limits=limits,
            # Dead letters hold what a lane refused, with its reason.
            max_record=self._settings.max_record,
            writers=writers,
            readers=readers,
        )
        part.trouble = trouble
        return await stack.enter_async_context(part)

    # --- the lock -------------------------------------------------------------------------------------

    def _take(self) -> OSError | None:
        """Makes the directory and takes the lock; returns why it cannot be written, if that is so."""
        for parent in reversed(self._missing_parents()):
            make_directory(self._files, parent)
        trouble = make_directory(self._files, self._path)
        try:
            trouble = self._lock_file() or trouble
        except FileNotFoundError as error:
            # A file system that was read-only from the beginning: nobody else can write it either.
            trouble = error
        make_directory(self._files, self._path / "lanes") if trouble is None else None
        return trouble

    def _missing_parents(self) -> list[Path]:
        missing = []
        parent = self._path.absolute().parent
        while parent != parent.parent:
            try:
                self._files.close(self._files.open(parent, os.O_RDONLY | os.O_DIRECTORY))
            except FileNotFoundError:
                missing.append(parent)
                parent = parent.parent
            except OSError as error:
                raise SpoolUnusable(f"{parent} cannot be used for the spool: {error.strerror}") from error
            else:
                break
        return missing

    def _lock_file(self) -> OSError | None:
        path = self._path / _LOCK_NAME
        trouble: OSError | None = None
        try:
            self._lock = self._files.open(path, os.O_RDWR | os.O_CREAT)
        except OSError as error:
            if error.errno not in {errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT}:
                raise SpoolUnusable(f"{path} cannot be opened: {error.strerror}") from error
            trouble = error
            self._lock = self._files.open(path, os.O_RDONLY)
        if not self._files.flock(self._lock):
            owner = self._files.pread(self._lock, 32, 0).decode("ascii", "replace").strip() or "unknown"
            raise SpoolLocked(
                f"{self._path} is in use by another process (pid {owner}): stop it first, or give this one a "
                "spool directory of its own"
            )
        if trouble is None:
            try:
                self._files.ftruncate(self._lock, 0)
                write_all(self._files, self._lock, f"{os.getpid()}\n".encode(), 0)
            except OSError as error:
                trouble = error
        return trouble

    def _release(self) -> None:
        lock, self._lock = self._lock, None
        if lock is not None:
            with suppress(OSError):
                self._files.close(lock)
