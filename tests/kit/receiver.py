"""An HTTP server that takes CloudEvents, remembers them, and misbehaves on request.

::

    async with Receiver() as receiver:
        receiver.next(Answer(503, {"Retry-After": "7"}), Drop("after reading"))   # the next two requests
        ...
        assert receiver.accepted[("urn:x", "1")] == 1
"""

import asyncio
import gzip
import json
import ssl
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal, Self
from urllib.parse import unquote

from aiohttp import web

Key = tuple[str, str]
"""The identity of an event: source and id."""


@dataclass(frozen=True)
class Arrival:
    """One event as it came, once for every time it came.

    Attributes:
        attributes: of structured and batched events the members of the JSON object, ``data`` included; of binary
            ones what the headers say, decoded.
        raw: the bytes of the event: its JSON text, or the body of a binary request.
    """

    mode: Literal["structured", "binary", "batch"]
    attributes: Mapping[str, object]
    raw: bytes

    @property
    def key(self) -> Key:
        return str(self.attributes["source"]), str(self.attributes["id"])


@dataclass(frozen=True)
class Request:
    """One request, whatever it was answered.

    Attributes:
        headers: names in lower case.
        body: as it came, still compressed if it was.
        client: the common name of the client's certificate.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    arrivals: Sequence[Arrival]
    client: str | None
    connection: int


@dataclass(frozen=True)
class Answer:
    """Reads the request and answers it."""

    status: int = 204
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass(frozen=True)
class Drop:
    """Resets the connection. In mid-response the status line said 200 and half of the body is missing."""

    when: Literal["before reading", "after reading", "in mid-response"]


@dataclass(frozen=True)
class Hang:
    """Reads the request and answers it (204) only after :meth:`Receiver.release`."""


Behaviour = Answer | Drop | Hang
TAKEN = Answer()


class Receiver:
    """Listens on a free port of the loopback interface.

    Attributes:
        requests: every request that was read, in order.
        seen: how often each event came, whatever the answer was.
        accepted: how often each event was answered with 2xx.
        changed: events that came again with other bytes.
        judge: asked about each request that :meth:`next` did not settle; None takes everything.
        hanging: set while a request hangs.
        port: from ``async with`` on; the same after ``stop`` and ``start``.
    """

    def __init__(
        self,
        *,
        tls: ssl.SSLContext | None = None,
        judge: Callable[[Sequence[Arrival]], Behaviour] | None = None,
        keepalive: float = 75.0,
    ) -> None:
        self._tls = tls
        self._keepalive = keepalive
        self._script: deque[Behaviour] = deque()
        self._released = asyncio.Event()
        self._runner: web.ServerRunner | None = None
        self._connections: dict[int, int] = {}
        self._transports: set[asyncio.BaseTransport] = set()
        self._first: dict[Key, bytes] = {}
        self.judge = judge
        self.requests: list[Request] = []
        self.seen: Counter[Key] = Counter()
        self.accepted: Counter[Key] = Counter()
        self.changed: list[Key] = []
        self.hanging = asyncio.Event()
        self.port = 0

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://localhost:{self.port}/events"

    @property
    def arrivals(self) -> list[Arrival]:
        """Every event that came, in order."""
        return [arrival for request in self.requests for arrival in request.arrivals]

    def next(self, *behaviours: Behaviour) -> None:
        """What the next requests meet, one after the other; then it is back to :attr:`judge`."""
        self._script.extend(behaviours)

    def release(self) -> None:
        """Answers every request that hangs."""
        self._released.set()
        self._released = asyncio.Event()
        self.hanging.clear()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listens (again)."""
        server = web.Server(
            self._handle,
            access_log=None,
            keepalive_timeout=self._keepalive,
            lingering_time=0,
            auto_decompress=False,
        )
        self._runner = web.ServerRunner(server, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, ssl_context=self._tls).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Stops listening and cuts every connection."""
        self.release()
        for transport in self._transports:
            if isinstance(transport, asyncio.Transport):
                transport.abort()
        self._transports.clear()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        transport = request.transport
        assert isinstance(transport, asyncio.Transport)
        self._transports.add(transport)
        behaviour = self._script.popleft() if self._script else None
        if behaviour == Drop("before reading"):
            transport.abort()
            return web.Response(status=500)
        arrivals = await self._read(request, transport)
        if behaviour is None:
            behaviour = self.judge(arrivals) if self.judge is not None else TAKEN
        if isinstance(behaviour, Hang):
            released = self._released
            self.hanging.set()
            await released.wait()
            behaviour = TAKEN
        if isinstance(behaviour, Drop):
            if behaviour.when == "in mid-response":
                await self._half_an_answer(request)
            transport.abort()
            return web.Response(status=500)
        if 200 <= behaviour.status < 300:
            self.accepted.update(arrival.key for arrival in arrivals)
        return web.Response(status=behaviour.status, headers=dict(behaviour.headers), body=behaviour.body)

    async def _read(self, request: web.BaseRequest, transport: asyncio.Transport) -> Sequence[Arrival]:
        body = await request.content.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        plain = gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body
        arrivals = tuple(parse(headers, plain))
        for arrival in arrivals:
            self.seen[arrival.key] += 1
            if self._first.setdefault(arrival.key, arrival.raw) != arrival.raw:
                self.changed.append(arrival.key)
        certificate = transport.get_extra_info("peercert") or {}
        names = {pair[0][0]: pair[0][1] for pair in certificate.get("subject", ())}
        number = self._connections.setdefault(id(transport), len(self._connections))
        self.requests.append(
            Request(request.method, request.raw_path, headers, body, arrivals, names.get("commonName"), number)
        )
        return arrivals

    async def _half_an_answer(self, request: web.BaseRequest) -> None:
        response = web.StreamResponse(status=200, headers={"Content-Length": "100"})
        await response.prepare(request)
        await response.write(b"x" * 50)


def parse(headers: Mapping[str, str], body: bytes) -> list[Arrival]:
    """The events of a request, by its content type (HTTP binding, 3); nothing if it holds none."""
    contenttype = headers.get("content-type", "")
    if contenttype.startswith("application/cloudevents-batch+json"):
        return [Arrival("batch", json.loads(raw), raw) for raw in elements(body)]
    if contenttype.startswith("application/cloudevents+json"):
        return [Arrival("structured", json.loads(body), body)]
    if "ce-id" not in headers:
        return []
    attributes: dict[str, object] = {
        name.removeprefix("ce-"): unquote(value, errors="strict")
        for name, value in headers.items()
        if name.startswith("ce-")
    }
    if contenttype:
        attributes["datacontenttype"] = contenttype
    return [Arrival("binary", attributes, body)]


def elements(array: bytes) -> list[bytes]:
    """The text of each element of a JSON array, byte for byte."""
    text, decoder, found = array.decode(), json.JSONDecoder(), []
    at = text.index("[") + 1
    while text[at] != "]":
        _, end = decoder.raw_decode(text, at)
        found.append(text[at:end].encode())
        at = end + 1 if text[end] == "," else end
    return found
