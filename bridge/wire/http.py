"""Events as HTTP requests: the CloudEvents HTTP protocol binding 1.0 in its three content modes.

Section numbers are those of the binding.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import quote

from bridge.event import Event, ExtensionValue, canonical
from bridge.wire import json_format

# 3.1.3.2: what need not be encoded is U+0021 to U+007E without the quotation mark and the percent sign;
# letters, digits and "_.-~" are always safe for quote().
_SAFE = "!#$&'()*+,/:;<=>?@[\\]^`{|}"
_NO_FIELD_VALUE = re.compile(r"[\x00-\x1f\x7f]")


class Unsendable(ValueError):
    """HTTP cannot hold this event; the message says what is wrong."""


@dataclass(frozen=True, slots=True)
class Message:
    """What is particular to one request.

    Attributes:
        headers: name and value of each header, each name once; values are fit to be sent.
        body: the payload.
    """

    headers: tuple[tuple[str, str], ...]
    body: bytes


_STRUCTURED = (("Content-Type", json_format.CONTENT_TYPE),)
_BATCHED = (("Content-Type", json_format.BATCH_CONTENT_TYPE),)


def structured(event: Event) -> Message:
    """The event as one JSON body (3.2)."""
    return Message(_STRUCTURED, json_format.encode(event))


def batched(encoded: Sequence[bytes]) -> Message:
    """Events, each encoded by :func:`bridge.wire.json_format.encode`, as one JSON array, in order (3.3)."""
    return Message(_BATCHED, b"[%b]" % b",".join(encoded))


def binary(event: Event) -> Message:
    """The event with its attributes as headers and its data as body (3.1); no data and empty data look alike.

    ``datacontenttype`` is the ``Content-Type``; without it there is none.

    Raises:
        Unsendable: ``datacontenttype`` holds what no header may hold.
    """
    headers = [(f"ce-{name}", _encoded(value)) for name, value in event.attributes() if name != "datacontenttype"]
    if event.datacontenttype is not None:
        # The only value that the binding does not encode.
        if _NO_FIELD_VALUE.search(event.datacontenttype):
            raise Unsendable("datacontenttype holds a control character, which no HTTP header may hold")
        headers.append(("Content-Type", event.datacontenttype))
    return Message(tuple(headers), event.data or b"")


def _encoded(value: ExtensionValue) -> str:
    """The canonical string of the value, percent-encoded once (3.1.3.2)."""
    return _quoted(value) if isinstance(value, str) else canonical(value)


@lru_cache(maxsize=1024)
def _quoted(text: str) -> str:
    return quote(text, safe=_SAFE)
