"""What a log knows besides its records: where each cursor stands, and its marks. No I/O."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from itertools import pairwise

from bridge.ports import Offset
from bridge.spool.envelope import CursorState, State, pack_state

MAX_WRITTEN_RANGES = 1024
"""How many settled stretches of one cursor are written; what lies above may come twice after a crash."""

Token = tuple[tuple[str, int, int], ...]
"""Names, versions and low-water marks of the cursors in one state record."""


class Ledger:
    """What one cursor has settled: everything below ``low``, and stretches above it.

    Attributes:
        low: the oldest offset that is not settled.
        above: how many offsets above ``low`` are settled.
        durable_low: the ``low`` that is known to be on the disk.
        skipped: records that a limit or damage took.
    """

    def __init__(self, low: Offset, ranges: Iterable[tuple[Offset, Offset]] = ()) -> None:
        self.low = low
        self.above = 0
        self.durable_low = 0
        self.skipped = 0
        self.version = 0
        self.written_version = 0
        self._ranges: list[tuple[Offset, Offset]] = []
        for first, stop in ranges:
            self.settle(first, stop)

    @property
    def ranges(self) -> tuple[tuple[Offset, Offset], ...]:
        """The settled stretches above ``low``, rising, each from its first to behind its last offset."""
        return tuple(self._ranges)

    @property
    def spread(self) -> int:
        """How many settled stretches there are above ``low``."""
        return len(self._ranges)

    def settle(self, first: Offset, stop: Offset) -> int:
        """Settles ``first`` up to but not ``stop``; returns how many of them were not settled before."""
        first = max(first, self.low)
        if first >= stop:
            return 0
        self.version += 1
        if first == self.low and not self._ranges:
            self.low = stop
            return stop - first
        return self._merge(first, stop)

    def is_settled(self, offset: Offset) -> bool:
        """Whether an offset is settled."""
        if offset < self.low:
            return True
        at = bisect_left(self._ranges, (offset + 1, 0)) - 1
        return at >= 0 and offset < self._ranges[at][1]

    def unsettled(self, offset: Offset) -> Offset:
        """The first offset from ``offset`` on that is not settled."""
        offset = max(offset, self.low)
        if self._ranges:
            at = bisect_left(self._ranges, (offset + 1, 0)) - 1
            if at >= 0:
                offset = max(offset, self._ranges[at][1])
        return offset

    def waiting(self, durable: Offset) -> int:
        """How many offsets below ``durable`` are not settled."""
        return max(0, durable - self.low - self.above)

    def state(self) -> CursorState:
        """What is written down."""
        return CursorState(self.low, tuple(self._ranges[:MAX_WRITTEN_RANGES]))

    def _merge(self, first: Offset, stop: Offset) -> int:
        ranges = self._ranges
        before = self.low + self.above
        left = bisect_left(ranges, (first, first))
        if left and ranges[left - 1][1] >= first:
            left -= 1
        right = left
        while right < len(ranges) and ranges[right][0] <= stop:
            first, stop = min(first, ranges[right][0]), max(stop, ranges[right][1])
            right += 1
        self.above -= sum(b - a for a, b in ranges[left:right])
        if first <= self.low:
            ranges[left:right] = []
            self.low = stop
        else:
            ranges[left:right] = [(first, stop)]
            self.above += stop - first
        return self.low + self.above - before


def runs(offsets: Iterable[Offset]) -> list[tuple[Offset, Offset]]:
    """The stretches that offsets form, in any order: each from its first to behind its last."""
    ordered = sorted(set(offsets))
    if not ordered:
        return []
    if ordered[-1] - ordered[0] + 1 == len(ordered):
        return [(ordered[0], ordered[-1] + 1)]
    breaks = [index for index, (a, b) in enumerate(pairwise(ordered), 1) if b != a + 1]
    edges = [0, *breaks, len(ordered)]
    return [(ordered[a], ordered[b - 1] + 1) for a, b in pairwise(edges)]


class Book:
    """The cursors and marks of one log.

    Attributes:
        start: the log begins here; what lies below was deleted on purpose.
        marks: the value of every mark, as far as it is durable.
        owners: the cursors that somebody still wants; None means all of them.
        start_written: the ``start`` that is known to be on the disk.
    """

    def __init__(
        self,
        start: Offset,
        cursors: Mapping[str, CursorState] | None = None,
        marks: Mapping[str, int] | None = None,
    ) -> None:
        self.start = start
        self.marks = dict(marks or {})
        self.owners: frozenset[str] | None = None
        self.ledgers = {name: Ledger(state.low, state.ranges) for name, state in (cursors or {}).items()}
        self.start_written = start

    def ledger(self, name: str) -> Ledger:
        """The ledger of a cursor; a new one begins where the log begins."""
        ledger = self.ledgers.get(name)
        if ledger is None:
            ledger = self.ledgers[name] = Ledger(self.start)
            ledger.version += 1
        return ledger

    @property
    def dirty(self) -> bool:
        """Whether something is not yet written."""
        return self.start != self.start_written or any(
            ledger.version != ledger.written_version for ledger in self.ledgers.values()
        )

    def changes(self, marks: Mapping[str, int]) -> tuple[bytes, Token]:
        """The payload of a state record with what is not yet written, and the token to confirm it with."""
        names = [name for name, ledger in self.ledgers.items() if ledger.version != ledger.written_version]
        return self._pack(names, marks, snapshot=False)

    def snapshot(self, marks: Mapping[str, int]) -> tuple[bytes, Token]:
        """The payload of a state record with everything there is to say, and its token."""
        return self._pack(list(self.ledgers), {**self.marks, **marks}, snapshot=True)

    def written(self, start: Offset, token: Token) -> None:
        """A state record made with ``token`` is durable."""
        self.start_written = max(self.start_written, start)
        for name, version, low in token:
            ledger = self.ledgers.get(name)
            if ledger is None:  # forgotten meanwhile
                continue
            ledger.written_version = max(ledger.written_version, version)
            ledger.durable_low = max(ledger.durable_low, low)

    def passed(self, *, durably: bool) -> Offset | None:
        """The offset that every cursor has passed, or None when there is no cursor."""
        return min(
            (ledger.durable_low if durably else ledger.low for ledger in self.ledgers.values()), default=None
        )

    @property
    def orphans(self) -> tuple[str, ...]:
        """The cursors that nobody wants any more."""
        return () if self.owners is None else tuple(name for name in self.ledgers if name not in self.owners)

    def is_wanted(self, stop: Offset) -> bool:
        """Whether anything below ``stop`` is still wanted; orphans do not count, while others are there."""
        owned = [ledger for name, ledger in self.ledgers.items() if self._is_owned(name)]
        return any(ledger.low < stop for ledger in owned or self.ledgers.values()) or not self.ledgers

    def drop(self, stop: Offset) -> tuple[int, int]:
        """A limit takes everything below ``stop``.

        Returns:
            how many records some cursor still wanted, and how many only orphans did.
        """
        wanted = max(0, stop - self.start) if not self.ledgers else 0
        orphaned = 0
        for name, ledger in self.ledgers.items():
            taken = ledger.settle(0, stop)
            ledger.skipped += taken
            if self._is_owned(name):
                wanted = max(wanted, taken)
            else:
                orphaned = max(orphaned, taken)
        self.start = max(self.start, stop)
        return wanted, max(0, orphaned - wanted)

    def forget(self, name: str) -> bool:
        """A cursor is no more; durable only with the next snapshot. False when there is none of that name."""
        return self.ledgers.pop(name, None) is not None

    def _is_owned(self, name: str) -> bool:
        return self.owners is None or name in self.owners

    def _pack(self, names: Iterable[str], marks: Mapping[str, int], *, snapshot: bool) -> tuple[bytes, Token]:
        token = tuple((name, self.ledgers[name].version, self.ledgers[name].low) for name in names)
        cursors = {name: self.ledgers[name].state() for name in names}
        return pack_state(State(self.start, cursors, marks, snapshot)), token
