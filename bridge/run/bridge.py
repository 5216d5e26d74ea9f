"""The running bridge.

The nesting below is the order of stopping::

    spool ─────────────────────────────────────────────────────────┐  3rd: last fsync, cursors, close
    │  outbound ────────────────────────────────────────────────┐  │  2nd: senders drain up to a deadline
    │  │  inbound ───────────────────────────────────────────┐  │  │  1st: no new readings
    │  │  │                                                  │  │  │
    │  │  │  source ──▶ intake ──▶ lane ═ disk ═ cursor ──▶ courier ──▶ sink
    │  │  │                └────▶ dead letters ◀───────────────┘  │  │
    │  │  └──────────────────────────────────────────────────┘  │  │
    │  └────────────────────────────────────────────────────────┘  │
    └──────────────────────────────────────────────────────────────┘

Safety never depends on any of it: a kill -9 at any line is a supported way to stop.
"""

import asyncio
import contextlib
import logging
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from bridge import __version__
from bridge.clock import Clock, trusted_age
from bridge.report import BridgeReport, SinkReport, SourceReport
from bridge.run.delivery import Courier
from bridge.run.feed import Feed
from bridge.run.greeting import durability, leftovers
from bridge.run.health import Health, events
from bridge.run.intake import Sequences, SourceIntake
from bridge.run.parts import SinkPart, SourcePart
from bridge.run.supervise import keep
from bridge.spool.envelope import unpack_event
from bridge.spool.spool import STALL, Spool

log = logging.getLogger(__name__)

STOPS = "stops"
"""The spool's mark that counts orderly stops; written last, it is durable only after everything before it."""


@dataclass(frozen=True, slots=True)
class _RunningSource:
    part: SourcePart
    health: Health
    intake: SourceIntake


@dataclass(frozen=True, slots=True)
class _RunningSink:
    part: SinkPart
    health: Health
    courier: Courier

    def waiting(self) -> int:
        return self.courier.position().waiting


STATUS_PATIENCE = 1.0
"""Seconds that a report waits for a disk that does not answer; then it says what it knows without."""


