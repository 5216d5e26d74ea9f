"""Which segments of a log have to go, and why. No I/O: what is doomed here is deleted by the committer."""

import logging
from itertools import pairwise

from bridge.hush import Hush
from bridge.spool.book import Book
from bridge.spool.layout import Segment
from bridge.spool.shelf import Shelf

log = logging.getLogger(__name__)

RECENT_RECORDS, RECENT_BYTES = 4096, 16 << 20
"""What stays although every cursor has passed it, as far as both allow: a source that is delivered something again
after a kill -9 finds in the latest records that it has it already."""


class Retention:
    """Keeps a log within its bytes, and lets go of what every cursor has passed.

    Args:
        name: of the log, for people.
        max_bytes: what the log may take of the disk, the prepared segment included.
        segment_bytes: what one segment takes.

    Attributes:
        doomed: segments that are no longer part of the log and still on the disk.
        dropped: records that were deleted before every cursor had them.
    """

    def __init__(self, name: str, *, shelf: Shelf, book: Book, max_bytes: int, segment_bytes: int) -> None:
        self._name = name
        self._shelf = shelf
        self._book = book
        self._max_bytes = max_bytes
        self._segment_bytes = segment_bytes
        self._hush = Hush()
        self.doomed: list[Segment] = []
        self.dropped = 0

    @property
    def frees_with_next_state(self) -> bool:
        """Whether the oldest segment is needed no more, so that writing the cursors down frees it."""
        return self._needless(durably=False) > 0

    def make_room(self, size: int = 0) -> None:
        """Drops the oldest segments until another one has room, which has to hold at least ``size`` bytes.

        The cursors move at once; the segments may be deleted when a state record that says so is durable.
        """
        # The segment to be published, and the one that is kept prepared.
        used = self._shelf.bytes_used + max(size, self._segment_bytes) + self._segment_bytes
        while used > self._max_bytes and len(self._shelf.segments) > 1:
            used -= self._shelf.segments[0].size
            self.drop_oldest("max_bytes is reached")

    def drop_oldest(self, reason: str) -> bool:
        """Drops the oldest segment, as :meth:`make_room` does; False when there is none but the newest."""
        segments = self._shelf.segments
        if len(segments) < 2:
            return False
        self.doomed.append(segments.pop(0))
        wanted = self._book.drop(self._shelf.first)
        self.dropped += wanted
        told = self._hush(reason, wanted) if wanted else 0
        if told:
            log.error("%s: %d of the oldest records were dropped: %s", self._name, told, reason)
        return True

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
        while count and segments[count].first > self._book.start:
            count -= 1
        self.doomed += segments[:count]
        del segments[:count]

    def add(self, segment: Segment) -> None:
        """A new segment is durable; a predecessor without records of its own goes."""
        segments = self._shelf.segments
        if segments and segments[-1].first == segment.first:
            self.doomed.append(segments.pop())
        self._shelf.add(segment)

    def _needless(self, *, durably: bool) -> int:
        """How many of the oldest segments every cursor has passed and nobody asks for as recent."""
        passed = self._book.passed(durably=durably)
        if passed is None:
            return 0
        recent, size = self._shelf.durable - RECENT_RECORDS, self._shelf.bytes_used
        count = 0
        for segment, following in pairwise(self._shelf.segments):
            if following.first > passed or (following.first > recent and size <= RECENT_BYTES):
                break
            size -= segment.size
            count += 1
        return count
