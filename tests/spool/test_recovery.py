"""A start over every kind of directory: it never fails for what lies there, and never invents anything."""

import random
from pathlib import Path

import pytest

from bridge.clock import SystemClock
from bridge.errors import SpoolTooNew
from bridge.spool.envelope import CursorState, State, pack_state
from bridge.spool.journal import Group, Journal
from bridge.spool.layout import Header, Item, Segment, parse_header
from bridge.spool.recovery import recover
from tests.kit.faulty_files import FaultyFiles

LOG = Path("/log")
OTHER_SALT = 7


def a_log() -> tuple[FaultyFiles, list[Segment]]:
    """Three segments: 0 to 9, 10 to 19, 20 to 29, whose last five records nothing proves."""
    files = FaultyFiles()
    files.make(LOG)
    journal = Journal(files, LOG, SystemClock(), segment_bytes=64 * 1024, generation=0, offset=0)
    segments = []
    for first in (0, 10, 20):
        state = pack_state(State(0, {"a": CursorState(first, ())}, {"n": first}, True))
        items = [Item(first, [b"%d" % number for number in range(first, first + 5)], None)]
        segments.append(journal.publish(Group(first, first + 5, state, items, 4096)))
        items = [Item(first + 5, [b"%d" % number for number in range(first + 5, first + 10)], None)]
        journal.extend(Group(first + 5, first + 10, None, items, 4096))
    journal.abandon()
    return files, segments


def test_an_empty_directory_is_an_empty_log() -> None:
    files = FaultyFiles()
    files.make(LOG)
    found = recover(files, LOG)
    assert (found.segments, found.next, found.sealed) == ([], 0, True)


def test_what_nothing_proves_is_to_be_written_again() -> None:
    files, segments = a_log()
    found = recover(files, LOG)
    assert found.segments == segments
    assert (found.durable, found.next, found.generation) == (25, 30, 3)
    assert [item.first for item in found.rewrite] == [25]
    assert found.cursors == {"a": CursorState(20, ())}
    assert found.marks == {"n": 20}


def test_every_truncation_of_the_last_segment_is_survived() -> None:
    for size in range(0, 700, 3):
        files, segments = a_log()
        content = files.content(LOG / segments[-1].name)
        files.put(LOG / segments[-1].name, content[:size])
        found = recover(files, LOG)
        assert found.next >= 20
        kept = [payload for item in found.rewrite for payload in item.payloads]
        assert kept == [b"%d" % number for number in range(found.durable, found.durable + len(kept))]


def test_every_flipped_byte_of_the_last_segment_costs_at_most_its_record() -> None:
    files, segments = a_log()
    original = files.content(LOG / segments[-1].name)
    used = len(original.rstrip(b"\0")) + 8
    for at in range(used):
        files.corrupt(LOG / segments[-1].name, 0, original[:used])
        files.corrupt(LOG / segments[-1].name, at, bytes([original[at] ^ 0x5A]))
        found = recover(files, LOG)
        kept = [payload for item in found.rewrite for payload in item.payloads]
        assert all(payload in {b"%d" % number for number in range(20, 30)} for payload in kept)
        assert found.durable >= 20
        assert len(kept) >= 30 - found.durable - 1


def test_a_torn_hole_is_left_out_and_what_follows_is_kept() -> None:
    files, segments = a_log()
    content = files.content(LOG / segments[-1].name)
    at = content.index(b"27\0") - 32
    files.corrupt(LOG / segments[-1].name, at, bytes(34))
    found = recover(files, LOG)
    assert [payload for item in found.rewrite for payload in item.payloads] == [b"25", b"26", b"28", b"29"]
    assert found.torn == 1


def test_strangers_and_copies_are_left_alone() -> None:
    files, segments = a_log()
    middle = segments[1]
    strange = [
        "notes.txt",
        "x.seg",
        Segment(2, 10, OTHER_SALT, 0).name,
        Segment(9_999_999_999, 3, OTHER_SALT, 0).name,
    ]
    for name in strange:
        files.put(LOG / name, b"" if "0" in name else b"hello")
    files.put(LOG / (middle.name + ".bak"), files.content(LOG / middle.name))
    names = files.names(LOG)
    found = recover(files, LOG)
    assert found.segments == segments
    assert found.superseded == []
    assert files.names(LOG) == names


def test_an_empty_file_in_the_place_of_a_successor_takes_nothing_away() -> None:
    files, segments = a_log()
    files.put(LOG / Segment(4, 20, OTHER_SALT, 0).name, b"")
    assert recover(files, LOG).segments == segments


def test_a_segment_without_records_of_its_own_is_superseded() -> None:
    files, segments = a_log()
    journal = Journal(files, LOG, SystemClock(), segment_bytes=64 * 1024, generation=3, offset=30)
    for _ in range(2):
        state = pack_state(State(0, {"a": CursorState(30, ())}, {}, True))
        newest = journal.publish(Group(30, 30, state, [], 100))
    found = recover(files, LOG)
    assert found.segments == [*segments, newest]
    assert [segment.generation for segment in found.superseded] == [4]
    assert found.cursors["a"].low == 30


def test_a_destroyed_header_costs_nothing_that_is_proven() -> None:
    files, segments = a_log()
    files.corrupt(LOG / segments[-1].name, 0, bytes(80))
    found = recover(files, LOG)
    assert found.segments == segments
    assert found.durable == 25
    assert found.next == 30


def test_a_destroyed_snapshot_is_looked_for_in_older_segments() -> None:
    files, segments = a_log()
    files.corrupt(LOG / segments[-1].name, 80, bytes(40))
    found = recover(files, LOG)
    assert found.cursors == {"a": CursorState(10, ())}
    assert found.marks == {"n": 10}


def test_a_last_segment_that_cannot_be_read_keeps_its_offsets() -> None:
    files, segments = a_log()
    files.corrupt(LOG / segments[-1].name, 0, random.Random(1).randbytes(64 * 1024))
    found = recover(files, LOG)
    assert found.next > 30
    assert found.rewrite == []


def test_a_segment_that_came_back_below_the_start_is_left_out() -> None:
    files, segments = a_log()
    journal = Journal(files, LOG, SystemClock(), segment_bytes=64 * 1024, generation=3, offset=30)
    journal.publish(Group(30, 30, pack_state(State(20, {}, {}, True)), [], 100))
    files.unlink(LOG / segments[1].name)
    found = recover(files, LOG)
    assert found.segments[0] == segments[2]
    assert found.superseded == [segments[0]]
    assert found.start == 20


def test_a_later_format_is_refused_and_nothing_is_touched() -> None:
    files, segments = a_log()
    name = segments[-1].name
    header = parse_header(files.content(LOG / name))
    assert header is not None
    later = Header(2, *(getattr(header, slot) for slot in Header.__slots__[1:]))
    files.corrupt(LOG / name, 0, later.pack())
    before = {entry: files.content(LOG / entry) for entry in files.names(LOG)}
    with pytest.raises(SpoolTooNew, match=name):
        recover(files, LOG)
    assert before == {entry: files.content(LOG / entry) for entry in files.names(LOG)}
