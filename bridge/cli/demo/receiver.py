"""A small HTTP receiver that stands for the cloud: it takes events, counts them by id, and can go away.

It understands what the bridge sends (HTTP/1.1 with ``Content-Length``, one structured CloudEvent per request)
and no more.
"""

import asyncio
import contextlib
import json
import zlib
from collections.abc import Mapping
from types import TracebackType
from typing import Self

MAX_BODY = 1 << 20
LOOPBACK = "127.0.0.1"
ONE_MORE = 0.5
"""Seconds that a cut waits for a request to leave unanswered."""


class Tally:
    """What arrived, by the identity of each event, which is its source and its id."""

    def __init__(self) -> None:
        self._digests: dict[tuple[str, str], int] = {}
        self._readings: dict[int, int] = {}
        self.requests = 0
        self.changed = 0

    def add(self, body: bytes) -> None:
        """Counts one event.

        Raises:
            ValueError: it is no structured CloudEvent with a reading of the simulated device.
        """
        try:
            event = json.loads(body)
            identity, number = (event["source"], event["id"]), event["data"]["n"]
        except (LookupError, TypeError) as error:
            raise ValueError("no event of the simulated device") from error
        self.requests += 1
        digest = zlib.crc32(body)
        if identity in self._digests:
            self.changed += self._digests[identity] != digest
            return
        self._digests[identity] = digest
        self._readings[number] = self._readings.get(number, 0) + 1

    @property
    def readings(self) -> int:
        """Different readings that arrived."""
        return len(self._readings)

    @property
    def repeated(self) -> int:
        """Events that arrived again under the same source and id, to be dropped by whoever receives."""
        return self.requests - len(self._digests)

    @property
    def renamed(self) -> int:
        """Readings that arrived under a second id; there must be none."""
        return len(self._digests) - len(self._readings)


class Receiver:
    """Listens on a free port of the loopback interface; :meth:`cut` and :meth:`restore` are its uplink."""

    def __init__(self) -> None:
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._port = 0
        self._cutting = False
        self._unanswered = asyncio.Event()
        self.tally = Tally()

    @property
    def url(self) -> str:
        """Where events are to be sent."""
        return f"http://{LOOPBACK}:{self._port}/events"

    @property
    def reachable(self) -> bool:
        """Whether the port is open."""
        return self._server is not None

    async def __aenter__(self) -> Self:
        """Opens the port."""
        await self.restore()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes the port and every connection."""
        self._close()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def restore(self) -> None:
        """Opens the port, the same one as before.

        Raises:
            OSError: another program took it meanwhile.
        """
        self._server = await asyncio.start_server(self._accept, LOOPBACK, self._port, limit=MAX_BODY)
        self._port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """Closes the port and breaks every connection; if a request comes now, between it and its answer.

        That is the moment which makes duplicates: the receiver has the event, the sender cannot know it.
        """
        self._cutting = True
        self._unanswered.clear()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._unanswered.wait(), ONE_MORE)
        self._close()
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._cutting = False

    def _close(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for connection in self._connections:
            connection.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self._connections.add(writer)
        try:
            while await self._answer(reader, writer):
                pass
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError):
            # The line was cut or what came is no HTTP: this connection is over.
            pass
        finally:
            self._connections.discard(writer)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        length = int(_headers(head).get("content-length", "0"))
        if length > MAX_BODY:
            raise ValueError("too large")
        body = await reader.readexactly(length)
        status = "204 No Content"
        if head.startswith("POST "):
            try:
                self.tally.add(body)
            except ValueError:
                status = "400 Bad Request"
        if self._cutting:
            self._unanswered.set()
            return False
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())
        await writer.drain()
        return True


def _headers(head: str) -> Mapping[str, str]:
    lines = (line.partition(":") for line in head.split("\r\n")[1:])
    return {name.lower(): value.strip() for name, _, value in lines}
