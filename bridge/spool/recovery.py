"""What a start finds in a log's directory. Only reads: what has to be written again is left to the writer."""

import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from bridge.errors import SpoolTooNew
from bridge.spool.envelope import CursorState, pack_marks, unpack_marks, unpack_state
from bridge.spool.files import Files
from bridge.spool.layout import (
    CARRIES,
    CLOSES,
    EVENT,
    HEADER_SIZE,
    MAJOR,
    MARKED,
    OPENS,
    RECORD_SIZE,
    SEAL,
    STATE,
    UNREADABLE,
    Found,
    Header,
    Item,
    Read,
    Segment,
    parse_header,
    parse_name,
    scan,
    split_marks,
)

log = logging.getLogger(__name__)

_STATE_SEARCH = 8
"""How many segments are searched for a snapshot when the head of the last one is damaged."""


@dataclass(slots=True)
class Recovered:
    """A log as a start found it.

    Attributes:
        segments: its segments, in order.
        superseded: segments without records of their own, to be deleted once something newer is durable.
        generation: the highest generation seen.
        start: the log begins here.
        durable: every offset below it is on the disk, or is damage.
        next: the next offset to be given.
        cursors: where each cursor stands.
        marks: the value of every mark.
        rewrite: records that may exist in memory only, to be written again before anything else.
        torn: offsets among them that nothing is left of.
        tail_size: how many bytes of the last segment are in use.
        sealed: whether the last run ended in order.
    """

    segments: list[Segment] = field(default_factory=list)
    superseded: list[Segment] = field(default_factory=list)
    generation: int = 0
    start: int = 0
    durable: int = 0
    next: int = 0
    cursors: dict[str, CursorState] = field(default_factory=dict)
    marks: dict[str, int] = field(default_factory=dict)
    rewrite: list[Item] = field(default_factory=list)
    torn: int = 0
    tail_size: int = 0
    sealed: bool = True


def recover(files: Files, directory: Path) -> Recovered:
    """Reads the names in a log's directory and its last segment; changes nothing.

    Raises:
        SpoolTooNew: the last segment was written by a later major version.
        OSError: the directory cannot be listed.
    """
    found = Recovered()
    named: list[Segment] = []
    for entry in files.listdir(directory):
        segment = parse_name(entry.name, entry.size)
        if segment is not None:
            named.append(segment)
        elif entry.name.endswith(".seg"):
            log.warning("%s: no name of a segment, ignored", directory / entry.name)
    named.sort(key=lambda segment: (segment.generation, segment.first))
    found.generation = max((segment.generation for segment in named), default=0)
    named = _in_order(files, directory, named)
    for segment in named:
        if found.segments and found.segments[-1].first == segment.first:
            if not _is_real(files, directory, segment):
                log.warning("%s: holds nothing of this log, ignored and left alone", directory / segment.name)
                continue
            found.superseded.append(found.segments.pop())
        found.segments.append(segment)
    if not found.segments:
        return found
    _read_tail(files, directory, found)
    _find_snapshot(files, directory, found, [*found.superseded, *found.segments])
    _leave_out_deleted(found)
    return found


def _in_order(files: Files, directory: Path, named: list[Segment]) -> list[Segment]:
    """Leaves out copies and strangers: the first offsets of a log never fall and no generation comes twice."""

    def disorder(segments: Sequence[Segment]) -> bool:
        return any(a.generation == b.generation or a.first > b.first for a, b in pairwise(segments))

    if not disorder(named):
        return named
    kept = [segment for segment in named if _header(files, directory, segment) is not None]
    result: list[Segment] = []
    for segment in reversed(kept):
        if not result or (segment.generation < result[0].generation and segment.first <= result[0].first):
            result.insert(0, segment)
    for segment in named:
        if segment not in result:
            log.warning("%s: does not belong to this log, ignored and left alone", directory / segment.name)
    return result


