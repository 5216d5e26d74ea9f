"""How the configuration describes framing, decoding and events."""

from typing import Literal

from pydantic import Field

from bridge.settings import ByteSize, Settings


class DelimitedFraming(Settings):
    """Frames end with a delimiter, for example one line per reading."""

    kind: Literal["delimited"] = "delimited"
    delimiter: str = Field(default="\n", min_length=1, max_length=16)
    """What ends a frame; escapes as in any TOML string. With "\\n" a carriage return before it is dropped."""
    max_length: ByteSize = Field(default=4096, ge=1, le=1 << 20)
    """The longest frame in bytes; a longer run becomes a dead letter and framing goes on after it."""


class JsonDecoding(Settings):
    """Each frame is one JSON text (RFC 8259); it becomes the data of the event byte for byte."""

    kind: Literal["json"] = "json"


class EventSettings(Settings):
    """How a reading becomes a CloudEvent.

    Values are templates: ``{name}`` is a part of the topic, ``topic``, ``port``, or a field of the reading;
    ``{a.b}`` is a field within a field; ``{{`` and ``}}`` are braces.
    """

    type: str = Field(min_length=1)
    """What happened, in reverse-DNS form: "com.example.boiler.reading.measured"."""
    source: str | None = None
    """What it happened to: a URI-reference, appended to the gateway's source unless it is an absolute URI.
    Default: the name of the source. Must be different for every physical device."""
    subject: str | None = Field(default=None, min_length=1)
    """What within the source, for example "{device}"."""
    dataschema: str | None = Field(default=None, min_length=1)
    """Absolute URI of the schema of the data."""
    extensions: dict[str, str] = Field(default_factory=dict)
    """Further attributes; names are lower-case letters and digits, for example partitionkey = "{device}"."""
