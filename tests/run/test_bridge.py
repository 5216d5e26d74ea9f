"""The whole bridge on a real spool, between a scripted source and a scripted sink."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import ClassVar

import pytest

from bridge.clock import SystemClock
from bridge.codec.json_decoder import JsonDecoder
from bridge.codec.minting import Minter, new_instance
from bridge.codec.settings import EventSettings
from bridge.errors import SpoolLocked, Unavailable
from bridge.event import Event
from bridge.ports import Frame, Intake
from bridge.run.bridge import Bridge
from bridge.run.parts import SinkPart, SourcePart
from bridge.spool.settings import SpoolSettings
from bridge.spool.spool import Spool


class Device:
    """A source that sends what the test puts into its queue, and remembers what it could acknowledge."""

    replayable: ClassVar[bool] = True

    def __init__(self, *failures: BaseException) -> None:
        self.failures = list(failures)
        self.readings: asyncio.Queue[bytes] = asyncio.Queue()
        self.acknowledged: list[bytes] = []

    async def run(self, intake: Intake) -> None:
        if self.failures:
            raise self.failures.pop(0)
        intake.connected("test://device")
        while True:
            reading = await self.readings.get()
            await intake([Frame(reading, SystemClock().now(), "test")])
            self.acknowledged.append(reading)


class Cloud:
    """A sink that takes everything while ``up`` is set, and refuses connections while it is not."""

    max_events = 100
    max_bytes = 1 << 20
    peer = "test://cloud"

    def __init__(self) -> None:
        self.up = True
        self.received: list[Event] = []

    @asynccontextmanager
    async def open(self) -> AsyncIterator["Cloud"]:
        if not self.up:
            raise Unavailable("the cloud is away")
        yield self

    async def idle(self) -> None:
        await asyncio.get_running_loop().create_future()

    async def send(self, batch: Sequence[Event]) -> None:
        if not self.up:
            raise Unavailable("the cloud is away")
        self.received.extend(batch)


class Run:
    """One run of a bridge over the spool in ``path``."""

    def __init__(
        self, path: Path, devices: dict[str, Device], clouds: dict[str, Cloud], drain: float = 5.0
    ) -> None:
        clock = SystemClock()
        settings = SpoolSettings()
        instance = new_instance()
        self.bridge = Bridge(
            gateway="gw",
            spool=Spool(path, settings, clock, owners=lambda _: clouds),
            sources=[
                SourcePart(
                    name,
                    "test",
                    "test://device",
                    device,
                    JsonDecoder(),
                    Minter(
                        EventSettings(type="t"), prefix="urn:gw", name=name, gateway_id="gw", instance=instance
                    ),
                )
                for name, device in devices.items()
            ],
            sinks=[SinkPart(name, "test", cloud) for name, cloud in clouds.items()],
            clock=clock,
            drain_timeout=drain,
            max_payload=settings.max_record,
        )
        self.stop = asyncio.Event()
        self.ready = asyncio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.bridge.run(self.stop, self.ready.set))
        try:
            ready = asyncio.create_task(self.ready.wait())
            await asyncio.wait([task, ready], return_when=asyncio.FIRST_COMPLETED)
            ready.cancel()
            if task.done():
                task.result()
            yield
        finally:
            self.stop.set()
            async with asyncio.timeout(20):
                await task


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.005)


async def test_readings_arrive_and_are_acknowledged(tmp_path: Path) -> None:
    device, cloud = Device(), Cloud()
    async with Run(tmp_path, {"boiler": device}, {"cloud": cloud}).running():
        for number in range(5):
            device.readings.put_nowait(b"%d" % number)
        await until(lambda: len(cloud.received) == 5)
    assert [event.data for event in cloud.received] == device.acknowledged == [b"0", b"1", b"2", b"3", b"4"]


async def test_an_absent_cloud_delays_neither_the_start_nor_the_acknowledgements(tmp_path: Path) -> None:
    device, cloud = Device(), Cloud()
    cloud.up = False
    run = Run(tmp_path, {"boiler": device}, {"cloud": cloud}, drain=0.1)
    async with run.running():
        device.readings.put_nowait(b"1")
        await until(lambda: bool(device.acknowledged))
        report = await run.bridge.report()
    assert [(sink.state, sink.waiting) for sink in report.sinks] == [("down", 1)]
    assert report.sinks[0].oldest is not None
    assert report.sinks[0].last_error == "the cloud is away"


async def test_what_waited_is_delivered_after_a_restart_with_the_same_id(tmp_path: Path) -> None:
    device, cloud = Device(), Cloud()
    cloud.up = False
    async with Run(tmp_path, {"boiler": device}, {"cloud": cloud}, drain=0).running():
        for number in range(3):
            device.readings.put_nowait(b"%d" % number)
        await until(lambda: len(device.acknowledged) == 3)
    once, twice = Cloud(), Cloud()
    async with Run(tmp_path, {"boiler": Device()}, {"cloud": once, "other": twice}).running():
        await until(lambda: len(once.received) == len(twice.received) == 3)
    assert once.received == twice.received
    assert [event.data for event in once.received] == [b"0", b"1", b"2"]


async def test_a_stop_delivers_what_waits_before_it_ends(tmp_path: Path) -> None:
    device, cloud = Device(), Cloud()
    async with Run(tmp_path, {"boiler": device}, {"cloud": cloud}).running():
        for number in range(50):
            device.readings.put_nowait(b"%d" % number)
        await until(lambda: len(device.acknowledged) == 50)
    assert len(cloud.received) == 50


async def test_a_stop_delivers_also_what_is_still_on_its_way_to_the_disk(tmp_path: Path) -> None:
    class Hasty(Device):
        async def run(self, intake: Intake) -> None:
            handed = [
                asyncio.create_task(intake([Frame(b"%d" % n, SystemClock().now(), "test")])) for n in range(20)
            ]
            await asyncio.sleep(0)
            run.stop.set()
            await asyncio.gather(*handed)

    cloud = Cloud()
    run = Run(tmp_path, {"boiler": Hasty()}, {"cloud": cloud})
    async with run.running():
        pass
    assert len(cloud.received) == 20


async def test_a_stop_waits_no_longer_than_its_deadline_for_a_cloud_that_hangs(tmp_path: Path) -> None:
    class Hanging(Cloud):
        async def send(self, batch: Sequence[Event]) -> None:
            await asyncio.Event().wait()

    device = Device()
    async with Run(tmp_path, {"boiler": device}, {"cloud": Hanging()}, drain=0.1).running():
        device.readings.put_nowait(b"1")
        await until(lambda: bool(device.acknowledged))
    cloud = Cloud()
    async with Run(tmp_path, {"boiler": Device()}, {"cloud": cloud}).running():
        await until(lambda: len(cloud.received) == 1)


async def test_a_dead_sink_never_stops_another(tmp_path: Path) -> None:
    device, dead, cloud = Device(), Cloud(), Cloud()
    dead.up = False
    async with Run(tmp_path, {"boiler": device}, {"dead": dead, "cloud": cloud}, drain=0.1).running():
        for number in range(10):
            device.readings.put_nowait(b"%d" % number)
        await until(lambda: len(cloud.received) == 10)


async def test_an_unplugged_source_never_stops_another(tmp_path: Path) -> None:
    gone, device, cloud = Device(*[Unavailable("unplugged")] * 1000), Device(), Cloud()
    run = Run(tmp_path, {"gone": gone, "boiler": device}, {"cloud": cloud})
    async with run.running():
        device.readings.put_nowait(b"1")
        await until(lambda: len(cloud.received) == 1)
        report = await run.bridge.report()
    assert {source.name: source.state for source in report.sources} == {"gone": "down", "boiler": "up"}


async def test_a_bug_ends_the_process_with_the_spool_closed(tmp_path: Path) -> None:
    run = Run(tmp_path, {"boiler": Device(ZeroDivisionError("a bug"))}, {"cloud": Cloud()})
    with pytest.raises(BaseExceptionGroup) as caught:
        async with asyncio.timeout(10):
            await run.bridge.run(run.stop, run.ready.set)
    assert caught.value.subgroup(ZeroDivisionError) is not None
    async with Run(tmp_path, {"boiler": Device()}, {"cloud": Cloud()}).running():
        pass


async def test_a_second_bridge_on_the_same_spool_is_refused(tmp_path: Path) -> None:
    async with Run(tmp_path, {"boiler": Device()}, {"cloud": Cloud()}).running():
        with pytest.raises(SpoolLocked):
            async with Run(tmp_path, {"boiler": Device()}, {"cloud": Cloud()}).running():
                pass


async def test_what_a_removed_sink_has_not_confirmed_is_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cloud = Cloud()
    device = Device()
    async with Run(tmp_path, {"boiler": device}, {"old": cloud}).running():
        device.readings.put_nowait(b"1")
        await until(lambda: bool(cloud.received))
    async with Run(tmp_path, {"boiler": Device()}, {"new": Cloud()}).running():
        pass
    assert any("'old'" in message for message in caplog.messages)
