"""Events to an HTTP endpoint by POST: structured, binary or batched CloudEvents; only 2xx confirms.

What the receiver says, and what it means here:

- 2xx: confirmed.
- 408, 425, 429, 5xx, a connection that fails or breaks, silence: ``Unavailable``; ``Retry-After`` is kept.
- 3xx (never followed), 401, 402, 403, 404, 405, 407, 410: ``Paused``. So is 415 where every request has the
  same content type: a wrong key, address or mode must not cost a single event.
- 413: a batch is cut in halves; an event that is too large alone is rejected.
- any other 4xx: rejected; a batch is cut in halves until the events to blame are alone.

Opening connects once, with the TLS handshake and a moment for the receiver to refuse our certificate, and
closes again: so "connected" is true before the first event, and a refusal is heard that a reset in the middle
of a request would drown. Nothing is sent, since no request is known to be harmless everywhere.
"""

import asyncio
import gzip
import io
import ipaddress
import logging
import os
import re
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

import aiohttp
from pydantic import Field, field_validator, model_validator

import bridge
from bridge.errors import Paused, PeerError, Unavailable
from bridge.ports import Delivery, Site
from bridge.settings import ByteSize, Duration
from bridge.sinks.http_answers import Answer, clean, cut, masked
from bridge.sinks.http_delivery import BatchDelivery, Room, SingleDelivery
from bridge.sinks.http_headers import Secrets, check_header, check_name, read_secrets
from bridge.sinks.http_knock import knock
from bridge.sinks.settings import SinkSettings
from bridge.tls import TlsSettings, client_context, explain, is_lasting
from bridge.wire.http import Message, binary, structured

log = logging.getLogger(__name__)

_KEEPALIVE = 15.0
_MOST_READ = 64 * 1024
"""Bytes of an answer's body that are read; a connection with more of it is not used again."""
_MOST_SHOWN = 2000
"""Characters of it that are kept."""
_COMPRESS_IN_THREAD = 64 * 1024
_LARGE_BODY = 1 << 20
"""From here on the library wants a file, to write it piece by piece."""


class HttpSettings(SinkSettings):
    """A sink that posts to an HTTP endpoint; only an answer of 2xx confirms."""

    kind: Literal["http"] = "http"
    url: str = Field(examples=["https://ingest.example.com/v1/events"])
    """"https://host/path", or "http://host/path" without encryption."""
    mode: Literal["structured", "binary", "batch"] = "structured"
    """"structured": one event per request, as JSON. "binary": one per request, attributes as headers, the data as
    body. "batch": many per request as a JSON array, for receivers that say they take it."""
    batch_events: int = Field(default=100, ge=1, le=10_000)
    """Events in one request at most; only with mode = "batch"."""
    batch_bytes: ByteSize = Field(default=256 * 1024, ge=1024, le=16 * 1024 * 1024)
    """Bytes of one request's body at most, before compression; only with mode = "batch"."""
    concurrency: int = Field(default=8, ge=1, le=100)
    """Requests under way at once; not with mode = "batch". With 1 the receiver gets all events strictly in order;
    with more, events that are close together may overtake each other."""
    gzip: bool = False
    """Whether bodies are compressed; the receiver must understand "Content-Encoding: gzip"."""
    timeout: Duration = Field(default=30.0, gt=0, le=3600)
    """How long one request may take, from connecting to the end of the answer."""
    connect_timeout: Duration = Field(default=10.0, gt=0, le=3600)
    """How long connecting may take, TLS included."""
    headers: dict[str, str] = Field(default_factory=dict, examples=[{"X-Site": "plant7"}])
    """Further headers of every request; none of them may be a secret."""
    bearer_token_file: Path | None = Field(default=None, examples=["${CREDENTIALS_DIRECTORY}/token"])
    """File with the token for "Authorization: Bearer …"; read again for each new connection after a failure."""
    header_files: dict[str, Path] = Field(
        default_factory=dict, examples=[{"X-Api-Key": "${CREDENTIALS_DIRECTORY}/api-key"}]
    )
    """Headers whose values are secrets, each in a file of its own; read again like bearer_token_file."""
    tls: TlsSettings | None = None
    """Certificates for https; the receiver's certificate is always verified."""

    @field_validator("url")
    @classmethod
    def _check_url(cls, value: str) -> str:
        parts = urlsplit(value)
        if "@" in parts.netloc:
            raise ValueError(
                'holds a user or password: put "Basic …" into a file and name it in '
                'header_files = { Authorization = "…" }, or use bearer_token_file'
            )
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError('must look like "https://host/path" or "http://host/path"')
        if not re.fullmatch(r"[!-~]+", value):
            raise ValueError("holds a space or a character that is not ASCII: write it percent-encoded")
        if parts.fragment:
            raise ValueError('has a "#": a receiver never sees what is behind it')
        _ = parts.port  # raises ValueError by itself when it is no port number
        return value

    @field_validator("headers")
    @classmethod
    def _check_headers(cls, headers: dict[str, str]) -> dict[str, str]:
        for name, value in headers.items():
            check_header(name, value)
        return headers

    @field_validator("header_files")
    @classmethod
    def _check_header_files(cls, files: dict[str, Path]) -> dict[str, Path]:
        for name in files:
            check_name(name)
        return files

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.tls is not None and not self.secure:
            raise ValueError('tls is set, but url begins with "http:": use "https:"')
        names = [name.lower() for name in (*self.headers, *self.header_files)]
        if self.bearer_token_file is not None:
            names.append("authorization")
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice:
            raise ValueError(f"the header {twice} is set twice (headers, header_files, bearer_token_file)")
        unused = ("concurrency",) if self.mode == "batch" else ("batch_events", "batch_bytes")
        for name in unused:
            if name in self.model_fields_set:
                raise ValueError(f'{name} has no effect with mode = "{self.mode}": leave it out, or change mode')
        return self

    @property
    def secure(self) -> bool:
        """Whether the connection is to use TLS."""
        return self.url.lower().startswith("https:")

    def build(self, name: str, site: Site) -> "HttpSink":
        """The sink that this table describes; does no I/O."""
        return HttpSink(self, name, site)


