"""One segment, read to its end: what a start needs to know of the last one."""

import logging
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
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
    SEAL,
    STATE,
    UNREADABLE,
    Found,
    Header,
    Item,
    Read,
    Segment,
    parse_header,
    scan,
    split_marks,
)

log = logging.getLogger(__name__)

PATIENCE = 1.0
"""Seconds for which the blocks of one reading are tried again before what cannot be read counts as damaged."""
_REST = 0.05


class Tail:
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


def read_header(files: Files, directory: Path, segment: Segment) -> Header | None:
    """The header of a segment if it can be read and says what the name says.

    Raises:
        SpoolTooNew: a later major version wrote it.
    """
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


def read_tail(files: Files, directory: Path, segment: Segment, header: Header | None) -> Tail:
    """Scans a whole segment; of one that cannot be read, what its name and header say."""
    tail = Tail(segment, header)
    try:
        fd = files.open(directory / segment.name, os.O_RDONLY)
    except OSError as error:
        log.warning("%s cannot be read: %s", directory / segment.name, error.strerror)
        return tail
    try:
        for found in scan(tolerant(files, fd), HEADER_SIZE, segment.size, segment.salt):
            tail.take(Found._make(found))
    finally:
        with suppress(OSError):
            files.close(fd)
    return tail


def tolerant(files: Files, fd: int) -> Read:
    """Reads of a file in which unreadable blocks of 4096 bytes are zeros, which never look like a record.

    What cannot be read is tried again for a moment, since an error may pass and what is taken for damage is lost.
    """
    patience = [PATIENCE]

    def again(position: int, size: int) -> bytes:
        while True:
            try:
                return files.pread(fd, size, position)
            except OSError:
                if patience[0] <= 0:
                    return bytes(size)
            patience[0] -= _REST
            time.sleep(_REST)

    def read(position: int, size: int) -> bytes:
        try:
            return files.pread(fd, size, position)
        except OSError:
            parts = []
            at, end = position, position + size
            while at < end:
                wanted = min(4096 - at % 4096, end - at)
                part = again(at, wanted)
                parts.append(part)
                at += wanted
                if len(part) < wanted:
                    break
            return b"".join(parts)

    return read


def pieces(events: Sequence[Found]) -> list[Item]:
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


def first_record(files: Files, directory: Path, segment: Segment) -> Found | None:
    """The first record of a segment that can be read, or None."""
    try:
        fd = files.open(directory / segment.name, os.O_RDONLY)
    except OSError:
        return None
    try:
        found = map(Found._make, scan(tolerant(files, fd), HEADER_SIZE, segment.size, segment.salt))
        return next((record for record in found if record.kind != UNREADABLE), None)
    finally:
        with suppress(OSError):
            files.close(fd)
