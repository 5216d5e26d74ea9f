"""Events to an exchange of an AMQP 0-9-1 broker (RabbitMQ, LavinMQ, …): persistent, mandatory, confirmed.

What the broker says, and what it means here:

- ``basic.ack``: confirmed. Nothing else is.
- ``basic.return`` (no queue is bound for the routing key): a fault of the broker's configuration as a rule, so
  nothing is thrown away. What can be routed is delivered, then the sink is ``Paused`` and names exchange and key.
- ``basic.nack`` (a queue with ``reject-publish`` is full): ``Unavailable``, the refused are sent again.
- the exchange does not exist, access refused: ``Paused``.
- the message is larger than the broker takes: that event is rejected, the connection begins anew.
- ``connection.blocked``, and silence beyond ``confirm_timeout``: ``Unavailable``.

The first message on a connection goes alone: a broker that an alarm blocks reads nothing, says so only to
publishers, and would process later what every failed attempt had left in its socket.

Azure Service Bus and Event Hubs speak AMQP 1.0, which is another protocol.
"""

import asyncio
import ipaddress
import logging
import re
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Literal, Self
from urllib.parse import unquote, urlsplit

from pydantic import Field, field_validator, model_validator

from bridge.codec.template import Template
from bridge.errors import DecodeError, Paused, PeerError, Rejected, Unavailable
from bridge.event import CORE_NAMES, Event
from bridge.ports import Delivery, Site
from bridge.settings import Duration, read_secret
from bridge.sinks.amqp_confirms import Confirms
from bridge.sinks.amqp_connection import ConfirmChannel, Login, channel_to, peer_error, too_large
from bridge.sinks.settings import SinkSettings
from bridge.tls import TlsSettings, client_context
from bridge.wire.amqp import DEFAULT_PREFIX, Message, Unsendable, binary, content_frames, publish_frame, structured

log = logging.getLogger(__name__)

_ATTRIBUTES = ("id", "source", "type", "subject", "time", "datacontenttype", "dataschema")
_EXTENSION = re.compile(r"[a-z0-9]{1,20}\Z")
_CHUNK_EVENTS = 64
_CHUNK_BYTES = 64 * 1024


class AmqpSettings(SinkSettings):
    """A sink that publishes to an AMQP 0-9-1 exchange, persistent and with publisher confirms."""

    kind: Literal["amqp"] = "amqp"
    url: str
    """"amqp://host:port/vhost" or, over TLS, "amqps://host:port/vhost"; default ports 5672 and 5671."""
    username: str | None = Field(default=None, min_length=1)
    """The user to log in as; needed with auth = "plain"."""
    password_file: Path | None = None
    """File that holds the password; needed with auth = "plain"."""
    auth: Literal["plain", "external"] = "plain"
    """"plain": username and password. "external": the client certificate tls.cert."""
    exchange: str = Field(max_length=255)
    """Name of the exchange, which must exist; "" is the default exchange (routing_key is then the queue)."""
    routing_key: str = Field(default="{type}", max_length=1024)
    """Template over the attributes of the event: "{type}", "{subject}", or any extension of yours. While an
    event has no such attribute the sink is paused, and keeps everything."""
    mode: Literal["structured", "binary"] = "structured"
    """"structured": the body is the event as JSON. "binary": attributes are headers, the body is the data."""
    header_prefix: Literal["cloudEvents_", "cloudEvents:", "ce-"] = DEFAULT_PREFIX
    """Before the name of each attribute in binary mode; "ce-" is what Knative reads."""
    heartbeat: Duration = Field(default=10.0, ge=1, le=3600)
    """Whole seconds between signs of life; a silent broker is given up after three of them."""
    confirm_timeout: Duration = Field(default=30.0, gt=0)
    """How long the broker may be silent while confirms are due."""
    connect_timeout: Duration = Field(default=10.0, gt=0)
    """How long connecting and logging in may take."""
    window: int = Field(default=500, ge=1, le=10_000)
    """Messages sent and not yet confirmed, at most."""
    tls: TlsSettings | None = None
    """Certificates for amqps; the broker's certificate is always verified."""

    @field_validator("url")
    @classmethod
    def _check_url(cls, value: str) -> str:
        parts = urlsplit(value)
        if "@" in parts.netloc:
            raise ValueError("holds a user or password: use username and password_file instead")
        if parts.scheme not in {"amqp", "amqps"} or not parts.hostname:
            raise ValueError('must look like "amqps://host:5671/vhost" or "amqp://host:5672/vhost"')
        if parts.query or parts.fragment or "/" in parts.path[1:]:
            raise ValueError("ends with the virtual host; a slash in its name is written %2F")
        _ = parts.port  # raises ValueError by itself when it is no port number
        return value

    @field_validator("routing_key")
    @classmethod
    def _check_routing_key(cls, value: str) -> str:
        for name in sorted(Template(value).names):
            if name not in _ATTRIBUTES and (name in CORE_NAMES or not _EXTENSION.match(name)):
                raise ValueError(
                    f"{{{name}}} is no attribute of an event; there are {', '.join(_ATTRIBUTES)} and extensions "
                    "(lower-case letters and digits)"
                )
        return value

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.tls is not None and not self.secure:
            raise ValueError('tls is set, but url begins with "amqp:": use "amqps:"')
        if self.auth == "plain" and (self.username is None or self.password_file is None):
            raise ValueError('auth = "plain" needs username and password_file')
        if self.auth == "external":
            if self.username is not None or self.password_file is not None:
                raise ValueError('auth = "external" takes no username and no password_file')
            if not self.secure or self.tls is None or self.tls.cert is None:
                raise ValueError('auth = "external" needs an amqps url and tls.cert')
        return self

    @property
    def secure(self) -> bool:
        """Whether the connection is to use TLS."""
        return self.url.startswith("amqps:")

    def build(self, name: str, site: Site) -> "AmqpSink":
        """The sink that this table describes; does no I/O."""
        return AmqpSink(self, name, site.gateway_id)


