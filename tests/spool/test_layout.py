import random

from hypothesis import given
from hypothesis import strategies as st

from bridge.spool.layout import (
    EVENT,
    HEADER_SIZE,
    MAJOR,
    MINOR,
    STATE,
    UNREADABLE,
    Encoder,
    Found,
    Header,
    Item,
    Segment,
    parse_header,
    parse_name,
    scan,
    size_bound,
    split_marks,
)

SALT = 0x1234_5678
HEADER = Header(MAJOR, MINOR, 7, 100, 103, SALT, 1_700_000_000_000_000_000, b"12345678", 5, True)


def found_in(data: bytes, salt: int = SALT) -> list[Found]:
    return [Found._make(one) for one in scan(lambda at, size: data[at : at + size], 0, len(data), salt)]


def records(payloads: list[bytes], first: int = 0, marks: bytes | None = None) -> bytes:
    encoder = Encoder(SALT, first, 1)
    encoder.items([Item(first, payloads, marks)], first)
    return encoder.joined()


def test_a_header_comes_back_as_it_was() -> None:
    assert parse_header(HEADER.pack()) == HEADER
    assert len(HEADER.pack()) == HEADER_SIZE


def test_no_flipped_bit_of_a_header_goes_unnoticed() -> None:
    packed = HEADER.pack()
    for at in range(HEADER_SIZE * 8):
        flipped = bytearray(packed)
        flipped[at // 8] ^= 1 << at % 8
        assert parse_header(bytes(flipped)) is None


def test_a_name_says_everything_about_a_segment() -> None:
    segment = Segment(3, 12, 0xABC, 4096)
    assert parse_name(segment.name, 4096) == segment
    for strange in ("next.tmp", "LOCK", segment.name + "~", "0-0-0.seg", segment.name.replace("12", "x2")):
        assert parse_name(strange, 1) is None


@given(
    st.lists(st.binary(max_size=70), max_size=20), st.integers(0, 2**40), st.sampled_from([None, b"\x81\xa1n\x07"])
)
def test_what_was_written_is_found(payloads: list[bytes], first: int, marks: bytes | None) -> None:
    data = records(payloads, first, marks)
    found = found_in(data)
    assert [one.offset for one in found] == list(range(first, first + len(payloads)))
    stored = [one.payload or b"" for one in found]
    if marks is not None and payloads:
        assert split_marks(stored[0]) == (marks, payloads[0])
        assert split_marks(stored[-1]) == (marks, payloads[-1])
        stored[0], stored[-1] = payloads[0], payloads[-1]
    assert stored == payloads
    assert len(data) <= size_bound(payloads, marks)
    assert found_in(data, SALT + 1) == ([Found(0, len(data), UNREADABLE, 0, 0, 0, None)] if payloads else [])


def test_the_lag_tells_what_was_durable_before() -> None:
    encoder = Encoder(SALT, 40, 0)
    encoder.record(STATE, 0, 40, b"")
    encoder.items([Item(40, [b"a", b"b"], None)], 40)
    assert [one.offset - one.lag for one in found_in(encoder.joined())] == [40, 40, 40]


def test_damage_takes_only_the_records_it_touches() -> None:
    payloads = [bytes([number]) * 100 for number in range(30)]
    data = records(payloads)
    size = len(data) // 30
    for at in range(0, len(data), 7):
        damaged = bytearray(data)
        damaged[at : at + 16] = b"\xff" * 16
        good = {one.offset for one in found_in(bytes(damaged)) if one.kind == EVENT and one.payload is not None}
        touched = {at // size, min((at + 15) // size, 29)}
        assert good >= set(range(30)) - touched


@given(st.binary(max_size=2000), st.integers(0, 2**32 - 1))
def test_garbage_is_no_record_and_no_error(data: bytes, salt: int) -> None:
    found = found_in(data, salt)
    assert all(one.kind == UNREADABLE for one in found)
    assert sum(one.stop - one.start for one in found) == len(data)


@given(st.integers(0, 2**32), st.integers(1, 5000))
def test_a_scan_ends_and_covers_everything_wherever_a_file_is_cut(seed: int, cut: int) -> None:
    rng = random.Random(seed)
    data = records([rng.randbytes(rng.randint(0, 900)) for _ in range(12)])
    whole = bytes(data[: min(cut, len(data))])
    stops = [0]
    for one in scan(lambda at, size: whole[at : at + size], 0, len(data), SALT):
        assert one[0] == stops[-1]
        assert one[1] > one[0]
        stops.append(one[1])
    assert stops[-1] <= len(data)
