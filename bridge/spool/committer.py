"""Group commit: everything that waits goes out in one write and one sync; and what happens when that fails."""

import asyncio
import errno
import logging
from collections.abc import Iterator, Sequence

from bridge.backoff import delays
from bridge.errors import LaneFull
from bridge.ports import Offset
from bridge.spool.book import Token
from bridge.spool.grouping import group_of
from bridge.spool.journal import Group, Journal
from bridge.spool.limits import DISK_BROKEN, DISK_FULL
from bridge.spool.parts import Parts
from bridge.spool.pending import Pending, Queue
from bridge.spool.recovery import Recovered
from bridge.spool.room import AGE_STEPS, Room

log = logging.getLogger(__name__)

MAX_GROUP = 256 * 1024
"""A group takes no further append when it has that many bytes."""

MAX_UNWRITTEN = 1000
"""How many settled records may be unwritten; after a power cut at most that many are sent twice."""

POLL = 1.0
"""Seconds after which a full log looks for room again, when nothing tells it that there is some."""
_REST = 0.02
"""Seconds between two such looks at least."""

_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})


class Committer:
    """Makes a log durable, group by group, in the order of appends. Lives on the event loop.

    The blocking work is done by a :class:`Journal` in the writer's only thread, one job at a time. What
    cannot be written is tried again, with backoff, for ever: a new segment each time. What there is no room
    for waits in the queue, or is refused, as the limits say; cursors are written nevertheless.

    Attributes:
        queue: what waits; whatever is put into it becomes durable.
        commits: groups made durable so far.
    """

    def __init__(self, parts: Parts, *, room: Room, journal: Journal, queue: Queue) -> None:
        self._name = parts.name
        self._shelf = parts.shelf
        self._book = parts.book
        self._retention = parts.retention
        self._trouble = parts.trouble
        self._fullness = parts.fullness
        self._in_thread = parts.in_thread
        self._limits = parts.limits
        self._clock = parts.clock
        self._room = room
        self._journal = journal
        self._stop = asyncio.Event()
        self._changed = asyncio.Event()
        self._flush_wanted = False
        self._flush_timer: asyncio.TimerHandle | None = None
        self._expiry_wanted = False
        self._expiry_timer: asyncio.TimerHandle | None = None
        self._new_segment_wanted = False
        self._last_commit = -1e9
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._unwritten = 0
        self.queue = queue
        self.commits = 0

    def start(self, trouble: OSError | None = None) -> None:
        """Begins to work; with ``trouble``, by finding out whether the disk can be written after all."""
        self._loop = asyncio.get_running_loop()
        if trouble is not None:
            self._trouble.begin(trouble)
            self._flush()
        if self._limits.max_age is not None:
            self._expire_soon()
        self._task = asyncio.create_task(self._run(), name=f"writer of {self._name}")

    def adopt(self, found: Recovered) -> None:
        """Takes over what a start found: first of all, what is unproven is written again."""
        self._retention.doomed = found.superseded
        if found.segments and not found.sealed:
            self._room.untrimmed = (found.segments[-1], found.tail_size)
        self.queue.add_again(found.rewrite)

    def settled(self, count: int) -> None:
        """Cursors moved by ``count`` records: written with the next group, or alone when it lags too far."""
        self._unwritten += count
        self._changed.set()
        if self._unwritten >= MAX_UNWRITTEN or self._retention.frees_with_next_state:
            self._flush()
        elif self._flush_timer is None and not self._flush_wanted:
            assert self._loop is not None  # noqa: S101 - start() was called
            self._flush_timer = self._loop.call_later(self._limits.cursor_interval, self._flush)

    async def write_down(self, *, anew: bool = False) -> None:
        """Returns when everything that is known of cursors now is durable; ``anew``: in a new segment.

        Raises:
            SpoolUnusable: the spool was closed while the disk could not be written.
        """
        self._new_segment_wanted |= anew
        _, done = await self.queue.append((), {}, None)
        await done

    async def close(self) -> None:
        """Writes what waits, the cursors and the seal. What the disk refuses is given up, with an error."""
        self._stop.set()
        self._changed.set()
        self.queue.filled.set()
        self._cancel_flush()
        if self._expiry_timer is not None:
            self._expiry_timer.cancel()
        if self._task is not None:
            await asyncio.wait([self._task])
            self._task.result()

    # --- the task -------------------------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            await self._work()
            await self._finish()
        finally:
            self.queue.close(self._fullness.why or self._trouble.last_error)

    async def _work(self) -> None:
        while True:
            await self._wait_for_work()
            while self.queue or self._flush_wanted:
                await self._pace()
                if self._expiry_wanted:
                    await self._expire()
                flush, self._flush_wanted = self._flush_wanted, False
                taken = await self._next_group()
                if (taken or flush) and not await self._store(taken):
                    self.queue.refuse(taken, self._trouble.last_error)
                    return
                if self._journal.active is not None:
                    await self._room.prepare_next()
                if self._fullness.why is not None and not taken and self.queue:
                    if self._stop.is_set():
                        return
                    await self._change(POLL)
            if self._stop.is_set():
                return

    async def _wait_for_work(self) -> None:
        while self.queue.refusing is not None and not self.queue.filled.is_set():
            await self._change(POLL)
            if not self._trouble.writable and await self._publish([]) is not None:
                continue
            if await self._room.another_segment():
                self.queue.refusing = None
        await self.queue.filled.wait()
        self.queue.filled.clear()

    async def _next_group(self) -> list[Pending]:
        """What is to be written next; nothing when there is no room for it."""
        taken = self.queue.take(min(MAX_GROUP, self._limits.segment_bytes // 4))
        size = sum(pending.size for pending in taken if pending.item.payloads)
        # What an unclean stop left was accepted before: no limit refuses it.
        if not size or any(pending.done is None for pending in taken) or await self._room.take_in(size):
            return taken
        self.queue.put_back(taken)
        if self._room.refuses:
            self.queue.turn_away(LaneFull(self._name, self._fullness.why or ""))
        return []

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
        if not self._new_segment_wanted and await self._extend(taken):
            return True
        waits: Iterator[float] | None = None
        while True:
            error = await self._publish(taken)
            if error is None:
                return True
            if error.errno in _NO_SPACE and await self._free_oldest():
                continue
            self._trouble.begin(error)
            if self._stop.is_set():
                return False
            # A new attempt is a new file; the first may help at once.
            if waits is None:
                waits = delays()
                continue
            if self._refuse(taken, error):
                return True
            await self._change(next(waits))

    async def _publish(self, taken: Sequence[Pending]) -> OSError | None:
        """Tries once to make a group durable in a new segment; returns why not."""
        bare = not any(pending.item.payloads for pending in taken)
        # For cursors alone nothing is dropped: they take a small segment where there is no room for another.
        if self._room.drops and not bare:
            await self._room.another_segment(sum(pending.size for pending in taken))
        group, token = self._group(taken, snapshot=True)
        start = self._book.start
        small = bare and (self._fullness.why is not None or self._retention.at_the_limit)
        try:
            segment = await self._in_thread(self._journal.publish, group, small=small)
        except OSError as error:
            return error
        self._new_segment_wanted = False
        self._retention.add(segment)
        self._confirm(taken, group, start, token)
        self._retention.retire()
        await self._room.delete_doomed()
        await self._room.trim_old()
        return None

    async def _extend(self, taken: Sequence[Pending]) -> bool:
        """Adds a group to the active segment; False when there is none, it is full, or it failed."""
        group, token = self._group(taken, snapshot=False)
        start = self._book.start
        # In a full log cursors alone may use the reserve.
        bare = not group.items and self._fullness.why is not None
        if not (self._journal.fits_reserve if bare else self._journal.fits)(group.size):
            return False
        try:
            await self._in_thread(self._journal.extend, group)
        except OSError as error:
            self._trouble.note(error)
            return False
        self._confirm(taken, group, start, token)
        if group.state is not None:
            self._retention.retire()
            await self._room.delete_doomed()
        return True

    def _group(self, taken: Sequence[Pending], *, snapshot: bool) -> tuple[Group, Token]:
        if snapshot or self._book.dirty:
            self._retention.advance_start()
        return group_of(taken, self._book, self._shelf.durable, snapshot=snapshot)

    def _confirm(self, taken: Sequence[Pending], group: Group, start: Offset, token: Token) -> None:
        """The group is on the disk: the only place where anything becomes durable."""
        self.commits += 1
        self._trouble.end()
        self._book.written(start, token)
        for pending in taken:
            self._book.marks.update(pending.marks)
        self._shelf.advance(group.stop, self._journal.position, group.items)
        self.queue.confirm(taken)
        if group.state is not None:
            self._unwritten = 0
            self._cancel_flush()

    def _refuse(self, taken: Sequence[Pending], error: OSError) -> bool:
        """With a disk that cannot be written: refuses what the policy says; True when that was the whole group."""
        if not self._room.refuses:
            return False
        why = DISK_FULL if error.errno in _NO_SPACE else DISK_BROKEN
        self._fullness.begin(why)
        # What was accepted before, and cursors alone, wait for the disk.
        accepted = any(pending.done is None for pending in taken)
        refused = not accepted and any(pending.item.payloads for pending in taken)
        if refused:
            self.queue.put_back(taken)
        self.queue.turn_away(LaneFull(self._name, why))
        return refused

    async def _free_oldest(self) -> bool:
        """On a full disk: gives the oldest segment up; False when that did not free anything."""
        if not self._retention.doomed and not self._retention.drop_oldest(DISK_FULL, force=self._room.drops):
            return False
        # The active segment's reserve is there for this: the cursors first, then the segment.
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
        await self._room.delete_doomed()
        return len(self._retention.doomed) < before

    async def _expire(self) -> None:
        self._expiry_wanted = False
        if await self._room.expire():
            self._flush_wanted = True
        if await self._room.must_close_newest():
            self._flush_wanted = self._new_segment_wanted = True

    # --- time -----------------------------------------------------------------------------------------

    def _cancel_flush(self) -> None:
        if self._flush_timer is not None:
            self._flush_timer.cancel()
            self._flush_timer = None

    def _flush(self) -> None:
        self._flush_timer = None
        self._flush_wanted = True
        self.queue.filled.set()

    def _expire_soon(self) -> None:
        assert self._loop is not None  # noqa: S101 - start() was called
        assert self._limits.max_age is not None  # noqa: S101 - only then
        self._expiry_wanted = True
        self._flush()
        pause = min(60.0, max(0.05, self._limits.max_age / AGE_STEPS))
        self._expiry_timer = self._loop.call_later(pause, self._expire_soon)

    async def _pause(self, seconds: float) -> None:
        """Waits, but not longer than to the beginning of a stop."""
        await _any(seconds, self._stop)

    async def _change(self, seconds: float) -> None:
        """Waits until a cursor may have moved, or that much time passed, or there is work or a stop."""
        await self._pause(_REST)
        news = (self._changed, self.queue.filled) if self.queue.refusing is not None else (self._changed,)
        await _any(seconds, self._stop, *news)
        self._changed.clear()


async def _any(seconds: float, *events: asyncio.Event) -> None:
    """Waits until one of the events is set, or that much time passed."""
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()
