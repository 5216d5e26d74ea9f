"""The AMQP library behind one door: a connection with one channel that accounts confirms without a future each.

The library's own ``publish`` costs about thirteen callbacks of the event loop and one ``send`` per message. Here
many publishes go out in one frame of its writer, and its channel hands confirms and returns to one listener.

Private surface of aiormq 7 in use, held by ``tests/sinks/test_amqp_connection.py``: ``Channel`` is subclassed,
its ``_on_confirm_frame`` and ``_on_return_frame`` are overridden, its ``_get_frame`` and ``_read_content`` called,
its ``delivery_tag`` and ``write_queue`` written; the channel is entered into ``Connection.channels``;
``aio_pika.Connection.kwargs`` carries our ``TransportFactory``.
"""

import asyncio
import logging
import os
import re
import socket
import ssl
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar
from urllib.parse import quote

import aio_pika
from aiormq import exceptions as amqp
from aiormq.abc import AbstractConnection, ChannelFrame, ConfirmationFrameType
from aiormq.channel import Channel
from aiormq.connection import TransportFactory
from pamqp import commands
from pamqp.header import ContentHeader
from yarl import URL

from bridge.errors import Paused, Unavailable
from bridge.tls import TlsSettings, await_refusal, explain, is_lasting

# The library logs every failed attempt as an error, with a traceback; what it raises is told once, by us.
for _name in ("aiormq", "aio_pika"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)

T = TypeVar("T")

_TOO_LARGE = re.compile(r"message size \d+ .*?size (\d+)")
_LARGEST_FRAME = 128 * 1024
"""Ours where the broker would take larger ones, or has no limit (tuned to 0)."""
_CLOSE_SECONDS = 1.5


@dataclass(frozen=True, slots=True)
class Login:
    """Where to connect, and as whom; without a username the client certificate speaks (EXTERNAL).

    Attributes:
        heartbeat: seconds.
        connection_name: what the broker's management shows.
        tls: names the files when TLS fails.
    """

    host: str
    port: int
    vhost: str
    username: str | None
    password: str | None = field(repr=False)
    heartbeat: int
    connection_name: str
    tls: TlsSettings | None = None

    def url(self, scheme: str) -> URL:
        """The library's URL; it carries the password, so it is never logged."""
        user_info = ""
        if self.username is not None:
            user_info = f"{quote(self.username, safe='')}:{quote(self.password or '', safe='')}@"
        host = f"[{self.host}]" if ":" in self.host else self.host
        auth = "external" if self.username is None else "plain"
        options = f"heartbeat={self.heartbeat}&auth={auth}&name={quote(self.connection_name, safe='')}"
        vhost = quote(self.vhost, safe="")
        return URL(f"{scheme}://{user_info}{host}:{self.port}/{vhost}?{options}", encoded=True)


class Listener(Protocol):
    """Who hears what the broker says about messages."""

    def answered(self, tag: int, *, multiple: bool, acked: bool) -> None:
        """``basic.ack`` or ``basic.nack``; with ``multiple`` for every tag up to this one."""
        ...

    def came_back(self, message_id: str | None, routing_key: str) -> None:
        """``basic.return``; the answer for its tag follows."""
        ...

    def wake(self) -> None:
        """The channel broke."""
        ...