class HttpSink:
    """A :class:`bridge.ports.Sink` to an HTTP endpoint."""

    def __init__(self, settings: HttpSettings, name: str, site: Site) -> None:
        self._settings = settings
        self._name = name
        self._clock = site.clock
        self._warned = False
        self._room = Room(settings.batch_bytes)
        if settings.mode == "batch":
            # Several requests' worth: only the last of them is not full.
            self.max_events = 4 * settings.batch_events
            self.max_bytes = 4 * settings.batch_bytes
        else:
            self.max_events = 16 * settings.concurrency
            self.max_bytes = 4 * 1024 * 1024

    @property
    def peer(self) -> str:
        """The URL; values of its query are masked."""
        return masked(self._settings.url)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Delivery]:
        """Reads secrets and certificates, and connects once to see whether the receiver is there.

        Raises:
            Unavailable: it cannot be reached.
            Paused: a file, or the trust between the two sides, needs somebody's hand.
        """
        settings = self._settings
        try:
            secrets = await asyncio.to_thread(
                read_secrets, settings.url, settings.bearer_token_file, settings.header_files
            )
            self._warn_of_plain_text(secrets)
            context = await client_context(settings.tls) if settings.secure else None
            await _check(settings, context)
        except PeerError as error:
            raise type(error)(f"{self.peer}: {error.why}", retry_after=error.retry_after) from error
        async with _session(settings, context) as session:
            yield self._delivery(_Poster(session, settings, secrets))

    def _delivery(self, post: "_Poster") -> Delivery:
        settings = self._settings
        if settings.mode == "batch":
            return BatchDelivery(
                post,
                peer=self.peer,
                clock=self._clock,
                most_events=settings.batch_events,
                room=self._room,
            )
        return SingleDelivery(
            post,
            structured if settings.mode == "structured" else binary,
            peer=self.peer,
            clock=self._clock,
            concurrency=settings.concurrency,
            same_type=settings.mode == "structured",
        )

    def _warn_of_plain_text(self, secrets: "Secrets") -> None:
        host = urlsplit(self._settings.url).hostname or ""
        if self._settings.secure or not secrets.headers or _is_loopback(host) or self._warned:
            return
        self._warned = True
        log.warning(
            "sink %s: its token or key crosses the network to %s in plain text; use https:// if it is offered",
            self._name,
            host,
        )


@asynccontextmanager
async def _session(settings: HttpSettings, context: ssl.SSLContext | None) -> AsyncIterator[aiohttp.ClientSession]:
    limit = 1 if settings.mode == "batch" else settings.concurrency
    connector = aiohttp.TCPConnector(
        limit=limit, ssl=context or True, keepalive_timeout=_KEEPALIVE, resolver=aiohttp.ThreadedResolver()
    )
    async with aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=settings.timeout, connect=settings.connect_timeout),
        auto_decompress=False,
        trust_env=False,
    ) as session:
        yield session


