"""Events as JSON: the CloudEvents JSON event format 1.0 and its batch format.

The structured mode of every transport carries what :func:`encode` returns. Data with a JSON media type is
embedded byte for byte, so that ``21.50`` stays ``21.50``; text becomes a JSON string; anything else, and data
whose media type is not known, becomes ``data_base64`` (sections 2 and 3 of the format).
"""

import re
from base64 import b64encode
from collections.abc import Sequence
from functools import lru_cache
from json.encoder import encode_basestring
from typing import Literal

from bridge.event import Event

CONTENT_TYPE = "application/cloudevents+json; charset=utf-8"
"""Media type of what :func:`encode` returns."""
BATCH_CONTENT_TYPE = "application/cloudevents-batch+json; charset=utf-8"
"""Media type of what :func:`encode_batch` returns."""

Shape = Literal["json", "text", "base64"]

# Section 3.1.1: the subtype is "json" or ends in "+json", whatever the case; parameters do not count.
_JSON_TYPE = re.compile(r"[^/;]+/(?:[^/;]*\+)?json\s*(?:;|\Z)", re.IGNORECASE)
_TEXT_TYPE = re.compile(r"text/", re.IGNORECASE)
_CHARSET = re.compile(r";\s*charset=(?:\"([^\"]*)\"|([^;\s]*))", re.IGNORECASE)
_UTF8_NAMES = frozenset({"utf-8", "utf8", "us-ascii", "ascii"})


def encode(event: Event) -> bytes:
    """The event as one JSON object in UTF-8, without a byte order mark.

    Attributes that are not set are left out, never ``null``. Any legal event can be encoded.
    """
    text, kind = _attributes(event)
    data = event.data
    if data is None:
        return (text + "}").encode()
    if kind == "json":
        return b'%b,"data":%b}' % (text.encode(), data)
    if kind == "text":
        try:
            return f'{text},"data":{encode_basestring(data.decode())}}}'.encode()
        except UnicodeDecodeError:
            pass  # not the text that its media type promises: only Base64 keeps the bytes
    return b'%b,"data_base64":"%b"}' % (text.encode(), b64encode(data))


def encode_base64(event: Event) -> bytes:
    """As :func:`encode`, the data in Base64 whatever its media type; the event must have data."""
    return b'%b,"data_base64":"%b"}' % (_attributes(event)[0].encode(), b64encode(event.data or b""))


def encode_batch(events: Sequence[Event]) -> bytes:
    """The events as one JSON array in UTF-8, in order; ``[]`` for none."""
    return b"[%b]" % b",".join([encode(event) for event in events])


def _attributes(event: Event) -> tuple[str, Shape]:
    """The object up to its data, still open, and how the data is written."""
    head, kind = _constant_part(event.source, event.type, event.subject, event.datacontenttype, event.dataschema)
    text = f'{{"specversion":"1.0","id":{encode_basestring(event.id)}{head}'
    if event.time is not None:
        text += f',"time":{encode_basestring(event.time)}'
    for name, value in event.extensions:
        if value.__class__ is str:
            text += f',"{name}":{encode_basestring(value)}'
        elif value.__class__ is bool:
            text += f',"{name}":{"true" if value else "false"}'
        else:
            text += f',"{name}":{value}'
    return text, kind


@lru_cache(maxsize=1024)
def _constant_part(
    source: str, type_: str, subject: str | None, datacontenttype: str | None, dataschema: str | None
) -> tuple[str, Shape]:
    """The members that seldom change from one event of a source to the next, and how its data is written."""
    named = (
        ("source", source),
        ("type", type_),
        ("subject", subject),
        ("datacontenttype", datacontenttype),
        ("dataschema", dataschema),
    )
    text = "".join(f',"{name}":{encode_basestring(value)}' for name, value in named if value is not None)
    return text, shape(datacontenttype)


def shape(datacontenttype: str | None) -> Shape:
    """How data of a media type is written."""
    if datacontenttype is None:
        return "base64"
    charset = _CHARSET.search(datacontenttype)
    if charset and (charset[1] or charset[2] or "").lower() not in _UTF8_NAMES:
        return "base64"
    if _JSON_TYPE.match(datacontenttype):
        return "json"
    return "text" if _TEXT_TYPE.match(datacontenttype) else "base64"
