"""From frames to durable events: decode, mint, append; what cannot be decoded becomes a dead letter."""

import asyncio
import logging
import re
from collections.abc import Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field

from bridge.clock import Clock
from bridge.codec.minting import Minter
from bridge.codec.routing import Route
from bridge.errors import DecodeError, LaneFull
from bridge.hush import Hush
from bridge.ports import Decoder, Frame, Lane, Offset, Reading, Receipt
from bridge.run.health import Health
from bridge.spool.envelope import DeadLetter, Stored, pack_dead_letter, pack_event, unpack_event

log = logging.getLogger(__name__)

RECENT = 4096
"""How many records are read back for receipts: more than any source leaves unacknowledged."""

MAX_SEQUENCES = 4096
"""How many CloudEvents sources may have a ``sequence``; each costs some bytes at the head of every segment."""

SEQUENCE = "sequence:"
"""Prefix of the spool's marks that hold the last sequence number of a CloudEvents source."""

ENVELOPE = 512
"""Bytes kept free beside the original in a dead letter, for its reason and origin."""

_NUMBER = re.compile(r"0x[0-9a-f]+|\d[\d,]*")


class Sequences:
    """The running number of every CloudEvents source, contiguous over restarts.

    The last number of each source is a mark of the lane: it becomes durable with the events that carry it.

    Args:
        lanes: where the numbers of earlier runs are; of several lanes the highest counts.
    """

    def __init__(self, *lanes: Lane) -> None:
        self._last: dict[str, int] = {}
        for lane in lanes:
            for mark, value in lane.marks().items():
                if mark.startswith(SEQUENCE):
                    source = mark.removeprefix(SEQUENCE)
                    self._last[source] = max(value, self._last.get(source, 0))
        self._hush = Hush(3600.0)

    def next(self, source: str) -> int | None:
        """The next number of ``source``, from 1 on; None when too many sources have numbers already."""
        last = self._last.get(source)
        if last is None:
            if len(self._last) >= MAX_SEQUENCES:
                if self._hush("full"):
                    log.warning("more than %d event sources: new ones get no sequence attribute", MAX_SEQUENCES)
                return None
            last = 0
        self._last[source] = last + 1
        return last + 1


@dataclass(slots=True)
class _Load:
    """What one call brings to one lane: payloads, the frame that each comes from, and marks."""

    payloads: list[bytes] = field(default_factory=list)
    frames: list[int] = field(default_factory=list)
    marks: dict[str, int] = field(default_factory=dict)


