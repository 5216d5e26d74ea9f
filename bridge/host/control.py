"""The control socket: how a command line asks the running bridge.

One request per connection: a line of JSON ``{"verb": "status"}``, answered by one line of JSON, then the
connection is closed. The socket lies in the runtime directory and belongs to the user of the service.

A verb may take arguments, ``{"verb": …, "args": {…}}``, and answer with a stream of lines, as fast as the client
reads them; an error is a last line ``{"error": …, "code": …}`` with the exit code of the command. While nothing is
to be said an empty line is sent now and then. Some verbs are sent an upload after the request, which ends when the
client shuts its side down. A client that goes away ends what it asked for.
"""

import asyncio
import json
import logging
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Iterator, Mapping
from contextlib import aclosing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from bridge.errors import BridgeError, CommandFailed

log = logging.getLogger(__name__)

NAME = "control.sock"
"""File name of the socket within the runtime directory."""

MAX_LINE = 64 * 1024
MAX_PATH = 107
"""unix(7): a socket's path has room for 108 bytes with its final NUL."""

PATIENCE = 10.0
"""Seconds for a request, and for an answer of one line."""
STREAM_PATIENCE = 600.0
"""Seconds for which a client may read nothing of a stream: somebody looks at it in a pager."""
SIGN_OF_LIFE = 5.0
"""Seconds of silence after which an empty line is sent."""
MAX_STREAMS = 8
"""Streams at the same time."""

Verb = Callable[[], Awaitable[object]]
"""Answers one verb with something that JSON can carry."""

Stream = Callable[[Mapping[str, object], AsyncIterator[bytes]], AsyncGenerator[bytes, None]]
"""Answers one verb, given its arguments and its upload, with whole lines."""


class NotRunning(BridgeError):
    """No bridge answers at the control socket."""

    exit_code = 69


