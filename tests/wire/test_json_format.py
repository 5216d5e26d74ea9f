"""The JSON format: read back by ``json`` and by the CloudEvents SDK with nothing changed."""

import json
from base64 import b64decode
from datetime import datetime
from typing import Any

import pytest
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given, settings

from bridge.event import Event
from bridge.wire.json_format import BATCH_CONTENT_TYPE, CONTENT_TYPE, encode, encode_batch
from tests.kit.events import events


def event(**changes: Any) -> Event:
    fixed: dict[str, Any] = {"id": "1", "source": "/boiler", "type": "com.example.reading.measured"}
    return Event.create(**{**fixed, **changes})


def no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    assert len({name for name, _ in pairs}) == len(pairs)
    return dict(pairs)


@settings(deadline=None)
@given(events())
def test_every_legal_event_reads_back_with_equal_attributes_and_data(given_event: Event) -> None:
    text = encode(given_event).decode("utf-8")
    # Data may hold duplicate members of its own; the envelope may not.
    members = json.loads(text)
    data, coded = members.pop("data", None), members.pop("data_base64", None)
    assert members == dict(given_event.attributes())
    assert {name: type(value) for name, value in members.items()} == {
        name: type(value) for name, value in given_event.attributes()
    }
    if given_event.data is None:
        assert not {"data", "data_base64"} & json.loads(text).keys()
    elif coded is not None:
        assert "data" not in json.loads(text)
        assert b64decode(coded, validate=True) == given_event.data
    elif (given_event.datacontenttype or "").startswith("text/") and "json" not in (
        given_event.datacontenttype or ""
    ):
        assert data.encode() == given_event.data
    else:
        assert data == json.loads(given_event.data)
        assert given_event.data in encode(given_event)


@settings(deadline=None)
@given(events())
def test_every_legal_event_is_read_by_the_cloudevents_sdk(given_event: Event) -> None:
    read = JSONFormat().read(CloudEvent, encode(given_event))
    attributes = dict(read.get_attributes())
    expected = dict(given_event.attributes())
    # SDK 2.2.0 invents a time where there is none, and lets go of data that is null or not there alike.
    time = attributes.pop("time")
    stated = expected.pop("time", None)
    if stated is not None:
        assert time == datetime.fromisoformat(str(stated))
    assert attributes == expected
    data = read.get_data()
    if isinstance(data, bytes):
        assert data == given_event.data
    elif given_event.data is None:
        assert data is None


def test_json_data_is_embedded_byte_for_byte() -> None:
    data = b'{"t": 21.50, "big": 1152921504606846976,\n "t": 1e400}'
    body = encode(event(datacontenttype="application/json", data=data))
    assert body.endswith(b',"data":' + data + b"}")


@pytest.mark.parametrize("data", [b"0", b"false", b'""', b"[]", b"null", b"{}"])
def test_values_that_look_empty_are_data(data: bytes) -> None:
    members = json.loads(encode(event(datacontenttype="application/json", data=data)))
    assert members["data"] == json.loads(data)


def test_an_event_without_data_has_neither_data_nor_data_base64() -> None:
    assert json.loads(encode(event(datacontenttype="application/json"))).keys() == {
        "specversion", "id", "source", "type", "datacontenttype",
    }  # fmt: skip


@pytest.mark.parametrize(
    "media_type",
    ["application/json", "application/JSON", "application/json ; charset=utf-8", "model/gltf+json",
     "application/vnd.my_app+json", "text/json", 'application/json; charset="UTF-8"'],
)  # fmt: skip
def test_json_is_known_by_its_media_type_whatever_case_suffix_or_parameters(media_type: str) -> None:
    assert json.loads(encode(event(datacontenttype=media_type, data=b'{"a":1}')))["data"] == {"a": 1}


@pytest.mark.parametrize(
    ("media_type", "data"),
    [
        (None, b'{"a":1}'),
        ("application/octet-stream", b"\x00\xff"),
        ("application/jsonl", b'{"a":1}\n{"a":2}'),
        ("application/json-seq", b'\x1e{"a":1}\n'),
        ("application/json; charset=utf-16", '{"a":1}'.encode("utf-16")),
        ("text/plain; charset=iso-8859-1", b"21 \xb0C"),
        ("text/plain", b"21 \xb0C"),
        ("image/png", b""),
    ],
)
def test_what_is_neither_json_nor_text_is_base64(media_type: str | None, data: bytes) -> None:
    members = json.loads(encode(event(datacontenttype=media_type, data=data)))
    assert b64decode(members["data_base64"], validate=True) == data
    assert "data" not in members
    assert members.get("datacontenttype") == media_type


def test_text_is_a_json_string_with_everything_escaped() -> None:
    text = 'line 1\nline "2" \\ \x00\x1b\x7f °C 😀'
    members = json.loads(encode(event(datacontenttype="text/plain", data=text.encode())))
    assert members["data"] == text


def test_attributes_keep_their_json_types() -> None:
    body = encode(event(extensions=(("flag", True), ("off", False), ("count", -3), ("text", "true"))))
    assert b'"flag":true,"off":false,"count":-3,"text":"true"' in body


def test_quotes_and_backslashes_in_attributes_are_escaped() -> None:
    body = encode(event(id='a"b\\c', subject='x","data":"injected', type="t😀"))
    members = json.loads(body, object_pairs_hook=no_duplicates)
    assert (members["id"], members["subject"], members["type"]) == ('a"b\\c', 'x","data":"injected', "t😀")
    assert "data" not in members


def test_output_is_utf8_without_a_byte_order_mark() -> None:
    assert encode(event(subject="Kühlraum")).startswith(b'{"specversion":"1.0"')
    assert "Kühlraum".encode() in encode(event(subject="Kühlraum"))


def test_events_that_differ_only_in_what_is_cached_are_not_mixed_up() -> None:
    first = event(subject="a", datacontenttype="application/json", data=b"1")
    second = event(subject=None, dataschema="urn:a:b", datacontenttype="text/plain", data=b"1")
    assert json.loads(encode(first))["data"] == 1
    assert json.loads(encode(second))["data"] == "1"
    assert "subject" not in json.loads(encode(second))


def test_a_batch_is_an_array_of_the_same_objects_in_order() -> None:
    batch = [event(id=str(number), datacontenttype="application/json", data=b"1.0") for number in range(3)]
    assert encode_batch(batch) == b"[" + b",".join(encode(one) for one in batch) + b"]"
    assert encode_batch([]) == b"[]"


def test_media_types_are_those_of_the_specification() -> None:
    assert CONTENT_TYPE == "application/cloudevents+json; charset=utf-8"
    assert BATCH_CONTENT_TYPE == "application/cloudevents-batch+json; charset=utf-8"
