"""Events to an exchange of an AMQP 0-9-1 broker (RabbitMQ, LavinMQ, …): persistent, mandatory, confirmed.

``amqp_connection`` opens the connection, ``amqp_delivery`` publishes over it and says what each answer of the
broker means. The exchange is never declared; that it is missing, or closed to us, is ``Paused``.

Azure Service Bus and Event Hubs speak AMQP 1.0, which is another protocol.
"""

import asyncio
import ipaddress
import logging
import re
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Literal, Self
from urllib.parse import unquote, urlsplit

from pydantic import Field, field_validator, model_validator

from bridge.codec.template import Template
from bridge.errors import PeerError
from bridge.event import CORE_NAMES
from bridge.ports import Delivery, Site
from bridge.settings import Duration, read_secret
from bridge.sinks.amqp_connection import ConfirmChannel, Login, channel_to
from bridge.sinks.amqp_delivery import AmqpDelivery, Terms, named
from bridge.sinks.settings import SinkSettings
from bridge.tls import TlsSettings, client_context
from bridge.wire.amqp import DEFAULT_PREFIX

log = logging.getLogger(__name__)

_ATTRIBUTES = ("id", "source", "type", "subject", "time", "datacontenttype", "dataschema")
_EXTENSION = re.compile(r"[a-z0-9]{1,20}\Z")


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
            yield AmqpDelivery(channel, self._terms(), self.peer)

    async def _connection(self) -> AbstractAsyncContextManager[ConfirmChannel]:
        settings = self._settings
        context = await client_context(settings.tls) if settings.secure else None
        return channel_to(
            await self._login(), context, exchange=settings.exchange, seconds=settings.connect_timeout
        )

    def _terms(self) -> Terms:
        settings = self._settings
        return Terms(
            exchange=settings.exchange,
            routing_key=settings.routing_key,
            mode=settings.mode,
            header_prefix=settings.header_prefix,
            window=settings.window,
            confirm_timeout=settings.confirm_timeout,
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


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