class ConfirmChannel(Channel):
    """A channel in confirm mode with one listener.

    Attributes:
        listener: who hears of confirms and returns, or None.
        broken: why the channel is closed, or None.
        login: what the connection was made with.
        frame_max: the most bytes of one frame.
    """

    def __init__(self, connection: AbstractConnection, number: int, login: Login) -> None:
        # No bound for frames that arrive: there are no more of them than messages in the window.
        super().__init__(connection, number, publisher_confirms=True, frame_buffer=0)
        self.frame_max = min(connection.connection_tune.frame_max or _LARGEST_FRAME, _LARGEST_FRAME)
        self.login = login
        self.broken: BaseException | None = None
        self.listener: Listener | None = None
        self.closing.add_done_callback(self._on_closed)

    async def write(self, frames: bytes, count: int) -> None:
        """Hands the frames of ``count`` publishes to the writer of the socket, in one piece."""
        self.delivery_tag += count
        await self.write_queue.put(ChannelFrame(payload=frames, should_close=False))

    async def until_closed(self) -> BaseException:
        """Waits until the channel or its connection is closed; returns why."""
        await asyncio.wait([self.closing])
        return self.broken or ConnectionResetError("the channel was closed")

    async def is_blocked(self) -> bool:
        """Whether the broker said that it reads no publishes (``connection.blocked``)."""
        try:
            async with asyncio.timeout(0):
                await self.connection.ready()
        except TimeoutError:
            return True
        return False

    def _on_closed(self, closing: "asyncio.Future[Any]") -> None:
        error = None if closing.cancelled() else closing.exception()
        self.broken = error or ConnectionResetError("the channel was closed")
        if self.listener is not None:
            self.listener.wake()

    async def _on_confirm_frame(self, frame: ConfirmationFrameType) -> None:
        if self.listener is not None:
            self.listener.answered(
                frame.delivery_tag or 0,
                multiple=bool(getattr(frame, "multiple", False)),
                acked=isinstance(frame, commands.Basic.Ack),
            )

    async def _on_return_frame(self, frame: commands.Basic.Return) -> None:
        header = await self._get_frame()
        if not isinstance(header, ContentHeader):
            raise amqp.InvalidFrameError(header)
        await self._read_content(frame, header)
        if self.listener is not None:
            self.listener.came_back(header.properties.message_id, frame.routing_key or "")


@asynccontextmanager
async def channel_to(
    login: Login, context: ssl.SSLContext | None, *, exchange: str, seconds: float
) -> AsyncIterator[ConfirmChannel]:
    """A fresh connection with one channel; leaving closes both within about two seconds.

    Args:
        login: where to, and as whom.
        context: for TLS, or None.
        exchange: its existence is checked, unless it is the default exchange "".
        seconds: how long all of connecting may take.

    Raises:
        Unavailable: the broker cannot be reached, or does not answer; the message does not name it.
        Paused: login, certificate, virtual host or exchange need somebody's hand.
    """
    door = _Door(context)
    link = _Link(login.url("amqp" if context is None else "amqps"), door)
    try:
        try:
            channel = await _finish(_enter(link, login, exchange), seconds)
        except TimeoutError as error:
            raise Unavailable(f"no answer within {seconds:g} s of connecting") from error
        except (OSError, amqp.AMQPError, amqp.ChannelInvalidStateError) as error:
            trouble = peer_error(error, login)
            if context is not None and isinstance(trouble, Unavailable) and _hung_up(error):
                # On a slow link its refusal of our certificate comes later than we wait for it, and a reset
                # overtakes the alert that names the cause.
                trouble = Unavailable(f"{trouble.why}; perhaps it wants another client certificate (tls.cert)")
            raise trouble from error
        yield channel
    finally:
        await _leave(link, door)


def peer_error(error: BaseException, login: Login) -> Unavailable | Paused:
    """What an error of the library, or of the network below it, asks for; the message does not name the peer."""
    tls = explain(error, login.tls)
    if tls:
        return Paused(tls) if is_lasting(error) else Unavailable(tls)
    who = "the client certificate" if login.username is None else f"user {login.username!r}"
    match error:
        case amqp.ProbableAuthenticationError():
            return Paused(f"the broker refuses the login of {who}; check the user, its password, and its access")
        case amqp.AuthenticationError():
            return Paused(f"the broker does not offer this kind of login for {who}; check auth")
        case amqp.InvalidFrameError() if "Connection.Close" in str(error):
            return Paused(f"the virtual host does not exist, or {who} may not use it")
        case amqp.ProtocolSyntaxError() | amqp.IncompatibleProtocolError():
            return Unavailable("what answers there does not speak AMQP 0-9-1")
        case amqp.ChannelNotFoundEntity():
            return Paused(f"{_words(error)}; declare it at the broker, or correct exchange in the configuration")
        case amqp.ChannelAccessRefused():
            return Paused(f"{_words(error)}; give {who} the right to write to it")
        case amqp.ChannelLockedResource() | amqp.ChannelPreconditionFailed() | amqp.ConnectionNotAllowed():
            return Paused(f"the broker says: {_words(error)}")
        case amqp.ConnectionClosed() | amqp.AMQPChannelError():
            return Unavailable(f"the broker says: {_words(error)}")
    return Unavailable(_words(error))


