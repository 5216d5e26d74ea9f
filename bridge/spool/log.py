"""One log: a directory of segments, and everything a lane promises about it."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from types import TracebackType
from typing import Self

from bridge.clock import Clock
from bridge.ports import Offset
from bridge.spool.book import Book, runs
from bridge.spool.committer import Committer
from bridge.spool.cursor import LogCursor
from bridge.spool.envelope import CursorState, pack_marks
from bridge.spool.files import Files
from bridge.spool.layout import Segment
from bridge.spool.limits import PURGED, Limits
from bridge.spool.opening import find, new_writer, remove_log
from bridge.spool.parts import InThread, Parts
from bridge.spool.recovery import Recovered
from bridge.spool.retention import Retention
from bridge.spool.shelf import Shelf
from bridge.spool.survey import Survey
from bridge.spool.trouble import Fullness, Trouble

log = logging.getLogger(__name__)


class Log:
    """A lane on the disk; see :class:`bridge.ports.Lane` for what it promises.

    First :meth:`look`, then enter it with ``async with``.

    Args:
        directory: made when it is not there; its parent exists.
        name: of the lane, for people.
        writers: an executor with one thread, for this log alone.
        readers: an executor for reading.

    Attributes:
        limits: what it may take.
        trouble: why its directory could not be made sure of, if that is so.
        appended_bytes: bytes of the payloads that were acknowledged since it was opened.
    """

    def __init__(
        self,
        directory: Path,
        name: str,
        *,
        files: Files,
        clock: Clock,
        limits: Limits,
        max_record: int,
        writers: Executor,
        readers: Executor,
    ) -> None:
        self.name = name
        self._directory = directory
        self._files = files
        self._clock = clock
        self.limits = limits
        self._max_record = max_record
        self._in_thread = InThread(writers)
        self._shelf = Shelf(files, directory, readers)
        self._book = Book(0)
        self._disk = Trouble(str(directory), clock)
        self._fullness = Fullness(f"lane {name}", clock, limits.on_full)
        self._retention = self._new_retention()
        self._cursors: dict[str, LogCursor] = {}
        self._committer: Committer | None = None
        self._found: Recovered | None = None
        self._found_to = 0
        self.trouble: OSError | None = None
        self.appended_bytes = 0

    async def look(self) -> None:
        """Finds what an earlier run left; changes nothing but that the directory is there afterwards.

        Raises:
            SpoolTooNew: it was written by a later major version.
            SpoolUnusable: the directory can neither be made nor read.
        """
        self._found, trouble = await self._in_thread(find, self._files, self._directory)
        self.trouble = trouble or self.trouble

    async def __aenter__(self) -> Self:
        """Takes over what :meth:`look` found, and makes sure of it."""
        found, self._found = self._found, None
        if found is None:
            raise RuntimeError("look() comes first")
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
            LaneFull: there is no room, and the newest are refused; nothing was stored.
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
        self.appended_bytes += sum(map(len, payloads))
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

    async def ended(self) -> None:
        """Returns when nothing is written any more; raises the bug that ended the writer, if it was one."""
        await self._writer.ended()

    # --- what people do to it -------------------------------------------------------------------------

    def own(self, cursors: Iterable[str]) -> None:
        """Names the cursors that somebody wants; what only others want gives way first when room is short."""
        self._book.owners = frozenset(cursors)

    async def discard(self, cursor: str, offsets: Iterable[Offset]) -> int:
        """Settles records for a cursor without their having been read; durable on return.

        Returns:
            how many of them were not settled before.
        """
        ledger = self._book.ledger(cursor)
        durable = self._shelf.durable
        count = sum(ledger.settle(first, min(stop, durable)) for first, stop in runs(offsets))
        self._writer.settled(count)
        await self._writer.write_down()
        return count

    async def purge(self, stop: Offset | None = None) -> int:
        """Gives up every record below ``stop`` (default: all that are durable now), counted; durable on return.

        Returns:
            how many of them some cursor still wanted.
        """
        durable = self._shelf.durable
        stop = durable if stop is None else min(stop, durable)
        if stop <= self.range[0]:
            return 0
        counts = self._book.drop(stop)
        self._retention.lose(counts, PURGED)
        await self._writer.write_down(anew=True)
        return sum(counts)

    async def pass_over(self, cursor: str, stop: Offset | None = None) -> int:
        """As :meth:`purge`, for one cursor only."""
        ledger = self._book.ledger(cursor)
        count = ledger.settle(0, min(self._shelf.durable, stop if stop is not None else self._shelf.durable))
        ledger.skipped += count
        self._retention.lose((count, 0), PURGED)
        self._writer.settled(count)
        await self._writer.write_down()
        return count

    async def forget(self, cursor: str) -> bool:
        """Removes a cursor, and with it what it alone had kept; durable on return. False: there is none.

        Raises:
            ValueError: somebody owns it.
        """
        if cursor in self._cursors or cursor not in self._book.orphans:
            if cursor in self._book.ledgers:
                raise ValueError(f"{cursor} belongs to a configured sink")
            return False
        self._book.forget(cursor)
        await self._writer.write_down(anew=True)
        return True

    async def destroy(self) -> None:
        """Closes it and deletes all of it; raises ``OSError`` when not all of it could be deleted."""
        await self.__aexit__(None, None, None)
        await self._in_thread(remove_log, self._files, self._directory)

    # --- what it says about itself --------------------------------------------------------------------

    def survey(self) -> Survey:
        """What is durable of it at this instant, for whoever looks into its files."""
        first, stop = self.range
        cursors = {name: CursorState(ledger.low, ledger.ranges) for name, ledger in self._book.ledgers.items()}
        segments, end = tuple(self._shelf.segments), self._shelf.tail_position
        return Survey(self.name, self._directory, segments, first, stop, stop, end, cursors)

    def holds(self, segment: Segment) -> bool:
        """Whether a segment is still part of it."""
        return segment in self._shelf.segments

    @property
    def open_cursors(self) -> tuple[str, ...]:
        """The names of the cursors that somebody has taken since it was opened."""
        return tuple(self._cursors)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all cursors, with or without an owner."""
        return tuple(self._book.ledgers)

    @property
    def orphans(self) -> Mapping[str, int]:
        """The cursors that nobody owns, each with the number of records that it has not confirmed."""
        return {name: self._book.ledgers[name].waiting(self._shelf.durable) for name in self._book.orphans}

    @property
    def range(self) -> tuple[Offset, Offset]:
        """The offset of the oldest record, and the one behind the newest durable record."""
        return max(self._shelf.first, self._book.start), self._shelf.durable

    @property
    def full(self) -> str | None:
        """Which limit leaves no room for more, or None."""
        return self._fullness.why

    @property
    def commits(self) -> int:
        """How often something was made durable since the process started."""
        return 0 if self._committer is None else self._committer.commits

    @property
    def bytes_used(self) -> int:
        """Bytes of its segments."""
        return self._shelf.bytes_used

    @property
    def losses(self) -> Mapping[str, int]:
        """Records that were deleted before every cursor had them, by reason."""
        return dict(self._retention.losses)

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
        return Retention(str(self._directory), shelf=self._shelf, book=self._book, limits=self.limits)

    def _take_over(self, found: Recovered) -> None:
        """Sets up everything that lives as long as the log is open."""
        self._shelf.segments = found.segments
        self._shelf.durable = found.durable
        owners = self._book.owners
        self._book = Book(found.start, found.cursors, found.marks)
        self._book.owners = owners
        if found.sealed:
            for ledger in self._book.ledgers.values():
                ledger.durable_low = ledger.low
        self._retention = self._new_retention()
        self._retention.count_missing(found.start)
        parts = Parts(
            name=self.name,
            directory=self._directory,
            files=self._files,
            clock=self._clock,
            limits=self.limits,
            in_thread=self._in_thread,
            shelf=self._shelf,
            book=self._book,
            retention=self._retention,
            trouble=self._disk,
            fullness=self._fullness,
        )
        self._committer = new_writer(parts, found)
