"""Group commit: everything that waits goes out in one write and one sync; and what happens when that fails."""

import asyncio
import errno
import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import ParamSpec, TypeVar

from bridge.backoff import delays
from bridge.clock import Clock
from bridge.ports import Offset
from bridge.spool.book import Book, Token
from bridge.spool.journal import Group, Journal
from bridge.spool.layout import RECORD_SIZE, Segment
from bridge.spool.pending import Pending, Queue
from bridge.spool.recovery import Recovered
from bridge.spool.retention import Retention
from bridge.spool.shelf import Shelf
from bridge.spool.trouble import Trouble

log = logging.getLogger(__name__)

MAX_GROUP = 256 * 1024
"""A group takes no further append when it has that many bytes."""

MAX_UNWRITTEN = 1000
"""How many settled records may be unwritten; after a power cut at most that many are sent twice."""

_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Limits:
    """What a log may take.

    Attributes:
        max_bytes: of the disk, the prepared segment included.
        segment_bytes: one segment.
        commit_interval: seconds between two commits at least.
        cursor_interval: seconds that cursors may lag at most.
    """

    max_bytes: int
    segment_bytes: int
    commit_interval: float
    cursor_interval: float


class Committer:
    """Makes a log durable, group by group, in the order of appends. Lives on the event loop.

    The blocking work is done by a :class:`Journal` in the executor's only thread, one job at a time. What
    cannot be written is tried again, with backoff, for ever: a new segment each time.

    Attributes:
        queue: what waits; whatever is put into it becomes durable.
    """

    def __init__(
        self,
        name: str,
        *,
        shelf: Shelf,
        book: Book,
        retention: Retention,
        trouble: Trouble,
        journal: Journal,
        executor: Executor,
        limits: Limits,
        clock: Clock,
        offset: Offset,
    ) -> None:
        self._name = name
        self._shelf = shelf
        self._book = book
        self._retention = retention
        self._trouble = trouble
        self._journal = journal
        self._executor = executor
        self._limits = limits
        self._clock = clock
        self._untrimmed: tuple[Segment, int] | None = None
        self._prepared_for: Segment | None = None
        self._stop = asyncio.Event()
        self._flush_wanted = False
        self._flush_timer: asyncio.TimerHandle | None = None
        self._last_commit = -1e9
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._unwritten = 0
        self.queue = Queue(name, offset)

    # --- from the outside -----------------------------------------------------------------------------

    def start(self, trouble: OSError | None = None) -> None:
        """Begins to work; with ``trouble``, by finding out whether the disk can be written after all."""
        self._loop = asyncio.get_running_loop()
        if trouble is not None:
            self._trouble.begin(trouble)
            self._flush()
        self._task = asyncio.create_task(self._run(), name=f"writer of {self._name}")

    def adopt(self, found: Recovered) -> None:
        """Takes over what a start found: first of all, what is unproven is written again."""
        self._retention.doomed = found.superseded
        if found.segments and not found.sealed:
            self._untrimmed = (found.segments[-1], found.tail_size)
        self.queue.add_again(found.rewrite)

    def settled(self, count: int) -> None:
        """Cursors moved by ``count`` records: written with the next group, or alone when it lags too far."""
        self._unwritten += count
        if self._unwritten >= MAX_UNWRITTEN or self._retention.frees_with_next_state:
            self._flush()
        elif self._flush_timer is None and not self._flush_wanted:
            assert self._loop is not None  # noqa: S101 - start() was called
            self._flush_timer = self._loop.call_later(self._limits.cursor_interval, self._flush)

    async def close(self) -> None:
        """Writes what waits, the cursors and the seal. What the disk refuses is given up, with an error."""
        self._stop.set()
        self.queue.filled.set()
        if self._flush_timer is not None:
            self._flush_timer.cancel()
        if self._task is not None:
            await asyncio.wait([self._task])
            self._task.result()

    # --- the task -------------------------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            await self._work()
            await self._finish()
        finally:
            self.queue.close(self._trouble.last_error)

    async def _work(self) -> None:
        while True:
            await self.queue.filled.wait()
            self.queue.filled.clear()
            while self.queue or self._flush_wanted:
                await self._pace()
                self._flush_wanted = False
                taken = self.queue.take(min(MAX_GROUP, self._limits.segment_bytes // 4))
                if not await self._store(taken):
                    self.queue.refuse(taken, self._trouble.last_error)
                    return
                if self._journal.active is not None:
                    await self._prepare_next()
            if self._stop.is_set():
                return

    async def _finish(self) -> None:
        try:
            if self._book.dirty:
                await self._store([])
            await self._in_thread(self._journal.seal)
        except OSError as error:
            self._trouble.note(error)
            self._journal.abandon()

    async def _pace(self) -> None:
        rest = self._last_commit + self._limits.commit_interval - self._clock.monotonic()
        if rest > 0:
            await self._pause(rest)
        self._last_commit = self._clock.monotonic()

    async def _store(self, taken: Sequence[Pending]) -> bool:
        """Makes a group durable, whatever it takes; False when that was given up because of a stop."""
        if await self._extend(taken):
            return True
        waits: Iterator[float] | None = None
        while True:
            self._retention.make_room(sum(pending.size for pending in taken))
            group, token = self._group(taken, snapshot=True)
            start = self._book.start
            try:
                segment = await self._in_thread(self._journal.publish, group)
            except OSError as error:
                if error.errno in _NO_SPACE and await self._free_oldest():
                    continue
                first_failure = waits is None
                self._trouble.begin(error)
                if self._stop.is_set():
                    return False
                waits = waits or delays()
                # A new attempt is a new file; the first may help at once.
                if not first_failure:
                    await self._pause(next(waits))
                continue
            self._trouble.end()
            self._retention.add(segment)
            self._confirm(taken, group, start, token)
            self._retention.retire()
            await self._delete_doomed()
            await self._trim_old()
            return True

    async def _extend(self, taken: Sequence[Pending]) -> bool:
        """Adds a group to the active segment; False when there is none, it is full, or it failed."""
        group, token = self._group(taken, snapshot=False)
        start = self._book.start
        if not self._journal.fits(group.size):
            return False
        try:
            await self._in_thread(self._journal.extend, group)
        except OSError as error:
            self._trouble.note(error)
            return False
        self._trouble.end()
        self._confirm(taken, group, start, token)
        if group.state is not None:
            self._retention.retire()
            await self._delete_doomed()
        return True

    def _group(self, taken: Sequence[Pending], *, snapshot: bool) -> tuple[Group, Token]:
        state: bytes | None = None
        token: Token = ()
        extra: dict[str, int] = {}
        for pending in taken:
            if not pending.item.payloads:
                extra.update(pending.marks)
        if snapshot or extra or self._book.dirty:
            self._retention.advance_start()
            state, token = self._book.snapshot(extra) if snapshot else self._book.changes(extra)
        items = [pending.item for pending in taken if pending.item.payloads]
        durable = self._shelf.durable
        stop = max(durable, items[-1].first + len(items[-1].payloads)) if items else durable
        size = sum(pending.size for pending in taken) + 2 * RECORD_SIZE * (len(items) + 1)
        return Group(durable, stop, state, items, size + (len(state) if state is not None else 0)), token

    def _confirm(self, taken: Sequence[Pending], group: Group, start: Offset, token: Token) -> None:
        """The group is on the disk: the only place where anything becomes durable."""
        self._book.written(start, token)
        for pending in taken:
            self._book.marks.update(pending.marks)
        self._shelf.advance(group.stop, self._journal.position, group.items)
        self.queue.confirm(taken)
        if group.state is not None:
            self._unwritten = 0
            if self._flush_timer is not None:
                self._flush_timer.cancel()
                self._flush_timer = None

    # --- space ----------------------------------------------------------------------------------------

    async def _free_oldest(self) -> bool:
        """On a full disk: gives the oldest segment up; False when that did not free anything."""
        if not self._retention.doomed and not self._retention.drop_oldest("no space left on the disk"):
            return False
        # The reserve of the active segment is there for this: the cursors first, then the segment.
        group, token = self._group([], snapshot=False)
        start = self._book.start
        if self._journal.active is not None and self._journal.fits_reserve(group.size):
            try:
                await self._in_thread(self._journal.extend, group)
            except OSError as error:
                self._trouble.note(error)
            else:
                self._confirm([], group, start, token)
        before = len(self._retention.doomed)
        await self._delete_doomed()
        return len(self._retention.doomed) < before

    async def _delete_doomed(self) -> None:
        doomed, self._retention.doomed = self._retention.doomed, []
        for index, segment in enumerate(doomed):
            try:
                await self._in_thread(self._journal.remove, segment)
            except OSError as error:
                self._trouble.note(error)
                self._retention.doomed = doomed[index:]
                return

    async def _trim_old(self) -> None:
        untrimmed, self._untrimmed = self._untrimmed, None
        if untrimmed is None or untrimmed[0] not in self._shelf.segments:
            return
        try:
            await self._in_thread(self._journal.trim, *untrimmed)
        except OSError as error:
            self._trouble.note(error)

    async def _prepare_next(self) -> None:
        if self._prepared_for is self._journal.active:
            return
        try:
            await self._in_thread(self._journal.prepare)
        except OSError as error:
            self._trouble.note(error)
        self._prepared_for = self._journal.active

    # --- small parts ----------------------------------------------------------------------------------

    def _flush(self) -> None:
        self._flush_timer = None
        self._flush_wanted = True
        self.queue.filled.set()

    async def _pause(self, seconds: float) -> None:
        """Waits, but not longer than to the beginning of a stop."""
        stopping = asyncio.ensure_future(self._stop.wait())
        await asyncio.wait([stopping], timeout=seconds)
        stopping.cancel()

    async def _in_thread(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, partial(function, *args, **kwargs))
