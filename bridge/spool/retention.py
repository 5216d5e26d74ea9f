"""Which segments of a log have to go, and why. No I/O: what is doomed here is deleted by the committer."""

import logging

from bridge.hush import Hush
from bridge.spool.book import Book
from bridge.spool.layout import Segment
from bridge.spool.shelf import Shelf

log = logging.getLogger(__name__)


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
        """Whether every cursor has passed the oldest segment, so that writing them down frees it."""
        segments = self._shelf.segments
        if len(segments) < 2:
            return False
        passed = self._book.passed(durably=False)
        return passed is not None and passed >= segments[1].first

    def make_room(self) -> None:
        """Drops the oldest segments until another one has room.

        The cursors move at once; the segments may be deleted when a state record that says so is durable.
        """
        # The segment to be published, and the one that is kept prepared.
        used = self._shelf.bytes_used + 2 * self._segment_bytes
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
        """Moves the start of the log to the oldest segment that some cursor still needs; before a state record."""
        passed = self._book.passed(durably=False)
        if passed is None:
            return
        for segment in self._shelf.segments[1:]:
            if segment.first > passed:
                return
            self._book.start = max(self._book.start, segment.first)

    def retire(self) -> None:
        """Dooms what every cursor has durably passed; after a state record."""
        passed = self._book.passed(durably=True)
        segments = self._shelf.segments
        while passed is not None and len(segments) > 1 and segments[1].first <= passed:
            self.doomed.append(segments.pop(0))

    def add(self, segment: Segment) -> None:
        """A new segment is durable; a predecessor without records of its own goes."""
        segments = self._shelf.segments
        if segments and segments[-1].first == segment.first:
            self.doomed.append(segments.pop())
        self._shelf.add(segment)
