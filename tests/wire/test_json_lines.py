"""Lines of JSON: an event comes back exactly as it went out, and what is none is refused with a reason."""

import contextlib
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.event import Event
from bridge.wire.json_lines import decode_line, encode_line
from tests.kit.events import events

START = '{"specversion":"1.0","id":"1","source":"urn:s","type":"t"'


@given(events())
def test_an_event_comes_back_byte_for_byte(event: Event) -> None:
    line = encode_line(event)
    assert b"\n" not in line
    assert b"\r" not in line
    assert decode_line(line) == event


@given(st.binary(max_size=200) | events().map(encode_line).map(lambda line: line[: len(line) // 2]))
def test_no_bytes_raise_anything_but_a_value_error(line: bytes) -> None:
    with contextlib.suppress(ValueError):
        decode_line(line)


def test_numbers_stay_as_they_are_written() -> None:
    line = f'{START},"datacontenttype":"application/json","data": {{"v": 21.50, "n": 1{"0" * 5000} }} }}'
    event = decode_line(line.encode())
    assert event.data == b'{"v": 21.50, "n": 1' + b"0" * 5000 + b" }"
    assert decode_line(encode_line(event)) == event


@pytest.mark.parametrize("data", [b'{\n "a": 1.0\n}', b" 1 ", b"\t{}", b"[1,\r2]"])
def test_data_that_a_line_would_change_survives(data: bytes) -> None:
    event = Event("1", "urn:s", "t", datacontenttype="application/json", data=data)
    assert b"data_base64" in encode_line(event)
    assert decode_line(encode_line(event)) == event


def test_a_line_is_bounded_whatever_the_text() -> None:
    event = Event("1", "urn:s", "t", datacontenttype="text/plain", data=b"\x01" * 100_000)
    assert len(encode_line(event)) < 140_000
    assert decode_line(encode_line(event)) == event


def test_lines_that_others_wrote_are_taken() -> None:
    line = (
        ' { "type" : "t", "id":"1", "source":"/s","specversion":"1.0", "subject": null, "unit":"C", "n": 5,'
        ' "ok": true, "gone": null, "data" : "x" , "datacontenttype":"text/plain" } '
    )
    assert decode_line(line.encode()) == Event(
        "1",
        "/s",
        "t",
        datacontenttype="text/plain",
        extensions=(("unit", "C"), ("n", 5), ("ok", True)),
        data=b"x",
    )


def test_data_without_a_media_type_is_json() -> None:
    event = decode_line(f'{START},"data":{{"a":1.0}}}}'.encode())
    assert (event.datacontenttype, event.data) == ("application/json", b'{"a":1.0}')


def test_null_is_data_and_absence_is_none() -> None:
    assert decode_line(f'{START},"datacontenttype":"application/json","data":null}}'.encode()).data == b"null"
    assert decode_line(f'{START},"datacontenttype":"application/json"}}'.encode()).data is None


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"", "no JSON object"),
        (b"[]", "no JSON object"),
        (b"\xff", "no UTF-8 at byte 1"),
        (b'{"specversion":"1.0","id":"1"', "','"),
        (b'{"specversion":"1.0" "id":"1"}', "',' was expected at character 22"),
        (b'{"specversion":"0.3","id":"1","source":"s","type":"t"}', "specversion"),
        (b'{"specversion":"1.0","source":"s","type":"t"}', "id is missing"),
        (b'{"specversion":"1.0","id":"1","id":"2","source":"s","type":"t"}', "id: given twice"),
        (f"{START}}} 5".encode(), "more follows"),
        (f'{START},"time":"yesterday"}}'.encode(), "RFC 3339"),
        (f'{START},"temp":21.5}}'.encode(), "temp: an attribute is"),
        (f'{START},"Temp":"1"}}'.encode(), "lower-case"),
        (f'{START},"data":1,"data_base64":"MQ=="}}'.encode(), "only one of them"),
        (f'{START},"data_base64":"M"}}'.encode(), "data_base64"),
        (f'{START},"data":NaN}}'.encode(), "NaN is no JSON number"),
        (f'{START},"datacontenttype":"text/plain","data":{{}}}}'.encode(), "no text, but"),
        (f'{START},"datacontenttype":"application/json","data_base64":"ew=="}}'.encode(), "no JSON text"),
        (f'{START},"datacontenttype":"application/json","data_base64":"MSAy"}}'.encode(), "more than one"),
        (f'{START},"datacontenttype":"text/plain","data":"\\ud800"}}'.encode(), "surrogate"),
        (START.encode() + b',"data":' + b"[" * 100_000, "nested too deeply"),
    ],
)
def test_what_is_no_event_is_refused_with_its_reason(line: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=re.escape(reason)):
        decode_line(line)


@given(events())
def test_every_line_is_json_for_other_programs(event: Event) -> None:
    assert json.loads(encode_line(event))["id"] == event.id