class ControlSocket:
    """Serves the verbs while it is entered; a socket that cannot be made is logged, never fatal.

    The caller holds the spool's lock, so whatever lies at the path is what a dead process left.

    Args:
        verbs: those with an answer of one line.
        streams: those with arguments and many lines.
        uploading: the streams that are sent something.
    """

    def __init__(
        self,
        path: Path,
        verbs: Mapping[str, Verb],
        streams: Mapping[str, Stream] | None = None,
        uploading: Collection[str] = (),
    ) -> None:
        self._path = path
        self._verbs = verbs
        self._streams = streams or {}
        self._uploading = uploading
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.Task[None]] = set()
        self._streaming = 0

    async def __aenter__(self) -> Self:
        """Starts to listen."""
        if len(str(self._path).encode()) > MAX_PATH:
            log.warning(
                "no status: the path of the control socket %s is longer than %d bytes", self._path, MAX_PATH
            )
            return self
        try:
            await asyncio.to_thread(_make_room, self._path)
            self._server = await asyncio.start_unix_server(self._accept, self._path, limit=MAX_LINE)
            await asyncio.to_thread(self._path.chmod, 0o660)
        except OSError as error:
            log.warning("no status: cannot listen on %s: %s", self._path, error.strerror or error)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stops to listen, ends what is under way, and removes the socket."""
        if self._server is not None:
            # A server that is closed before an accepted connection was attached to it loses that one unclosed.
            await _some_turns()
            self._server.close()
            for client in self._clients:
                client.cancel()
            if self._clients:
                await asyncio.wait(self._clients)
            await _some_turns()
            await asyncio.to_thread(self._path.unlink, missing_ok=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        client = asyncio.create_task(self._serve(reader, writer), name="a client of the control socket")
        self._clients.add(client)
        client.add_done_callback(self._clients.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # What was drained has left us: a client that reads no more is noticed, and nothing is left at the end.
        writer.transport.set_write_buffer_limits(0)
        answered = False
        try:
            async with asyncio.timeout(PATIENCE):
                request = _parse(await reader.readline())
                stream = self._streams.get(str(request.get("verb")))
                if stream is None:
                    writer.write(json.dumps(await self._answer(request)).encode() + b"\n")
                    await writer.drain()
            if stream is not None:
                await self._stream(stream, request, reader, writer)
            answered = True
        except (OSError, ValueError, TimeoutError):
            # Whoever asked went away, sent no line, or did not read: their loss, never ours.
            pass
        finally:
            if answered:
                writer.close()
            else:
                writer.transport.abort()

    async def _answer(self, request: Mapping[str, object]) -> object:
        name = request.get("verb")
        if not isinstance(name, str):
            return {"error": "a request is one line of JSON with a verb"}
        verb = self._verbs.get(name)
        if verb is None:
            return {"error": f"unknown verb; known: {', '.join(sorted([*self._verbs, *self._streams]))}"}
        return {"answer": await verb()}

    async def _stream(
        self,
        stream: Stream,
        request: Mapping[str, object],
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        args = request.get("args")
        given = args if isinstance(args, dict) else {}
        silent = None if request.get("verb") in self._uploading else reader
        try:
            with self._turn():
                async with aclosing(stream(given, _upload(reader))) as blobs:
                    await _send(blobs, writer, silent)
        except BridgeError as error:
            writer.write(json.dumps({"error": str(error), "code": error.exit_code}).encode() + b"\n")
            await _drain(writer)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if self._streaming >= MAX_STREAMS:
            raise CommandFailed(f"{MAX_STREAMS} commands are under way already; try again later")
        self._streaming += 1
        try:
            yield
        finally:
            self._streaming -= 1


def _parse(line: bytes) -> Mapping[str, object]:
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return request if isinstance(request, dict) else {}


async def _upload(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while piece := await reader.read(2 * MAX_LINE):
        yield piece


async def _send(
    blobs: AsyncGenerator[bytes, None], writer: asyncio.StreamWriter, silent: asyncio.StreamReader | None
) -> None:
    """Sends all of it; ends early when the client goes away, which one that has nothing to send shows at once."""
    gone = None if silent is None else asyncio.ensure_future(silent.read(1))
    try:
        while True:
            coming = asyncio.ensure_future(_next(blobs))
            try:
                while not coming.done():
                    waiting = {coming} if gone is None else {coming, gone}
                    await asyncio.wait(waiting, timeout=SIGN_OF_LIFE, return_when=asyncio.FIRST_COMPLETED)
                    if gone is not None and gone.done():
                        return
                    if not coming.done():
                        writer.write(b"\n")
                        await _drain(writer)
            finally:
                coming.cancel()
                await asyncio.wait([coming])
                _ = coming.cancelled() or coming.exception()
            blob = coming.result()
            if blob is None:
                return
            writer.write(blob)
            await _drain(writer)
    finally:
        if gone is not None:
            gone.cancel()
            await asyncio.wait([gone])
            _ = gone.cancelled() or gone.exception()


async def _next(blobs: AsyncGenerator[bytes, None]) -> bytes | None:
    return await anext(blobs, None)


async def _drain(writer: asyncio.StreamWriter) -> None:
    async with asyncio.timeout(STREAM_PATIENCE):
        await writer.drain()


async def _some_turns() -> None:
    """A connection is handed to us, and a closed one lets go of its socket, some turns of the loop later."""
    for _ in range(4):
        await asyncio.sleep(0)


def _make_room(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)


def ask(path: Path, verb: str, timeout: float = 5.0) -> object:
    """Asks the bridge that listens at ``path``; blocking, for the command line.

    Raises:
        NotRunning: nothing answers there; the message says what to do.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout)
            connection.connect(str(path))
            connection.sendall(json.dumps({"verb": verb}).encode() + b"\n")
            with connection.makefile("rb") as stream:
                line = stream.readline()
    except (OSError, TimeoutError) as error:
        raise not_running(path, error) from error
    try:
        reply = json.loads(line)
        return reply["answer"]
    except (ValueError, KeyError, TypeError) as error:
        raise NotRunning(f"the bridge at {path} gave no usable answer") from error


def not_running(path: Path, error: OSError) -> NotRunning:
    """What to say when nothing can be asked at ``path``."""
    if isinstance(error, PermissionError):
        return NotRunning(f"not allowed to ask {path}: run it as root or as the user of the service")
    if isinstance(error, FileNotFoundError):
        return NotRunning(
            f"no bridge is running with this configuration ({path} is missing); see: systemctl status edge-bridge"
        )
    return NotRunning(f"no bridge answers at {path}: {error}")
