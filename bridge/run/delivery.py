"""From the spool to a peer: read, send, and settle only what was confirmed.

One batch is under way per sink, in order; the next is read while the peer confirms the present one. The
batch outlives the connection: after a failure exactly what was neither confirmed nor rejected is sent again.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence

from bridge.clock import Clock
from bridge.errors import PeerError, Rejected
from bridge.event import Event
from bridge.hush import Hush
from bridge.ports import Cursor, CursorPosition, Delivery, Lane, Offset, Sink
from bridge.run.health import Health
from bridge.spool.envelope import DeadLetter, pack_dead_letter, unpack_event

log = logging.getLogger(__name__)

Pending = list[tuple[Offset, Event]]


class Courier:
    """Carries one sink's events from its cursor to its peer."""

    def __init__(
        self, name: str, *, sink: Sink, cursor: Cursor, dead_letters: Lane, health: Health, clock: Clock
    ) -> None:
        self._name = name
        self._sink = sink
        self._cursor = cursor
        self._dead_letters = dead_letters
        self._health = health
        self._clock = clock
        self._hush = Hush()
        self._pending: Pending = []
        self._first_try_ns = 0
        self._tries = 0
        self._refused_work = False
        self._ahead: asyncio.Task[Pending] | None = None
        self.delivered = 0
        self.rejected = 0
        self.retries = 0

    async def attempt(self) -> None:
        """Connects and delivers until the peer fails; ends only by raising (``PeerError``) or cancelling."""
        async with self._sink.open() as delivery:
            # A peer that takes connections but no work is not back before it confirmed something.
            if not self._refused_work:
                self._health.connected(self._sink.peer)
            watch = asyncio.create_task(delivery.idle(), name=f"watch over {self._name}")
            try:
                while True:
                    if not self._pending:
                        self._pending = await self._next(watch)
                        self._first_try_ns, self._tries = self._clock.now().wall_ns, 0
                    await self._send(delivery)
            finally:
                watch.cancel()
                # Also takes note of its error, which the failed send has told already.
                await asyncio.wait([watch])
                _ = watch.cancelled() or watch.exception()

    def position(self) -> CursorPosition:
        """Where the sink stands in the spool."""
        return self._cursor.position()

    async def oldest(self) -> bytes | None:
        """The oldest stored record that the sink has not confirmed, or None."""
        return await self._cursor.oldest()

    async def close(self) -> None:
        """Gives up reading ahead; nothing that was not confirmed is settled."""
        if self._ahead is not None:
            self._ahead.cancel()
            await asyncio.wait([self._ahead])
            self._ahead = None

    async def _send(self, delivery: Delivery) -> None:
        self._read_ahead()
        self._tries += 1
        try:
            await delivery.send([event for _, event in self._pending])
        except Rejected as error:
            await self._account(range(len(self._pending)), error.rejected)
            self._pending = []
        except PeerError as error:
            self._refused_work = True
            self.retries += 1
            await self._account(error.confirmed, error.rejected)
            self._pending = [
                pair
                for index, pair in enumerate(self._pending)
                if index not in error.confirmed and index not in error.rejected
            ]
            raise
        else:
            await self._account(range(len(self._pending)), {})
            self._pending = []

    async def _account(self, confirmed: range | frozenset[int], rejected: Mapping[int, str]) -> None:
        """Settles what is done; what was rejected is first made durable as a dead letter."""
        if rejected:
            await self._bury(rejected)
        done = [
            offset for index, (offset, _) in enumerate(self._pending) if index in confirmed or index in rejected
        ]
        if not done:
            return
        self._cursor.settle(done)
        self.delivered += len(done) - len(rejected)
        self.rejected += len(rejected)
        self._refused_work = False
        self._health.progressed()

    async def _bury(self, rejected: Mapping[int, str]) -> None:
        letters = [
            DeadLetter(
                reason=why,
                component=f"sink {self._name}",
                tries=self._tries,
                first_ns=self._first_try_ns,
                last_ns=self._clock.now().wall_ns,
                origin=self._sink.peer,
                event=self._pending[index][1],
                frame=None,
            )
            for index, why in sorted(rejected.items())
        ]
        await self._keep_dead(letters)

    async def _keep_dead(self, letters: Sequence[DeadLetter]) -> None:
        told = self._hush("rejected", len(letters))
        if told:
            log.error(
                "sink %s: what can never be delivered is kept as a dead letter, %d since the last such line: %s",
                self._name,
                told,
                letters[-1].reason,
            )
        await self._dead_letters.append([pack_dead_letter(letter) for letter in letters])

    def _read_ahead(self) -> "asyncio.Task[Pending]":
        if self._ahead is None:
            self._ahead = asyncio.create_task(self._read(), name=f"read ahead for {self._name}")
        return self._ahead

    async def _next(self, watch: "asyncio.Task[None]") -> Pending:
        """The next events; raises when the connection is lost before there are any."""
        ahead = self._read_ahead()
        if not ahead.done():
            # Not cancelled with us: a batch that was read while the connection broke stays for the next one.
            await asyncio.wait([ahead, watch], return_when=asyncio.FIRST_COMPLETED)
            if not ahead.done():
                watch.result()
        pending = await ahead
        self._ahead = None
        return pending

    async def _read(self) -> Pending:
        """The next events; records that cannot be read as events are put aside and settled on the way."""
        while True:
            batch = await self._cursor.read(self._sink.max_events, self._sink.max_bytes)
            pending: Pending = []
            broken: list[tuple[Offset, DeadLetter]] = []
            for offset, payload in zip(batch.offsets, batch.payloads, strict=True):
                try:
                    pending.append((offset, unpack_event(payload).event))
                except ValueError as error:
                    broken.append((offset, self._unreadable(payload, error)))
            if broken:
                await self._keep_dead([letter for _, letter in broken])
                self._cursor.settle([offset for offset, _ in broken])
                self.rejected += len(broken)
            if pending:
                return pending

    def _unreadable(self, payload: bytes, error: ValueError) -> DeadLetter:
        now = self._clock.now().wall_ns
        return DeadLetter(
            reason=f"the stored record is no event: {error}",
            component=f"sink {self._name}",
            tries=0,
            first_ns=now,
            last_ns=now,
            origin="spool",
            event=None,
            frame=payload,
        )
