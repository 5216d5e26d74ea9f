"""A broker that does what a test tells it, packet by packet; enough of MQTT 3.1.1 and 5 for one client."""

import asyncio
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

CONNECT, CONNACK, PUBLISH, PUBACK, SUBSCRIBE, SUBACK = 1, 2, 3, 4, 8, 9
UNSUBSCRIBE, UNSUBACK, PINGREQ, PINGRESP, DISCONNECT = 10, 11, 12, 13, 14


def packet(kind: int, body: bytes, flags: int = 0) -> bytes:
    """A packet with its fixed header."""
    return bytes([kind << 4 | flags]) + variable(len(body)) + body


def variable(value: int) -> bytes:
    """A variable byte integer."""
    out = bytearray()
    while True:
        value, byte = value >> 7, value & 127
        out.append(byte | (128 if value else 0))
        if not value:
            return bytes(out)


def publish(
    topic: str,
    payload: bytes,
    number: int = 0,
    *,
    dup: bool = False,
    retain: bool = False,
    properties: bytes | None = None,
) -> bytes:
    """A PUBLISH packet, with QoS 1 if it has a number; ``properties`` (maybe empty) for MQTT 5, None for 3.1.1."""
    name = topic.encode()
    body = struct.pack("!H", len(name)) + name + (struct.pack("!H", number) if number else b"")
    if properties is not None:
        body += variable(len(properties)) + properties
    return packet(PUBLISH, body + payload, (8 if dup else 0) | (2 if number else 0) | (1 if retain else 0))


@dataclass
class Link:
    """One connection of a client.

    Attributes:
        received: kind and body of every packet that the client sent.
        writer: to send it anything.
    """

    writer: asyncio.StreamWriter
    received: list[tuple[int, bytes]] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def send(self, *packets: bytes) -> None:
        """Sends in one write."""
        self.writer.write(b"".join(packets))

    @property
    def acknowledged(self) -> list[int]:
        """Packet identifiers of the PUBACKs so far, in order."""
        return [int.from_bytes(body[:2], "big") for kind, body in self.received if kind == PUBACK]

    def bodies(self, kind: int) -> list[bytes]:
        """Bodies of the packets of one kind."""
        return [body for got, body in self.received if got == kind]

    async def until(self, done: Callable[["Link"], bool], within: float = 10.0) -> None:
        """Returns when ``done`` is true of this link; looked at with every packet."""
        async with asyncio.timeout(within):
            while not done(self):
                self.changed.clear()
                await self.changed.wait()


@dataclass
class FakeBroker:
    """Answers CONNECT, SUBSCRIBE, UNSUBSCRIBE, PINGREQ and PUBLISH like a friendly broker, unless told otherwise.

    Attributes:
        version5: which MQTT it speaks.
        connack: session present flag and reason code; None: no answer.
        greeting: sent right after CONNACK, as a broker does that has messages waiting.
        suback: reason code for each filter.
        puback: reason code for what the client publishes; None: no answer.
        pings: whether they are answered.
        links: the connections so far.
    """

    version5: bool = True
    connack: tuple[int, int] | None = (0, 0)
    greeting: bytes = b""
    suback: int = 1
    puback: int | None = 0
    pings: bool = True
    links: list[Link] = field(default_factory=list)
    port: int = 0
    linked: asyncio.Event = field(default_factory=asyncio.Event)

    async def link(self, number: int = 0, within: float = 10.0) -> Link:
        """The connection of that number, once there is one and it has been greeted."""
        async with asyncio.timeout(within):
            while len(self.links) <= number:
                self.linked.clear()
                await self.linked.wait()
        return self.links[number]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        link = Link(writer)
        try:
            while True:
                kind, body = await _read(reader)
                link.received.append((kind, body))
                answer = self._answer(kind, body)
                if answer:
                    link.send(answer)
                if kind == CONNECT:
                    self.links.append(link)
                    self.linked.set()
                link.changed.set()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            link.changed.set()
            writer.close()

    def _answer(self, kind: int, body: bytes) -> bytes:
        none = b"\0" if self.version5 else b""
        if kind == CONNECT and self.connack is not None:
            return packet(CONNACK, bytes(self.connack) + none) + self.greeting
        if kind in {SUBSCRIBE, UNSUBSCRIBE}:
            codes = bytes([self.suback]) * self._filters(kind, body)
            if kind == UNSUBSCRIBE:
                return packet(UNSUBACK, body[:2] + none + (bytes(len(codes)) if self.version5 else b""))
            return packet(SUBACK, body[:2] + none + codes)
        if kind == PINGREQ and self.pings:
            return packet(PINGRESP, b"")
        if kind == PUBLISH and self.puback is not None:
            start = 2 + int.from_bytes(body[:2], "big")
            number = body[start : start + 2]
            return packet(PUBACK, number + (bytes([self.puback]) + none if self.version5 else b""))
        return b""

    def _filters(self, kind: int, body: bytes) -> int:
        at, count = 2 + (1 + body[2] if self.version5 else 0), 0
        while at < len(body):
            at += 2 + int.from_bytes(body[at : at + 2], "big") + (1 if kind == SUBSCRIBE else 0)
            count += 1
        return count


@asynccontextmanager
async def fake_broker(**settings: object) -> AsyncIterator[FakeBroker]:
    """A fake broker on a free loopback port."""
    broker = FakeBroker(**settings)  # type: ignore[arg-type]
    server = await asyncio.start_server(broker.serve, "127.0.0.1", 0)
    broker.port = server.sockets[0].getsockname()[1]
    try:
        yield broker
    finally:
        server.close()
        for link in broker.links:
            link.writer.close()


async def _read(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = (await reader.readexactly(1))[0]
    length = shift = 0
    while True:
        byte = (await reader.readexactly(1))[0]
        length |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return head >> 4, await reader.readexactly(length)
