"""What one sink is given out of one lane: read ahead, and cleared of what it cannot or should not deliver."""

import asyncio
import logging
from collections.abc import Sequence

from bridge.clock import Clock, trusted_age
from bridge.hush import Hush
from bridge.ports import Cursor, Lane, Offset
from bridge.spool.envelope import DeadLetter, Stored, pack_dead_letter, unpack_event

log = logging.getLogger(__name__)

Pending = list[tuple[Offset, Stored]]
"""Events of one lane, on their way to a sink."""


class Feed:
    """One lane as one sink sees it.

    Args:
        sink: the name of the sink.
        lane: the name of the lane.
        priority: what waits in a lane of higher priority goes first.
        max_age: seconds after which an event is not delivered any more; None delivers it at any age.

    Attributes:
        rejected: records that are no events, now dead letters.
        expired: events that were too old.
    """

    def __init__(
        self,
        sink: str,
        *,
        lane: str,
        priority: int,
        cursor: Cursor,
        dead_letters: Lane,
        clock: Clock,
        max_age: float | None = None,
    ) -> None:
        self.lane = lane
        self.priority = priority
        self.cursor = cursor
        self._sink = sink
        self._dead_letters = dead_letters
        self._clock = clock
        self._max_age = max_age
        self._hush = Hush()
        self._ahead: asyncio.Task[Pending] | None = None
        self.rejected = 0
        self.expired = 0

    @property
    def ready(self) -> bool:
        """Whether events are there to be taken."""
        return self._ahead is not None and self._ahead.done()

    def read_ahead(self, max_events: int, max_bytes: int) -> "asyncio.Task[Pending]":
        """Reads the next events, unless they are read already; whoever waits for it must not cancel it."""
        if self._ahead is None:
            name = f"read ahead in {self.lane} for {self._sink}"
            self._ahead = asyncio.create_task(self._read(max_events, max_bytes), name=name)
        return self._ahead

    def take(self) -> Pending:
        """The events that were read ahead; empty when all of them have grown too old."""
        ahead, self._ahead = self._ahead, None
        return [] if ahead is None else self.fresh(ahead.result())

    def fresh(self, pending: Pending) -> Pending:
        """Those that are not too old; the others are settled and counted."""
        if self._max_age is None:
            return pending
        old = [offset for offset, stored in pending if self._is_old(stored)]
        if not old:
            return pending
        self.cursor.settle(old)
        self.expired += len(old)
        told = self._hush("expired", len(old))
        if told:
            log.error(
                "sink %s: %d events of lane %s were not delivered: they are older than max_age",
                self._sink,
                told,
                self.lane,
            )
        gone = set(old)
        return [(offset, stored) for offset, stored in pending if offset not in gone]

    async def close(self) -> None:
        """Gives up reading ahead; nothing that was not confirmed is settled."""
        if self._ahead is not None:
            self._ahead.cancel()
            await asyncio.wait([self._ahead])
            self._ahead = None

    def _is_old(self, stored: Stored) -> bool:
        age = trusted_age(stored.received, stored.boot_id, self._clock)
        return age is not None and self._max_age is not None and age > self._max_age

    async def _read(self, max_events: int, max_bytes: int) -> Pending:
        """The next events; what cannot be read as one is put aside, what is for others only is passed over."""
        while True:
            batch = await self.cursor.read(max_events, max_bytes)
            pending: Pending = []
            passed: list[Offset] = []
            letters: list[DeadLetter] = []
            for offset, payload in zip(batch.offsets, batch.payloads, strict=True):
                try:
                    stored = unpack_event(payload)
                except ValueError as error:
                    letters.append(self._unreadable(payload, error))
                    passed.append(offset)
                    continue
                if stored.only is None or stored.only == self._sink:
                    pending.append((offset, stored))
                else:
                    passed.append(offset)
            if letters:
                await self.bury(letters)
                self.rejected += len(letters)
            if passed:
                self.cursor.settle(passed)
            if pending:
                return pending

    async def bury(self, letters: Sequence[DeadLetter]) -> None:
        """Makes dead letters durable and says so; what they stand for may be settled then."""
        told = self._hush("rejected", len(letters))
        if told:
            log.error(
                "sink %s: what can never be delivered is kept as a dead letter, %d since the last such line: %s",
                self._sink,
                told,
                letters[-1].reason,
            )
        await self._dead_letters.append([pack_dead_letter(letter) for letter in letters])

    def _unreadable(self, payload: bytes, error: ValueError) -> DeadLetter:
        now = self._clock.now().wall_ns
        return DeadLetter(
            reason=f"the stored record is no event: {error}",
            component=f"sink {self._sink}",
            tries=0,
            first_ns=now,
            last_ns=now,
            origin="spool",
            event=None,
            frame=payload,
            lane=self.lane,
        )