class Bridge:
    """Everything between the devices and the cloud, for as long as :meth:`run` runs.

    Args:
        drain_timeout: seconds that a stop may spend on delivering what waits.
        max_payload: the largest record of the spool in bytes.
    """

    def __init__(
        self,
        *,
        gateway: str,
        spool: Spool,
        sources: Sequence[SourcePart],
        sinks: Sequence[SinkPart],
        clock: Clock,
        drain_timeout: float,
        max_payload: int,
    ) -> None:
        self._gateway = gateway
        self._spool = spool
        self._source_parts = sources
        self._sink_parts = sinks
        self._clock = clock
        self._drain_timeout = drain_timeout
        self._max_payload = max_payload
        self._sources: list[_RunningSource] = []
        self._sinks: list[_RunningSink] = []
        self._started = clock.monotonic()
        self._stopping = False

    async def run(self, stop: asyncio.Event, ready: Callable[[], None]) -> None:
        """Runs until ``stop`` is set, then stops sources, drains sinks, and closes the spool.

        ``ready`` is called once the spool is open and every component was started; no peer is waited for.

        Raises:
            SpoolUnusable: the spool cannot be opened.
            Exception: a bug in a component; everything else was stopped in order.
        """
        async with self._spool as spool:
            self._assemble(spool)
            self._greet(spool)
            try:
                async with asyncio.TaskGroup() as outbound:
                    guard = outbound.create_task(spool.guard(), name="guard of the spool")
                    senders = [
                        outbound.create_task(keep(part.health, part.courier.attempt), name=part.health.label)
                        for part in self._sinks
                    ]
                    await self._take_in(stop, ready)
                    await self._drain()
                    for worker in (guard, *senders):
                        worker.cancel()
            finally:
                for part in self._sinks:
                    await part.courier.close()
                    part.health.stopped()
        log.info("stopped; %s", self._farewell())

    @asynccontextmanager
    async def at_rest(self) -> AsyncIterator[None]:
        """Opens the spool without anything that runs, for whoever has something to do to it."""
        async with self._spool as spool:
            self._assemble(spool)
            yield

    @property
    def spool(self) -> Spool:
        """The spool."""
        return self._spool

    @property
    def intakes(self) -> Mapping[str, SourceIntake]:
        """The intake of each source, once the spool is open."""
        return {part.part.name: part.intake for part in self._sources}

    async def report(self) -> BridgeReport:
        """The bridge at this instant."""
        return BridgeReport(
            version=__version__,
            pid=os.getpid(),
            gateway=self._gateway,
            uptime=self._clock.monotonic() - self._started,
            stopping=self._stopping,
            clock_synchronised=self._clock.now().synchronised,
            spool=self._spool.report(),
            sources=tuple(_source_report(part) for part in self._sources),
            sinks=tuple([await self._sink_report(part) for part in self._sinks]),
        )

    def summary(self) -> str:
        """One line for systemd's STATUS."""
        waiting = max((part.waiting() for part in self._sinks), default=0)
        sources = sum(part.health.state == "up" for part in self._sources)
        sinks = sum(part.health.state == "up" for part in self._sinks)
        return (
            f"sources {sources}/{len(self._sources)} up, sinks {sinks}/{len(self._sinks)} up, "
            f"{events(waiting)} waiting{self._disk_trouble()}"
        )

    def stalled(self) -> float:
        """Seconds for which the disk has not answered."""
        return self._spool.stalled()

    def _disk_trouble(self) -> str:
        report = self._spool.report()
        full = "".join(f"; LANE {lane.name} IS FULL ({lane.full})" for lane in report.lanes if lane.full)
        if not report.writable:
            full += "; SPOOL CANNOT BE WRITTEN"
        if report.stalled > STALL:
            full += f"; THE DISK HAS NOT ANSWERED FOR {report.stalled:.0f} s"
        return full

    def _assemble(self, spool: Spool) -> None:
        sequences = Sequences(*spool.lanes.values())
        for source in self._source_parts:
            health = Health(f"source {source.name}", source.peer, consequence="other sources and all sinks go on")
            intake = SourceIntake(
                source.name,
                decoder=source.decoder,
                minter=source.minter,
                route=source.route,
                lanes=spool.lanes,
                dead_letters=spool.dead_letters,
                sequences=sequences,
                health=health,
                clock=self._clock,
                max_payload=self._max_payload,
            )
            self._sources.append(_RunningSource(source, health, intake))
        for sink in self._sink_parts:
            self._sinks.append(self._assemble_sink(sink, spool))

    def _assemble_sink(self, part: SinkPart, spool: Spool) -> _RunningSink:
        feeds = [
            Feed(
                part.name,
                lane=name,
                priority=spool.priority(name),
                cursor=lane.cursor(part.name, part.live_share),
                dead_letters=spool.dead_letters,
                clock=self._clock,
                max_age=lane.limits.max_age,
            )
            for name, lane in spool.lanes.items()
            # Of a removed lane, whoever had begun with it goes on.
            if (part.name in lane.names if name in spool.removed_lanes else part.takes(name))
        ]
        health = Health(
            f"sink {part.name}",
            part.sink.peer,
            consequence="events are kept in the spool",
            backlog=lambda: sum(feed.cursor.position().waiting for feed in feeds),
        )
        courier = Courier(part.name, sink=part.sink, feeds=feeds, health=health, clock=self._clock)
        return _RunningSink(part, health, courier)

    async def _take_in(self, stop: asyncio.Event, ready: Callable[[], None]) -> None:
        async with asyncio.TaskGroup() as inbound:
            readers = [
                inbound.create_task(
                    keep(part.health, partial(part.part.source.run, part.intake)), name=part.health.label
                )
                for part in self._sources
            ]
            ready()
            await stop.wait()
            self._stopping = True
            for reader in readers:
                reader.cancel()
        for part in self._sources:
            part.health.stopped()

    async def _drain(self) -> None:
        """Gives the sinks that are up the time to deliver what waits; the rest stays in the spool."""
        deadline = self._clock.monotonic() + self._drain_timeout
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._drain_timeout):
                await self._last_words()
        waiting = sum(part.waiting() for part in self._sinks)
        if waiting:
            log.info("stopping: delivering %s that wait, at most %g s", events(waiting), self._drain_timeout)
        while self._clock.monotonic() < deadline:
            if not any(part.waiting() and part.health.state == "up" for part in self._sinks):
                return
            await asyncio.sleep(0.02)

    async def _last_words(self) -> None:
        """Returns when all that the sources had handed over is durable, and the sinks can have it."""
        lanes = self._spool.lanes.values()
        await asyncio.gather(*(lane.append([], {STOPS: lane.marks().get(STOPS, 0) + 1}) for lane in lanes))

    def _greet(self, spool: Spool) -> None:
        log.info(
            "edge-bridge %s on %s: sources %s; sinks %s; spool %s",
            __version__,
            self._gateway,
            ", ".join(f"{part.part.name} ({part.part.kind})" for part in self._sources),
            ", ".join(f"{part.part.name} ({part.part.kind})" for part in self._sinks),
            spool.report().path,
        )
        for line in durability(spool.report()):
            log.info(line)
        for line in leftovers(spool.report()):
            log.warning(line)

    def _farewell(self) -> str:
        waiting = max((part.waiting() for part in self._sinks), default=0)
        if waiting:
            return f"{events(waiting)} left in the spool for the next start"
        return "nothing waits in the spool"

    async def _sink_report(self, part: _RunningSink) -> SinkReport:
        position = part.courier.position()
        return SinkReport(
            name=part.part.name,
            kind=part.part.kind,
            peer=part.health.peer,
            state=part.health.state,
            since=part.health.since,
            delivered=part.courier.delivered,
            rejected=part.courier.rejected,
            waiting=position.waiting,
            skipped=position.skipped,
            expired=part.courier.expired,
            oldest=await self._oldest(part.courier),
            retries=part.courier.retries,
            last_error=part.health.last_error,
        )

    async def _oldest(self, courier: Courier) -> float | None:
        """Seconds since the oldest event that waits was received; None, too, while the disk does not answer."""
        try:
            async with asyncio.timeout(STATUS_PATIENCE):
                payloads = await courier.oldest()
        except TimeoutError:
            return None
        ages = [age for age in map(self._age, payloads) if age is not None]
        return max(ages, default=None)

    def _age(self, payload: bytes) -> float | None:
        """Seconds since a stored event was received, as far as the clocks can tell."""
        try:
            stored = unpack_event(payload)
        except ValueError:
            return None
        age = trusted_age(stored.received, stored.boot_id, self._clock)
        if age is not None:
            return age
        return max(0.0, (self._clock.now().wall_ns - stored.received.wall_ns) / 1e9)


def _source_report(part: _RunningSource) -> SourceReport:
    return SourceReport(
        name=part.part.name,
        kind=part.part.kind,
        peer=part.health.peer,
        state=part.health.state,
        since=part.health.since,
        received=part.intake.received,
        stored=part.intake.stored,
        dead=part.intake.dead,
        lost=dict(part.intake.losses),
        last_error=part.health.last_error,
        last_reading=part.intake.quiet_for,
    )
