"""What every implementation of a port must hold, whoever wrote it; a new framer calls this from its own test."""

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

from hypothesis import strategies as st

from bridge.ports import Framer, Oversized

Cut = Sequence[bytes | Oversized]


def splits_of(stream: bytes) -> st.SearchStrategy[list[bytes]]:
    """Every way to cut ``stream`` into chunks, empty ones included."""
    return st.lists(st.integers(0, len(stream)), max_size=12).map(lambda cuts: _chunks(stream, sorted(cuts)))


def fed(framer: Framer, chunks: Iterable[bytes]) -> list[bytes | Oversized]:
    """All frames that come out when the chunks go in one after the other."""
    return [frame for chunk in chunks for frame in framer.feed(chunk)]


def check_framer(make: Callable[[], Framer], chunks: Sequence[bytes]) -> list[bytes | Oversized]:
    """Fails unless the stream is cut alike whole, byte by byte and in these chunks; returns how it is cut."""
    stream = b"".join(chunks)
    whole = fed(make(), [stream])
    assert fed(make(), [stream[at : at + 1] for at in range(len(stream))]) == whole
    assert fed(make(), chunks) == whole
    assert all(isinstance(frame, bytes | Oversized) for frame in whole)
    return whole


def _chunks(stream: bytes, cuts: Sequence[int]) -> list[bytes]:
    edges = [0, *cuts, len(stream)]
    return [stream[start:end] for start, end in pairwise(edges)]
