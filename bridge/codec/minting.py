"""Readings become events: attributes are rendered, checked and fixed for ever.

The hot path does as little as it can: what templates make of the values that a reading gives them is rendered
and checked once and then remembered, and the event is built by position.
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
from bridge.codec.template import Template, value_of
from bridge.errors import DecodeError
from bridge.event import Event, timestamp, violations
from bridge.ports import Frame, Reading

KNOWN = 1024
"""How many distinct sets of values a minter remembers: one for each device behind its source, as a rule."""

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:")
_DIGITS = "0123456789abcdefghijklmnopqrstuv"  # base32hex (RFC 4648, section 7): sorts as the number does
_NO_FIELDS: Mapping[str, object] = MappingProxyType({})
_SAMPLE_MOMENT = Moment(wall_ns=1_767_268_800_000_000_000, boot_ns=0, synchronised=True)


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
        texts = {
            "source": settings.source,
            "type": settings.type,
            "subject": settings.subject,
            "dataschema": settings.dataschema,
            **settings.extensions,
        }
        self._templates = {name: Template(text) for name, text in texts.items() if text is not None}
        self._templates.setdefault("source", Template(encoded))
        self._names = tuple(sorted(frozenset[str]().union(*(each.names for each in self._templates.values()))))
        self._extensions = tuple(settings.extensions)
        self._known = lru_cache(maxsize=KNOWN)(self._checked)
        self._check_constants()

    def mint(self, frame: Frame, reading: Reading, number: Callable[[str], int | None]) -> Event:
        """The event for one reading.

        ``number`` gives the sequence number of a CloudEvents source, or None for none; it is called last, so
        that a reading which cannot become an event takes no number.

        Raises:
            DecodeError: an attribute has no value or an illegal one; the message names it and says why.
        """
        lookups = (frame.captures, self._own, reading.fields or _NO_FIELDS)
        try:
            values = tuple([value_of(name, lookups) for name in self._names])
        except DecodeError:
            self._render(lookups)  # raises again, and names the attribute
            raise
        source, type_, subject, dataschema, extensions = self._known(values, reading.contenttype)
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

    def _checked(self, values: tuple[str, ...], contenttype: str) -> "_Attributes":
        attributes = self._arranged(self._render((dict(zip(self._names, values, strict=True)),)))
        _raise_for(attributes, contenttype)
        return attributes

    def _render(self, lookups: tuple[Mapping[str, object], ...]) -> Mapping[str, str]:
        rendered = {}
        for attribute, template in self._templates.items():
            try:
                rendered[attribute] = template.render(*lookups, quote=_quoted if attribute == "source" else None)
            except DecodeError as error:
                raise DecodeError(f"{attribute}: {error}") from error
        return rendered

    def _arranged(self, rendered: Mapping[str, str]) -> "_Attributes":
        return (
            self._source_prefix + rendered["source"],
            rendered["type"],
            rendered.get("subject"),
            rendered.get("dataschema"),
            tuple([(name, rendered[name]) for name in self._extensions]),
        )

    def _check_constants(self) -> None:
        rendered = {name: specimen(template) for name, template in self._templates.items()}
        if "dataschema" in rendered and not self._templates["dataschema"].head:
            del rendered["dataschema"]  # its scheme comes with the reading
        try:
            _raise_for(self._arranged(rendered), None)
        except DecodeError as error:
            raise ValueError(str(error)) from error


_Attributes = tuple[str, str, str | None, str | None, tuple[tuple[str, str], ...]]


def _raise_for(attributes: _Attributes, contenttype: str | None) -> None:
    """Names every rule that they break; an event's id and times are legal by construction."""
    source, type_, subject, dataschema, extensions = attributes
    event = Event("x", source, type_, None, subject, contenttype, dataschema, extensions)
    broken = "; ".join(violations(event))
    if broken:
        raise DecodeError(broken)


def _is_absolute(source: str | None) -> bool:
    return source is not None and _SCHEME.match(Template(source).head) is not None


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
