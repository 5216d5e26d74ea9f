"""From the spool to a peer: read, send, and settle only what was confirmed.

One batch is under way per sink; it comes from one lane, in its order, and from the lane of the highest priority
in which something waits. The next of each lane is read while the peer confirms the present one. The batch
outlives the connection: after a failure exactly what was neither confirmed nor rejected is sent again.
"""

import asyncio
from collections.abc import Mapping, Sequence

from bridge.clock import Clock
from bridge.errors import PeerError, Rejected
from bridge.ports import CursorPosition, Delivery, Sink
from bridge.run.feed import Feed, Pending
from bridge.run.health import Health
from bridge.spool.envelope import DeadLetter


class Courier:
    """Carries one sink's events from its feeds to its peer."""

    def __init__(self, name: str, *, sink: Sink, feeds: Sequence[Feed], health: Health, clock: Clock) -> None:
        self._name = name
        self._sink = sink
        self._feeds = sorted(feeds, key=lambda feed: -feed.priority)
        self._health = health
        self._clock = clock
        self._feed = self._feeds[0]
        self._pending: Pending = []
        self._first_try_ns = 0
        self._tries = 0
        self._refused_work = False
        self._rejected = 0
        self.delivered = 0
        self.retries = 0

    @property
    def rejected(self) -> int:
        """Events that became dead letters."""
        return self._rejected + sum(feed.rejected for feed in self._feeds)

    @property
    def expired(self) -> int:
        """Events that were too old to be delivered."""
        return sum(feed.expired for feed in self._feeds)

    async def attempt(self) -> None:
        """Connects and delivers until the peer fails; ends only by raising (``PeerError``) or cancelling."""
        async with self._sink.open() as delivery:
            # A peer that takes connections but no work is not back before it confirmed something.
            if not self._refused_work:
                self._health.connected(self._sink.peer)
            watch = asyncio.create_task(delivery.idle(), name=f"watch over {self._name}")
            # What was under way when the connection broke may have grown old meanwhile.
            self._pending = self._feed.fresh(self._pending)
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
        """Where the sink stands in the spool, all its lanes together; ``settled`` is the sum over them."""
        positions = [feed.cursor.position() for feed in self._feeds]
        return CursorPosition(
            sum(position.settled for position in positions),
            sum(position.waiting for position in positions),
            sum(position.skipped for position in positions),
        )

    async def oldest(self) -> Sequence[bytes]:
        """Of each lane in which something waits the oldest stored record that the sink has not confirmed."""
        found = [await feed.cursor.oldest() for feed in self._feeds]
        return [payload for payload in found if payload is not None]

    async def close(self) -> None:
        """Gives up reading ahead; nothing that was not confirmed is settled."""
        for feed in self._feeds:
            await feed.close()

    async def _send(self, delivery: Delivery) -> None:
        self._read_ahead()
        self._tries += 1
        try:
            await delivery.send([stored.event for _, stored in self._pending])
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
        self._feed.cursor.settle(done)
        self.delivered += len(done) - len(rejected)
        self._rejected += len(rejected)
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
                event=self._pending[index][1].event,
                frame=None,
                lane=self._feed.lane,
            )
            for index, why in sorted(rejected.items())
        ]
        await self._feed.bury(letters)

    def _read_ahead(self) -> "list[asyncio.Task[Pending]]":
        return [feed.read_ahead(self._sink.max_events, self._sink.max_bytes) for feed in self._feeds]

    async def _next(self, watch: "asyncio.Task[None]") -> Pending:
        """The next events; raises when the connection is lost before there are any."""
        while True:
            ahead = self._read_ahead()
            feed = next((feed for feed in self._feeds if feed.ready), None)
            if feed is None:
                # Not cancelled with us: a batch that was read while the connection broke stays for the next one.
                await asyncio.wait([*ahead, watch], return_when=asyncio.FIRST_COMPLETED)
                if watch.done() and not any(feed.ready for feed in self._feeds):
                    watch.result()
                continue
            self._take_turns(feed)
            pending = feed.take()
            if pending:
                self._feed = feed
                return pending

    def _take_turns(self, feed: Feed) -> None:
        """Among lanes of one priority the one that was served goes to the end."""
        if len(self._feeds) > 1:
            self._feeds.remove(feed)
            last = sum(other.priority >= feed.priority for other in self._feeds)
            self._feeds.insert(last, feed)
