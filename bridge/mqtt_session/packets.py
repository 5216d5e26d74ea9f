"""What a broker sends, cut into messages and everything else; sans-IO, one pass, bounded.

Readings arrive as PUBLISH packets (MQTT 5.0 §3.3, MQTT 3.1.1 §3.3), a few hundred in one read of the socket
when the link is busy. Taking them out of the chunk here costs a few microseconds each; everything else is rare
and handed on as it came, for the client library to deal with.
"""

import struct
from collections.abc import Collection, Iterable
from typing import NamedTuple

from bridge.clock import Moment

MAX_PACKET = 4 << 20
"""Bytes of one packet that are kept; of a longer message only the beginning is, so that memory stays bounded."""

_PUBLISH = 3
_VARIABLE_MAX = 4
"""MQTT 5.0 §1.5.5: a variable byte integer has at most four bytes."""

_CONTENT_TYPE = 0x03
_FIXED = {0x01: 1, 0x02: 4, 0x23: 2}
"""MQTT 5.0 §3.3.2.3: payload format, expiry, topic alias, with their lengths."""
_TEXTS = {_CONTENT_TYPE: 1, 0x08: 1, 0x09: 1, 0x26: 2}
"""Content type, response topic, correlation data, user property, with how many length-prefixed strings."""
_SUBSCRIPTION = 0x0B

_puback = struct.Struct("!BBH").pack
_PUBACK = 0x40
_QUOTA_EXCEEDED = b"\x97"
"""MQTT 5.0 §3.4.2.1: an implementation or administrative imposed limit has been exceeded."""

Properties = tuple[str | None, tuple[int, ...]]
"""Content type and subscription identifiers."""
_NO_PROPERTIES: Properties = (None, ())
_SEEN = 256


class Malformed(ValueError):
    """The bytes are no MQTT; nothing after them can be understood."""


class Message(NamedTuple):
    """One PUBLISH packet.

    Attributes:
        topic: the topic; bytes that are no UTF-8 appear as backslash escapes.
        payload: what was published, byte for byte, unless ``size`` says more.
        qos: 0 or 1, of this delivery.
        packet: packet identifier, 0 with QoS 0.
        dup: whether the broker says that it sent this before.
        retain: whether it is the topic's retained message, sent because of a subscription.
        contenttype: the content type property (MQTT 5), if there is one.
        subscriptions: identifiers of the subscriptions that brought it (MQTT 5), if they have any.
        size: length of the payload as it was published; larger than ``payload`` when that was cut.
        received: when its last byte (or the last one kept) came.
    """

    topic: str
    payload: bytes
    qos: int
    packet: int
    dup: bool
    retain: bool
    contenttype: str | None
    subscriptions: tuple[int, ...]
    size: int
    received: Moment


