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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from bridge import __version__
from bridge.clock import Clock
from bridge.codec.minting import Minter
from bridge.ports import Decoder, Sink, Source
from bridge.report import BridgeReport, SinkReport, SourceReport
from bridge.run.delivery import Courier
from bridge.run.health import Health, events
from bridge.run.intake import Sequences, SourceIntake
from bridge.run.supervise import keep
from bridge.spool.envelope import unpack_event
from bridge.spool.spool import Spool

log = logging.getLogger(__name__)

STOPS = "stops"
"""The spool's mark that counts orderly stops; written last, it is durable only after everything before it."""


@dataclass(frozen=True, slots=True)
class SourcePart:
    """A source and what makes events of its frames."""

    name: str
    kind: str
    peer: str
    source: Source
    decoder: Decoder
    minter: Minter


@dataclass(frozen=True, slots=True)
class SinkPart:
    """A sink and its name, which is the identity of what it has confirmed."""

    name: str
    kind: str
    sink: Sink


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
                    senders = [
                        outbound.create_task(keep(part.health, part.courier.attempt), name=part.health.label)
                        for part in self._sinks
                    ]
                    await self._take_in(stop, ready)
                    await self._drain()
                    for sender in senders:
                        sender.cancel()
            finally:
                for part in self._sinks:
                    await part.courier.close()
                    part.health.stopped()
        log.info("stopped; %s", self._farewell())

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
        disk = "" if self._spool.report().writable else "; SPOOL CANNOT BE WRITTEN"
        return (
            f"sources {sources}/{len(self._sources)} up, sinks {sinks}/{len(self._sinks)} up, "
            f"{events(waiting)} waiting{disk}"
        )

    def _assemble(self, spool: Spool) -> None:
        sequences = Sequences(spool.lane)
        for source in self._source_parts:
            health = Health(f"source {source.name}", source.peer, consequence="other sources and all sinks go on")
            intake = SourceIntake(
                source.name,
                decoder=source.decoder,
                minter=source.minter,
                lane=spool.lane,
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
        cursor = spool.lane.cursor(part.name)
        health = Health(
            f"sink {part.name}",
            part.sink.peer,
            consequence="events are kept in the spool",
            backlog=lambda: cursor.position().waiting,
        )
        courier = Courier(
            part.name,
            sink=part.sink,
            cursor=cursor,
            dead_letters=spool.dead_letters,
            health=health,
            clock=self._clock,
        )
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
        lane = self._spool.lane
        await lane.append([], {STOPS: lane.marks().get(STOPS, 0) + 1})

    def _greet(self, spool: Spool) -> None:
        log.info(
            "edge-bridge %s on %s: sources %s; sinks %s; spool %s",
            __version__,
            self._gateway,
            ", ".join(f"{part.part.name} ({part.part.kind})" for part in self._sources),
            ", ".join(f"{part.part.name} ({part.part.kind})" for part in self._sinks),
            spool.report().path,
        )
        for orphan in spool.orphans([part.part.name for part in self._sinks]):
            log.warning(
                "the spool keeps what a sink %r has not confirmed, but the configuration has no such sink: its "
                "events stay until the size limit takes them; name a sink so again to deliver them",
                orphan,
            )

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
            oldest=self._age(await part.courier.oldest()),
            retries=part.courier.retries,
            last_error=part.health.last_error,
        )

    def _age(self, payload: bytes | None) -> float | None:
        """Seconds since a stored event was received; by the boot clock where that is possible."""
        if payload is None:
            return None
        try:
            stored = unpack_event(payload)
        except ValueError:
            return None
        now = self._clock.now()
        if stored.boot_id == self._clock.boot_id:
            return max(0.0, (now.boot_ns - stored.received.boot_ns) / 1e9)
        return max(0.0, (now.wall_ns - stored.received.wall_ns) / 1e9)


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
