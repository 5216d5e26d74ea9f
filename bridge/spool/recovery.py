"""What a start finds in a log's directory. Only reads: what has to be written again is left to the writer."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from bridge.spool.envelope import CursorState, unpack_state
from bridge.spool.files import Files
from bridge.spool.layout import (
    HEADER_SIZE,
    RECORD_SIZE,
    STATE,
    Item,
    Segment,
    parse_name,
)
from bridge.spool.tail import first_record, merge_cursors, pieces, read_header, read_tail

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
    _take_tail(files, directory, found)
    _find_snapshot(files, directory, found, [*found.superseded, *found.segments])
    _leave_out_deleted(found)
    return found


def _in_order(files: Files, directory: Path, named: list[Segment]) -> list[Segment]:
    """Leaves out copies and strangers: the first offsets of a log never fall and no generation comes twice."""

    def disorder(segments: Sequence[Segment]) -> bool:
        return any(a.generation == b.generation or a.first > b.first for a, b in pairwise(segments))

    if not disorder(named):
        return named
    kept = [segment for segment in named if read_header(files, directory, segment) is not None]
    result: list[Segment] = []
    for segment in reversed(kept):
        if not result or (segment.generation < result[0].generation and segment.first <= result[0].first):
            result.insert(0, segment)
    for segment in named:
        if segment not in result:
            log.warning("%s: does not belong to this log, ignored and left alone", directory / segment.name)
    return result


def _take_tail(files: Files, directory: Path, found: Recovered) -> None:
    last = found.segments[-1]
    header = read_header(files, directory, last)
    tail = read_tail(files, directory, last, header)
    if header is None and not tail.records and last.size:
        # Nothing can be read, perhaps only now: no offset that it may hold is given again.
        tail.proven = tail.next = last.first + last.size // (RECORD_SIZE + 8)
        tail.used = last.size
    found.cursors, found.marks, found.start = tail.cursors, tail.marks, tail.start
    found.sealed = tail.sealed
    found.tail_size = tail.used
    found.durable = tail.proven
    found.rewrite = pieces([event for event in tail.events if event.offset >= tail.proven])
    recovered = sum(len(item.payloads) for item in found.rewrite)
    end = found.rewrite[-1].first + len(found.rewrite[-1].payloads) if found.rewrite else tail.proven
    found.torn = end - tail.proven - recovered
    found.next = max([end, *(state.low for state in found.cursors.values())])
    if not found.rewrite:
        # What a cursor has passed was there, whatever damage left of it: the reader meets and counts it.
        found.durable = found.next


def _find_snapshot(files: Files, directory: Path, found: Recovered, segments: Sequence[Segment]) -> None:
    """When the head of the last segment is damaged, older segments still know the cursors of their time."""
    last = found.segments[-1]
    if _begins_with_snapshot(files, directory, last):
        return
    older = sorted((s for s in segments if s is not last), key=lambda s: -s.generation)
    for segment in older[:_STATE_SEARCH]:
        tail = read_tail(files, directory, segment, None)
        cursors = dict(tail.cursors)
        merge_cursors(cursors, found.cursors)
        found.cursors = cursors
        found.marks = {**tail.marks, **found.marks}
        found.start = max(found.start, tail.start)
        if tail.has_snapshot:
            return


def _is_real(files: Files, directory: Path, segment: Segment) -> bool:
    """Whether a file with a segment's name holds a header or at least a record of it."""
    if read_header(files, directory, segment) is not None:
        return True
    return first_record(files, directory, segment) is not None


def _begins_with_snapshot(files: Files, directory: Path, segment: Segment) -> bool:
    first = first_record(files, directory, segment)
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
