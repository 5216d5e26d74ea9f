"""The control socket: how a command line asks the running bridge.

One request per connection: a line of JSON ``{"verb": "status"}``, answered by one line of JSON, then the
connection is closed. The socket lies in the runtime directory and belongs to the user of the service.
"""

import asyncio
import json
import logging
import socket
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from bridge.errors import BridgeError

log = logging.getLogger(__name__)

NAME = "control.sock"
"""File name of the socket within the runtime directory."""

MAX_LINE = 64 * 1024
MAX_PATH = 107
"""unix(7): a socket's path has room for 108 bytes with its final NUL."""

Verb = Callable[[], Awaitable[object]]
"""Answers one verb with something that JSON can carry."""


class NotRunning(BridgeError):
    """No bridge answers at the control socket."""

    exit_code = 69


class ControlSocket:
    """Serves the verbs while it is entered; a socket that cannot be made is logged, never fatal.

    The caller holds the spool's lock, so whatever lies at the path is what a dead process left.
    """

    def __init__(self, path: Path, verbs: Mapping[str, Verb]) -> None:
        self._path = path
        self._verbs = verbs
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        """Starts to listen."""
        if len(str(self._path).encode()) > MAX_PATH:
            log.warning(
                "no status: the path of the control socket %s is longer than %d bytes", self._path, MAX_PATH
            )
            return self
        try:
            await asyncio.to_thread(_make_room, self._path)
            self._server = await asyncio.start_unix_server(self._serve, self._path, limit=MAX_LINE)
            await asyncio.to_thread(self._path.chmod, 0o660)
        except OSError as error:
            log.warning("no status: cannot listen on %s: %s", self._path, error.strerror or error)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stops to listen and removes the socket."""
        if self._server is not None:
            self._server.close()
            await asyncio.to_thread(self._path.unlink, missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(10):
                answer = await self._answer(await reader.readline())
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
        except (OSError, ValueError, TimeoutError):
            # Whoever asked went away, sent no line, or did not read: their loss, never ours.
            pass
        finally:
            writer.close()

    async def _answer(self, line: bytes) -> object:
        try:
            request = json.loads(line)
            verb = self._verbs.get(request["verb"])
        except (ValueError, TypeError, KeyError):
            return {"error": "a request is one line of JSON with a verb"}
        if verb is None:
            return {"error": f"unknown verb; known: {', '.join(sorted(self._verbs))}"}
        return {"answer": await verb()}


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
    except PermissionError as error:
        raise NotRunning(f"not allowed to ask {path}: run it as root or as the user of the service") from error
    except FileNotFoundError as error:
        raise NotRunning(
            f"no bridge is running with this configuration ({path} is missing); see: systemctl status edge-bridge"
        ) from error
    except (OSError, TimeoutError) as error:
        raise NotRunning(f"no bridge answers at {path}: {error}") from error
    try:
        reply = json.loads(line)
        return reply["answer"]
    except (ValueError, KeyError, TypeError) as error:
        raise NotRunning(f"the bridge at {path} gave no usable answer") from error
