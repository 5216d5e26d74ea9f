"""The promises between the parts. Whoever implements one keeps its prose; the kit in ``tests/kit`` checks it.

The flow is: ``Source`` → ``Intake`` (decode, mint, append) → ``Lane`` → ``Cursor`` → ``Delivery`` of a ``Sink``.
"""

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from bridge.clock import Clock, Moment
from bridge.event import Event

Offset = int
"""The place of a record in its lane: 0, 1, 2, … without a hole, never used twice."""


@dataclass(frozen=True, slots=True)
class Site:
    """What a component may know about the box it lives on.

    Attributes:
        gateway_id: the ``[gateway] id`` of the configuration.
        clock: the only source of time.
    """

    gateway_id: str
    clock: Clock


# --- bytes → readings -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Receipt:
    """How a peer that delivers again would name what it delivers; equal receipts mean the same delivery.

    Attributes:
        packet: the peer's own number for the delivery (MQTT packet identifier).
        digest: CRC-32 of where it came from and what it said.
    """

    packet: int
    digest: int


@dataclass(frozen=True, slots=True)
class Frame:
    """Bytes with edges, and where and when they came.

    Attributes:
        payload: the bytes, without their delimiter.
        received: when the frame was complete here.
        origin: the port's path or the topic.
        captures: values that the origin gives to templates (parts of the topic, ``topic``, ``port``).
        contenttype: media type as the peer declared it, if it did.
        receipt: set by sources whose peer delivers again what was not acknowledged.
        fault: why the framer already knows that this can never be decoded; the intake dead-letters it.
    """

    payload: bytes
    received: Moment
    origin: str
    captures: Mapping[str, str] = field(default_factory=dict)
    contenttype: str | None = None
    receipt: Receipt | None = None
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """What a device said: the data of one event to be.

    Attributes:
        data: payload of the event, byte for byte.
        contenttype: its media type.
        fields: the decoded value for templates (``{name}``, ``{a.b}``), or None when it has no fields.
    """

    data: bytes
    contenttype: str
    fields: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True)
class Oversized:
    """A run of bytes that a framer gave up on because it grew past the maximum.

    Attributes:
        head: the first bytes of it, for the dead letter.
        size: how many bytes it had in all.
    """

    head: bytes
    size: int


class Framer(Protocol):
    """Cuts a stream into frames. Sans-IO, one per open port, bounded; any split of a stream cuts alike."""

    def feed(self, chunk: bytes) -> Sequence[bytes | Oversized]:
        """Every frame that ``chunk`` completes, in order; never raises, whatever the bytes."""
        ...


class Decoder(Protocol):
    """Turns one frame into readings; pure."""

    def decode(self, frame: Frame) -> Sequence[Reading]:
        """The readings in the frame, in order.

        Raises:
            DecodeError: naming what is wrong and where.
        """
        ...


# --- the way in -------------------------------------------------------------------------------------------


class Intake(Protocol):
    """What a source hands its frames to."""

    async def __call__(self, frames: Sequence[Frame]) -> Collection[int]:
        """Returns when every frame is durable: its events in the spool, or its dead letter, both fsynced.

        The order of calls is the order in the spool; several calls may be under way at once. Cancelling a
        call costs at worst a duplicate. Never raises for what a frame contains.

        Returns:
            the indices of frames that were refused, because their lane is full and its policy refuses what is
            new: not stored, and counted. Nothing as a rule.
        """
        ...

    def connected(self, peer: str) -> None:
        """The peer is there and readings can flow; ``peer`` names it for people (``tcp://host:1883``)."""
        ...

    def lost(self, count: int, reason: str) -> None:
        """``count`` frames (or bytes, as ``reason`` says) were dropped before they could be stored."""
        ...

    async def receipts(self) -> Sequence[Receipt]:
        """Receipts of the latest durable frames of this source, oldest first; they outlive a kill -9."""
        ...


class Source(Protocol):
    """Something that readings come from. The constructor does no I/O."""

    replayable: ClassVar[bool]
    """Whether the peer sends again what was not acknowledged."""

    async def run(self, intake: Intake) -> None:
        """Connects, calls ``intake.connected``, and feeds the intake until cancelled.

        A delivery is acknowledged to the peer only after the intake returned. When cancelled, it lets go
        of the peer within a second or two and leaves nothing running.

        Raises:
            Unavailable: the peer is away; the supervisor calls ``run`` again after a backoff.
            Paused: somebody has to mend something; called again, seldom.
        """
        ...


