"""The wall clock jumps by years while readings come and go: order, delivery and ids do not depend on it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

from bridge.codec.json_decoder import JsonDecoder
from bridge.codec.minting import Minter, new_instance
from bridge.codec.settings import EventSettings
from bridge.errors import Unavailable
from bridge.event import Event
from bridge.ports import Frame, Intake
from bridge.run.bridge import Bridge
from bridge.run.parts import SinkPart, SourcePart
from bridge.spool.settings import SpoolSettings
from bridge.spool.spool import Spool
from tests.kit.jumping_clock import TEN_YEARS_NS, JumpingClock

JUMPS = (TEN_YEARS_NS, -2 * TEN_YEARS_NS, TEN_YEARS_NS)
PER_JUMP = 25


class Meter:
    """A source that has its clock jump between its readings."""

    replayable: ClassVar[bool] = False

    def __init__(self, clock: JumpingClock, first: int) -> None:
        self._clock = clock
        self._first = first
        self.done = asyncio.Event()

    async def run(self, intake: Intake) -> None:
        intake.connected("test://meter")
        numbers = iter(range(self._first, self._first + PER_JUMP * len(JUMPS)))
        for jump in JUMPS:
            for _ in range(PER_JUMP):
                frame = Frame(b'{"n": %d}' % next(numbers), self._clock.now(), "test://meter")
                await intake([frame])
            self._clock.jump(jump)
        self.done.set()
        await asyncio.get_running_loop().create_future()


class Cloud:
    """A sink that is away for its first tries and then takes everything."""

    max_events = 10
    max_bytes = 1 << 20
    peer = "test://cloud"

    def __init__(self) -> None:
        self.away = True
        self.received: list[Event] = []

    @asynccontextmanager
    async def open(self) -> AsyncIterator["Cloud"]:
        if self.away:
            raise Unavailable("the cloud is away")
        yield self

    async def idle(self) -> None:
        await asyncio.get_running_loop().create_future()

    async def send(self, batch: Sequence[Event]) -> None:
        self.received.extend(batch)


async def one_run(path: Path, clock: JumpingClock, cloud: Cloud, first: int) -> Bridge:
    """All the readings of one meter, of which the cloud gets what it wants until the end."""
    meter = Meter(clock, first)
    settings = SpoolSettings()
    minter = Minter(
        EventSettings(type="t"), prefix="urn:gw", name="meter", gateway_id="gw", instance=new_instance()
    )
    bridge = Bridge(
        gateway="gw",
        spool=Spool(path, settings, clock),
        sources=[SourcePart("meter", "test", "test://meter", meter, JsonDecoder(), minter)],
        sinks=[SinkPart("cloud", "test", cloud)],
        clock=clock,
        drain_timeout=0.0 if cloud.away else 10.0,
        max_payload=settings.max_record,
    )
    stop, ready = asyncio.Event(), asyncio.Event()
    task = asyncio.create_task(bridge.run(stop, ready.set))
    async with asyncio.timeout(30):
        await meter.done.wait()
        [report] = (await bridge.report()).sinks
        assert report.oldest is None or report.oldest >= 0
        stop.set()
        await task
    return bridge


async def test_jumps_change_neither_order_nor_delivery_nor_ids(tmp_path: Path) -> None:
    clock, cloud = JumpingClock(), Cloud()
    per_run = PER_JUMP * len(JUMPS)
    await one_run(tmp_path, clock, cloud, 0)
    assert cloud.received == []
    clock.jump(-TEN_YEARS_NS)
    clock.reboot()
    cloud.away = False
    await one_run(tmp_path, clock, cloud, per_run)
    assert [event.data for event in cloud.received] == [b'{"n": %d}' % number for number in range(2 * per_run)]
    assert len({event.id for event in cloud.received}) == 2 * per_run
    sequence = [int(str(dict(event.extensions)["sequence"])) for event in cloud.received]
    assert all(b == a + 1 for a, b in pairwise(sequence))
    years = {event.time[:4] for event in cloud.received if event.time}
    assert len(years) >= 3, "the clock has not jumped"
