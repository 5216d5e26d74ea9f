"""Events as messages of AMQP 0-9-1, down to the bytes of their frames.

There is no official binding of CloudEvents to AMQP 0-9-1. Structured mode (the JSON format as body) is
understood by every consumer and crosses to AMQP 1.0 unharmed. Binary mode follows the AMQP 1.0 binding:
attributes are headers with the prefix ``cloudEvents_``, their values canonical strings, the content type is
``datacontenttype``, the body is the data. In both modes the properties ``message_id``, ``timestamp`` and
``type`` repeat what brokers and consoles like to show; they are left out where AMQP cannot hold them.

Section numbers are those of the AMQP 0-9-1 specification.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Final

from bridge.event import Event, canonical
from bridge.wire import json_format

DEFAULT_PREFIX: Final = "cloudEvents_"
SHORT_STRING = 255
"""The most bytes of a short string (4.2.5.3): names, routing keys, content types, message ids."""
FRAME_OVERHEAD = 8
"""Bytes of a frame that are not its payload (4.2.3)."""

_METHOD, _HEADER, _BODY, _END = 1, 2, 3, 0xCE
_BASIC, _PUBLISH, _MANDATORY = 60, 40, 1
_PERSISTENT = b"\x02"
_CONTENT_TYPE, _HEADERS, _DELIVERY_MODE = 1 << 15, 1 << 13, 1 << 12
_MESSAGE_ID, _TIMESTAMP, _TYPE = 1 << 7, 1 << 6, 1 << 5
_LAST_SECOND = 253_402_300_799
"""The end of the year 9999."""

_frame_head = struct.Struct(">BHI").pack
_content_head = struct.Struct(">HHQH").pack
_uint32 = struct.Struct(">I").pack
_uint64 = struct.Struct(">Q").pack


class Unsendable(ValueError):
    """AMQP cannot hold this event; the message says what is too long."""


@dataclass(frozen=True, slots=True)
class Message:
    """One persistent message.

    Attributes:
        content_type: media type of the body, or None.
        message_id: the event's id, or None when it is longer than AMQP allows.
        timestamp: whole seconds since 1970 of the event's time, or None.
        type: the event's type, or None when it is longer than AMQP allows.
        headers: name and value of each header, each name once.
        body: the payload.
    """

    content_type: str | None
    message_id: str | None
    timestamp: int | None
    type: str | None
    headers: tuple[tuple[str, str], ...]
    body: bytes


def structured(event: Event) -> Message:
    """The event as one JSON body."""
    return Message(
        json_format.CONTENT_TYPE,
        _short(event.id),
        _seconds(event.time),
        _short(event.type),
        (),
        json_format.encode(event),
    )


def binary(event: Event, prefix: str = DEFAULT_PREFIX) -> Message:
    """The event with its attributes as headers and its data as body; no data and empty data look alike.

    Raises:
        Unsendable: ``datacontenttype`` is longer than the content type of a message may be.
    """
    if event.datacontenttype is not None and _short(event.datacontenttype) is None:
        raise Unsendable("datacontenttype is longer than the 255 bytes of an AMQP content type")
    return Message(
        event.datacontenttype,
        _short(event.id),
        _seconds(event.time),
        _short(event.type),
        tuple(
            (prefix + name, canonical(value)) for name, value in event.attributes() if name != "datacontenttype"
        ),
        event.data or b"",
    )


@lru_cache(maxsize=1024)
def publish_frame(channel: int, exchange: str, routing_key: str) -> bytes:
    """The frame of ``basic.publish``, mandatory (1.8.3.7).

    Raises:
        Unsendable: the routing key is too long.
    """
    if _short(routing_key) is None:
        size = len(routing_key.encode())
        raise Unsendable(f"the routing key has {size} bytes, AMQP allows {SHORT_STRING}")
    payload = (
        struct.pack(">HHH", _BASIC, _PUBLISH, 0)
        + _short_string(exchange)
        + _short_string(routing_key)
        + bytes([_MANDATORY])
    )
    return _frame(_METHOD, channel, payload)


def content_frames(message: Message, channel: int, frame_max: int) -> bytes:
    """The header frame and the body frames of a message, to follow its publish frame.

    Args:
        message: what to send.
        channel: number of the channel.
        frame_max: the most bytes of one frame, as negotiated.

    Raises:
        Unsendable: the headers do not fit into one frame, and AMQP cannot split them.
    """
    header = _content_header(message)
    if len(header) + FRAME_OVERHEAD > frame_max:
        raise Unsendable(f"the attributes take {len(header)} bytes, one frame holds {frame_max - FRAME_OVERHEAD}")
    body = message.body
    room = frame_max - FRAME_OVERHEAD
    if 0 < len(body) <= room:
        # One pass for nearly every message there is.
        return b"%b%b\xce%b%b\xce" % (
            _frame_head(_HEADER, channel, len(header)),
            header,
            _frame_head(_BODY, channel, len(body)),
            body,
        )
    pieces = (body[start : start + room] for start in range(0, len(body), room))
    return _frame(_HEADER, channel, header) + b"".join(_frame(_BODY, channel, piece) for piece in pieces)


def _content_header(message: Message) -> bytes:
    """Payload of the content header (4.2.6.1): class, weight, size, flags, and the properties in flag order."""
    flags = _DELIVERY_MODE
    parts: list[bytes] = []
    if message.content_type is not None:
        flags |= _CONTENT_TYPE
        parts.append(_short_string(message.content_type))
    if message.headers:
        flags |= _HEADERS
        table = b"".join(_table_entries(message.headers))
        parts += (_uint32(len(table)), table)
    parts.append(_PERSISTENT)
    if message.message_id is not None:
        flags |= _MESSAGE_ID
        encoded = message.message_id.encode()
        parts.append(b"%c%b" % (len(encoded), encoded))
    if message.timestamp is not None:
        flags |= _TIMESTAMP
        parts.append(_uint64(message.timestamp))
    if message.type is not None:
        flags |= _TYPE
        parts.append(_short_string(message.type))
    return _content_head(_BASIC, 0, len(message.body), flags) + b"".join(parts)


def _table_entries(headers: tuple[tuple[str, str], ...]) -> Iterator[bytes]:
    # 4.2.5.5; "S" is a long string.
    for name, value in headers:
        encoded = value.encode()
        yield b"%bS%b%b" % (_short_string(name), _uint32(len(encoded)), encoded)


def _frame(kind: int, channel: int, payload: bytes) -> bytes:
    return b"%b%b%c" % (_frame_head(kind, channel, len(payload)), payload, _END)


@lru_cache(maxsize=1024)
def _short_string(text: str) -> bytes:
    encoded = text.encode()
    return b"%c%b" % (len(encoded), encoded)


def _short(text: str) -> str | None:
    """The text, or None when it is too long for a short string."""
    if len(text) * 4 <= SHORT_STRING or len(text.encode()) <= SHORT_STRING:
        return text
    return None


def _seconds(time: str | None) -> int | None:
    if time is None:
        return None
    # The fraction differs for every event, the second seldom does: one answer is used for all of it.
    return _whole_seconds(time[:19], "Z" if time.endswith("Z") else time[-6:])


@lru_cache(maxsize=256)
def _whole_seconds(date_and_time: str, offset: str) -> int | None:
    try:
        seconds = int(datetime.fromisoformat(date_and_time + offset).timestamp())
    except ValueError:
        return None
    # Timestamps count from 1970 (4.2.5.4); what is outside the calendar would break its reader.
    return seconds if 0 <= seconds <= _LAST_SECOND else None
