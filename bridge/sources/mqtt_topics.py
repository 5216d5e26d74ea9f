"""Readings that devices publish to an MQTT broker.

The broker keeps a session for us, under a client identifier that never changes, so that nothing is lost while
we are away. A message is acknowledged when it is durable, and not before; several bursts may wait for the same
fsync, and they are acknowledged in the order of their arrival. When the connection breaks, what was on its way
to the disk is let through before the next connection, so that it is recognised when it is delivered again
(:mod:`bridge.sources.mqtt_deliveries`).

**Topics that left the configuration.** A session keeps its subscriptions, nobody can ask the broker which ones,
and throwing the session away would throw away what waits in it. So we subscribe to what is configured. A
message that no configured filter matches, or that carries the identifier of another subscription (MQTT 5),
betrays a subscription of an earlier configuration: every filter that could have matched its topic, except the
configured ones, is unsubscribed. (A topic of n levels is matched by less than 2 to the power of n+2 filters, 47
for four levels. Unsubscribing what does not exist is harmless.) What no configured filter matches, also what is
still queued for such topics, becomes a dead letter: the broker was told that it would be kept, and the spool
keeps it, for people to look at. The rest is a reading like any other; while an old and a new subscription both
match, a broker may bring it twice, under identifiers of its own, and both are stored.

**QoS 2** is refused: a client has to confirm such a message before its content is safe (PUBREC, MQTT 5.0
§4.3.3), and is never given it again; a power cut in that moment would lose it. With QoS 1 it comes twice at
worst, and the second time is recognised.
"""

import asyncio
import logging
import zlib
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import ClassVar, Literal, NoReturn

from pydantic import Field, field_validator, model_validator

from bridge.errors import PeerError
from bridge.hush import Hush
from bridge.mqtt_session import Burst, Message, MqttOptions, MqttSession, broker_name
from bridge.ports import Frame, Intake, Receipt, Site
from bridge.settings import Duration, read_secret
from bridge.sources.mqtt_deliveries import Deliveries
from bridge.sources.settings import SourceSettings
from bridge.sources.topic_filters import TopicFilter, filters_that_match, overlap
from bridge.tls import TlsSettings, client_context

log = logging.getLogger(__name__)

BURST_MESSAGES, BURST_BYTES = 500, 1 << 20
"""What is handed to the intake at once, at most."""
BURSTS = 8
"""How many bursts may wait for the disk at a time."""
TOPICS_REMEMBERED = 4096

OVERFLOW = "messages with QoS 0 came faster than they could be stored"
STRAY = (
    "no configured topic filter matches this topic; a subscription of an earlier configuration brought it,"
    " which is being ended"
)


class MqttSourceSettings(SourceSettings):
    """Topics of an MQTT broker, usually one on the gateway itself."""

    kind: Literal["mqtt"] = "mqtt"
    host: str = Field(default="localhost", min_length=1)
    """Name or address of the broker."""
    port: int | None = Field(default=None, ge=1, le=65535)
    """Default: 1883, with TLS 8883."""
    topics: tuple[str, ...] = Field(min_length=1)
    """Topic filters, for example "plant/+/temperature" or "plant/#". A level in braces is a wildcard whose
    content has a name for templates: "site/{site}/{device}/+" gives {site} and {device}. The whole topic is
    {topic}. No two filters may match the same topic."""
    qos: int = 1
    """Quality of service to subscribe with: 1, or 0 for readings that may be lost."""
    protocol: Literal["5", "3.1.1"] = "5"
    """Version of MQTT."""
    client_id: str | None = Field(default=None, min_length=1, max_length=128)
    """The name of our session on the broker; no other client may use it. With another name a new session
    begins and what waits in the old one is not fetched. Default: "edge-bridge-GATEWAY-SOURCE"."""
    session_expiry: Duration = Field(default=7 * 86400.0, ge=60, lt=2**32 - 1)
    """How long the broker keeps our session and what is published meanwhile when we are away (MQTT 5 only;
    with 3.1.1 the broker decides)."""
    keepalive: Duration = Field(default=20.0, ge=1, le=65535)
    """A connection that is silent for twice as long is given up."""
    receive_maximum: int = Field(default=500, ge=1, le=2000)
    """How many messages the broker may send before the first is stored and acknowledged (MQTT 5 only)."""
    username: str | None = Field(default=None, min_length=1)
    """User name, if the broker demands one."""
    password_file: Path | None = None
    """File with the password."""
    tls: TlsSettings | None = None
    """TLS; left out, the connection is not encrypted."""

    @field_validator("topics")
    @classmethod
    def _are_filters(cls, topics: tuple[str, ...]) -> tuple[str, ...]:
        filters = [TopicFilter.parse(text) for text in topics]
        for (text, one), (other_text, other) in combinations(zip(topics, filters, strict=True), 2):
            if overlap(one.subscription, other.subscription):
                msg = f'"{text}" and "{other_text}" match the same topics, whose messages may then come twice'
                raise ValueError(msg)
        return topics

    @field_validator("qos")
    @classmethod
    def _is_safe(cls, qos: int) -> int:
        if qos == 2:
            msg = (
                "QoS 2 cannot survive a power cut on the way in, since it is confirmed before it is stored;"
                " use 1: what is delivered twice is recognised"
            )
            raise ValueError(msg)
        if qos not in {0, 1}:
            msg = "0 or 1 was expected"
            raise ValueError(msg)
        return qos

    @model_validator(mode="after")
    def _check_password(self) -> "MqttSourceSettings":
        if self.password_file is not None and self.username is None:
            msg = "password_file is set, but username is not"
            raise ValueError(msg)
        return self

    def build(self, name: str, site: Site) -> "MqttSource":
        """The source that this table describes; does no I/O."""
        return MqttSource(name, self, site)

    @property
    def actual_port(self) -> int:
        """``port``, or its default."""
        return self.port or (8883 if self.tls is not None else 1883)

    @property
    def peer(self) -> str:
        """``mqtt://host:port`` or ``mqtts://host:port``."""
        return broker_name(self.host, self.actual_port, tls=self.tls is not None)

    def sample_captures(self) -> Mapping[str, str]:
        """``topic``, and the names that every filter gives."""
        names = set.intersection(*(set(TopicFilter.parse(text).names) for text in self.topics))
        return {**dict.fromkeys(sorted(names), "sample"), "topic": "sample/topic"}


