"""One log: a directory of segments, and everything a lane promises about it."""

import asyncio
import errno
import logging
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from bridge.clock import Clock
from bridge.errors import SpoolUnusable
from bridge.ports import Offset
from bridge.spool.book import Book
from bridge.spool.committer import Committer, Limits
from bridge.spool.cursor import LogCursor
from bridge.spool.envelope import pack_marks
from bridge.spool.files import Files, sync_directory
from bridge.spool.journal import Journal
from bridge.spool.recovery import Recovered, recover
from bridge.spool.retention import Retention
from bridge.spool.shelf import Shelf
from bridge.spool.trouble import Trouble

log = logging.getLogger(__name__)

_REFUSALS = frozenset({errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EIO})


class Log:
    """A lane on the disk; see :class:`bridge.ports.Lane` for what it promises.

    Args:
        directory: made when it is not there; its parent exists.
        writers: an executor with one thread, for this log alone.
        readers: an executor for reading.
    """

    def __init__(
        self,
        directory: Path,
        *,
        files: Files,
        clock: Clock,
        limits: Limits,
        max_record: int,
        writers: Executor,
        readers: Executor,
    ) -> None:
        self._directory = directory
        self._files = files
        self._clock = clock
        self._limits = limits
        self._max_record = max_record
        self._writers = writers
        self._shelf = Shelf(files, directory, readers)
        self._book = Book(0)
        self._disk = Trouble(str(directory), clock)
        self._retention = self._new_retention()
        self._cursors: dict[str, LogCursor] = {}
        self._committer: Committer | None = None
        self._found_to = 0
        self.trouble: OSError | None = None

    async def __aenter__(self) -> Self:
        """Finds what an earlier run left, and makes sure of it.

        Raises:
            SpoolTooNew: it was written by a later major version.
            SpoolUnusable: the directory can neither be made nor read.
        """
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self._writers, self._open)
        self._take_over(found)
        self._found_to = found.next
        self._writer.adopt(found)
        self._writer.start(self.trouble)
        if found.torn:
            log.warning(
                "%s: %d records of the last moment before an unclean stop are missing; they were being written "
                "and not yet acknowledged, or the disk is damaged",
                self._directory,
                found.torn,
            )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Writes what waits, the cursors and the seal."""
        for cursor in self._cursors.values():
            cursor.close()
        await self._writer.close()

    # --- the lane -------------------------------------------------------------------------------------

    async def append(self, payloads: Sequence[bytes], marks: Mapping[str, int] | None = None) -> Offset:
        """Stores the payloads; durable on return. Returns the offset of the first.

        While more than 4 MiB wait for the disk the call waits before it queues anything, in the order of
        calls; cancelled there it stores nothing.

        Raises:
            ValueError: a payload is larger than a record may be; nothing was stored.
            SpoolUnusable: the spool was closed while the disk could not be written.
        """
        for payload in payloads:
            if len(payload) > self._max_record:
                raise ValueError(
                    f"a record of {len(payload)} bytes is larger than max_record ({self._max_record})"
                )
        if not payloads and not marks:
            return self._writer.queue.next
        marks = dict(marks) if marks else {}
        packed = pack_marks(marks) if marks else None
        first, done = await self._writer.queue.append(tuple(payloads), marks, packed)
        # Cancelling the caller cancels this future only: the group goes on.
        await done
        return first

    def marks(self) -> Mapping[str, int]:
        """The durable value of every mark."""
        return dict(self._book.marks)

    async def recent(self, count: int) -> Sequence[bytes]:
        """Payloads of the latest durable records, oldest first, as far as still on the disk."""
        if self._shelf.durable < self._found_to:
            # What an unclean stop left is being written again, before anything else: it belongs to the answer.
            _, done = await self._writer.queue.append((), {}, None)
            await done
        offset = max(self._shelf.first, self._shelf.durable - count)
        stop = self._shelf.durable
        payloads: list[bytes] = []
        place = None
        while offset < stop:
            chunk = await self._shelf.fetch(offset, place)
            if chunk.next <= offset:
                break
            payloads += chunk.payloads
            offset, place = chunk.next, chunk.place
        return payloads[-count:] if count else []

    def cursor(self, sink: str, live_share: float = 0.0) -> LogCursor:
        """The cursor of that name; a new one begins at the oldest record."""
        cursor = self._cursors.get(sink)
        if cursor is None:
            new = sink not in self._book.ledgers
            cursor = LogCursor(self._shelf, self._book.ledger(sink), self._writer.settled, live_share)
            self._cursors[sink] = cursor
            if new:
                self._writer.settled(0)
        return cursor

    # --- what it says about itself --------------------------------------------------------------------

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all cursors, with or without an owner."""
        return tuple(self._book.ledgers)

    @property
    def records(self) -> int:
        """Records between the oldest and the newest."""
        return self._shelf.durable - max(self._shelf.first, self._book.start)

    @property
    def bytes_used(self) -> int:
        """Bytes of its segments."""
        return self._shelf.bytes_used

    @property
    def dropped(self) -> int:
        """Records that a limit deleted before every cursor had them."""
        return self._retention.dropped

    @property
    def damaged(self) -> int:
        """Records lost to damage."""
        return self._shelf.damaged

    @property
    def writable(self) -> bool:
        """Whether the disk takes what is written."""
        return self._disk.writable

    @property
    def last_error(self) -> str | None:
        """The latest error of the disk."""
        return self._disk.last_error

    # --- opening --------------------------------------------------------------------------------------

    @property
    def _writer(self) -> Committer:
        if self._committer is None:
            raise RuntimeError("the spool is not open")
        return self._committer

    def _new_retention(self) -> Retention:
        return Retention(
            str(self._directory),
            shelf=self._shelf,
            book=self._book,
            max_bytes=self._limits.max_bytes,
            segment_bytes=self._limits.segment_bytes,
        )

    def _take_over(self, found: Recovered) -> None:
        """Sets up everything that lives as long as the log is open."""
        self._shelf.segments = found.segments
        self._shelf.durable = found.durable
        self._book = Book(found.start, found.cursors, found.marks)
        if found.sealed:
            for ledger in self._book.ledgers.values():
                ledger.durable_low = ledger.low
        self._retention = self._new_retention()
        self._count_missing(found.start)
        self._committer = Committer(
            str(self._directory),
            shelf=self._shelf,
            book=self._book,
            retention=self._retention,
            trouble=self._disk,
            journal=Journal(
                self._files,
                self._directory,
                self._clock,
                segment_bytes=self._limits.segment_bytes,
                generation=found.generation,
                offset=found.next,
            ),
            executor=self._writers,
            limits=self._limits,
            clock=self._clock,
            offset=found.next,
        )

    def _count_missing(self, start: Offset) -> None:
        """What a cursor had not settled and is no longer there, with no word of it in the log.

        On a full disk nothing could be written before the oldest segment was deleted; or it was a person.
        """
        missing = 0
        for ledger in self._book.ledgers.values():
            lost = ledger.settle(0, start)
            ledger.skipped += lost
            missing = max(missing, lost)
        if missing:
            self._retention.dropped += missing
            log.error(
                "%s: %d of the oldest records are gone unsent: deleted to free a full disk, or by hand",
                self._directory,
                missing,
            )

    def _open(self) -> Recovered:
        self.trouble = make_directory(self._files, self._directory) or self.trouble
        try:
            found = recover(self._files, self._directory)
        except OSError as error:
            raise SpoolUnusable(f"{self._directory} cannot be read: {error.strerror}") from error
        # A name seen now may still be in memory only, and everything to come rests on it.
        with suppress(OSError):
            sync_directory(self._files, self._directory)
        return found


def make_directory(files: Files, path: Path) -> OSError | None:
    """Makes a directory whose parent exists, durably; returns why it could not be made sure of.

    Raises:
        SpoolUnusable: it is not there and cannot be made.
    """
    trouble: OSError | None = None
    try:
        files.mkdir(path)
    except FileExistsError:
        pass
    except OSError as error:
        trouble = error
    try:
        files.close(files.open(path, os.O_RDONLY | os.O_DIRECTORY))
    except OSError as error:
        why = (trouble or error).strerror
        raise SpoolUnusable(f"{path} cannot be used for the spool: {why}") from error
    # A run that died between making it and this sync left it to us: so always.
    with suppress(OSError):
        sync_directory(files, path.parent)
    return trouble if trouble is not None and trouble.errno in _REFUSALS else None
