"""What the payloads of the spool say, in msgpack: stored events, dead letters, and the log's own state.

Every value is a list that begins with its version. A reader refuses versions it does not know; to say more,
a later version appends fields or takes a new number, and keeps reading the old ones.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgpack

from bridge.clock import Moment
from bridge.event import Event
from bridge.ports import Receipt

_EVENT_VERSION = 1
_DIRECTED_VERSION = 2
"""An event with one field more: the only sink that wants it."""
_LETTER_VERSION = 2
_STATE_VERSION = 1

_packer = msgpack.Packer(use_bin_type=True)
# Marks and state are packed beside the event loop's thread; a packer belongs to one thread.
_UNREADABLE = (ValueError, TypeError, msgpack.exceptions.UnpackException)


@dataclass(frozen=True, slots=True)
class Stored:
    """An event as it lies in the spool, with what is known about how it came.

    Attributes:
        event: the event.
        source: name of the source in the configuration.
        received: when it was received.
        boot_id: the boot that ``received`` belongs to, eight bytes.
        receipt: how the peer named the delivery, if it does.
        only: the only sink that wants it, after a dead letter was tried again; None for all.
    """

    event: Event
    source: str
    received: Moment
    boot_id: bytes
    receipt: Receipt | None
    only: str | None = None


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An event or a frame that can never be delivered or decoded.

    Attributes:
        reason: why, for people.
        component: who gave up (``source boiler``, ``sink cloud``).
        tries: how often it was tried.
        first_ns: wall clock of the first try, in nanoseconds since 1970.
        last_ns: wall clock of the last try.
        origin: port, topic or peer.
        event: the event, if it came to one.
        frame: the bytes as they were received, if it did not.
        lane: where the event was stored.
        captures: what the frame gave to templates (parts of the topic, the port).
        contenttype: the media type of the frame, as its peer declared it.
    """

    reason: str
    component: str
    tries: int
    first_ns: int
    last_ns: int
    origin: str
    event: Event | None
    frame: bytes | None
    lane: str = "default"
    captures: Mapping[str, str] = field(default_factory=dict)
    contenttype: str | None = None


@dataclass(frozen=True, slots=True)
class CursorState:
    """Where a cursor stands, as it is written.

    Attributes:
        low: every offset below it is settled.
        ranges: settled stretches above it, each from the first to behind the last offset, rising.
    """

    low: int
    ranges: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class State:
    """A state record.

    Attributes:
        start: the log begins here; what lies below was deleted on purpose.
        cursors: the cursors that changed, or all of them in a snapshot.
        marks: likewise the marks.
        snapshot: whether this is everything there was to say.
    """

    start: int
    cursors: Mapping[str, CursorState]
    marks: Mapping[str, int]
    snapshot: bool


def pack_event(
    event: Event,
    source: str,
    received: Moment,
    boot_id: bytes,
    receipt: Receipt | None,
    only: str | None = None,
) -> bytes:
    """The payload that stands for an event in a lane. Only to be called in the event loop's thread."""
    packed: bytes = _packer.pack(
        (
            _EVENT_VERSION if only is None else _DIRECTED_VERSION,
            event.id,
            event.source,
            event.type,
            event.time,
            event.subject,
            event.datacontenttype,
            event.dataschema,
            event.extensions,
            event.data,
            source,
            received.wall_ns,
            received.boot_ns,
            received.synchronised,
            boot_id,
            None if receipt is None else (receipt.packet, receipt.digest),
            *(() if only is None else (only,)),
        )
    )
    return packed


_EVENT_FIELDS: tuple[tuple[type, ...], ...] = (
    (int,),
    (str,),
    (str,),
    (str,),
    (str, type(None)),
    (str, type(None)),
    (str, type(None)),
    (str, type(None)),
    (tuple,),
    (bytes, type(None)),
    (str,),
    (int,),
    (int,),
    (bool,),
    (bytes,),
    (tuple, type(None)),
)
_DIRECTED_FIELDS = (*_EVENT_FIELDS, (str,))
_good_events: set[tuple[type, ...]] = set()


def unpack_event(payload: bytes) -> Stored:
    """The event that a payload stands for.

    Raises:
        ValueError: it stands for none, or was written by a later version.
    """
    fields = _unpack(payload, (_EVENT_VERSION, _DIRECTED_VERSION), "event")
    kinds = tuple(map(type, fields))
    only = None
    if fields[0] == _DIRECTED_VERSION:
        _check(kinds, _DIRECTED_FIELDS, "event")
        *fields, only = fields
    elif kinds not in _good_events:
        _check(kinds, _EVENT_FIELDS, "event")
        _good_events.add(kinds)
    for pair in fields[8]:
        if type(pair) is not tuple or len(pair) != 2 or type(pair[0]) is not str:
            raise ValueError("no event: an extension is malformed")
    _, *event, source, wall_ns, boot_ns, synchronised, boot_id, receipt = fields
    if receipt is not None:
        if len(receipt) != 2:
            raise ValueError("no event: its receipt is malformed")
        receipt = Receipt(*receipt)
    return Stored(Event(*event), source, Moment(wall_ns, boot_ns, synchronised), boot_id, receipt, only)


