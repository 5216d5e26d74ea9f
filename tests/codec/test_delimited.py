import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.codec.delimited import HEAD, DelimitedFramer
from bridge.codec.settings import DelimitedFraming
from bridge.ports import Oversized
from tests.kit.conformance import check_framer, fed, splits_of

delimiters = st.sampled_from([b"\n", b"\r\n", b";", b"aa", b"aab", b"\x00\x00\x00"])
# Few different bytes, so that delimiters, halves of delimiters and overlaps are frequent.
streams = st.lists(st.sampled_from([b"a", b"b", b"\r", b"\n", b";", b"\x00", b"xyz" * 7, b"a" * 300])).map(
    b"".join
)


def by_the_book(stream: bytes, delimiter: bytes, max_length: int, *, midstream: bool) -> list[bytes | Oversized]:
    """The rules again, for a stream that is there as a whole."""
    frames: list[bytes | Oversized] = []
    for run in stream.split(delimiter)[midstream:-1]:
        frame = run[:-1] if delimiter == b"\n" and run.endswith(b"\r") else run
        if len(frame) > max_length:
            frames.append(Oversized(run[:HEAD], len(run)))
        elif frame:
            frames.append(frame)
    return frames


@given(streams.flatmap(splits_of), delimiters, st.sampled_from([1, 2, 5, 30, 299, 300, 4096]), st.booleans())
def test_any_split_of_any_stream_is_cut_by_the_same_rules(
    chunks: list[bytes], delimiter: bytes, max_length: int, midstream: bool
) -> None:
    cut = check_framer(lambda: DelimitedFramer(delimiter, max_length, midstream=midstream), chunks)
    assert cut == by_the_book(b"".join(chunks), delimiter, max_length, midstream=midstream)


@given(st.lists(st.binary(max_size=2000), max_size=30), delimiters, st.integers(1, 500), st.booleans())
def test_what_is_kept_never_exceeds_one_frame_and_its_delimiter(
    chunks: list[bytes], delimiter: bytes, max_length: int, midstream: bool
) -> None:
    framer = DelimitedFramer(delimiter, max_length, midstream=midstream)
    for chunk in chunks:
        framer.feed(chunk)
        assert len(framer._buffer) <= max_length + len(delimiter)
        assert len(framer._head) <= HEAD


def test_a_megabyte_without_a_delimiter_leaves_nothing_in_memory() -> None:
    framer = DelimitedFramer(b"\n", 4096)
    for _ in range(1024):
        assert framer.feed(b"x" * 1024) == []
    assert sys.getsizeof(framer._buffer) < 16_384
    assert framer.feed(b"\nnext\n") == [Oversized(b"x" * HEAD, 1 << 20), b"next"]


def test_a_long_frame_fed_byte_by_byte_is_not_searched_again_and_again() -> None:
    # Searching or copying the whole buffer for every byte would be 10^11 steps: the timeout of the suite.
    framer = DelimitedFramer(b"\r\n", 1 << 19)
    for _ in range(1 << 19):
        framer.feed(b"\n")
    assert framer.feed(b"\r\n") == [b"\n" * (1 << 19)]


def test_a_carriage_return_belongs_to_the_line_feed_only() -> None:
    assert fed(DelimitedFramer(b"\n", 10), [b"a\r", b"\nb\n\r\n\nc\rd\n"]) == [b"a", b"b", b"c\rd"]
    assert fed(DelimitedFramer(b";", 10), [b"a\r;b;"]) == [b"a\r", b"b"]


def test_the_longest_frame_fits_with_its_carriage_return_and_one_more_byte_does_not() -> None:
    assert check_framer(lambda: DelimitedFramer(b"\n", 4), [b"abcd\r", b"\n"]) == [b"abcd"]
    assert check_framer(lambda: DelimitedFramer(b"\n", 4), [b"abcde", b"\r\n"]) == [Oversized(b"abcde\r", 6)]


def test_a_delimiter_is_found_where_an_oversized_run_was_given_up() -> None:
    assert fed(DelimitedFramer(b"<>", 3), [b"abcdefgh<", b">ok<", b">"]) == [Oversized(b"abcdefgh", 8), b"ok"]


def test_a_stream_entered_in_the_middle_begins_after_the_first_delimiter() -> None:
    framer = DelimitedFramer(b"\n", 4, midstream=True)
    assert fed(framer, [b"tail of someth", b"ing\n", b"one\n"]) == [b"one"]


def test_what_is_unfinished_is_known() -> None:
    framer = DelimitedFramer(b"\n", 4, midstream=True)
    framer.feed(b"rest")
    assert framer.unfinished == 0
    framer.feed(b"\nabc")
    assert framer.unfinished == 3
    framer.feed(b"defgh")
    assert framer.unfinished == 8
    framer.feed(b"\n")
    assert framer.unfinished == 0


@pytest.mark.parametrize(("delimiter", "max_length"), [(b"", 1), (b"\n", 0)])
def test_a_framer_that_could_never_cut_is_refused(delimiter: bytes, max_length: int) -> None:
    with pytest.raises(ValueError, match="at least one byte"):
        DelimitedFramer(delimiter, max_length)


def test_the_settings_build_the_framer() -> None:
    framing = DelimitedFraming.model_validate({"delimiter": "é;", "max_length": "1KiB"})
    assert framing.build().feed("aé;".encode()) == [b"a"]
    assert framing.build(midstream=True).feed("aé;bé;".encode()) == [b"b"]