def _header(files: Files, directory: Path, segment: Segment) -> Header | None:
    """The header of a segment if it can be read and says what the name says."""
    try:
        fd = files.open(directory / segment.name, os.O_RDONLY)
    except OSError:
        return None
    try:
        header = parse_header(files.pread(fd, HEADER_SIZE, 0))
    except OSError:
        return None
    finally:
        with suppress(OSError):
            files.close(fd)
    if header is None:
        return None
    if header.major > MAJOR:
        raise SpoolTooNew(
            f"{directory / segment.name} was written by a later version of edge-bridge (format {header.major}, "
            f"this one reads up to {MAJOR}): nothing was touched. Install that version again, or move the "
            "directory away to begin a new queue."
        )
    same = (header.generation, header.first, header.salt) == (segment.generation, segment.first, segment.salt)
    return header if same else None


class _Tail:
    """Collects what the last segment says."""

    def __init__(self, segment: Segment, header: Header | None) -> None:
        self.proven = max(segment.first, header.published if header else 0)
        self.next = self.proven
        self.events: list[Found] = []
        self.cursors: dict[str, CursorState] = {}
        self.marks: dict[str, int] = {}
        self.start = 0
        self.has_snapshot = False
        self.sealed = False
        self.used = HEADER_SIZE
        self.records = 0
        self._first = segment.first

    def take(self, found: Found) -> None:
        """Takes one finding of the scan; never raises for what it says."""
        if found.kind == UNREADABLE:
            return
        self.records += 1
        self.used = found.stop
        self.sealed = found.kind == SEAL
        if found.kind in (EVENT, STATE, SEAL):
            self.proven = max(self.proven, found.offset - found.lag)
            self.next = max(self.next, found.offset)
        if found.kind == EVENT and found.payload is not None:
            self._event(found)
        elif found.kind == STATE and found.payload is not None:
            self._state(found.payload)

    def _event(self, found: Found) -> None:
        assert found.payload is not None  # noqa: S101 - take() looked
        self.next = max(self.next, found.offset + 1)
        if found.flags & CARRIES:
            with suppress(ValueError):
                self.marks.update(unpack_marks(split_marks(found.payload)[0]))
        if self.events and self.events[0].offset < self.proven:
            self.events = [event for event in self.events if event.offset >= self.proven]
        if found.offset >= self.proven and (not self.events or found.offset > self.events[-1].offset):
            self.events.append(found)

    def _state(self, payload: bytes) -> None:
        try:
            state = unpack_state(payload)
        except ValueError:
            return
        self.has_snapshot = self.has_snapshot or state.snapshot
        self.start = max(self.start, state.start)
        self.marks.update(state.marks)
        merge_cursors(self.cursors, state.cursors)


def merge_cursors(into: dict[str, CursorState], newer: Mapping[str, CursorState]) -> None:
    """Takes over newer positions; a cursor never goes back."""
    for name, state in newer.items():
        known = into.get(name)
        if known is None or state.low >= known.low:
            into[name] = state


def _read_tail(files: Files, directory: Path, found: Recovered) -> None:
    last = found.segments[-1]
    header = _header(files, directory, last)
    tail = _scan_tail(files, directory, last, header)
    if header is None and not tail.records and last.size:
        # Nothing can be read, perhaps only now: no offset that it may hold is given again.
        tail.proven = tail.next = last.first + last.size // (RECORD_SIZE + 8)
        tail.used = last.size
    found.cursors, found.marks, found.start = tail.cursors, tail.marks, tail.start
    found.sealed = tail.sealed
    found.tail_size = tail.used
    found.durable = tail.proven
    found.rewrite = _pieces([event for event in tail.events if event.offset >= tail.proven])
    recovered = sum(len(item.payloads) for item in found.rewrite)
    end = found.rewrite[-1].first + len(found.rewrite[-1].payloads) if found.rewrite else tail.proven
    found.torn = end - tail.proven - recovered
    found.next = max([end, *(state.low for state in found.cursors.values())])
    if not found.rewrite:
        # What a cursor has passed was there, whatever damage left of it: the reader meets and counts it.
        found.durable = found.next


