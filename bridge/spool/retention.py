"""Which segments of a log have to go, and why. No I/O: what is doomed here is deleted by the committer."""

import logging
from itertools import pairwise

from bridge.hush import Hush
from bridge.ports import Offset
from bridge.spool.book import Book
from bridge.spool.files import Space
from bridge.spool.layout import Segment
from bridge.spool.limits import MAX_BYTES, MIN_FREE_DISK, MISSING, RECENT_BYTES, REMOVED_SINK, TOLD, Limits, Losses
from bridge.spool.shelf import Shelf

log = logging.getLogger(__name__)


class Retention:
    """Keeps a log within its limits, and lets go of what every cursor has passed.

    Args:
        name: of the log, for people.

    Attributes:
        doomed: segments that are no longer part of the log and still on the disk.
        losses: records that were deleted before every cursor had them, by reason.
    """

    def __init__(self, name: str, *, shelf: Shelf, book: Book, limits: Limits) -> None:
        self._name = name
        self._shelf = shelf
        self._book = book
        self._limits = limits
        self._hush = Hush()
        self.doomed: list[Segment] = []
        self.losses = Losses()

    @property
    def frees_with_next_state(self) -> bool:
        """Whether the oldest segment is needed no more, so that writing the cursors down frees it."""
        return self._needless(durably=False) > 0

    @property
    def at_the_limit(self) -> bool:
        """Whether another segment would be one too many for ``max_bytes``."""
        return self._shortage(0, None) is not None

    def make_room(self, size: int, space: Space | None, *, force: bool) -> str | None:
        """Lets the oldest segments go until another one has room, which has to hold at least ``size`` bytes.

        The cursors move at once; the segments may be deleted when a state record that says so is durable.

        Args:
            size: what the group to be written takes at least.
            space: of the file system, None when it is not known.
            force: also what is still wanted, counted; otherwise only what no cursor with an owner wants.

        Returns:
            which limit leaves no room, or None.
        """
        while limit := self._shortage(size, space):
            if not self.drop_oldest(limit, force=force):
                return limit
        return None

    def drop_oldest(self, reason: str, *, force: bool = True) -> bool:
        """Drops the oldest segment, as :meth:`make_room` does; False when none may go."""
        segments = self._shelf.segments
        if len(segments) < 2 or not (force or not self._book.is_wanted(segments[1].first)):
            return False
        self.doomed.append(segments.pop(0))
        self.lose(self._book.drop(self._shelf.first), reason)
        return True

    def lose(self, counts: tuple[int, int], reason: str) -> None:
        """Counts and tells what was lost: wanted by somebody, and by orphans only."""
        for count, why in zip(counts, (reason, REMOVED_SINK), strict=True):
            if not count:
                continue
            self.losses[why] += count
            told = self._hush(why, count)
            if told and why == REMOVED_SINK:
                log.warning("%s: %d of the oldest records were dropped: %s", self._name, told, why)
            elif told:
                log.error("%s: %d of the oldest records were dropped: %s", self._name, told, TOLD.get(why, why))

    def count_missing(self, start: Offset) -> None:
        """At a start: what a cursor had not settled and is no longer there, with no word of it in the log.

        On a full disk nothing could be written before the oldest segment was deleted; or it was a person.
        """
        missing = 0
        for ledger in self._book.ledgers.values():
            lost = ledger.settle(0, start)
            ledger.skipped += lost
            missing = max(missing, lost)
        if missing:
            self.losses[MISSING] += missing
            log.error(
                "%s: %d of the oldest records are gone unsent: deleted to free a full disk, or by hand",
                self._name,
                missing,
            )

    def advance_start(self) -> None:
        """Moves the start of the log to the oldest segment that is still needed; before a state record."""
        count = self._needless(durably=False)
        if count:
            self._book.start = max(self._book.start, self._shelf.segments[count].first)

    def retire(self) -> None:
        """Dooms what is durably needed no more; after a state record."""
        segments, count = self._shelf.segments, self._needless(durably=True)
        # More may be needless by now than the state record says. What comes back with a power cut must lie
        # below its start, or it would look like a log with a hole.
        while count and segments[count].first > self._book.start_written:
            count -= 1
        self.doomed += segments[:count]
        del segments[:count]

    def add(self, segment: Segment) -> None:
        """A new segment is durable; a predecessor without records of its own goes."""
        segments = self._shelf.segments
        if segments and segments[-1].first == segment.first:
            self.doomed.append(segments.pop())
        self._shelf.add(segment)

    def _shortage(self, size: int, space: Space | None) -> str | None:
        """Which limit forbids another segment, or None. What a lane needs just to deliver is never forbidden."""
        new = max(size, self._limits.segment_bytes)
        # The segment to be published, and the one that is kept prepared.
        if self._shelf.bytes_used + new + self._limits.segment_bytes > self._limits.max_bytes:
            return MAX_BYTES if len(self._shelf.segments) > 1 else None
        if space is None or len(self._shelf.segments) < 2:
            return None
        coming = sum(segment.size for segment in self.doomed)
        return MIN_FREE_DISK if space.free + coming - new < self._limits.floor(space) else None

    def _needless(self, *, durably: bool) -> int:
        """How many of the oldest segments were cut off, or passed by every cursor and are not recent."""
        start = self._book.start_written if durably else self._book.start
        passed = max(start, self._book.passed(durably=durably) or 0)
        recent = self._shelf.durable - self._limits.recent_records
        size: int | None = None
        count = 0
        for segment, following in pairwise(self._shelf.segments):
            if following.first > passed:
                break
            if following.first > max(recent, start) and self._limits.recent_records:
                # Summing up is left until it matters: a long backlog has thousands of segments.
                size = self._shelf.bytes_used - self._sizes(count) if size is None else size
                if size <= RECENT_BYTES:
                    break
            if size is not None:
                size -= segment.size
            count += 1
        return count

    def _sizes(self, count: int) -> int:
        return sum(segment.size for segment in self._shelf.segments[:count])
