import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.clock import Moment
from bridge.codec.json_decoder import JsonDecoder
from bridge.codec.settings import JsonDecoding
from bridge.errors import DecodeError
from bridge.ports import Frame, Reading
from tests.kit.events import json_values

MOMENT = Moment(0, 0, synchronised=True)


def decoded(payload: bytes, contenttype: str | None = None) -> Reading:
    (reading,) = JsonDecoder().decode(Frame(payload, MOMENT, "port", contenttype=contenttype))
    return reading


@pytest.mark.parametrize(
    "text", ['{"t": 21.50}', "1152921504606846976", '{"a":1,"a":2}', '"\\u00e9"', "1E400", '{"é":"\\/"}']
)
def test_the_payload_passes_through_byte_for_byte(text: str) -> None:
    assert decoded(text.encode()) == Reading(text.encode(), "application/json", decoded(text.encode()).fields)
    assert decoded(text.encode()).data == text.encode()


def test_white_space_around_the_text_is_dropped_and_inside_kept() -> None:
    assert decoded(b' \t\r\n{"a" : 1}\r\n ').data == b'{"a" : 1}'


@pytest.mark.parametrize("text", [b"0", b"false", b'""', b"[]", b"null", b"{}", b"-0.0"])
def test_every_json_value_is_a_reading(text: bytes) -> None:
    assert decoded(text).data == text


def test_an_object_gives_its_fields_and_nothing_else_does() -> None:
    assert decoded(b'{"a":{"b":[1]},"t":21.50}').fields == {"a": {"b": [1]}, "t": 21.5}
    assert decoded(b'[{"a":1}]').fields is None


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        (b'{"a":\xff}', "not UTF-8: byte 0xff at byte 6"),
        (b'"\xed\xa0\x80"', "not UTF-8"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        (b"temperature=21.5", "not JSON: expecting value at character 1"),
        (b'{"a":1', "not JSON: expecting ',' delimiter at character 7"),
        (b'{"a":"x', "not JSON: unterminated string at character 6"),
        (b"{'a':1}", "character 2"),
        (b'{"a":1,}', "not JSON"),
        (b'{"a":1} {"a":2}', "more follows after the end of the value at character 8"),
        (b"1 2", "more follows"),
        (b"01", "more follows"),
        (b"NaN", "NaN is no JSON number"),
        (b'{"a":-Infinity}', "-Infinity is no JSON number"),
        (b'"a\x01b"', "control character"),
        (b'"\\x"', "escape"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b"9" * 5000, "too many digits"),
        (b"\x00", "not JSON"),
    ],
)
def test_what_is_no_json_is_refused_with_reason_and_place(payload: bytes, reason: str) -> None:
    with pytest.raises(DecodeError) as caught:
        decoded(payload)
    assert reason in str(caught.value)


@given(st.binary() | st.text().map(str.encode) | st.text('[]{}":,01eE.-+ntrufalsNI\\ \n').map(str.encode))
def test_no_bytes_raise_anything_but_a_decode_error(payload: bytes) -> None:
    try:
        reading = decoded(payload)
    except DecodeError:
        return
    json.loads(reading.data)
    assert reading.data == payload.strip(b" \t\r\n")


@given(json_values, st.sampled_from([None, 2]), st.booleans())
def test_every_json_text_is_accepted(value: object, indent: int | None, ascii_only: bool) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode()
    reading = decoded(text)
    assert reading.data == text
    assert reading.fields == (value if isinstance(value, dict) else None)


@pytest.mark.parametrize(
    ("declared", "taken"),
    [
        (None, "application/json"),
        ("application/json; charset=utf-8", "application/json"),
        ("application/senml+json", "application/senml+json"),
        ("text/json ", "text/json"),
        ("text/plain", "application/json"),
        ("nonsense\n/json", "application/json"),
        ("", "application/json"),
    ],
)
def test_a_declared_json_type_is_kept(declared: str | None, taken: str) -> None:
    assert decoded(b"1", declared).contenttype == taken


def test_the_settings_build_the_decoder() -> None:
    assert isinstance(JsonDecoding().build(), JsonDecoder)