# --- the spool --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive records of a lane as one cursor sees them.

    Attributes:
        offsets: strictly rising; what was settled before or lost to a limit is left out.
        payloads: the bytes that were appended, one for each offset.
    """

    offsets: Sequence[Offset]
    payloads: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class CursorPosition:
    """Where a cursor stands.

    Attributes:
        settled: every offset below it is done.
        waiting: records not yet settled.
        skipped: records that a limit or damage took from this cursor since the process started.
    """

    settled: Offset
    waiting: int
    skipped: int


class Cursor(Protocol):
    """What one sink has confirmed in one lane."""

    async def read(self, max_records: int, max_bytes: int) -> Batch:
        """The next records that are durable and not yet read; waits for at least one.

        At most ``max_records``, and no more than ``max_bytes`` of payload unless the first alone is
        larger. Reading goes on where the last call ended, whatever is settled. Cancelling loses nothing.
        """
        ...

    def settle(self, offsets: Sequence[Offset]) -> None:
        """These are done for ever. Returns at once; the disk follows within a bounded lag.

        A crash may bring back what was settled within that lag, never lose what was not settled.
        """
        ...

    def position(self) -> CursorPosition:
        """Where the cursor stands now."""
        ...

    async def oldest(self) -> bytes | None:
        """Payload of the oldest record not settled, or None when nothing waits."""
        ...


class Lane(Protocol):
    """One log of the spool."""

    async def append(self, payloads: Sequence[bytes], marks: Mapping[str, int] | None = None) -> Offset:
        """Stores the payloads, all in one piece and in the order of calls; durable on return.

        ``marks`` are counters that become durable with them, or not at all. While the disk cannot be
        written the call waits. The payloads are queued before the first suspension, so concurrent calls
        keep their order; cancelling does not take them back.

        Returns:
            the offset of the first payload.

        Raises:
            ValueError: a payload is larger than a record may be; nothing was stored.
            LaneFull: there is no room, and the lane refuses what is new; nothing was stored.
        """
        ...

    def marks(self) -> Mapping[str, int]:
        """The durable value of every mark ever appended."""
        ...

    async def recent(self, count: int) -> Sequence[bytes]:
        """Payloads of the latest durable records, at most ``count``, oldest first, as far as still on disk."""
        ...

    def cursor(self, sink: str, live_share: float = 0.0) -> Cursor:
        """The cursor of that name; a name never seen starts at the oldest record. One object per name.

        With 0 it reads in the order of offsets. With a ``live_share`` below 1 it reads the fresh records first
        after it has fallen behind: while fresh ones and a backlog both wait, that share of the bytes is fresh, and
        the backlog has the rest, in order; when either has nothing the other has everything. The records of one
        batch are always in order. The share of the first call stands.
        """
        ...


# --- the way out ------------------------------------------------------------------------------------------


class Delivery(Protocol):
    """An open connection to a sink's peer."""

    async def send(self, batch: Sequence[Event]) -> None:
        """Returns when the peer has confirmed every event.

        Raises:
            Rejected: the peer took all but those it refused for good.
            Unavailable: some are neither confirmed nor rejected; the connection is given up.
            Paused: the same, and retrying soon is useless.
        """
        ...

    async def idle(self) -> None:
        """Watches the connection while there is nothing to send; never returns, whoever waits cancels it.

        A peer without a lasting connection has nothing to watch, and just waits.

        Raises:
            Unavailable: the connection is lost.
            Paused: the same, and retrying soon is useless.
        """
        ...


class Sink(Protocol):
    """Something that events go to. The constructor does no I/O."""

    max_events: int
    """How many events one ``send`` wants at most."""
    max_bytes: int
    """How many bytes of stored payload one ``send`` wants at most."""

    def open(self) -> AbstractAsyncContextManager[Delivery]:
        """Entering connects and checks what can be checked; leaving closes within a second or two.

        Entering raises ``Unavailable`` or ``Paused``; each message names the peer and the cause.
        """
        ...

    @property
    def peer(self) -> str:
        """The peer for people: URL without credentials, and the exchange or path."""
        ...