class MqttSource:
    """Keeps the promises of :class:`bridge.ports.Source`."""

    replayable: ClassVar[bool] = True

    def __init__(self, name: str, settings: MqttSourceSettings, site: Site) -> None:
        self._name = name
        self._settings = settings
        self._client_id = settings.client_id or f"edge-bridge-{site.gateway_id}-{name}"
        self._clock = site.clock
        self._filters = [TopicFilter.parse(text) for text in settings.topics]
        self.identifiers = frozenset(one.identifier for one in self._filters)
        self._known: dict[str, tuple[Mapping[str, str] | None, int]] = {}
        self._deliveries: Deliveries | None = None
        self._subscribed = False
        self._hush = Hush(3600.0)
        self.redelivered = 0
        """Messages that came again although they were stored, and were only acknowledged."""

    async def run(self, intake: Intake) -> None:
        """One connection: see :meth:`bridge.ports.Source.run`."""
        if self._deliveries is None:
            self._deliveries = Deliveries(await intake.receipts())
        ended = False
        try:
            async with asyncio.TaskGroup() as storing:
                loss = await self._serve(intake, self._deliveries, storing)
            ended = True
        finally:
            if not ended:
                self._deliveries = None  # what was cut off in the middle, only the spool knows
        raise loss

    async def _serve(self, intake: Intake, deliveries: Deliveries, storing: asyncio.TaskGroup) -> PeerError:
        """Feeds the intake until the connection is lost; the reason. What is being stored goes on."""
        try:
            async with MqttSession(await self._options(), self._clock) as session:
                if not session.session_present:
                    self._deliveries = deliveries = Deliveries()
                # Beside the flow: a broker may send so much at once that its answer comes only when we take it.
                storing.create_task(self._subscribe(session, intake))
                await _Flow(self, session, intake, deliveries, storing).run()
        except PeerError as error:
            return error

    async def _options(self) -> MqttOptions:
        settings = self._settings
        password = None
        if settings.password_file is not None:
            password = await asyncio.to_thread(read_secret, settings.password_file, "password_file")
        return MqttOptions(
            host=settings.host,
            port=settings.actual_port,
            client_id=self._client_id,
            protocol=settings.protocol,
            keepalive=round(settings.keepalive),
            username=settings.username,
            password=password,
            tls=None if settings.tls is None else await client_context(settings.tls),
            tls_settings=settings.tls,
            session_expiry=round(settings.session_expiry),
            receive_maximum=settings.receive_maximum,
        )

    async def _subscribe(self, session: MqttSession, intake: Intake) -> None:
        # With 3.1.1 subscribing brings the retained messages again; once per process is enough.
        if not (self._subscribed and session.session_present and self._settings.protocol == "3.1.1"):
            filters = {one.subscription: one.identifier for one in self._filters}
            try:
                granted = await session.subscribe(filters, self._settings.qos)
            except PeerError as error:
                session.give_up(error)
                return
            self._subscribed = True
            lower = [name for name, qos in zip(filters, granted, strict=True) if qos < self._settings.qos]
            if lower and self._hush("granted"):
                log.warning(
                    "source %s: %s grants only QoS 0 for %s; readings there can be lost",
                    self._name,
                    self._settings.peer,
                    ", ".join(lower),
                )
        intake.connected(self._settings.peer)

    def frame(self, message: Message) -> Frame:
        """The message as a frame; with a fault if it can never become a reading."""
        captures, digest = self._about(message.topic)
        fault = None
        if captures is None:
            fault, captures = STRAY, {"topic": message.topic}
        elif message.size > len(message.payload):
            fault = f"the message has {message.size:,} bytes, more than the daemon takes in one piece"
        return Frame(
            message.payload,
            message.received,
            message.topic,
            captures,
            message.contenttype,
            Receipt(message.packet, zlib.crc32(message.payload, digest)) if message.qos else None,
            fault,
        )

    async def end_subscriptions(self, session: MqttSession, topic: str) -> None:
        """Ends whatever subscription brings ``topic``, which is not configured."""
        kept = {one.subscription for one in self._filters}
        strays = [name for name in filters_that_match(topic) if name not in kept]
        if strays:
            try:
                await session.unsubscribe(strays)
            except PeerError:
                return  # the next message on the next connection brings us here again
        if self._hush("stray"):
            how = "it was ended" if strays else "give the source another client_id to begin without it"
            log.info(
                "source %s: a subscription of an earlier configuration at %s still brought %s; %s",
                self._name,
                self._settings.peer,
                topic,
                how,
            )

    def _about(self, topic: str) -> tuple[Mapping[str, str] | None, int]:
        """What templates get for a topic (None: no filter matches) and the beginning of the digest."""
        known = self._known.get(topic)
        if known is None:
            if len(self._known) >= TOPICS_REMEMBERED:
                self._known.clear()
            matches = (one.match(topic) for one in self._filters)
            captures = next((match for match in matches if match is not None), None)
            known = self._known[topic] = captures, zlib.crc32(topic.encode())
        return known


