"""Group commit: everything that waits goes out in one write and one sync; and what happens when that fails."""

import asyncio
import errno
import logging
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import ParamSpec, TypeVar

from bridge.backoff import delays
from bridge.clock import Clock
from bridge.errors import SpoolUnusable
from bridge.hush import Hush
from bridge.ports import Offset
from bridge.spool.book import Book, Token
from bridge.spool.journal import Group, Journal
from bridge.spool.layout import RECORD_SIZE, Item, Segment, size_bound
from bridge.spool.recovery import Recovered
from bridge.spool.shelf import Shelf

log = logging.getLogger(__name__)

MAX_PENDING = 4 * 1024 * 1024
"""While more bytes than that wait for the disk, appends wait before they are queued."""
MAX_GROUP = 256 * 1024
"""A group takes no further append when it has that many bytes."""

_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Pending:
    """One append that waits for the disk.

    Attributes:
        item: what is to be written.
        marks: the marks that become durable with it.
        size: at least the bytes it takes on the disk.
        done: resolved when it is durable.
    """

    item: Item
    marks: Mapping[str, int]
    size: int
    done: "asyncio.Future[None] | None"


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
        next: the next offset to be given.
        writable: False from a failed publication to the next good one.
        last_error: the latest error of the disk.
        dropped: records that a limit deleted before every cursor had them.
    """

    def __init__(
        self,
        name: str,
        *,
        shelf: Shelf,
        book: Book,
        journal: Journal,
        executor: Executor,
        limits: Limits,
        clock: Clock,
        offset: Offset,
    ) -> None:
        self._name = name
        self._shelf = shelf
        self._book = book
        self._journal = journal
        self._executor = executor
        self._limits = limits
        self._clock = clock
        self._doomed: list[Segment] = []
        self._untrimmed: tuple[Segment, int] | None = None
        self._prepared_for: Segment | None = None
        self._pending: deque[Pending] = deque()
        self._pending_bytes = 0
        self._room = asyncio.Event()
        self._entry = asyncio.Lock()
        self._entering = 0
        self._wake = asyncio.Event()
        self._stop = asyncio.Event()
        self._flush_wanted = False
        self._flush_timer: asyncio.TimerHandle | None = None
        self._last_commit = -1e9
        self._down_since: float | None = None
        self._hush = Hush()
        self._ended = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self.next = offset
        self.writable = True
        self.last_error: str | None = None
        self.dropped = 0

    # --- from the outside -----------------------------------------------------------------------------

    def start(self, trouble: OSError | None = None) -> None:
        """Begins to work; with ``trouble``, by finding out whether the disk can be written after all."""
        self._loop = asyncio.get_running_loop()
        if trouble is not None:
            self._failed(trouble)
            self._flush()
        self._task = asyncio.create_task(self._run(), name=f"writer of {self._name}")

    def adopt(self, found: Recovered) -> None:
        """Takes over what a start found: first of all, what is unproven is written again."""
        self._doomed = found.superseded
        if found.segments and not found.sealed:
            self._untrimmed = (found.segments[-1], found.tail_size)
        for item in found.rewrite:
            self._enqueue(Pending(item, {}, size_bound(item.payloads, item.marks), None))

    async def append(self, payloads: Sequence[bytes], marks: Mapping[str, int], packed: bytes | None) -> Offset:
        """Queues the payloads and waits until they are durable; returns the offset of the first."""
        if self._entering or self._pending_bytes > MAX_PENDING:
            await self._wait_for_room()
        if self._ended:
            raise SpoolUnusable(f"{self._name}: the spool is closed")
        first = self.next
        done = asyncio.get_running_loop().create_future()
        self._enqueue(Pending(Item(first, payloads, packed), marks, size_bound(payloads, packed), done))
        self.next = first + len(payloads)
        # Cancelling the caller cancels only its future: the group goes on.
        await done
        return first

    def settled(self) -> None:
        """Some cursor has moved: it is written with the next group, when it lags too long, or to free space."""
        segments = self._shelf.segments
        if len(segments) > 1:
            passed = self._book.passed(durably=False)
            if passed is not None and passed >= segments[1].first:
                self._flush()
                return
        if self._flush_timer is None and not self._flush_wanted:
            assert self._loop is not None  # noqa: S101 - start() was called
            self._flush_timer = self._loop.call_later(self._limits.cursor_interval, self._flush)

    async def close(self) -> None:
        """Writes what waits, the cursors and the seal. What the disk refuses is given up, with an error."""
        self._stop.set()
        self._wake.set()
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
            # Nobody may wait for a writer that is no more.
            self._ended = True
            self._room.set()
            for pending in self._pending:
                self._refuse(pending)
            self._pending.clear()

    async def _work(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._pending or self._flush_wanted:
                await self._pace()
                taken = self._take_group()
                if not await self._store(taken):
                    for pending in taken:
                        self._refuse(pending)
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
            self._note(error)
            self._journal.abandon()

    async def _pace(self) -> None:
        rest = self._last_commit + self._limits.commit_interval - self._clock.monotonic()
        if rest > 0:
            await self._pause(rest)
        self._last_commit = self._clock.monotonic()

    def _take_group(self) -> list[Pending]:
        taken: list[Pending] = []
        size = 0
        bound = min(MAX_GROUP, self._limits.segment_bytes // 4)
        while self._pending and (not taken or size + self._pending[0].size <= bound):
            pending = self._pending.popleft()
            taken.append(pending)
            size += pending.size
        self._flush_wanted = False
        return taken

    async def _store(self, taken: Sequence[Pending]) -> bool:
        """Makes a group durable, whatever it takes; False when that was given up because of a stop."""
        if await self._extend(taken):
            return True
        waits: Iterator[float] | None = None
        while True:
            self._make_room()
            group, token = self._group(taken, snapshot=True)
            start = self._book.start
            try:
                segment = await self._in_thread(self._journal.publish, group)
            except OSError as error:
                if error.errno in _NO_SPACE and await self._free_oldest():
                    continue
                first_failure = waits is None
                self._failed(error)
                if self._stop.is_set():
                    return False
                waits = waits or delays()
                # A new attempt is a new file; the first may help at once.
                if not first_failure:
                    await self._pause(next(waits))
                continue
            previous = self._shelf.segments[-1] if self._shelf.segments else None
            if previous is not None and previous.first == segment.first:
                self._shelf.segments.pop()
                self._doomed.append(previous)
            self._shelf.add(segment)
            self._confirm(taken, group, start, token)
            await self._delete_old()
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
            self._note(error)
            return False
        self._confirm(taken, group, start, token)
        if group.state is not None:
            await self._delete_old()
        return True

    def _group(self, taken: Sequence[Pending], *, snapshot: bool) -> tuple[Group, Token]:
        state: bytes | None = None
        token: Token = ()
        extra: dict[str, int] = {}
        for pending in taken:
            if not pending.item.payloads:
                extra.update(pending.marks)
        if snapshot or extra or self._book.dirty:
            self._advance_start()
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
            self._pending_bytes -= pending.size
        self._shelf.advance(group.stop, self._journal.position)
        for pending in taken:
            if pending.done is not None and not pending.done.done():
                pending.done.set_result(None)
        if self._pending_bytes <= MAX_PENDING:
            self._room.set()
        if group.state is not None and self._flush_timer is not None:
            self._flush_timer.cancel()
            self._flush_timer = None
        self._recovered()

    # --- space ----------------------------------------------------------------------------------------

    def _make_room(self) -> None:
        """Drops the oldest segments until another one has room; they are deleted once that is durable."""
        segments = self._shelf.segments
        # The segment to be published, and the one that is kept prepared.
        used = self._shelf.bytes_used + 2 * self._limits.segment_bytes
        while len(segments) > 1 and used > self._limits.max_bytes:
            used -= segments[0].size
            self._drop_first("max_bytes is reached")

    def _drop_first(self, reason: str) -> None:
        segment = self._shelf.segments.pop(0)
        self._doomed.append(segment)
        wanted = self._book.drop(self._shelf.first)
        self.dropped += wanted
        told = self._hush(reason, wanted) if wanted else 0
        if told:
            log.error("%s: %d of the oldest records were dropped unsent: %s", self._name, told, reason)

    async def _free_oldest(self) -> bool:
        """On a full disk: gives the oldest segment up; False when that did not free anything."""
        if not self._doomed:
            if len(self._shelf.segments) < 2:
                return False
            self._drop_first("no space left on the disk")
        # The reserve of the active segment is there for this: the cursors first, then the segment.
        group, token = self._group([], snapshot=False)
        start = self._book.start
        if self._journal.active is not None and self._journal.fits_reserve(group.size):
            try:
                await self._in_thread(self._journal.extend, group)
            except OSError as error:
                self._note(error)
            else:
                self._confirm([], group, start, token)
        before = len(self._doomed)
        await self._delete_doomed()
        return len(self._doomed) < before

    def _advance_start(self) -> None:
        """What every cursor has passed is no longer part of the log; it is deleted once that is durable."""
        passed = self._book.passed(durably=False)
        if passed is None:
            return
        for segment in self._shelf.segments[1:]:
            if segment.first > passed:
                return
            self._book.start = max(self._book.start, segment.first)

    async def _delete_old(self) -> None:
        """Deletes what every cursor has durably passed, and what was dropped."""
        passed = self._book.passed(durably=True)
        segments = self._shelf.segments
        while passed is not None and len(segments) > 1 and segments[1].first <= passed:
            self._doomed.append(segments.pop(0))
        await self._delete_doomed()

    async def _delete_doomed(self) -> None:
        doomed, self._doomed = self._doomed, []
        for index, segment in enumerate(doomed):
            try:
                await self._in_thread(self._journal.remove, segment)
            except OSError as error:
                self._note(error)
                self._doomed = doomed[index:]
                return

    async def _trim_old(self) -> None:
        untrimmed, self._untrimmed = self._untrimmed, None
        if untrimmed is None or untrimmed[0] not in self._shelf.segments:
            return
        try:
            await self._in_thread(self._journal.trim, *untrimmed)
        except OSError as error:
            self._note(error)

    async def _prepare_next(self) -> None:
        if self._prepared_for is self._journal.active:
            return
        try:
            await self._in_thread(self._journal.prepare)
        except OSError as error:
            self._note(error)
        self._prepared_for = self._journal.active

    # --- trouble --------------------------------------------------------------------------------------

    def _failed(self, error: OSError) -> None:
        self._note(error)
        if self.writable:
            self.writable = False
            self._down_since = self._clock.monotonic()
            log.error(
                "%s cannot be written: %s. Nothing is acknowledged until it can; what is stored is still sent. "
                "Trying again.",
                self._name,
                self.last_error,
            )

    def _recovered(self) -> None:
        if not self.writable and self._down_since is not None:
            log.warning(
                "%s can be written again after %.0f s", self._name, self._clock.monotonic() - self._down_since
            )
        self.writable = True

    def _note(self, error: OSError) -> None:
        self.last_error = error.strerror or str(error)

    def _refuse(self, pending: Pending) -> None:
        if pending.done is not None and not pending.done.done():
            pending.done.set_exception(
                SpoolUnusable(f"{self._name}: stopped while the disk could not be written ({self.last_error})")
            )
            # Its caller may be gone; an exception that nobody fetches is no news.
            pending.done.exception()

    # --- small parts ----------------------------------------------------------------------------------

    def _enqueue(self, pending: Pending) -> None:
        self._pending.append(pending)
        self._pending_bytes += pending.size
        self._wake.set()

    async def _wait_for_room(self) -> None:
        self._entering += 1
        try:
            async with self._entry:
                while self._pending_bytes > MAX_PENDING and not self._ended:
                    self._room.clear()
                    await self._room.wait()
        finally:
            self._entering -= 1

    def _flush(self) -> None:
        self._flush_timer = None
        self._flush_wanted = True
        self._wake.set()

    async def _pause(self, seconds: float) -> None:
        """Waits, but not longer than to the beginning of a stop."""
        stopping = asyncio.ensure_future(self._stop.wait())
        await asyncio.wait([stopping], timeout=seconds)
        stopping.cancel()

    async def _in_thread(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, partial(function, *args, **kwargs))
