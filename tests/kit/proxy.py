"""A TCP proxy on loopback that behaves as badly as a real network, on request.

Between a client and the broker or server it forwards, holds, delays, swallows or cuts the stream::

    async with ChaosProxy(broker.port) as proxy:
        connect(port=proxy.port)
        proxy.hold("down")                  # bytes from the server wait here …
        await proxy.holding("down")         # … and now some do
        proxy.reset()                       # RST to both sides; what was held is gone
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Coroutine
from types import TracebackType
from typing import Literal, Self

Direction = Literal["up", "down"]
"""``up``: from the client to the server; ``down``: from the server to the client."""

DIRECTIONS: tuple[Direction, Direction] = ("up", "down")
_CHUNK = 65536
_ABORT = struct.pack("ii", 1, 0)
"""SO_LINGER with zero seconds: closing sends RST instead of FIN."""


class ChaosProxy:
    """Forwards ``127.0.0.1:port`` (a free port of its own) to ``host:to_port``; every fault can be undone.

    Attributes:
        port: where it listens, from ``async with`` on; the same after :meth:`refuse` and :meth:`accept`.
        accepted: connections accepted so far.
        passed: bytes forwarded so far, by direction.
    """

    def __init__(self, to_port: int, host: str = "127.0.0.1") -> None:
        self._to = (host, to_port)
        self._server: asyncio.Server | None = None
        self._pumps: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._swallowing: set[Direction] = set()
        self._gates = {direction: asyncio.Event() for direction in DIRECTIONS}
        self._held = {direction: asyncio.Event() for direction in DIRECTIONS}
        self._cut: dict[Direction, int] = {}
        self._delay = 0.0
        self._moved = asyncio.Event()
        self.port = 0
        self.accepted = 0
        self.passed: dict[Direction, int] = {"up": 0, "down": 0}
        self.forward()

    async def __aenter__(self) -> Self:
        await self.accept()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.refuse()
        self.reset()
        pumps = list(self._pumps)
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)

    @property
    def open(self) -> int:
        """Connections that are up now."""
        return len(self._writers) // 2

    def forward(self) -> None:
        """Back to good behaviour: everything held goes on, nothing is swallowed, delayed or cut."""
        self._swallowing.clear()
        self._cut.clear()
        self._delay = 0.0
        for direction in DIRECTIONS:
            self._gates[direction].set()
            self._held[direction].clear()

    def black_hole(self, *directions: Direction) -> None:
        """Swallows all bytes from now on (both directions if none is named): no RST, no FIN, just silence.

        Connections stay up, new ones are accepted and meet the same silence.
        """
        self._swallowing.update(directions or DIRECTIONS)

    def hold(self, *directions: Direction) -> None:
        """Keeps bytes back (both directions if none is named) until :meth:`forward`; order is kept."""
        for direction in directions or DIRECTIONS:
            self._gates[direction].clear()

    async def holding(self, direction: Direction) -> None:
        """Returns when bytes of that direction are being held."""
        await self._held[direction].wait()

    def delay(self, seconds: float) -> None:
        """Every chunk waits that long before it goes on."""
        self._delay = seconds

    def cut_after(self, count: int, direction: Direction = "down") -> None:
        """Forwards ``count`` more bytes of that direction, then resets all connections in mid-stream."""
        self._cut[direction] = count

    async def passing(self, count: int, direction: Direction = "down") -> None:
        """Returns when at least ``count`` bytes of that direction were forwarded in all."""
        while self.passed[direction] < count:
            self._moved.clear()
            await self._moved.wait()

    def reset(self) -> None:
        """RST on every connection, to both sides, now; what was held is lost."""
        for writer in list(self._writers):
            sock = writer.get_extra_info("socket")
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
            writer.transport.abort()
        self._writers.clear()

    def refuse(self) -> None:
        """Stops listening: new connections are refused, those that are up stay up."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def accept(self) -> None:
        """Listens (again), always on the same port."""
        if self._server is None:
            self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self._start(self._join(reader, writer))

    def _start(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._pumps.add(task)
        task.add_done_callback(self._pumps.discard)
        return task

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_writer: asyncio.StreamWriter | None = None
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._to)
            self._writers |= {writer, far_writer}
            up = self._start(self._pump("up", reader, far_writer))
            down = self._start(self._pump("down", far_reader, writer))
            await asyncio.gather(up, down)
        except OSError:
            writer.transport.abort()
        finally:
            for end in (writer, far_writer):
                if end is not None:
                    self._writers.discard(end)
                    end.transport.abort()

    async def _pump(
        self, direction: Direction, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        while chunk := await reader.read(_CHUNK):
            if direction in self._swallowing:
                continue
            if not self._gates[direction].is_set():
                self._held[direction].set()
                await self._gates[direction].wait()
            if self._delay:
                await asyncio.sleep(self._delay)
            left = self._cut.get(direction)
            if left is not None and len(chunk) >= left:
                del self._cut[direction]
                await self._write(direction, writer, chunk[:left])
                self.reset()
                return
            if left is not None:
                self._cut[direction] = left - len(chunk)
            await self._write(direction, writer, chunk)
        if direction not in self._swallowing:
            writer.write_eof()

    async def _write(self, direction: Direction, writer: asyncio.StreamWriter, chunk: bytes) -> None:
        writer.write(chunk)
        await writer.drain()
        self.passed[direction] += len(chunk)
        self._moved.set()
