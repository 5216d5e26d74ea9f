"""AMQP messages: the bytes are read back by pamqp, which had no part in writing them."""

import json
from datetime import UTC, datetime
from typing import Any

import pamqp.frame
import pytest
from hypothesis import given, settings
from pamqp import commands
from pamqp.body import ContentBody
from pamqp.header import ContentHeader

from bridge.event import Event
from bridge.wire import json_format
from bridge.wire.amqp import Message, Unsendable, binary, content_frames, publish_frame, structured
from tests.kit.events import events

FRAME_MAX = 131_072


def event(**changes: Any) -> Event:
    fixed: dict[str, Any] = {"id": "1", "source": "/boiler", "type": "com.example.reading.measured"}
    return Event.create(**{**fixed, **changes})


def read(message: Message, frame_max: int = FRAME_MAX) -> tuple[ContentHeader, bytes, list[int]]:
    data = content_frames(message, 7, frame_max)
    frames, sizes = [], []
    while data:
        used, channel, frame = pamqp.frame.unmarshal(data)
        assert channel == 7
        assert used <= frame_max
        frames.append(frame)
        sizes.append(used)
        data = data[used:]
    header = frames[0]
    assert isinstance(header, ContentHeader)
    bodies = frames[1:]
    assert all(isinstance(body, ContentBody) for body in bodies)
    body = b"".join(part.value or b"" for part in bodies if isinstance(part, ContentBody))
    assert header.body_size == len(body)
    return header, body, sizes


@settings(deadline=None)
@given(events())
def test_structured_mode_carries_the_json_format_and_names_the_event(given_event: Event) -> None:
    header, body, _ = read(structured(given_event))
    assert body == json_format.encode(given_event)
    assert header.properties.content_type == "application/cloudevents+json; charset=utf-8"
    assert header.properties.delivery_mode == 2
    assert header.properties.message_id == given_event.id
    assert header.properties.message_type == given_event.type
    assert header.properties.headers is None
    second = whole_second(given_event.time)
    # From 2106 on, pamqp takes seconds for milliseconds.
    if second is None or second.year < 2106:
        assert header.properties.timestamp == second


def whole_second(time: str | None) -> datetime | None:
    moment = None if time is None else datetime.fromisoformat(time).astimezone(UTC)
    if moment is None or moment < datetime(1970, 1, 1, tzinfo=UTC):
        return None
    return moment.replace(microsecond=0)


@settings(deadline=None)
@given(events())
def test_binary_mode_carries_every_attribute_as_a_canonical_string(given_event: Event) -> None:
    header, body, _ = read(binary(given_event))
    expected = {
        f"cloudEvents_{name}": str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in given_event.attributes()
        if name != "datacontenttype"
    }
    assert header.properties.headers == expected
    assert header.properties.content_type == given_event.datacontenttype
    assert body == (given_event.data or b"")
    assert header.properties.delivery_mode == 2


@pytest.mark.parametrize("prefix", ["cloudEvents:", "ce-"])
def test_other_prefixes_can_be_chosen(prefix: str) -> None:
    header, _, _ = read(binary(event(subject="a"), prefix))
    assert header.properties.headers is not None
    assert header.properties.headers[f"{prefix}subject"] == "a"


def test_what_is_too_long_for_a_property_stays_in_the_event_only() -> None:
    long = event(id="ä" * 128, type="t" * 256)
    for header, _, _ in (read(structured(long)), read(binary(long))):
        assert header.properties.message_id is None
        assert header.properties.message_type is None
    assert json.loads(read(structured(long))[1])["id"] == long.id
    assert read(structured(event(id="i" * 255)))[0].properties.message_id == "i" * 255


@pytest.mark.parametrize("time", ["1969-12-31T23:59:59Z", "9999-12-31T23:59:59-01:00", None])
def test_a_time_that_amqp_cannot_hold_is_left_out_of_the_properties(time: str | None) -> None:
    assert read(structured(event(time=time)))[0].properties.timestamp is None


@pytest.mark.parametrize("time", ["2026-11-23T21:29:31.999999999Z", "2026-11-23T23:29:31.5+02:00"])
def test_the_timestamp_is_the_second_of_the_time_in_utc(time: str) -> None:
    assert read(structured(event(time=time)))[0].properties.timestamp == datetime(
        2026, 11, 23, 21, 29, 31, tzinfo=UTC
    )


def test_a_content_type_too_long_for_amqp_cannot_be_sent_in_binary_mode() -> None:
    long = event(datacontenttype="text/plain; a=" + "b" * 300)
    with pytest.raises(Unsendable, match="datacontenttype"):
        binary(long)
    assert read(structured(long))[0].properties.content_type == json_format.CONTENT_TYPE


@pytest.mark.parametrize("size", [0, 1, 4087, 4088, 4089, 10_000])
def test_bodies_are_cut_into_frames_of_the_negotiated_size(size: int) -> None:
    _, body, sizes = read(binary(event(data=bytes(range(256)) * 40)), 4096)
    assert len(body) == 10_240
    assert max(sizes) == 4096
    _, body, sizes = read(binary(event(datacontenttype="a/b", data=b"x" * size)), 4096)
    assert len(sizes) == 1 + -(-size // 4088)


def test_headers_that_exceed_one_frame_cannot_be_sent() -> None:
    with pytest.raises(Unsendable, match="attributes take"):
        content_frames(binary(event(subject="s" * 5000)), 1, 4096)
    assert read(structured(event(subject="s" * 5000)), 4096)[1]


def test_the_publish_is_mandatory_and_names_exchange_and_key() -> None:
    data = publish_frame(3, "telemetry", "com.example.größe")
    used, channel, frame = pamqp.frame.unmarshal(data)
    assert (used, channel) == (len(data), 3)
    assert isinstance(frame, commands.Basic.Publish)
    assert (frame.exchange, frame.routing_key) == ("telemetry", "com.example.größe")
    assert frame.mandatory
    assert not frame.immediate


def test_a_routing_key_too_long_for_amqp_cannot_be_sent() -> None:
    publish_frame(1, "x", "k" * 255)
    with pytest.raises(Unsendable, match="routing key has 256 bytes"):
        publish_frame(1, "x", "k" * 256)
    with pytest.raises(Unsendable, match="routing key has 256 bytes"):
        publish_frame(1, "x", "ä" * 128)