class Inbound:
    """The stream from one broker over one connection.

    Args:
        version5: whether the packets have properties.
        max_packet: bytes of one packet that are kept.
    """

    def __init__(self, *, version5: bool, max_packet: int = MAX_PACKET) -> None:
        self._version5 = version5
        self._max_packet = max_packet
        self._rest = bytearray()
        self._need = 0
        self._skip = 0
        self._seen: dict[bytes, Properties] = {}

    def feed(self, chunk: bytes, received: Moment) -> tuple[list[Message], bytes]:
        """The messages that ``chunk`` completes, in order, and all other packets it completes, as they came.

        Any split of a stream gives the same messages and packets.

        Raises:
            Malformed: the connection is of no use any more.
        """
        if self._rest:
            self._rest += chunk
            if len(self._rest) < self._need:
                return [], b""
            data, self._rest = bytes(self._rest), bytearray()
        else:
            data = chunk
        messages: list[Message] = []
        others: list[bytes] = []
        position, end = 0, len(data)
        while position < end:
            if self._skip:
                jump = min(self._skip, end - position)
                self._skip -= jump
                position += jump
                continue
            body, length = _header(data, position)
            if not body:
                self._keep(data, position, 1 + end - position)
                break
            kept = min(length, self._max_packet)
            if body + kept > end:
                self._keep(data, position, body + kept - position)
                break
            if data[position] >> 4 == _PUBLISH:
                messages.append(self._message(data, position, body, body + kept, length - kept, received))
                self._skip = length - kept
            elif kept < length:
                raise Malformed(f"a packet of {length:,} bytes that is no message")
            else:
                others.append(data[position : body + length])
            position = body + kept
        return messages, b"".join(others)

    def _properties(self, raw: bytes) -> Properties:
        # Devices send the same properties with every reading.
        known = self._seen.get(raw)
        if known is None:
            if len(self._seen) >= _SEEN:
                self._seen.clear()
            known = self._seen[raw] = _parse(raw)
        return known

    def _keep(self, data: bytes, position: int, need: int) -> None:
        self._rest = bytearray(data[position:])
        self._need = need

    def _message(self, data: bytes, head: int, body: int, end: int, cut: int, received: Moment) -> Message:
        flags = data[head]
        qos = flags >> 1 & 3
        at = body + 2
        if at > end:
            raise Malformed("a message without a topic")
        topic_end = at + (data[body] << 8 | data[body + 1])
        topic = data[at:topic_end]
        at = topic_end
        packet = 0
        if qos and at + 2 <= end:
            packet = data[at] << 8 | data[at + 1]
            at += 2
        properties = _NO_PROPERTIES
        if self._version5 and at < end:
            at, length = _variable(data, at, end)
            if length:
                properties = self._properties(data[at : min(at + length, end)])
                at += length
        if (at > end and not cut) or qos == 3 or (qos and not packet):
            raise Malformed("a message whose parts do not fit")
        if qos == 2:
            raise Malformed(
                "a message with QoS 2, for which nobody asked (does another program use our client_id?)"
            )
        return Message(
            topic.decode("utf-8", "backslashreplace"),
            data[at:end],
            qos,
            packet,
            flags & 8 != 0,
            flags & 1 != 0,
            *properties,
            max(end - at, 0) + cut,
            received,
        )


def _header(data: bytes, position: int) -> tuple[int, int]:
    """Where the body begins and how long it is; (0, 0) when the header is not complete."""
    end = len(data)
    at = position + 1
    if at < end and data[at] < 128:
        return at + 1, data[at]
    if end - at < _VARIABLE_MAX and not any(byte < 128 for byte in data[at:end]):
        return 0, 0
    return _variable(data, at, end)


def _variable(data: bytes, at: int, end: int) -> tuple[int, int]:
    """The offset after a variable byte integer, and its value."""
    value = shift = 0
    for offset in range(at, min(at + _VARIABLE_MAX, end)):
        byte = data[offset]
        value |= (byte & 127) << shift
        if byte < 128:
            return offset + 1, value
        shift += 7
    raise Malformed("a length of more than four bytes")


def _parse(properties: bytes) -> Properties:
    """What we use of the properties of a message, as far as they can be read."""
    contenttype: str | None = None
    subscriptions: list[int] = []
    at, end = 0, len(properties)
    while at < end:
        kind = properties[at]
        at += 1
        if kind in _FIXED:
            at += _FIXED[kind]
        elif kind == _SUBSCRIPTION and at < end:
            at, identifier = _variable(properties, at, end)
            subscriptions.append(identifier)
        elif kind in _TEXTS:
            for _ in range(_TEXTS[kind]):
                start = at + 2
                at = start + int.from_bytes(properties[at:start], "big")
            if kind == _CONTENT_TYPE:
                contenttype = properties[start:at].decode("utf-8", "replace") or None
        else:
            break
    return contenttype, tuple(subscriptions)


def acknowledgements(packets: Iterable[int], refused: Collection[int] = ()) -> bytes:
    """One PUBACK for each packet identifier (§3.4), those in ``refused`` with "quota exceeded" (MQTT 5 only)."""
    return b"".join(
        [
            _puback(_PUBACK, 3, packet) + _QUOTA_EXCEEDED if packet in refused else _puback(_PUBACK, 2, packet)
            for packet in packets
        ]
    )
