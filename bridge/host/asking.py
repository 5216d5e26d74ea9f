"""The other end of the control socket, for verbs that answer with a stream of lines."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import suppress
from pathlib import Path

from bridge.errors import BridgeError, CommandFailed, SpoolLocked, SpoolUnusable
from bridge.host.control import MAX_LINE, NotRunning, not_running

SILENCE = 60.0
"""Seconds without any sign of life after which a bridge is given up; it sends one every few seconds."""

_CHUNK = 64 * 1024
_KINDS: Mapping[int, type[BridgeError]] = {
    kind.exit_code: kind for kind in (CommandFailed, NotRunning, SpoolUnusable, SpoolLocked)
}


class Asking:
    """A question to a running bridge.

    Args:
        path: of its control socket.
        verb: of the question.
        args: something that JSON can carry.
        upload: what is sent after it.
    """

    def __init__(
        self, path: Path, verb: str, args: Mapping[str, object], upload: AsyncIterator[bytes] | None = None
    ) -> None:
        self._path = path
        self._verb = verb
        self._args = args
        self._upload = upload
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def connect(self) -> bool:
        """Connects; False when nobody is there to be asked.

        Raises:
            NotRunning: somebody may be there who must not be asked, or does not answer.
            CommandFailed: the question is too long.
        """
        if len(self._request()) > MAX_LINE:
            raise CommandFailed("that is more than fits into one question: name fewer at once")
        try:
            self._streams = await asyncio.open_unix_connection(self._path)
        except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
            return False
        except OSError as error:
            raise not_running(self._path, error) from error
        return True

    async def lines(self) -> AsyncGenerator[bytes, None]:
        """Asks, and gives every line of the answer, without the empty ones.

        Raises:
            NotRunning: the bridge went away before its answer was complete.
            BridgeError: what it says cannot be done; with its exit code.
        """
        assert self._streams is not None  # noqa: S101 - connect() comes first
        reader, writer = self._streams
        sending = asyncio.create_task(self._send(writer, self._request()))
        complete = False
        try:
            async for line in _lines(self._path, reader):
                if line.startswith(b'{"error":'):
                    raise _error(line)
                complete = line.startswith(b'{"answer":')
                yield line
            broken = sending.exception() if sending.done() and not sending.cancelled() else None
            if broken is not None and not isinstance(broken, OSError):
                raise broken
            if not complete:
                raise NotRunning(f"the bridge at {self._path} went away before it had answered")
        finally:
            sending.cancel()
            await asyncio.wait([sending])
            writer.transport.abort()

    def _request(self) -> bytes:
        return json.dumps({"verb": self._verb, "args": self._args}).encode() + b"\n"

    async def _send(self, writer: asyncio.StreamWriter, request: bytes) -> None:
        writer.write(request)
        await writer.drain()
        if self._upload is None:
            return
        try:
            async for piece in self._upload:
                writer.write(piece)
                await writer.drain()
        except BridgeError:
            # Nothing more will come: the answer need not be waited for.
            writer.transport.abort()
            raise
        with suppress(OSError):
            writer.write_eof()


async def _lines(path: Path, reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    rest: list[bytes] = []
    while True:
        try:
            async with asyncio.timeout(SILENCE):
                piece = await reader.read(_CHUNK)
        except TimeoutError as error:
            raise NotRunning(f"the bridge at {path} has not answered for {SILENCE:.0f} s") from error
        except OSError:
            piece = b""
        if not piece:
            return
        first, *more = piece.split(b"\n")
        rest.append(first)
        for following in more:
            line = b"".join(rest)
            rest = [following]
            if line:
                yield line


def _error(line: bytes) -> BridgeError:
    try:
        said = json.loads(line)
        return _KINDS.get(said.get("code"), CommandFailed)(str(said["error"]))
    except (ValueError, KeyError) as error:
        return NotRunning(f"the bridge gave no usable answer: {error}")
