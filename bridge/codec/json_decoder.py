"""Frames that are JSON texts."""

import json
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NoReturn

from bridge.errors import DecodeError
from bridge.ports import Frame, Reading

JSON = "application/json"

_BOM = b"\xef\xbb\xbf"
_WHITE_SPACE = b" \t\n\r"  # RFC 8259, section 2
# A media type whose data is JSON: the subtype is "json" or has the suffix "+json" (RFC 6839, section 3.1).
_JSON_TYPE = re.compile(r"[A-Za-z0-9!#$&\-^_.+]+/(?:[A-Za-z0-9!#$&\-^_.+]+\+)?json\Z", re.IGNORECASE)


def _refuse_constant(name: str) -> NoReturn:
    raise DecodeError(f"not JSON: {name} is no JSON number")


_decoder = json.JSONDecoder(parse_constant=_refuse_constant)


class JsonDecoder:
    """Each frame is one JSON text (RFC 8259) in UTF-8; see :class:`bridge.ports.Decoder`.

    The text becomes the data of the reading byte for byte, without the white space around it. Every JSON
    value counts: ``0``, ``false``, ``""``, ``[]`` and ``null`` are readings like any other.
    """

    def decode(self, frame: Frame) -> Sequence[Reading]:
        """The one reading in the frame.

        Its media type is the declared one if that is a JSON type, else ``application/json``.

        Raises:
            DecodeError: the payload is empty, no UTF-8 or no JSON text; the message says where. ``NaN``,
                ``Infinity``, a byte order mark and nesting beyond what can be parsed are no JSON here.
        """
        data = frame.payload.strip(_WHITE_SPACE)
        value = _parse(data)
        return (
            Reading(
                data,
                JSON if frame.contenttype is None else _json_type(frame.contenttype),
                value if isinstance(value, dict) else None,
            ),
        )


def _parse(data: bytes) -> object:
    if not data:
        raise DecodeError("empty: a JSON text was expected")
    if data.startswith(_BOM):
        raise DecodeError("not JSON: it begins with a byte order mark")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise DecodeError(f"not UTF-8: byte 0x{data[error.start]:02x} at byte {error.start + 1}") from error
    try:
        value, end = _decoder.raw_decode(text)
    except json.JSONDecodeError as error:
        raise DecodeError(f"not JSON: {_said(error)} at character {error.pos + 1}") from error
    except RecursionError as error:
        raise DecodeError("not usable JSON: nested too deeply") from error
    except ValueError as error:
        # The interpreter refuses to convert integers of thousands of digits; JSON sets no limit.
        raise DecodeError("not usable JSON: a number has too many digits") from error
    if end != len(text):
        raise DecodeError(f"not JSON: more follows after the end of the value at character {end + 1}")
    return value


def _said(error: json.JSONDecodeError) -> str:
    # Some of the standard library's messages end in words that wait for the position.
    return error.msg.removesuffix(" at").removesuffix(" starting").lower()


@lru_cache(maxsize=64)
def _json_type(declared: str) -> str:
    """The declared media type without parameters (JSON defines none) if it is a JSON type, else JSON's own."""
    essence = declared.partition(";")[0].strip()
    return essence if _JSON_TYPE.match(essence) else JSON
