"""One CloudEvent, version 1.0.

The rules are those of the CloudEvents core specification 1.0.2 (sections "Attribute Naming Convention",
"Type System", "Required Attributes", "Optional Attributes"). Whoever makes an event checks it once with
:meth:`Event.create` or :func:`violations`; after that it is only carried, never changed.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

ExtensionValue = str | int | bool
"""CloudEvents String, Integer (32 bits, signed) or Boolean; the type system has no floating point."""

CORE_NAMES = frozenset(
    {"id", "source", "specversion", "type", "subject", "time", "datacontenttype", "dataschema", "data"}
)
_NAME = re.compile(r"[a-z0-9]{1,20}\Z")
# C0 and C1 controls, surrogates, and the noncharacters of every plane.
_FORBIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef"
    + "".join(f"{chr((plane << 16) + 0xFFFE)}{chr((plane << 16) + 0xFFFF)}" for plane in range(17))
    + "]"
)
_URI_REFERENCE = re.compile(r"(?:[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=]|%[0-9A-Fa-f]{2})+\Z")
_ABSOLUTE_URI = re.compile(r"[A-Za-z][A-Za-z0-9+\-.]*:[^#]+\Z")
_TIME = re.compile(
    r"\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d+)?"
    r"(?:Z|[+-](?:[01]\d|2[0-3]):[0-5]\d)\Z",
    re.ASCII,
)
_MEDIA_TYPE = re.compile(
    r"[A-Za-z0-9!#$&\-^_.+]+/[A-Za-z0-9!#$&\-^_.+]+"
    r"(?:[ \t]*;[ \t]*[A-Za-z0-9!#$&\-^_.+]+=(?:[A-Za-z0-9!#$&'*\-^_`.|~+]+|\"[^\"\\\x00-\x1f\x7f]*\"))*\Z"
)
INT32 = range(-(2**31), 2**31)


@dataclass(frozen=True, slots=True)
class Event:
    """One CloudEvent as it is stored and sent; the constructor trusts its caller, :meth:`create` does not.

    Attributes:
        id: unique within ``source``, fixed before the event is first stored.
        source: URI-reference of what the event is about (a device or port, not the gateway).
        type: what happened, in reverse-DNS form.
        time: RFC 3339 timestamp in UTC of the occurrence, or None.
        subject: what within the source, or None.
        datacontenttype: media type of ``data``, or None.
        dataschema: absolute URI of the data's schema, or None.
        extensions: further attributes, as pairs of name and value, each name once.
        data: the payload's bytes, or None when the event has no data. With a JSON media type they are
            one complete JSON text.
    """

    id: str
    source: str
    type: str
    time: str | None = None
    subject: str | None = None
    datacontenttype: str | None = None
    dataschema: str | None = None
    extensions: tuple[tuple[str, ExtensionValue], ...] = ()
    data: bytes | None = None

    @classmethod
    def create(
        cls,
        *,
        id: str,  # noqa: A002 - the attribute's name in the specification
        source: str,
        type: str,  # noqa: A002 - the attribute's name in the specification
        time: str | None = None,
        subject: str | None = None,
        datacontenttype: str | None = None,
        dataschema: str | None = None,
        extensions: tuple[tuple[str, ExtensionValue], ...] = (),
        data: bytes | None = None,
    ) -> "Event":
        """An event that keeps every rule of the specification.

        Raises:
            ValueError: naming each attribute that breaks a rule, and the rule.
        """
        event = cls(id, source, type, time, subject, datacontenttype, dataschema, extensions, data)
        broken = list(violations(event))
        if broken:
            raise ValueError("; ".join(broken))
        return event

    def attributes(self) -> Iterator[tuple[str, ExtensionValue]]:
        """Every attribute that is set, ``specversion`` included, in the order of the specification."""
        yield "specversion", "1.0"
        yield "id", self.id
        yield "source", self.source
        yield "type", self.type
        for name in ("subject", "time", "datacontenttype", "dataschema"):
            value = getattr(self, name)
            if value is not None:
                yield name, value
        yield from self.extensions


def canonical(value: ExtensionValue) -> str:
    """An attribute's value as the string that CloudEvents defines for its type ("Type System")."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def violations(event: Event) -> Iterator[str]:
    """What is wrong with an event, one sentence per broken rule; nothing for a legal one."""
    yield from _text("id", event.id)
    yield from source_violations(event.source)
    yield from _text("type", event.type)
    if event.subject is not None:
        yield from _text("subject", event.subject)
    if event.time is not None and not is_timestamp(event.time):
        yield f"time: {event.time!r} is no RFC 3339 timestamp with an offset"
    if event.datacontenttype is not None and not _MEDIA_TYPE.match(event.datacontenttype):
        yield f"datacontenttype: {event.datacontenttype!r} is no media type (RFC 2046)"
    if event.dataschema is not None and not (
        _ABSOLUTE_URI.match(event.dataschema) and _URI_REFERENCE.match(event.dataschema)
    ):
        yield f"dataschema: {event.dataschema!r} is no absolute URI without a fragment (RFC 3986, 4.3)"
    seen: set[str] = set()
    for name, value in event.extensions:
        yield from extension_violations(name, value)
        if name in seen:
            yield f"{name}: given twice"
        seen.add(name)


def extension_violations(name: str, value: ExtensionValue) -> Iterator[str]:
    """What is wrong with one extension attribute."""
    if not _NAME.match(name):
        yield f"{name!r}: an attribute's name is 1 to 20 lower-case letters and digits"
    elif name in CORE_NAMES:
        yield f"{name}: the name belongs to the specification"
    if isinstance(value, str):
        yield from _text(name, value)
    elif not isinstance(value, bool) and value not in INT32:
        yield f"{name}: {value} does not fit a 32-bit signed integer; write it as a string"


def source_violations(source: str) -> Iterator[str]:
    """What is wrong with a value for ``source``."""
    if not _URI_REFERENCE.match(source):
        yield f"source: {source!r} is no URI-reference (RFC 3986)"


def _text(name: str, value: str) -> Iterator[str]:
    if not value:
        yield f"{name}: is empty"
    elif not _clean(value):
        yield f"{name}: {value!r} holds a control character, a surrogate or a noncharacter"


@lru_cache(maxsize=4096)
def _clean(value: str) -> bool:
    return _FORBIDDEN.search(value) is None


def is_timestamp(text: str) -> bool:
    """Whether ``text`` is an RFC 3339 timestamp, offset included, of a day that exists."""
    if not _TIME.match(text):
        return False
    try:
        datetime.fromisoformat(text[:10])
    except ValueError:
        return False
    return True


@lru_cache(maxsize=64)
def _seconds(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0")


def timestamp(wall_ns: int) -> str:
    """RFC 3339 in UTC with microseconds, from nanoseconds since 1970 (years 1970 to 9999)."""
    seconds, rest = divmod(wall_ns, 1_000_000_000)
    return f"{_seconds(seconds)}.{rest // 1000:06d}Z"
