"""Cuts a stream of bytes at a delimiter.

The work grows with the bytes fed and nothing else, however the stream is split; what is kept between two
calls never exceeds the longest frame allowed plus one delimiter.
"""

from bridge.ports import Oversized

HEAD = 256
"""How many bytes of an oversized run are kept for its dead letter."""


class DelimitedFramer:
    r"""Frames that end with a delimiter; see :class:`bridge.ports.Framer`.

    Empty frames are skipped. With the delimiter ``\n`` one carriage return before it belongs to the
    delimiter. A frame longer than ``max_length`` comes out as :class:`~bridge.ports.Oversized` when its
    delimiter arrives, and the next frame begins after that.

    Args:
        delimiter: what ends a frame; at least one byte.
        max_length: the longest frame in bytes, without its delimiter.
        midstream: the stream may begin within a frame: everything up to the first delimiter is dropped.

    Raises:
        ValueError: the delimiter is empty or ``max_length`` is less than 1.
    """

    def __init__(self, delimiter: bytes, max_length: int, *, midstream: bool = False) -> None:
        if not delimiter or max_length < 1:
            msg = "a delimiter has at least one byte, and so has the longest frame"
            raise ValueError(msg)
        self._delimiter = delimiter
        self._max_length = max_length
        self._drops_return = delimiter == b"\n"
        # A longer run without a delimiter cannot become a frame: what is above the maximum can at most
        # be a carriage return and the beginning of a delimiter.
        self._limit = max_length + self._drops_return + len(delimiter) - 1
        # The run so far: `_gone` bytes given up, then the buffer. It holds no delimiter.
        self._buffer = bytearray()
        self._gone = 0
        self._head = b""
        self._dropping = midstream

    @property
    def unfinished(self) -> int:
        """How many bytes of a frame that is not complete have come."""
        return 0 if self._dropping else self._gone + len(self._buffer)

    def feed(self, chunk: bytes) -> list[bytes | Oversized]:
        """Every frame that ``chunk`` completes, in order; never raises, whatever the bytes."""
        frames: list[bytes | Oversized] = []
        if self._buffer or self._gone or self._dropping:
            position = self._extend(chunk)
            if position < 0:
                self._trim()
                return frames
            rest = bytes(self._buffer[position + len(self._delimiter) :])
            self._finish(position, frames)
        else:
            rest = chunk
        *whole, tail = rest.split(self._delimiter)
        for frame in whole:
            self._cut(frame, frames)
        self._buffer += tail
        self._trim()
        return frames

    def _extend(self, chunk: bytes) -> int:
        """Adds to the run; where the delimiter begins that ends it, or -1. Old bytes are not searched again."""
        searched = max(0, len(self._buffer) - len(self._delimiter) + 1)
        self._buffer += chunk
        return self._buffer.find(self._delimiter, searched)

    def _finish(self, length: int, frames: list[bytes | Oversized]) -> None:
        """Ends the run of which the first ``length`` bytes of the buffer are the last."""
        if self._dropping:
            self._dropping = False
        elif self._gone:
            head = self._head + self._buffer[: min(length, HEAD)]
            frames.append(Oversized(head[:HEAD], self._gone + length))
        else:
            self._cut(bytes(self._buffer[:length]), frames)
        self._buffer.clear()
        self._gone = 0
        self._head = b""

    def _cut(self, run: bytes, frames: list[bytes | Oversized]) -> None:
        frame = run[:-1] if self._drops_return and run.endswith(b"\r") else run
        if len(frame) > self._max_length:
            frames.append(Oversized(run[:HEAD], len(run)))
        elif frame:
            frames.append(frame)

    def _trim(self) -> None:
        """Gives up all of a run that cannot become a frame, but for what may begin its delimiter."""
        if self._gone or self._dropping or len(self._buffer) > self._limit:
            given_up = max(0, len(self._buffer) - len(self._delimiter) + 1)
            self._head += self._buffer[: min(given_up, HEAD - len(self._head))]
            self._gone += given_up
            del self._buffer[:given_up]
