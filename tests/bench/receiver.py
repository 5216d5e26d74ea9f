"""An HTTP receiver that costs little: counts events and measures latencies, nothing else.

``python -m tests.bench.receiver PORT``; prints ``ready``. POST anything: 202. ``GET /count`` answers the
number of events so far, ``GET /latencies`` the microseconds since the ``"t"`` within each event's data (in
nanoseconds of CLOCK_MONOTONIC), ``GET /reset`` forgets both.
"""

import asyncio
import json
import re
import sys
import time

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_SENT = re.compile(rb'"t": ?(\d+)')
_ACCEPTED = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"


class Counter:
    """What came."""

    def __init__(self) -> None:
        self.events = 0
        self.latencies: list[int] = []

    def add(self, body: bytes) -> None:
        """One request; the naive loop's events have no envelope, so readings are counted."""
        self.events += body.count(b'"n":')
        now = time.monotonic_ns()
        self.latencies.extend((now - int(sent)) // 1000 for sent in _SENT.findall(body))

    def answer(self, path: bytes) -> bytes:
        """The body for a GET."""
        if path == b"/reset":
            self.__init__()  # type: ignore[misc]
        return json.dumps(self.latencies if path == b"/latencies" else self.events).encode()


class Connection(asyncio.Protocol):
    """One connection; pipelined requests are answered in order."""

    def __init__(self, counter: Counter) -> None:
        self._counter = counter
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        self._buffer += data
        while (head := self._buffer.find(b"\r\n\r\n")) >= 0:
            length = _LENGTH.search(self._buffer, 0, head)
            end = head + 4 + (int(length[1]) if length else 0)
            if len(self._buffer) < end:
                return
            method, path, _ = bytes(self._buffer[:head]).split(b" ", 2)
            body = bytes(self._buffer[head + 4 : end])
            del self._buffer[:end]
            if method == b"GET":
                answer = self._counter.answer(path)
                self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(answer), answer))
            else:
                self._counter.add(body)
                self._transport.write(_ACCEPTED)


async def _serve(port: int) -> None:
    counter = Counter()
    server = await asyncio.get_running_loop().create_server(lambda: Connection(counter), "127.0.0.1", port)
    print("ready", flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
