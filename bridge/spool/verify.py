"""Checks every record of a log against its checksums and its neighbours. Reads only. Blocking.

What is found is named by file, position and offsets. Damage is told from what is none: the end of a segment that
was being written when the power went, and segments that were delivered and deleted meanwhile.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from bridge.errors import SpoolUnusable
from bridge.ports import Offset
from bridge.spool.browse import Gone, deleted_meanwhile
from bridge.spool.envelope import unpack_marks, unpack_state
from bridge.spool.files import Files
from bridge.spool.layout import (
    CARRIES,
    CHUNK,
    EVENT,
    GAP,
    HEADER_SIZE,
    SEAL,
    STATE,
    UNREADABLE,
    Found,
    Read,
    scan,
    split_marks,
)
from bridge.spool.survey import Survey
from bridge.spool.tail import read_header, tolerant

_KNOWN = frozenset({EVENT, STATE, GAP, SEAL})

Check = Callable[[bytes], object]
"""Raises ValueError for a payload that is none."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it was written.

    Attributes:
        file: the segment.
        position: of the first byte in it.
        end: behind the last byte.
        first: the first offset that is lost by it.
        stop: behind the last offset that is lost; equal to ``first`` when none is.
        what: what is wrong, for people.
        damage: False for what an unclean stop leaves, which is no reason to worry.
    """

    file: str
    position: int
    end: int
    first: Offset
    stop: Offset
    what: str
    damage: bool = True


@dataclass(frozen=True, slots=True)
class Checked:
    """How far a check has come since the last time.

    Attributes:
        size: bytes that were looked at.
        records: records among them that are good.
    """

    size: int
    records: int


def verify(
    files: Files, survey: Survey, check: Check, *, gone: Gone = deleted_meanwhile
) -> Iterator[Finding | Checked]:
    """Checks a log to its end; ``check`` looks into the payload of each of its records.

    Raises:
        SpoolTooNew: a later major version wrote a segment.
        SpoolUnusable: a segment cannot be read for a reason that says nothing about its bytes.
    """
    for index, segment in enumerate(survey.segments):
        path = survey.directory / segment.name
        try:
            fd = files.open(path, os.O_RDONLY)
        except FileNotFoundError:
            if not gone(segment):
                yield Finding(segment.name, 0, 0, segment.first, survey.stop_of(index), "the file is missing")
            continue
        except OSError as error:
            raise SpoolUnusable(f"{path} cannot be read: {error.strerror}") from error
        try:
            if read_header(files, survey.directory, segment) is None and files.pread(fd, 1, 0):
                yield Finding(
                    segment.name,
                    0,
                    HEADER_SIZE,
                    segment.first,
                    segment.first,
                    "the header is damaged; nothing is lost",
                )
            yield from _Segment(survey, index, tolerant(files, fd), check).run()
        finally:
            with suppress(OSError):
                files.close(fd)


class _Segment:
    """The check of one segment."""

    def __init__(self, survey: Survey, index: int, read: Read, check: Check) -> None:
        self._survey = survey
        self._segment = survey.segments[index]
        self._stop = survey.stop_of(index)
        self._end = survey.end_of(index)
        self._read = read
        self._check = check
        self._expected = self._segment.first
        self._bad: tuple[int, int] | None = None
        self._records = 0

    def run(self) -> Iterator[Finding | Checked]:
        """Everything that is to be said, and from time to time how far it has come."""
        told = HEADER_SIZE
        for plain in scan(self._read, HEADER_SIZE, self._end, self._segment.salt):
            found = Found._make(plain)
            if found.kind == UNREADABLE:
                self._bad = found.start, found.stop
            elif found.kind == EVENT and found.offset >= self._stop:
                break  # the remains of a write that failed; the next segment has it again
            else:
                yield from self._take(found)
            if found.stop - told >= CHUNK:
                yield self._checked(found.stop - told)
                told = found.stop
        yield from self._finish()
        yield self._checked(max(0, self._end - told))

    def _checked(self, size: int) -> Checked:
        records, self._records = self._records, 0
        return Checked(size, records)

    def _take(self, found: Found) -> Iterator[Finding]:
        yield from self._before(found)
        payload = found.payload
        if payload is None:
            first, stop = found.offset, found.offset + (1 if found.kind == EVENT else 0)
            yield self._finding(found.start, found.stop, first, stop, "its payload does not match its checksum")
            self._expected = max(self._expected, stop)
            return
        why = self._wrong(found.kind, found.flags, payload)
        if why is not None:
            first, stop = found.offset, found.offset + (1 if found.kind == EVENT else 0)
            yield self._finding(found.start, found.stop, first, stop, why)
        else:
            self._records += 1
        if found.kind == EVENT:
            self._expected = max(self._expected, found.offset + 1)
        elif found.kind == GAP:
            self._expected = max(self._expected, found.offset + int.from_bytes(payload[:8], "little"))

    def _before(self, found: Found) -> Iterator[Finding]:
        """What lies between the last good record and this one."""
        bad, self._bad = self._bad, None
        if found.kind in _KNOWN and found.offset > self._expected:
            start, end = bad or (found.start, found.start)
            what = "bytes that are no record" if bad else "records are missing"
            yield self._finding(start, end, self._expected, min(found.offset, self._stop), what)
            self._expected = found.offset
        elif bad is not None:
            what = "a record of cursors is damaged; no event is lost"
            yield self._finding(*bad, self._expected, self._expected, what)

    def _finish(self) -> Iterator[Finding]:
        """What is missing at the end; what lies behind the last record is nobody's."""
        start, end = self._bad or (self._end, self._end)
        if self._expected < self._stop:
            proven = min(self._survey.proven, self._stop)
            if self._expected < proven:
                yield self._finding(start, end, self._expected, proven, "bytes that are no record")
            if self._stop > max(self._expected, proven):
                what = "being written at an unclean stop"
                yield self._finding(start, end, max(self._expected, proven), self._stop, what, damage=False)
        elif self._bad is not None and any(self._read(start, min(CHUNK, end - start))):
            what = "bytes behind the last record: a write that was not finished, or a damaged seal"
            yield self._finding(start, end, self._expected, self._expected, what, damage=False)

    def _wrong(self, kind: int, flags: int, payload: bytes) -> str | None:
        try:
            if kind == STATE:
                unpack_state(payload)
            elif kind == EVENT:
                if flags & CARRIES:
                    marks, payload = split_marks(payload)
                    unpack_marks(marks)
                self._check(payload)
        except ValueError as error:
            return f"the record is whole, but {error}"
        return None

    def _finding(
        self, start: int, end: int, first: Offset, stop: Offset, what: str, *, damage: bool = True
    ) -> Finding:
        if first >= self._survey.proven and stop > first and damage:
            damage = False
            what = f"{what}; it was not finished at an unclean stop"
        return Finding(self._segment.name, start, end, first, max(first, stop), what, damage)
