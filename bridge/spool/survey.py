"""What lies in a log, looked at without a lock and without a change: segments, ranges, cursors. Blocking.

Works on the directory of a stopped spool, one that may only be read included, and beside a running owner, who
deletes and adds segments meanwhile. The owner itself makes the same :class:`Survey` of what it knows.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bridge.clock import Clock, Moment, trusted_age
from bridge.errors import SpoolUnusable
from bridge.ports import Offset
from bridge.spool.envelope import CursorState
from bridge.spool.files import Files
from bridge.spool.layout import Segment
from bridge.spool.recovery import Recovered, recover
from bridge.spool.tail import read_header

_TRIES = 5
"""How often a log is looked at again because its last segment went away under our eyes."""


@dataclass(frozen=True, slots=True)
class Survey:
    """One log at one instant.

    Attributes:
        name: of the lane, or "dead-letters".
        directory: where its segments lie.
        segments: its segments, in order.
        start: the log begins here.
        stop: behind the newest record.
        proven: what cannot be read below it is damage; above it was never finished.
        tail_end: behind the last byte in use of the last segment.
        cursors: where each cursor stands.
    """

    name: str
    directory: Path
    segments: Sequence[Segment]
    start: Offset
    stop: Offset
    proven: Offset
    tail_end: int
    cursors: Mapping[str, CursorState] = field(default_factory=dict)

    @property
    def bytes_used(self) -> int:
        """Bytes of its segments."""
        return sum(segment.size for segment in self.segments)

    def index_of(self, offset: Offset) -> int:
        """Which segment an offset lies in; negative when it lies before all of them."""
        return bisect_right(self.segments, offset, key=lambda segment: segment.first) - 1

    def stop_of(self, index: int) -> Offset:
        """Behind the last offset of a segment."""
        following = self.segments[index + 1].first if index + 1 < len(self.segments) else self.stop
        return min(following, self.stop)

    def end_of(self, index: int) -> int:
        """Behind the last byte of a segment that may hold records."""
        segment = self.segments[index]
        return self.tail_end if index + 1 == len(self.segments) and self.tail_end else segment.size

    def waiting(self, cursor: str, before: Offset | None = None) -> int:
        """How many records (``before`` an offset) a cursor has not settled; one never seen has all before it."""
        end = self.stop if before is None else min(before, self.stop)
        state = self.cursors.get(cursor)
        if state is None:
            return max(0, end - self.start)
        low = max(state.low, self.start)
        above = sum(max(0, min(stop, end) - max(first, low)) for first, stop in state.ranges)
        return max(0, end - low - above)

    def low(self, cursor: str) -> Offset:
        """The oldest offset that a cursor may not have settled."""
        state = self.cursors.get(cursor)
        return self.start if state is None else max(state.low, self.start)

    def is_settled(self, cursor: str, offset: Offset) -> bool:
        """Whether a cursor has settled a record."""
        state = self.cursors.get(cursor)
        if state is None:
            return False
        if offset < state.low:
            return True
        at = bisect_right(state.ranges, offset, key=lambda stretch: stretch[0]) - 1
        return at >= 0 and offset < state.ranges[at][1]


def survey_log(files: Files, directory: Path, name: str) -> Survey:
    """Looks at one log.

    Raises:
        SpoolTooNew: a later major version wrote it.
        SpoolUnusable: the directory cannot be read.
    """
    for _ in range(_TRIES):
        try:
            found = recover(files, directory)
            if not found.segments or _is_there(files, directory, found.segments[-1]):
                return _as_survey(directory, name, found)
        except OSError as error:
            raise SpoolUnusable(f"{directory} cannot be read: {error.strerror}") from error
    raise SpoolUnusable(f"{directory} changes faster than it can be looked at; try again")


def _is_there(files: Files, directory: Path, segment: Segment) -> bool:
    return any(entry.name == segment.name for entry in files.listdir(directory))


def _as_survey(directory: Path, name: str, found: Recovered) -> Survey:
    # What is to be written again counts: a start would give it to the sinks, and devices may rely on it.
    return Survey(
        name=name,
        directory=directory,
        segments=tuple(found.segments),
        start=found.start,
        stop=found.next,
        proven=found.durable,
        tail_end=0,
        cursors=found.cursors,
    )


@dataclass(frozen=True, slots=True)
class Birth:
    """When a segment was begun.

    Attributes:
        moment: on both clocks.
        boot_id: the boot that it belongs to.
    """

    moment: Moment
    boot_id: bytes

    def age(self, clock: Clock) -> float | None:
        """Seconds since then, or None when no clock can tell for certain."""
        return trusted_age(self.moment, self.boot_id, clock)


def birth_of(files: Files, survey: Survey, segment: Segment) -> Birth | None:
    """When a segment was begun, or None when it cannot be read or is damaged."""
    header = read_header(files, survey.directory, segment)
    if header is None:
        return None
    return Birth(Moment(header.wall_ns, header.boot_ns, header.synchronised), header.boot_id)