class AmqpSink:
    """A :class:`bridge.ports.Sink` to an exchange."""

    def __init__(self, settings: AmqpSettings, name: str, gateway_id: str) -> None:
        self._settings = settings
        self._name = name
        self._connection_name = f"edge-bridge {gateway_id} {name}"
        self._warned = False
        self.max_events = 2 * settings.window
        self.max_bytes = 4 * 1024 * 1024

    @property
    def peer(self) -> str:
        """URL and exchange; there are no credentials in either."""
        return f"{self._settings.url} exchange {self._settings.exchange!r}"

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Delivery]:
        """Connects, logs in and checks that the exchange exists.

        Raises:
            Unavailable: the broker cannot be reached, or does not answer.
            Paused: login, certificate, virtual host or exchange need somebody's hand.
        """
        async with AsyncExitStack() as stack:
            try:
                channel = await stack.enter_async_context(await self._connection())
            except PeerError as error:
                raise named(error, self.peer) from error
            yield AmqpDelivery(channel, self._settings, self.peer)

    async def _connection(self) -> AbstractAsyncContextManager[ConfirmChannel]:
        settings = self._settings
        context = await client_context(settings.tls) if settings.secure else None
        return channel_to(
            await self._login(), context, exchange=settings.exchange, seconds=settings.connect_timeout
        )

    async def _login(self) -> Login:
        settings = self._settings
        parts = urlsplit(settings.url)
        host = parts.hostname or ""
        password = None
        if settings.password_file is not None:
            password = await asyncio.to_thread(read_secret, settings.password_file, "password_file")
            self._warn_of_plain_text(host)
        return Login(
            host=host,
            port=parts.port or (5671 if settings.secure else 5672),
            vhost=unquote(parts.path[1:]) or "/",
            username=settings.username,
            password=password,
            heartbeat=round(settings.heartbeat),
            connection_name=self._connection_name,
            tls=settings.tls,
        )

    def _warn_of_plain_text(self, host: str) -> None:
        if self._settings.secure or _is_loopback(host) or self._warned:
            return
        self._warned = True
        log.warning(
            "sink %s: password and events cross the network to %s in plain text; use amqps:// if it is offered",
            self._name,
            host,
        )


