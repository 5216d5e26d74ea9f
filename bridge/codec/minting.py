"""Readings become events: attributes are rendered, checked and fixed for ever.

The hot path does as little as it can: constants are checked once, what templates render to is checked once
per distinct set of attributes, and the event is built by position.
"""

import json
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import count
from types import MappingProxyType
from urllib.parse import quote

from bridge.clock import Moment
from bridge.codec.settings import EventSettings, specimen
from bridge.codec.template import Template
from bridge.errors import DecodeError
from bridge.event import Event, timestamp, violations
from bridge.ports import Frame, Reading

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:")
_DIGITS = "0123456789abcdefghijklmnopqrstuv"  # base32hex (RFC 4648, section 7): sorts as the number does
_NO_FIELDS: Mapping[str, object] = MappingProxyType({})
_SAMPLE_MOMENT = Moment(wall_ns=1_767_268_800_000_000_000, boot_ns=0, synchronised=True)

_Extensions = tuple[tuple[str, str], ...]


def new_instance() -> str:
    """A name for one start of the process: 26 lower-case letters and digits that never come twice.

    The first ten grow with the wall clock; behind them are 80 random bits, so that two gateways made from
    one disk image differ although their clocks start alike.
    """
    milliseconds = (time.time_ns() // 1_000_000) & (2**48 - 1)
    number = milliseconds << 80 | int.from_bytes(os.urandom(10), "big")
    return "".join([_DIGITS[number >> shift & 31] for shift in range(125, -1, -5)])


class Minter:
    """Makes the events of one source.

    ``id`` is ``<instance>-<name>-<number>``: names are unique in a process and instances in the world, so no
    two events ever share an id. ``time`` and ``recordedtime`` are the moment at which the frame was complete.

    Args:
        settings: the templates.
        prefix: the gateway's own source, in front of sources that are no absolute URI.
        name: the source's name in the configuration.
        gateway_id: the value of ``{gateway}``.
        instance: what :func:`new_instance` gave this process.

    Raises:
        ValueError: naming every attribute that no reading could make legal.
    """

    def __init__(self, settings: EventSettings, *, prefix: str, name: str, gateway_id: str, instance: str) -> None:
        encoded = quote(name, safe="")
        self._id = f"{instance}-{encoded}-"
        self._count = count(1)
        self._own: Mapping[str, object] = {"source": name, "gateway": gateway_id}
        self._source_prefix = "" if _is_absolute(settings.source) else prefix.rstrip("/") + "/"
        templates: dict[str, Template] = {"type": Template(settings.type)}
        if settings.source is not None:
            templates["source"] = Template(settings.source)
        if settings.subject is not None:
            templates["subject"] = Template(settings.subject)
        if settings.dataschema is not None:
            templates["dataschema"] = Template(settings.dataschema)
        self._core = frozenset(templates)
        templates.update({extension: Template(text) for extension, text in settings.extensions.items()})
        self._names = frozenset[str]().union(*(template.names for template in templates.values()))
        self._values = {attribute: specimen(template) for attribute, template in templates.items()}
        self._values["source"] = self._source_prefix + self._values.get("source", encoded)
        self._extension_names = tuple(settings.extensions)
        self._rendered = tuple(
            (attribute, template) for attribute, template in templates.items() if template.constant is None
        )
        self._check(templates)
        self._fixed = None if self._rendered else self._arranged(self._values)

    def mint(self, frame: Frame, reading: Reading, number: Callable[[str], int | None]) -> Event:
        """The event for one reading.

        ``number`` gives the sequence number of a CloudEvents source, or None for none; it is called last, so
        that a reading which cannot become an event takes no number.

        Raises:
            DecodeError: an attribute has no value or an illegal one; the message names it and says why.
        """
        source, type_, subject, dataschema, extensions = self._fixed or self._render(frame, reading)
        broken = _broken(source, type_, subject, dataschema, reading.contenttype, extensions)
        if broken is not None:
            raise DecodeError(broken)
        when = timestamp(frame.received.wall_ns)
        sequence = number(source)
        extensions = (
            (*extensions, ("recordedtime", when))
            if sequence is None
            else (*extensions, ("recordedtime", when), ("sequence", f"{sequence:020d}"))
        )
        return Event(
            f"{self._id}{next(self._count)}",
            source,
            type_,
            when,
            subject,
            reading.contenttype,
            dataschema,
            extensions,
            reading.data,
        )

    def sample(self, captures: Mapping[str, str]) -> Event:
        """An example: the event for a reading in which every field that templates name holds its own name.

        Raises:
            ValueError: the templates make no legal event of it; the message names each attribute and says why.
        """
        fields: dict[str, object] = {}
        for name in sorted(self._names):
            if name not in captures and name not in self._own:
                _plant(fields, name.split("."))
        data = json.dumps(fields or {"value": 21.5}, ensure_ascii=False, separators=(",", ":")).encode()
        frame = Frame(data, _SAMPLE_MOMENT, captures.get("topic") or captures.get("port") or "sample", captures)
        try:
            return self.mint(frame, Reading(data, "application/json", fields), lambda _: 1)
        except DecodeError as error:
            raise ValueError(str(error)) from error

    def _render(self, frame: Frame, reading: Reading) -> "_Attributes":
        fields = reading.fields or _NO_FIELDS
        values = self._values.copy()
        for attribute, template in self._rendered:
            try:
                if attribute == "source":
                    text = template.render(frame.captures, self._own, fields, quote=_quoted)
                    values["source"] = self._source_prefix + text
                else:
                    values[attribute] = template.render(frame.captures, self._own, fields)
            except DecodeError as error:
                raise DecodeError(f"{attribute}: {error}") from error
        return self._arranged(values)

    def _arranged(self, values: Mapping[str, str]) -> "_Attributes":
        extensions = tuple([(name, values[name]) for name in self._extension_names])
        return values["source"], values["type"], values.get("subject"), values.get("dataschema"), extensions

    def _check(self, templates: Mapping[str, Template]) -> None:
        source, type_, subject, dataschema, extensions = self._arranged(self._values)
        if "dataschema" in templates and not templates["dataschema"].head:
            dataschema = None  # its scheme comes with the reading
        broken = _broken(source, type_, subject, dataschema, None, extensions)
        if broken is not None:
            raise ValueError(broken)


_Attributes = tuple[str, str, str | None, str | None, _Extensions]


def _is_absolute(source: str | None) -> bool:
    return source is not None and _SCHEME.match(Template(source).head) is not None


@lru_cache(maxsize=4096)
def _broken(
    source: str,
    type_: str,
    subject: str | None,
    dataschema: str | None,
    contenttype: str | None,
    extensions: _Extensions,
) -> str | None:
    """Every rule that these attributes break, or None; an event's id and times are legal by construction."""
    event = Event("x", source, type_, None, subject, contenttype, dataschema, extensions)
    return "; ".join(violations(event)) or None


@lru_cache(maxsize=4096)
def _quoted(name: str, value: str) -> str:
    if not value:
        raise DecodeError(f"the value for {{{name}}} is empty, so it tells no device from another")
    try:
        # A topic is a path already; any other slash would make two devices share a source.
        return quote(value, safe="/" if name == "topic" else "")
    except UnicodeEncodeError as error:
        raise DecodeError(f"the value for {{{name}}} holds a surrogate") from error


def _plant(fields: dict[str, object], path: Sequence[str]) -> None:
    """Puts a sample value at ``path``; a name that is also a table keeps the table."""
    for name in path[:-1]:
        within = fields.setdefault(name, {})
        if not isinstance(within, dict):
            within = fields[name] = {}
        fields = within
    fields.setdefault(path[-1], path[-1])
