"""Events as HTTP requests, held against the binding's text and the official SDK."""

import json
import re
from dataclasses import replace

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_binary, from_structured
from cloudevents.core.formats.json import JSONFormat
from hypothesis import given
from hypothesis import strategies as st

from bridge.event import Event
from bridge.wire import json_format
from bridge.wire.http import Unsendable, batched, binary, structured
from tests.kit.events import events
from tests.kit.receiver import elements, parse

EVENT = Event.create(
    id="7",
    source="urn:x",
    type="com.example.t",
    subject='Euro € "100%"',
    datacontenttype="application/json",
    extensions=(("flag", True), ("count", -5)),
    data=b'{"t":21.50}',
)


def test_binary_mode_writes_attributes_as_headers_and_data_as_body() -> None:
    message = binary(EVENT)
    assert message.body == b'{"t":21.50}'
    assert dict(message.headers) == {
        "ce-specversion": "1.0",
        "ce-id": "7",
        "ce-source": "urn:x",
        "ce-type": "com.example.t",
        "ce-subject": "Euro%20%E2%82%AC%20%22100%25%22",
        "ce-flag": "true",
        "ce-count": "-5",
        "Content-Type": "application/json",
    }


def test_exactly_the_characters_of_the_binding_are_percent_encoded() -> None:
    text = "".join(chr(code) for code in range(0x20, 0x7F)) + "ä😀"
    (value,) = [value for name, value in binary(replace(EVENT, subject=text)).headers if name == "ce-subject"]
    for char in text:
        plain = 0x21 <= ord(char) <= 0x7E and char not in '"%'
        encoded = "".join(f"%{byte:02X}" for byte in char.encode())
        assert value.startswith(char if plain else encoded)
        value = value[len(char if plain else encoded) :]
    assert not value


def test_binary_mode_without_a_media_type_has_no_content_type() -> None:
    message = binary(replace(EVENT, datacontenttype=None, data=None))
    assert "content-type" not in {name.lower() for name, _ in message.headers}
    assert message.body == b""


def test_a_media_type_that_would_break_the_headers_cannot_be_sent() -> None:
    with pytest.raises(Unsendable, match="datacontenttype holds a control character"):
        binary(replace(EVENT, datacontenttype="text/plain;\r\nX-Evil: 1"))


def test_structured_mode_is_the_json_format() -> None:
    message = structured(EVENT)
    assert message.headers == (("Content-Type", "application/cloudevents+json; charset=utf-8"),)
    assert message.body == json_format.encode(EVENT)


def test_a_batch_is_the_json_batch_format() -> None:
    batch = [EVENT, replace(EVENT, id="8")]
    message = batched([json_format.encode(event) for event in batch])
    assert message.headers == (("Content-Type", "application/cloudevents-batch+json; charset=utf-8"),)
    assert message.body == json_format.encode_batch(batch)


@given(events())
def test_every_legal_event_comes_back_whole_from_binary_mode(event: Event) -> None:
    message = binary(event)
    assert all(re.fullmatch(r"[!-~]*", value) for name, value in message.headers if name != "Content-Type")
    names = [name.lower() for name, _ in message.headers]
    assert len(names) == len(set(names))
    assert "ce-datacontenttype" not in names
    (arrival,) = parse({name.lower(): value for name, value in message.headers}, message.body)
    expected = {
        name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in event.attributes()
    }
    assert arrival.attributes == expected
    assert arrival.raw == (event.data or b"")


@given(st.lists(events(), max_size=4))
def test_every_legal_batch_comes_back_whole(batch: list[Event]) -> None:
    pieces = [json_format.encode(event) for event in batch]
    assert elements(batched(pieces).body) == pieces


@given(events().filter(lambda event: event.time is None or event.time.endswith("Z")))
def test_the_official_sdk_reads_both_modes_alike(event: Event) -> None:
    whole = from_structured(HTTPMessage(dict(structured(event).headers), structured(event).body), JSONFormat())
    assert (whole.get_id(), whole.get_source(), whole.get_type()) == (event.id, event.source, event.type)
    split = from_binary(HTTPMessage(dict(binary(event).headers), binary(event).body), JSONFormat())
    assert (split.get_id(), split.get_source(), split.get_type()) == (event.id, event.source, event.type)
    assert split.get_subject() == whole.get_subject() == event.subject


def test_the_sdk_reads_the_data_of_a_binary_request() -> None:
    split = from_binary(HTTPMessage(dict(binary(EVENT).headers), binary(EVENT).body), JSONFormat())
    assert split.get_data() == json.loads(EVENT.data or b"")