class AmqpDelivery:
    """A :class:`bridge.ports.Delivery` over one channel in confirm mode; one ``send`` at a time."""

    def __init__(self, channel: ConfirmChannel, settings: AmqpSettings, peer: str) -> None:
        self._channel = channel
        self._settings = settings
        self._peer = peer
        self._template = Template(settings.routing_key)
        self._proven = False

    async def send(self, batch: Sequence[Event]) -> None:
        """Returns when the broker has confirmed every event; see the module for what else it may say."""
        sending = _Round(batch, self._channel.delivery_tag)
        self._channel.listener = sending
        try:
            await self._publish(sending)
            await self._answers(sending, down_to=0)
        except PeerError as error:
            raise self._accounted(error, sending) from error
        finally:
            self._channel.listener = None
        self._verdict(sending)

    async def _publish(self, sending: "_Round") -> None:
        position = 0
        while position < len(sending.batch):
            window = self._settings.window if self._proven else 1
            # A chunk at a time: one write to the socket for many messages.
            chunk = min(_CHUNK_EVENTS, window, len(sending.batch) - position)
            if window - sending.confirms.outstanding < chunk:
                await self._answers(sending, down_to=window - chunk)
                self._proven = self._proven or sending.confirms.answered > 0
                continue
            frames, sent, position = self._encode(sending, position, chunk)
            if sent:
                sending.confirms.sent(sent)
                await self._channel.write(frames, len(sent))
                # Lets the socket take this chunk while the next is encoded.
                await asyncio.sleep(0)

    def _encode(self, sending: "_Round", position: int, room: int) -> tuple[bytes, list[int], int]:
        """Frames of the next events, at most ``room``; what cannot be sent is noted and passed over."""
        channel = self._channel
        parts: list[bytes] = []
        sent: list[int] = []
        size = 0
        while position < len(sending.batch) and len(sent) < room and size < _CHUNK_BYTES:
            event = sending.batch[position]
            try:
                key = self._routing_key(event)
                message = self._message(event)
                content = content_frames(message, channel.number, channel.frame_max)
                parts += (publish_frame(channel.number, self._settings.exchange, key), content)
            except DecodeError as error:
                sending.unaddressed[position] = str(error)
            except Unsendable as error:
                sending.rejected[position] = str(error)
            else:
                sent.append(position)
                sending.name(position, message.message_id, key)
                size += len(content)
            position += 1
        return b"".join(parts), sent, position

    def _message(self, event: Event) -> Message:
        if self._settings.mode == "structured":
            return structured(event)
        return binary(event, self._settings.header_prefix)

    def _routing_key(self, event: Event) -> str:
        template = self._template
        if template.constant is not None:
            return template.constant
        if template.text == "{type}":
            return event.type
        return template.render(dict(event.attributes()))

    async def _answers(self, sending: "_Round", down_to: int) -> None:
        """Waits until at most ``down_to`` messages are without an answer.

        Raises:
            Unavailable: the connection broke, or no answer came for the whole of ``confirm_timeout``.
            Paused: the broker closed the channel for a reason that stays.
        """
        confirms = sending.confirms
        while confirms.outstanding > down_to:
            if self._channel.broken is not None:
                raise self._broken(self._channel.broken, sending)
            before = confirms.answered
            waiter = sending.until(down_to)
            try:
                async with asyncio.timeout(self._settings.confirm_timeout):
                    await waiter
            except TimeoutError:
                if confirms.answered == before:
                    raise await self._silence() from None

    def _broken(self, error: BaseException, sending: "_Round") -> PeerError:
        limit = too_large(error)
        if limit is None:
            return peer_error(error, self._channel.login)
        for index in sending.confirms.open():
            size = len(self._message(sending.batch[index]).body)
            if size > limit:
                sending.rejected[index] = f"the message has {size} bytes, the broker takes at most {limit}"
        return Unavailable("the broker closed the channel because a message was too large for it")

    async def _silence(self) -> Unavailable:
        if await self._channel.is_blocked():
            return Unavailable("the broker blocks publishers: it has a memory or disk alarm")
        return Unavailable(f"no confirm within {self._settings.confirm_timeout:g} s")

    def _accounted(self, error: PeerError, sending: "_Round") -> PeerError:
        return named(error, self._peer, sending.confirms.confirmed(), sending.rejected)

    def _verdict(self, sending: "_Round") -> None:
        """Raises for everything in the batch that was not confirmed."""
        returned, refused = sending.confirms.returned(), sending.confirms.refused()
        if returned:
            key = self._routing_key(sending.batch[returned[0]])
            why = (
                f"{len(returned)} messages reached no queue, the first with routing key {key!r}: "
                f"bind a queue to exchange {self._settings.exchange!r} for it"
            )
            raise self._accounted(Paused(why), sending)
        if sending.unaddressed:
            index, reason = next(iter(sending.unaddressed.items()))
            event = sending.batch[index]
            why = (
                f"routing_key = {self._settings.routing_key!r}: {reason} in events of type {event.type!r}, "
                f"source {event.source!r}"
            )
            raise self._accounted(Paused(why), sending)
        if refused:
            why = f"the broker refused {len(refused)} messages (basic.nack): a queue is full or unavailable"
            raise self._accounted(Unavailable(why), sending)
        if sending.rejected:
            raise Rejected(sending.rejected)


class _Round:
    """One ``send``: its batch, the answers to it, and the future that waits for them."""

    def __init__(self, batch: Sequence[Event], last_tag: int) -> None:
        self.batch = batch
        self.confirms = Confirms(last_tag)
        self.rejected: dict[int, str] = {}
        self.unaddressed: dict[int, str] = {}
        self._named: dict[tuple[str | None, str], list[int]] = {}
        self._target = 0
        self._waiter: asyncio.Future[None] | None = None

    def name(self, index: int, message_id: str | None, routing_key: str) -> None:
        """What a return would call this event."""
        self._named.setdefault((message_id, routing_key), []).append(index)

    def until(self, target: int) -> "asyncio.Future[None]":
        """Done when at most ``target`` messages are unanswered, or when the channel breaks."""
        self._target = target
        self._waiter = asyncio.get_running_loop().create_future()
        return self._waiter

    def answered(self, tag: int, *, multiple: bool, acked: bool) -> None:
        """The broker acked or nacked."""
        self.confirms.answer(tag, multiple=multiple, acked=acked)
        if self.confirms.outstanding <= self._target:
            self.wake()

    def came_back(self, message_id: str | None, routing_key: str) -> None:
        """The broker returned a message. Events that share id and key share the verdict: doubt is sent again."""
        self.confirms.came_back(self._named.get((message_id, routing_key)) or self.confirms.open())

    def wake(self) -> None:
        """There is news for whoever waits."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def named(
    error: PeerError, peer: str, confirmed: Collection[int] = (), rejected: Mapping[int, str] | None = None
) -> PeerError:
    """The same error, with the name of the peer and what was settled before it."""
    return type(error)(
        f"{peer}: {error.why}", retry_after=error.retry_after, confirmed=confirmed, rejected=rejected
    )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