_NO_MOMENT = Moment(0, 0, False)


def pack_dead_letter(letter: DeadLetter) -> bytes:
    """The payload that stands for a dead letter. Only to be called in the event loop's thread."""
    event = None if letter.event is None else pack_event(letter.event, "", _NO_MOMENT, b"", None)
    packed: bytes = _packer.pack(
        (
            _LETTER_VERSION,
            letter.reason,
            letter.component,
            letter.tries,
            letter.first_ns,
            letter.last_ns,
            letter.origin,
            event,
            letter.frame,
            letter.lane,
            dict(letter.captures),
            letter.contenttype,
        )
    )
    return packed


_LETTER_FIELDS: tuple[tuple[type, ...], ...] = (
    (int,),
    (str,),
    (str,),
    (int,),
    (int,),
    (int,),
    (str,),
    (bytes, type(None)),
    (bytes, type(None)),
)
_LETTER_FIELDS_NOW = (*_LETTER_FIELDS, (str,), (dict,), (str, type(None)))
"""Version 2 says more of where the letter came from, so that it can be tried again."""


def unpack_dead_letter(payload: bytes) -> DeadLetter:
    """The dead letter that a payload stands for.

    Raises:
        ValueError: it stands for none, or was written by a later version.
    """
    fields = _unpack(payload, (1, _LETTER_VERSION), "dead letter")
    _check(tuple(map(type, fields)), _LETTER_FIELDS if fields[0] == 1 else _LETTER_FIELDS_NOW, "dead letter")
    _, reason, component, tries, first_ns, last_ns, origin, event, frame, *more = fields
    lane, captures, contenttype = more or ("default", {}, None)
    return DeadLetter(
        reason,
        component,
        tries,
        first_ns,
        last_ns,
        origin,
        None if event is None else unpack_event(event).event,
        frame,
        lane,
        {_name(name): _name(value) for name, value in captures.items()},
        contenttype,
    )


def pack_state(state: State) -> bytes:
    """The payload of a state record."""
    packed: bytes = msgpack.packb(
        (
            _STATE_VERSION,
            state.snapshot,
            state.start,
            {name: (cursor.low, cursor.ranges) for name, cursor in state.cursors.items()},
            dict(state.marks),
        )
    )
    return packed


def unpack_state(payload: bytes) -> State:
    """The state that a state record holds.

    Raises:
        ValueError: it holds none.
    """
    fields = _unpack(payload, (_STATE_VERSION,), "state record")
    _check(tuple(map(type, fields)), ((int,), (bool,), (int,), (dict,), (dict,)), "state record")
    _, snapshot, start, cursors, marks = fields
    try:
        return State(
            start,
            {
                _name(name): CursorState(_number(low), tuple((_number(a), _number(b)) for a, b in ranges))
                for name, (low, ranges) in cursors.items()
            },
            {_name(name): _number(value) for name, value in marks.items()},
            snapshot,
        )
    except TypeError as error:
        raise ValueError("no state record: malformed") from error


def pack_marks(marks: Mapping[str, int]) -> bytes:
    """Marks as they stand before the payload of an event."""
    packed: bytes = msgpack.packb(dict(marks))
    return packed


def unpack_marks(packed: bytes) -> dict[str, int]:
    """Marks from before a payload.

    Raises:
        ValueError: they are none.
    """
    try:
        marks = msgpack.unpackb(packed)
    except _UNREADABLE as error:
        raise ValueError(f"no marks: {error}") from error
    if not isinstance(marks, dict):
        raise ValueError("no marks: no mapping")  # noqa: TRY004 - malformed bytes, not a wrong call
    return {_name(name): _number(value) for name, value in marks.items()}


def _unpack(payload: bytes, versions: Sequence[int], what: str) -> Sequence[Any]:
    # unpackb bounds every length by the length of its input, and the depth by a fixed stack.
    try:
        fields = msgpack.unpackb(payload, use_list=False)
    except _UNREADABLE as error:
        raise ValueError(f"no {what}: {error}") from error
    if not isinstance(fields, tuple) or not fields:
        raise ValueError(f"no {what}: no list")
    if fields[0] not in versions:
        raise ValueError(f"no {what} of version {versions[-1]}: {str(fields[0])[:20]}")
    return fields


def _check(kinds: tuple[type, ...], wanted: Sequence[tuple[type, ...]], what: str) -> None:
    if len(kinds) != len(wanted):
        raise ValueError(f"no {what}: {len(kinds)} fields instead of {len(wanted)}")
    for index, (kind, allowed) in enumerate(zip(kinds, wanted, strict=True)):
        if kind not in allowed:
            raise ValueError(f"no {what}: field {index} is {kind.__name__}")


def _name(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("a name is no text")  # noqa: TRY004 - malformed bytes, not a wrong call
    return value


def _number(value: object) -> int:
    if not isinstance(value, int):
        raise ValueError("a number is none")  # noqa: TRY004 - likewise
    return value
