"""The composition root: the only module that knows both the configuration and the parts it describes."""

from collections.abc import Iterator
from concurrent.futures import Executor

from bridge.clock import Clock, SystemClock
from bridge.codec.minting import Minter, new_instance
from bridge.codec.routing import Route
from bridge.config.model import Config
from bridge.event import Event
from bridge.ports import Site
from bridge.run.bridge import Bridge
from bridge.run.parts import SinkPart, SourcePart
from bridge.sources.settings import SourceSettings
from bridge.spool.limits import dead_letter_limits, lane_limits
from bridge.spool.spool import Spool
from bridge.upkeep.desk import Desk, LanePlan


def assemble(config: Config, clock: Clock | None = None) -> Bridge:
    """The bridge that ``config`` describes; nothing is opened or started yet."""
    clock = clock or SystemClock()
    site = Site(config.gateway.id, clock)
    instance = new_instance()
    sources = [
        SourcePart(
            name=name,
            kind=settings.kind,
            peer=settings.peer,
            source=settings.build(name, site),
            decoder=settings.decoder.build(),
            minter=_minter(config, name, settings, instance),
            route=Route(settings.lane, settings.lane_rules),
        )
        for name, settings in config.sources.items()
    ]
    sinks = [
        SinkPart(
            name,
            settings.kind,
            settings.build(name, site),
            lanes=settings.lanes,
            live_share=settings.live_share if settings.order == "live-first" else 0.0,
        )
        for name, settings in config.sinks.items()
    ]
    return Bridge(
        gateway=config.gateway.id,
        spool=open_spool(config, clock),
        sources=sources,
        sinks=sinks,
        clock=clock,
        drain_timeout=config.bridge.drain_timeout,
        max_payload=config.spool.max_record,
    )


def open_spool(config: Config, clock: Clock) -> Spool:
    """The spool that ``config`` describes; not opened yet."""
    return Spool(
        config.spool_dir,
        config.spool,
        clock,
        lanes=config.lanes,
        dead_letters=config.dead_letters,
        owners=config.takers,
    )


def desk(config: Config, bridge: Bridge | None, threads: Executor, *, paced: bool) -> Desk:
    """What the commands on the queue work on: an open ``bridge``, or without one the files as they lie there."""
    return Desk(
        path=config.spool_dir,
        clock=SystemClock(),
        plans={
            name: LanePlan(lane.priority, lane_limits(config.spool, lane), config.takers(name))
            for name, lane in config.lanes.items()
        },
        letter_limits=dead_letter_limits(config.spool, config.dead_letters),
        max_record=config.spool.max_record,
        threads=threads,
        spool=None if bridge is None else bridge.spool,
        intakes={} if bridge is None else bridge.intakes,
        paced=paced,
    )


def sample_events(config: Config) -> Iterator[tuple[str, Event]]:
    """For every source an example of the event that its templates make, for people and for the judge in ``check``.

    Raises:
        ValueError: the templates of a source cannot make a legal event; the message says why.
    """
    instance = new_instance()
    for name, settings in config.sources.items():
        yield name, _minter(config, name, settings, instance).sample(settings.sample_captures())


def _minter(config: Config, name: str, settings: SourceSettings, instance: str) -> Minter:
    return Minter(
        settings.event, prefix=config.gateway.source, name=name, gateway_id=config.gateway.id, instance=instance
    )
