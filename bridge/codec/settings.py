"""How the configuration describes framing, decoding and events."""

from dataclasses import replace
from typing import Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from bridge.codec.delimited import DelimitedFramer
from bridge.codec.json_decoder import JsonDecoder
from bridge.codec.template import Template
from bridge.event import Event, extension_violations, violations
from bridge.settings import ByteSize, Settings

OWN_EXTENSIONS = frozenset({"recordedtime", "sequence"})
"""Attributes that every event gets from edge-bridge itself."""

_LEGAL = Event("x", "x", "x")


class DelimitedFraming(Settings):
    """Frames end with a delimiter, for example one line per reading."""

    kind: Literal["delimited"] = "delimited"
    delimiter: str = Field(default="\n", min_length=1, max_length=16)
    """What ends a frame; escapes as in any TOML string. With "\\n" a carriage return before it is dropped."""
    max_length: ByteSize = Field(default=4096, ge=1, le=1 << 20)
    """The longest frame in bytes; a longer run becomes a dead letter and framing goes on after it."""

    def build(self, *, midstream: bool = False) -> DelimitedFramer:
        """A framer at the beginning of a stream, or somewhere in the middle of one."""
        return DelimitedFramer(self.delimiter.encode(), self.max_length, midstream=midstream)


class JsonDecoding(Settings):
    """Each frame is one JSON text (RFC 8259); it becomes the data of the event byte for byte."""

    kind: Literal["json"] = "json"

    def build(self) -> JsonDecoder:
        """The decoder; it has no state."""
        return JsonDecoder()


class EventSettings(Settings):
    """How a reading becomes a CloudEvent.

    Values are templates: ``{name}`` is a part of the topic, ``topic``, ``port``, ``source`` (the name of the
    source), ``gateway``, or a field of the reading, the first of these that exists; ``{a.b}`` is a field within
    a field; ``{{`` and ``}}`` are braces. A reading that lacks a field becomes a dead letter.
    """

    type: str = Field(min_length=1)
    """What happened, in reverse-DNS form: "com.example.boiler.reading.measured"."""
    source: str | None = Field(default=None, min_length=1)
    """What it happened to: a URI-reference, appended to the gateway's source unless it begins with a scheme
    ("urn:dev:mac:{mac}"); values are percent-encoded. Default: the name of the source. Must be different for
    every physical device."""
    subject: str | None = Field(default=None, min_length=1)
    """What within the source, for example "{device}"."""
    dataschema: str | None = Field(default=None, min_length=1)
    """Absolute URI of the schema of the data."""
    extensions: dict[str, str] = Field(default_factory=dict)
    """Further attributes; names are lower-case letters and digits, for example partitionkey = "{device}"."""

    @field_validator("type", "source", "subject", "dataschema")
    @classmethod
    def _can_become_legal(cls, text: str | None, info: ValidationInfo) -> str | None:
        if text is None:
            return None
        name = str(info.field_name)
        template = Template(text)
        if name == "dataschema" and not template.head:
            return text  # its scheme comes with the reading
        changed = {name: specimen(template)}
        broken = [problem.removeprefix(f"{name}: ") for problem in violations(replace(_LEGAL, **changed))]  # type: ignore[arg-type]
        if broken:
            raise ValueError("; ".join(broken))
        return text

    @field_validator("extensions")
    @classmethod
    def _are_extensions(cls, extensions: dict[str, str]) -> dict[str, str]:
        broken: list[str] = []
        for name, text in extensions.items():
            if name in OWN_EXTENSIONS:
                broken.append(f"{name}: edge-bridge sets it itself")
                continue
            try:
                broken += extension_violations(name, specimen(Template(text)))
            except ValueError as error:
                broken.append(f"{name}: {error}")
        if broken:
            raise ValueError("; ".join(broken))
        return extensions


Scalar = bool | int | float | str


class LaneRule(Settings):
    """Sends readings to another lane of the spool than ``lane``; the first rule that fits counts.

    Every condition that is given must hold. A reading without the field fits no rule.
    """

    lane: str = Field(min_length=1, examples=["alarms"])
    """The lane, a table [lanes.NAME]."""
    field: str = Field(min_length=1, examples=["level"])
    """What is looked at: a part of the topic, "topic", "port", or a field of the reading; "a.b" is a field within
    a field."""
    equals: Scalar | list[Scalar] | None = Field(default=None, examples=[["alarm", "critical"]])
    """The value, or a list of values of which it must be one."""
    above: float | None = Field(default=None, examples=[90.0])
    """The number must be larger."""
    below: float | None = Field(default=None, examples=[5.0])
    """The number must be smaller."""

    @model_validator(mode="after")
    def _asks_for_something(self) -> Self:
        if self.equals is None and self.above is None and self.below is None:
            raise ValueError("needs at least one of equals, above and below")
        return self


def specimen(template: Template) -> str:
    """What the template renders to when every value is ``x``."""
    return template.render(dict.fromkeys(template.names, "x"))