class SourceIntake:
    """The intake of one source; see :class:`bridge.ports.Intake` for what it promises.

    Args:
        name: the source's name in the configuration.
        route: which lane a reading goes to.
        lanes: the lanes that ``route`` names.
        max_payload: the largest payload that a record of the lanes may have, in bytes.
    """

    def __init__(
        self,
        name: str,
        *,
        decoder: Decoder,
        minter: Minter,
        route: Route,
        lanes: Mapping[str, Lane],
        dead_letters: Lane,
        sequences: Sequences,
        health: Health,
        clock: Clock,
        max_payload: int,
    ) -> None:
        self._name = name
        self._decoder = decoder
        self._minter = minter
        self._route = route
        self._lanes = lanes
        self._dead_letters = dead_letters
        self._sequences = sequences
        self._health = health
        self._clock = clock
        self._max_payload = max_payload
        self._hush = Hush()
        # Of one lane the append begins with the call; of several, in tasks, which keep the order as well.
        self._only = lanes[route.lanes[0]] if len(route.lanes) == 1 else None
        self._marks: dict[str, int] = {}
        self._last_reading: float | None = None
        self._under_way: set[asyncio.Task[Offset]] = set()
        self.received = 0
        self.stored = 0
        self.dead = 0
        self.losses: dict[str, int] = {}

    @property
    def quiet_for(self) -> float | None:
        """Seconds since the latest frame, or None when there was none."""
        return None if self._last_reading is None else self._clock.monotonic() - self._last_reading

    async def __call__(self, frames: Sequence[Frame]) -> Collection[int]:
        """Returns when every frame is durable, as events or as a dead letter; names those that were refused."""
        if not frames:
            return ()
        self.received += len(frames)
        self._last_reading = self._clock.monotonic()
        loads: dict[str, _Load] = {}
        letters: list[bytes] = []
        for index, frame in enumerate(frames):
            reasons = self._take(index, frame, self._clock.boot_id, loads)
            letters += [self._letter(frame, reason) for reason in reasons]
        # A task of its own: cancelling this call must not take the dead letters back, no device repeats them.
        burial = self._begin(self._dead_letters.append(letters)) if letters else None
        self.dead += len(letters)
        refused = await self._append(loads)
        if burial is not None:
            await asyncio.shield(burial)
        self._health.progressed()
        return refused

    async def redeem(self, frame: Frame) -> str | None:
        """Tries again to make events of a frame that has been a dead letter.

        Returns:
            None when they are durable, or why they are not, for people.
        """
        loads: dict[str, _Load] = {}
        # No boot: when it was received is known by the wall clock of then only.
        reasons = self._take(0, frame, b"", loads)
        if reasons:
            return reasons[0]
        return "its lane is full" if await self._append(loads) else None

    def connected(self, peer: str) -> None:
        """The source's peer is there."""
        self._health.connected(peer)

    def lost(self, count: int, reason: str) -> None:
        """Counts what was dropped before it could be stored, and says so at most once a minute per reason."""
        self.losses[reason] = self.losses.get(reason, 0) + count
        told = self._hush(reason, count)
        if told:
            log.warning("source %s: lost %d: %s", self._name, told, reason)

    async def receipts(self) -> Sequence[Receipt]:
        """Receipts of this source among the latest durable records, oldest first.

        Equal ones are not folded: a repetition tells that the peer uses its numbers again soon.
        """
        found: list[Stored] = []
        for name in self._route.lanes:
            for payload in await self._lanes[name].recent(RECENT):
                try:
                    stored = unpack_event(payload)
                except ValueError:
                    continue
                if stored.source == self._name and stored.receipt is not None:
                    found.append(stored)
        if self._only is None:
            found.sort(key=lambda stored: stored.received.wall_ns)
        return [stored.receipt for stored in found if stored.receipt is not None]

    async def _append(self, loads: Mapping[str, _Load]) -> Collection[int]:
        """Makes events durable; the frames that a full lane refused."""
        if self._only is not None:
            for name, load in loads.items():
                try:
                    await self._only.append(load.payloads, load.marks)
                except LaneFull as error:
                    return self._refused(name, load, error)
                self.stored += len(load.payloads)
            return ()
        tasks = {
            name: self._begin(self._lanes[name].append(load.payloads, load.marks)) for name, load in loads.items()
        }
        refused: set[int] = set()
        for name, task in tasks.items():
            try:
                await asyncio.shield(task)
            except LaneFull as error:
                refused.update(self._refused(name, loads[name], error))
            else:
                self.stored += len(loads[name].payloads)
        return refused

    def _refused(self, lane: str, load: _Load, error: LaneFull) -> Collection[int]:
        self.lost(len(load.payloads), f"lane {lane} is full ({error.why}) and refuses what is new")
        return frozenset(load.frames)

    def _begin(self, append: Coroutine[object, object, Offset]) -> "asyncio.Task[Offset]":
        task = asyncio.create_task(append)
        self._under_way.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: "asyncio.Task[Offset]") -> None:
        self._under_way.discard(task)
        # Whoever waited for it may have been cancelled; what it says is told by those who were not.
        _ = task.cancelled() or task.exception()

    def _take(self, index: int, frame: Frame, boot_id: bytes, loads: dict[str, _Load]) -> list[str]:
        """Puts what a frame says to what its lanes are to get; returns why, for each reading that is none."""
        try:
            readings = self._readings(frame)
        except DecodeError as error:
            return [str(error)]
        reasons = []
        for reading in readings:
            lane = self._route.lane_of(frame, reading)
            load = loads.get(lane)
            if load is None:
                load = loads[lane] = _Load()
            self._marks = load.marks
            try:
                load.payloads.append(self._payload(frame, reading, boot_id))
            except DecodeError as error:
                reasons.append(str(error))
            else:
                load.frames.append(index)
        return reasons

    def _readings(self, frame: Frame) -> Sequence[Reading]:
        if frame.fault is not None:
            raise DecodeError(frame.fault)
        return self._decoder.decode(frame)

    def _payload(self, frame: Frame, reading: Reading, boot_id: bytes) -> bytes:
        event = self._minter.mint(frame, reading, self._number)
        payload = pack_event(event, self._name, frame.received, boot_id, frame.receipt)
        if len(payload) > self._max_payload:
            raise DecodeError(f"the event has {len(payload):,} bytes, more than max_record allows")
        return payload

    def _number(self, source: str) -> int | None:
        number = self._sequences.next(source)
        if number is not None:
            self._marks[SEQUENCE + source] = number
        return number

    def _letter(self, frame: Frame, reason: str) -> bytes:
        # On garbage, as from a wrong baud rate, every reason has other numbers in it.
        told = self._hush(f"dead:{_NUMBER.sub('#', reason)}")
        if told:
            again = f" ({told} such since the last line)" if told > 1 else ""
            log.warning(
                "source %s: a reading from %s could not be used and is kept as a dead letter: %s%s",
                self._name,
                frame.origin,
                reason,
                again,
            )
        beside = (reason, frame.origin, *frame.captures, *frame.captures.values(), frame.contenttype or "")
        room = self._max_payload - ENVELOPE - sum(len(text.encode()) for text in beside)
        original = frame.payload[: max(room, 0)]
        if len(original) < len(frame.payload):
            reason = f"{reason} (only the first {len(original):,} of {len(frame.payload):,} bytes are kept)"
        return pack_dead_letter(
            DeadLetter(
                reason=reason,
                component=f"source {self._name}",
                tries=1,
                first_ns=frame.received.wall_ns,
                last_ns=frame.received.wall_ns,
                origin=frame.origin,
                event=None,
                frame=original,
                captures=frame.captures,
                contenttype=frame.contenttype,
            )
        )