class _Flow:
    """What one connection brings: burst after burst to the intake, acknowledged in order once durable."""

    def __init__(
        self,
        source: MqttSource,
        session: MqttSession,
        intake: Intake,
        deliveries: Deliveries,
        storing: asyncio.TaskGroup,
    ) -> None:
        self._source = source
        self._session = session
        self._intake = intake
        self._deliveries = deliveries
        self._storing = storing
        self._slots = asyncio.Semaphore(BURSTS)
        self._ended: set[str] = set()

    async def run(self) -> NoReturn:
        """Ends only by raising."""
        before: asyncio.Task[None] | None = None
        async for burst in self._session.bursts(BURST_MESSAGES, BURST_BYTES):
            await self._slots.acquire()
            frames, strays = self._frames(burst)
            before = self._storing.create_task(self._store(burst, frames, before))
            dropped = self._session.take_dropped()
            if dropped:
                self._intake.lost(dropped, OVERFLOW)
            for topic in strays - self._ended:
                self._ended.add(topic)
                self._storing.create_task(self._source.end_subscriptions(self._session, topic))
        raise AssertionError("bursts never end silently")

    def _frames(self, burst: Burst) -> tuple[list[Frame | None], set[str]]:
        """The frame of each message, None for what is stored already; and topics that nobody asked for."""
        frames: list[Frame | None] = []
        strays: set[str] = set()
        mine = self._source.identifiers
        for message in burst.messages:
            frame = self._source.frame(message)
            if frame.fault is STRAY or (message.subscriptions and mine.isdisjoint(message.subscriptions)):
                strays.add(message.topic)
            if message.dup and frame.receipt is not None and self._deliveries.holds(frame.receipt):
                self._source.redelivered += 1
                frames.append(None)
            else:
                frames.append(frame)
        return frames, strays

    async def _store(
        self, burst: Burst, frames: Sequence[Frame | None], before: asyncio.Task[None] | None
    ) -> None:
        new = [index for index, frame in enumerate(frames) if frame is not None]
        refused: set[int] = set()
        try:
            if new:
                left_out = await self._intake([frame for frame in frames if frame is not None])
                refused.update(new[index] for index in left_out)
        finally:
            self._slots.release()
        for index, (message, frame) in enumerate(zip(burst.messages, frames, strict=True)):
            if frame is not None and frame.receipt is not None and index not in refused:
                self._deliveries.stored(frame.receipt, again=message.dup)
        if before is not None and not before.done():
            await asyncio.wait({before})
        # A lost connection takes no acknowledgement: then these are known to be open when they come again.
        if self._session.acknowledge(burst, refused={burst.messages[index].packet for index in refused}):
            self._deliveries.acknowledged(message.packet for message in burst.messages)