def too_large(error: BaseException) -> int | None:
    """The largest message the broker takes, if that is why it closed the channel."""
    match = _TOO_LARGE.search(str(error)) if isinstance(error, amqp.ChannelPreconditionFailed) else None
    return int(match[1]) if match else None


class _Door(TransportFactory):
    """Opens the socket for the library, and can shut it at once."""

    def __init__(self, context: ssl.SSLContext | None) -> None:
        self._context = context
        self._transport: asyncio.WriteTransport | None = None

    async def create(self, url: URL, **_: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._context is None:
            reader, writer = await asyncio.open_connection(url.host, url.port)
        else:
            loop = asyncio.get_running_loop()
            started = loop.time()
            # A peer that is gone does not answer the goodbye of TLS either.
            reader, writer = await asyncio.open_connection(
                url.host, url.port, ssl=self._context, ssl_shutdown_timeout=_CLOSE_SECONDS
            )
            self._transport = writer.transport
            await await_refusal(reader, writer, loop.time() - started)
        self._transport = writer.transport
        return reader, writer

    def abort(self) -> None:
        """Closes the socket without a word; harmless when it is closed already."""
        if self._transport is not None:
            self._transport.abort()


class _Link(aio_pika.Connection):
    """The library's plain connection, over our own socket."""

    def __init__(self, url: URL, door: _Door) -> None:
        super().__init__(url)
        self.kwargs["transport_factory"] = door


async def _enter(link: _Link, login: Login, exchange: str) -> ConfirmChannel:
    await link.connect()
    if link.transport is None:
        raise amqp.ConnectionClosed(0, "closed while connecting")
    connection = link.transport.connection
    channel = ConfirmChannel(connection, 1, login)
    connection.channels[1] = channel
    await channel.open()
    if exchange:
        await channel.exchange_declare(exchange, passive=True)
    return channel


async def _leave(link: _Link, door: _Door) -> None:
    """Says goodbye if the broker listens; the socket is closed in any case."""
    goodbye = _watched(link.close())
    try:
        await asyncio.wait({goodbye}, timeout=_CLOSE_SECONDS)
    finally:
        door.abort()
        if not goodbye.done():
            goodbye.cancel()
    await asyncio.wait({goodbye}, timeout=_CLOSE_SECONDS)


async def _finish(work: Coroutine[Any, Any, T], seconds: float) -> T:
    """The result of the library's work, in a task of its own.

    The library ends waits in a ``CancelledError`` that nobody asked for when a connection dies, and may take
    its time to clean up: neither must look like a cancellation of ours, or delay one.
    """
    task = _watched(work)
    try:
        await asyncio.wait({task}, timeout=seconds)
    finally:
        if not task.done():
            task.cancel()
    if not task.done():
        await asyncio.wait({task}, timeout=_CLOSE_SECONDS)
        raise TimeoutError
    if task.cancelled():
        raise ConnectionAbortedError("the connection broke while it was set up")
    return task.result()


def _watched(work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
    """A task whose error counts as seen, whether or not somebody is left to see it."""
    task = asyncio.create_task(work)
    task.add_done_callback(lambda done: done.cancelled() or done.exception())
    return task


def _hung_up(error: BaseException) -> bool:
    return isinstance(error.__cause__, ConnectionResetError | asyncio.IncompleteReadError)


def _words(error: BaseException) -> str:
    """What happened, for people."""
    if isinstance(error, amqp.AMQPConnectionError) and isinstance(error.__cause__, OSError):
        return _words(error.__cause__)
    if isinstance(error.__cause__, asyncio.IncompleteReadError):
        return "the broker closed the connection without a word"
    if isinstance(error, OSError) and error.errno and not isinstance(error, amqp.AMQPError | socket.gaierror):
        return os.strerror(error.errno)
    if isinstance(error, asyncio.CancelledError):
        return "the connection broke: nothing was heard from the broker"
    text = " ".join(str(part) for part in error.args if part not in (None, "")) or type(error).__name__
    return text if len(text) <= 300 else text[:300] + "…"