class _Poster:
    """Sends one request at a time or many, and reads their answers."""

    def __init__(self, session: aiohttp.ClientSession, settings: HttpSettings, secrets: Secrets) -> None:
        self._session = session
        self._settings = settings
        self._secrets = secrets
        self._headers = {
            "User-Agent": f"edge-bridge/{bridge.__version__}",
            "Accept-Encoding": "identity",
            **settings.headers,
            **secrets.headers,
        }

    async def __call__(self, message: Message) -> Answer:
        """The answer, whatever its status; see :class:`bridge.sinks.http_delivery.Post`."""
        headers, body = self._headers | dict(message.headers), message.body
        if self._settings.gzip and body:
            headers["Content-Encoding"] = "gzip"
            body = await _compressed(body)
        try:
            async with self._session.post(
                self._settings.url,
                data=body if len(body) < _LARGE_BODY else io.BytesIO(body),
                headers=headers,
                allow_redirects=False,
                skip_auto_headers=("Content-Type",),
            ) as response:
                begun = await _beginning(response)
                first = {name.lower(): response.headers[name] for name in response.headers}
                text = "" if response.status < 300 else clean(begun, self._secrets.words)[:_MOST_SHOWN]
                return Answer(response.status, first, text)
        except (aiohttp.ClientError, OSError) as error:
            raise _failure(error, self._settings, self._secrets.words) from error


async def _compressed(body: bytes) -> bytes:
    if len(body) < _COMPRESS_IN_THREAD:
        return gzip.compress(body, 6, mtime=0)
    return await asyncio.to_thread(gzip.compress, body, 6, mtime=0)


async def _beginning(response: aiohttp.ClientResponse) -> bytes:
    """The body, so that the connection can be used again; of one that is too long only the beginning."""
    parts: list[bytes] = []
    size = 0
    async for chunk in response.content.iter_any():
        parts.append(chunk)
        size += len(chunk)
        if size > _MOST_READ:
            response.close()
            break
    return b"".join(parts)


async def _check(settings: HttpSettings, context: ssl.SSLContext | None) -> None:
    """Connects and closes again.

    Raises:
        Unavailable: nobody answers.
        Paused: the two sides do not trust each other.
    """
    parts = urlsplit(settings.url)
    try:
        port = parts.port or (443 if settings.secure else 80)
        await knock(parts.hostname or "", port, context, settings.connect_timeout)
    except TimeoutError as error:
        raise Unavailable(f"no connection within {settings.connect_timeout:g} s") from error
    except OSError as error:
        raise _failure(error, settings, ()) from error


def _failure(error: Exception, settings: HttpSettings, secrets: tuple[str, ...]) -> PeerError:
    """What a failure without an answer means."""
    told = explain(error, settings.tls or TlsSettings()) if settings.secure else None
    if told is not None:
        return Paused(told) if is_lasting(error) else Unavailable(told)
    return Unavailable(_words(error, settings, secrets))


def _words(error: Exception, settings: HttpSettings, secrets: tuple[str, ...]) -> str:
    match error:
        case aiohttp.ClientConnectorDNSError() | socket.gaierror():
            cause = error.os_error if isinstance(error, aiohttp.ClientConnectorDNSError) else error
            return f"the name {urlsplit(settings.url).hostname} cannot be found: {cause.strerror or cause}"
        case aiohttp.ConnectionTimeoutError():
            return f"no connection within {settings.connect_timeout:g} s"
        case TimeoutError() if not error.errno:
            return f"no answer within {settings.timeout:g} s"
        case aiohttp.ServerDisconnectedError():
            return "the receiver closed the connection without an answer"
        case aiohttp.ClientPayloadError():
            return "the connection broke in the middle of the answer"
        case aiohttp.ClientResponseError():
            return f"what answers there does not speak HTTP: {cut(clean(error.message.encode(), secrets))}"
        case ConnectionResetError() if settings.secure and not error.errno:
            return "the receiver broke off the TLS connection; it may demand another client certificate (tls.cert)"
    # Several addresses fail with several numbers, all in one text.
    numbers = dict.fromkeys(re.findall(r"\[Errno (\d+)\]", str(error)))
    if numbers:
        return f"the connection failed: {', '.join(os.strerror(int(number)) for number in numbers)}"
    return f"the connection failed: {cut(clean((str(error) or type(error).__name__).encode(), secrets))}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
