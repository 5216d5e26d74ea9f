import errno
import random
from pathlib import Path

from bridge.spool.envelope import CursorState, State, pack_marks, pack_state, unpack_marks
from bridge.spool.layout import (
    CARRIES,
    HEADER_SIZE,
    MAJOR,
    MINOR,
    SEAL,
    STATE,
    Encoder,
    Found,
    Header,
    Item,
    Segment,
    parse_header,
    scan,
)
from bridge.spool.tail import Tail, merge_cursors, pieces, tolerant
from tests.kit.faulty_files import FaultyFiles

SALT = 99
SEGMENT = Segment(4, 100, SALT, 0)


def segment_bytes(*, sealed: bool = False) -> bytes:
    """Published with records 100 to 102; then 103 to 105 with marks, then 106 to 109, which nothing proves."""
    header = Header(MAJOR, MINOR, 4, 100, 103, SALT, 1, b"12345678", 1, True).pack()
    groups = (
        (100, [Item(100, [b"100", b"101", b"102"], None)]),
        (103, [Item(103, [b"103", b"104", b"105"], pack_marks({"n": 105}))]),
        (106, [Item(106, [b"106"], None), Item(107, [b"107", b"108", b"109"], pack_marks({"n": 109}))]),
    )
    data = header
    for watermark, items in groups:
        encoder = Encoder(SALT, watermark, 0)
        if watermark == 100:
            encoder.record(STATE, 0, 100, pack_state(State(100, {"a": CursorState(100, ())}, {"n": 99}, True)))
        encoder.items(items, watermark)
        data += encoder.joined()
    if sealed:
        encoder = Encoder(SALT, 110, 0)
        encoder.record(SEAL, 0, 110, b"")
        data += encoder.joined()
    return data


def tail_of(data: bytes) -> Tail:
    tail = Tail(SEGMENT, parse_header(data))
    for one in scan(lambda at, size: data[at : at + size], HEADER_SIZE, len(data), SALT):
        tail.take(Found._make(one))
    return tail


def unproven(tail: Tail) -> list[Item]:
    return pieces([event for event in tail.events if event.offset >= tail.proven])


def test_later_records_prove_earlier_ones() -> None:
    tail = tail_of(segment_bytes())
    assert tail.proven == 106
    assert [(item.first, len(item.payloads)) for item in unproven(tail)] == [(106, 1), (107, 3)]
    assert tail.marks == {"n": 109}
    assert not tail.sealed


def test_a_seal_proves_everything() -> None:
    tail = tail_of(segment_bytes(sealed=True))
    assert tail.sealed
    assert tail.proven == 110
    assert unproven(tail) == []


def test_a_torn_end_is_cut_and_nothing_before_it_is_lost() -> None:
    data = segment_bytes()
    for size in range(HEADER_SIZE, len(data)):
        tail = tail_of(data[:size] + bytes(len(data) - size))
        kept = [payload for item in unproven(tail) for payload in item.payloads]
        assert all(int(payload) >= tail.proven for payload in kept)
        assert kept == [b"%d" % number for number in range(tail.proven, tail.proven + len(kept))]
        for item in unproven(tail):
            if item.marks is not None:
                assert tail.marks["n"] >= unpack_marks(item.marks)["n"] >= item.first


def test_of_a_torn_append_only_what_has_its_marks_is_kept() -> None:
    data = segment_bytes()
    found = [Found._make(one) for one in scan(lambda at, size: data[at : at + size], HEADER_SIZE, len(data), SALT)]
    events = [one for one in found if one.offset >= 107]
    assert [one.flags & CARRIES for one in events] == [CARRIES, 0, CARRIES]
    first, middle, last = events
    assert [item.payloads for item in pieces([first, middle])] == [[b"107", b"108"]]
    assert [item.payloads for item in pieces([middle, last])] == [[b"108", b"109"]]
    assert pieces([middle]) == []
    assert [item.payloads for item in pieces([first, last])] == [[b"107"], [b"109"]]


def test_no_damage_in_the_middle_invents_or_raises() -> None:
    data = segment_bytes()
    rng = random.Random(1)
    for _ in range(2000):
        damaged = bytearray(data)
        at = rng.randrange(HEADER_SIZE, len(data))
        damaged[at : at + rng.choice((1, 8, 200))] = rng.randbytes(rng.choice((1, 8, 200)))
        tail = tail_of(bytes(damaged))
        assert tail.proven <= 106
        for item in unproven(tail):
            assert list(item.payloads) == [b"%d" % (item.first + index) for index in range(len(item.payloads))]


def test_a_cursor_never_goes_back() -> None:
    known = {"a": CursorState(5, ())}
    merge_cursors(known, {"a": CursorState(3, ()), "b": CursorState(1, ())})
    assert known == {"a": CursorState(5, ()), "b": CursorState(1, ())}


def test_an_error_that_passes_is_no_damage() -> None:
    files = FaultyFiles()
    content = bytes(range(256)) * 64
    files.put(Path("/x"), content)
    fd = files.open(Path("/x"), 0)
    files.faults["pread"] = [errno.EIO, 0, errno.EIO, errno.EIO, 0]
    assert tolerant(files, fd)(0, len(content)) == content


def test_what_stays_unreadable_is_zeros_after_a_moment() -> None:
    files = FaultyFiles()
    files.put(Path("/x"), b"x" * 8192)
    files.broken["pread"] = errno.EIO
    fd = files.open(Path("/x"), 0)
    assert tolerant(files, fd)(0, 8192) == bytes(8192)
