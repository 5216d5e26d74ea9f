"""Events as lines of JSON: for files that people keep, look into, and bring back.

Each line is one event in the CloudEvents JSON format. :func:`decode_line` gives back exactly the event that
:func:`encode_line` was given, its data byte for byte; it also takes lines that others wrote.
"""

import binascii
import json
import re
from base64 import b64decode
from collections.abc import Iterator
from typing import NoReturn

from bridge.event import CORE_NAMES, Event, ExtensionValue
from bridge.wire.json_format import encode, encode_base64, shape

JSON = "application/json"

_SPACES = " \t\n\r"
_SPACE = re.compile(f"[{_SPACES}]*")
_BREAKS = re.compile(rb"\A[ \t]|[\n\r]|[ \t]\Z")
"""What a line or the white space around a value would swallow."""

_TEXTS = ("id", "source", "type", "time", "subject", "datacontenttype", "dataschema")


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


_values = json.JSONDecoder(parse_constant=_refuse_constant)
# Data is kept as it is written: its numbers need not fit anything.
_data = json.JSONDecoder(parse_constant=_refuse_constant, parse_int=str, parse_float=str)


def encode_line(event: Event) -> bytes:
    """The event as one line, without the newline; data that would not survive that is written as Base64."""
    data = event.data
    if data is None:
        return encode(event)
    kind = shape(event.datacontenttype)
    if kind == "json" and _BREAKS.search(data):
        return encode_base64(event)
    line = encode(event)
    # Text that is mostly escapes: Base64 keeps a bound on the length of a line.
    return encode_base64(event) if kind == "text" and len(line) > 2 * len(data) + 1024 else line


def decode_line(line: bytes) -> Event:
    """The event that a line holds.

    Raises:
        ValueError: it holds none; the message says why, for people.
    """
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"no UTF-8 at byte {error.start + 1}") from error
    try:
        members = dict(_members(text))
    except json.JSONDecodeError as error:
        raise ValueError(f"no JSON: {error.msg.lower()} at character {error.pos + 1}") from error
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if members.pop("specversion", None) != "1.0":
        raise ValueError('specversion is not "1.0": no CloudEvent of that version')
    data = _take_data(members)
    texts = {name: _text(name, members.pop(name, None)) for name in _TEXTS}
    if data is not None and isinstance(data[0], str) and texts["datacontenttype"] is None:
        # JSON format, section 3.1: data that is not Base64 is JSON unless something else is said.
        texts["datacontenttype"] = JSON
    for name in ("id", "source", "type"):
        if texts[name] is None:
            raise ValueError(f"{name} is missing")
    return Event.create(
        id=texts["id"] or "",
        source=texts["source"] or "",
        type=texts["type"] or "",
        time=texts["time"],
        subject=texts["subject"],
        datacontenttype=texts["datacontenttype"],
        dataschema=texts["dataschema"],
        extensions=tuple(_extensions(members)),
        data=None if data is None else _bytes(*data, texts["datacontenttype"]),
    )


def _members(text: str) -> Iterator[tuple[str, object]]:
    """The members of the one object in ``text``; ``data`` as it is written and as it was read."""
    at = _skip(text, 0)
    if text[at : at + 1] != "{":
        raise ValueError("no JSON object")
    at = _skip(text, at + 1)
    seen: set[str] = set()
    while text[at : at + 1] != "}":
        if seen:
            at = _expect(text, at, ",")
        name, at = _values.raw_decode(text, at)
        if not isinstance(name, str):
            raise ValueError(f"no JSON: a name was expected at character {at}")  # noqa: TRY004 - malformed text
        if name in seen:
            raise ValueError(f"{name}: given twice")
        seen.add(name)
        at = _expect(text, at, ":")
        value, stop = (_data if name == "data" else _values).raw_decode(text, at)
        yield name, (text[at:stop], value) if name == "data" else value
        at = _skip(text, stop)
    if _skip(text, at + 1) != len(text):
        raise ValueError(f"more follows after the end of the event at character {at + 2}")


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return at if match is None else match.end()


def _expect(text: str, at: int, mark: str) -> int:
    at = _skip(text, at)
    if text[at : at + 1] != mark:
        raise ValueError(f"no JSON: {mark!r} was expected at character {at + 1}")
    return _skip(text, at + 1)


def _take_data(members: dict[str, object]) -> tuple[str | bytes, object] | None:
    """The data as written and as read; of Base64 its bytes."""
    written = members.pop("data", None)
    coded = members.pop("data_base64", None)
    if coded is None:
        if written is None:
            return None
        assert isinstance(written, tuple)  # noqa: S101 - _members() makes it one
        return written
    if written is not None:
        raise ValueError("data and data_base64: only one of them may be there")
    if not isinstance(coded, str):
        raise ValueError("data_base64: no text")  # noqa: TRY004 - malformed text
    try:
        return b64decode(coded, validate=True), None
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"data_base64: {error}") from error


def _bytes(written: str | bytes, value: object, datacontenttype: str | None) -> bytes:
    kind = shape(datacontenttype)
    if isinstance(written, bytes):
        if kind == "json":
            _check_json(written)
        return written
    if kind == "json":
        return written.encode()
    if not isinstance(value, str):
        raise ValueError(f"data: no text, but datacontenttype is {datacontenttype}")  # noqa: TRY004
    try:
        return value.encode()
    except UnicodeEncodeError as error:
        raise ValueError("data: half of a surrogate pair is no text") from error


def _check_json(data: bytes) -> None:
    """Data with a JSON media type goes into structured events as it is: it must be one JSON text."""
    try:
        text = data.decode()
        _, stop = _data.raw_decode(text, _skip(text, 0))
    except (ValueError, RecursionError) as error:
        raise ValueError("data_base64: no JSON text, but datacontenttype says so") from error
    if _skip(text, stop) != len(text):
        raise ValueError("data_base64: more than one JSON text")


def _text(name: str, value: object) -> str | None:
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{name}: no text")
    return value


def _extensions(members: dict[str, object]) -> Iterator[tuple[str, ExtensionValue]]:
    for name, value in members.items():
        if value is None:
            continue
        if name in CORE_NAMES or not isinstance(value, str | int | bool):
            raise ValueError(f"{name}: an attribute is a text, a whole number, true or false")
        yield name, value
