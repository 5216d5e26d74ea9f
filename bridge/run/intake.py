"""From frames to durable events: decode, mint, append; what cannot be decoded becomes a dead letter."""

import asyncio
import logging
import re
from collections.abc import Sequence

from bridge.clock import Clock
from bridge.codec.minting import Minter
from bridge.errors import DecodeError
from bridge.hush import Hush
from bridge.ports import Decoder, Frame, Lane, Offset, Reading, Receipt
from bridge.run.health import Health
from bridge.spool.envelope import DeadLetter, pack_dead_letter, pack_event, unpack_event

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
    """

    def __init__(self, lane: Lane) -> None:
        self._last = {
            name.removeprefix(SEQUENCE): value for name, value in lane.marks().items() if name.startswith(SEQUENCE)
        }
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


class SourceIntake:
    """The intake of one source; see :class:`bridge.ports.Intake` for what it promises.

    Args:
        name: the source's name in the configuration.
        max_payload: the largest payload that a record of the lanes may have, in bytes.
    """

    def __init__(
        self,
        name: str,
        *,
        decoder: Decoder,
        minter: Minter,
        lane: Lane,
        dead_letters: Lane,
        sequences: Sequences,
        health: Health,
        clock: Clock,
        max_payload: int,
    ) -> None:
        self._name = name
        self._decoder = decoder
        self._minter = minter
        self._lane = lane
        self._dead_letters = dead_letters
        self._sequences = sequences
        self._health = health
        self._clock = clock
        self._max_payload = max_payload
        self._hush = Hush()
        self._marks: dict[str, int] = {}
        self._last_reading: float | None = None
        self._burials: set[asyncio.Task[Offset]] = set()
        self.received = 0
        self.stored = 0
        self.dead = 0
        self.losses: dict[str, int] = {}

    @property
    def quiet_for(self) -> float | None:
        """Seconds since the latest frame, or None when there was none."""
        return None if self._last_reading is None else self._clock.monotonic() - self._last_reading

    async def __call__(self, frames: Sequence[Frame]) -> None:
        """Returns when every frame is durable, as events or as a dead letter."""
        if not frames:
            return
        self.received += len(frames)
        self._last_reading = self._clock.monotonic()
        payloads: list[bytes] = []
        letters: list[bytes] = []
        self._marks = {}
        for frame in frames:
            self._take(frame, payloads, letters)
        # A task of its own: cancelling this call must not take the dead letters back, no device repeats them.
        burial = self._bury(letters) if letters else None
        if payloads:
            await self._lane.append(payloads, self._marks)
            self.stored += len(payloads)
        if burial is not None:
            await asyncio.shield(burial)
        self._health.progressed()

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
        receipts: list[Receipt] = []
        for payload in await self._lane.recent(RECENT):
            try:
                stored = unpack_event(payload)
            except ValueError:
                continue
            if stored.source == self._name and stored.receipt is not None:
                receipts.append(stored.receipt)
        return receipts

    def _bury(self, letters: Sequence[bytes]) -> "asyncio.Task[Offset]":
        burial = asyncio.create_task(self._dead_letters.append(letters))
        self.dead += len(letters)
        self._burials.add(burial)
        burial.add_done_callback(self._burials.discard)
        return burial

    def _take(self, frame: Frame, payloads: list[bytes], letters: list[bytes]) -> None:
        try:
            readings = self._readings(frame)
        except DecodeError as error:
            letters.append(self._letter(frame, str(error)))
            return
        for reading in readings:
            try:
                payloads.append(self._payload(frame, reading))
            except DecodeError as error:
                letters.append(self._letter(frame, str(error)))

    def _readings(self, frame: Frame) -> Sequence[Reading]:
        if frame.fault is not None:
            raise DecodeError(frame.fault)
        return self._decoder.decode(frame)

    def _payload(self, frame: Frame, reading: Reading) -> bytes:
        event = self._minter.mint(frame, reading, self._number)
        payload = pack_event(event, self._name, frame.received, self._clock.boot_id, frame.receipt)
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
        room = self._max_payload - ENVELOPE - len(reason.encode()) - len(frame.origin.encode())
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
            )
        )