def _scan_tail(files: Files, directory: Path, segment: Segment, header: Header | None) -> _Tail:
    tail = _Tail(segment, header)
    try:
        fd = files.open(directory / segment.name, os.O_RDONLY)
    except OSError as error:
        log.warning("%s cannot be read: %s", directory / segment.name, error.strerror)
        return tail
    try:
        for found in scan(tolerant(files, fd), HEADER_SIZE, segment.size, segment.salt):
            tail.take(found)
    finally:
        with suppress(OSError):
            files.close(fd)
    return tail


def tolerant(files: Files, fd: int) -> Read:
    """Reads of a file in which unreadable blocks of 4096 bytes are zeros, which never look like a record."""

    def read(position: int, size: int) -> bytes:
        try:
            return files.pread(fd, size, position)
        except OSError:
            parts = []
            for at in range(position, position + size, 4096):
                wanted = min(4096, position + size - at)
                try:
                    part = files.pread(fd, wanted, at)
                except OSError:
                    part = bytes(wanted)
                parts.append(part)
                if len(part) < wanted:
                    break
            return b"".join(parts)

    return read


def _pieces(events: Sequence[Found]) -> list[Item]:
    """What to write again: whole or broken appends; of an append with marks only what still has its marks."""
    items: list[Item] = []
    piece: list[Found] = []
    for event in events:
        if piece and not _continues(piece[-1], event):
            items += _item(piece)
            piece = []
        piece.append(event)
    items += _item(piece)
    return items


def _continues(before: Found, event: Found) -> bool:
    """Whether an event belongs to the same append as the one before it."""
    if event.offset != before.offset + 1 or (before.flags ^ event.flags) & MARKED:
        return False
    return not (before.flags & CLOSES or event.flags & OPENS)


def _item(piece: Sequence[Found]) -> list[Item]:
    if not piece:
        return []
    if not piece[0].flags & MARKED:
        return [Item(piece[0].offset, [event.payload or b"" for event in piece], None)]
    marks: dict[str, int] = {}
    payloads = []
    for event in piece:
        payload = event.payload or b""
        if event.flags & CARRIES:
            packed, payload = split_marks(payload)
            with suppress(ValueError):
                marks.update(unpack_marks(packed))
        payloads.append(payload)
    return [Item(piece[0].offset, payloads, pack_marks(marks))] if marks else []


def _find_snapshot(files: Files, directory: Path, found: Recovered, segments: Sequence[Segment]) -> None:
    """When the head of the last segment is damaged, older segments still know the cursors of their time."""
    last = found.segments[-1]
    if _begins_with_snapshot(files, directory, last):
        return
    older = sorted((s for s in segments if s is not last), key=lambda s: -s.generation)
    for segment in older[:_STATE_SEARCH]:
        tail = _scan_tail(files, directory, segment, None)
        cursors = dict(tail.cursors)
        merge_cursors(cursors, found.cursors)
        found.cursors = cursors
        found.marks = {**tail.marks, **found.marks}
        found.start = max(found.start, tail.start)
        if tail.has_snapshot:
            return


def _is_real(files: Files, directory: Path, segment: Segment) -> bool:
    """Whether a file with a segment's name holds a header or at least a record of it."""
    if _header(files, directory, segment) is not None:
        return True
    return _first_record(files, directory, segment) is not None


def _first_record(files: Files, directory: Path, segment: Segment) -> Found | None:
    try:
        fd = files.open(directory / segment.name, os.O_RDONLY)
    except OSError:
        return None
    try:
        found = scan(tolerant(files, fd), HEADER_SIZE, segment.size, segment.salt)
        return next((record for record in found if record.kind != UNREADABLE), None)
    finally:
        with suppress(OSError):
            files.close(fd)


def _begins_with_snapshot(files: Files, directory: Path, segment: Segment) -> bool:
    first = _first_record(files, directory, segment)
    if first is None or first.start != HEADER_SIZE or first.kind != STATE or first.payload is None:
        return False
    try:
        return unpack_state(first.payload).snapshot
    except ValueError:
        return False


def _leave_out_deleted(found: Recovered) -> None:
    """A deleted segment may come back with a power cut; the log begins where the state says."""
    while len(found.segments) > 1 and found.segments[1].first <= found.start:
        found.superseded.append(found.segments.pop(0))
    found.start = max(found.start, found.segments[0].first)
