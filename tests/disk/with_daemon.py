"""The daemon on real file systems that fill up, become read-only or break: it stays, and loses nothing."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass

from bridge.report import BridgeReport
from tests.kit.daemon import Daemon, all_up
from tests.kit.endtoend import http_table, mqtt_table, posted
from tests.kit.mosquitto import mosquitto
from tests.kit.publisher import Publisher
from tests.kit.receiver import Receiver
from tests.kit.volume import Volume

SPOOL = '[spool]\nsegment_bytes = "64KiB"\nmax_bytes = "256MiB"\ncursor_interval = "50ms"\n\n'
"""More than any volume of these tests has: it is the disk that is full, not the lane."""


BATCH = 50
IN_HAND = 2 * 4 * BATCH
"""What the courier may have in its hands: four requests under way, and as much read ahead."""


@dataclass
class Plant:
    """A device, its broker, the daemon with its spool on the volume, and the cloud."""

    publisher: Publisher
    daemon: Daemon
    receiver: Receiver

    async def until(self, holds: Callable[[BridgeReport], bool], what: str) -> BridgeReport:
        return await self.daemon.until(holds, what, within=120.0)

    def missing(self) -> list[int]:
        """Readings that the broker has acknowledged and the cloud has not got."""
        return posted(self.receiver).missing(self.publisher.acked)


@asynccontextmanager
async def _plant(volume: Volume) -> AsyncIterator[Plant]:
    aside = volume.path.with_name("aside")
    async with (
        Receiver() as receiver,
        mosquitto(aside, ("max_inflight_messages 500",), persistence=False) as broker,
        Daemon(
            volume.path / "daemon",
            SPOOL
            + mqtt_table(broker.port)
            + http_table(receiver.url, mode="batch", more=f"batch_events = {BATCH}"),
        ) as daemon,
        Publisher(broker.port) as publisher,
    ):
        await daemon.start()
        await daemon.until(all_up, "everything is up")
        pid = daemon.pid
        yield Plant(publisher, daemon, receiver)
        assert daemon.running
        assert daemon.pid == pid
        assert await daemon.terminate() == 0


async def full(volume: Volume, turns: int) -> str:
    """The cloud is away until the disk is full and the oldest was dropped; then it comes back."""
    async with _plant(volume) as plant:
        for _ in range(turns):
            await plant.receiver.stop()
            dropped = (await plant.daemon.status()).spool.dropped
            while (report := await plant.daemon.status()).spool.dropped < dropped + 500:
                await plant.publisher.publish(2000)
            assert volume.free_bytes() < 1 << 20, "the disk is not full"
            assert not any(source.lost for source in report.sources)
            # Nothing is dropped any more while it is delivered.
            await plant.until(_all_stored(plant), "everything is stored")
            await plant.receiver.start()
            report = await plant.until(_all_delivered(plant), "what is left is delivered")
            assert report.spool.writable
            assert report.sinks[0].skipped == report.spool.dropped
            # What the courier had in its hands when it was dropped from the disk arrives none the less.
            arrived = report.spool.dropped - len(plant.missing())
            assert 0 <= arrived <= IN_HAND * turns, f"{arrived} of {report.spool.dropped} dropped arrived"
            assert report.spool.damaged == 0
        told = f"{len(plant.publisher.acked)} readings, {report.spool.dropped} dropped and counted"
    return f"{turns} turns: {told}"


async def read_only(volume: Volume, turns: int) -> str:
    """The directory becomes read-only and writable again while readings come in."""
    return await _refused(volume, turns, volume.read_only)


async def broken(volume: Volume, turns: int) -> str:
    """The kernel makes the card read-only for an error; somebody checks it and mounts it again."""
    return await _refused(volume, turns, volume.failed)


async def foreign_file(volume: Volume, turns: int) -> str:
    """Something else takes all the space there is, and goes away again; what had to be dropped is counted."""
    async with _plant(volume) as plant:
        for _ in range(turns):
            with volume.stuffed():
                flow = asyncio.create_task(plant.publisher.publish(6000, rate=3000))
                await asyncio.wait([flow], timeout=4)
            await flow
            report = await plant.until(_all_delivered(plant), "everything is delivered")
            assert report.spool.writable
            assert report.spool.damaged == 0
            lost = plant.missing()
            assert len(lost) <= report.spool.dropped
            posted(plant.receiver).assert_kept(plant.publisher.acked - set(lost))
    return f"{turns} turns: {len(plant.publisher.acked)} readings, {len(lost)} dropped and counted"


async def _refused(volume: Volume, turns: int, trouble: Callable[[], AbstractContextManager[None]]) -> str:
    async with _plant(volume) as plant:
        for _ in range(turns):
            flow = asyncio.create_task(plant.publisher.publish(3000, rate=2000))
            await asyncio.sleep(0.3)
            with trouble():
                await plant.until(lambda report: not report.spool.writable, "the disk refuses")
                report = await plant.until(lambda report: report.sinks[0].waiting == 0, "what is stored is sent")
                await asyncio.sleep(0.5)
                later = await plant.daemon.status()
                assert later.sources[0].stored == report.sources[0].stored, "acknowledged without a disk"
                assert later.sources[0].state == "up"
            await flow
            report = await plant.until(_all_delivered(plant), "everything is delivered")
            assert report.spool.writable
            assert (report.spool.dropped, report.spool.damaged) == (0, 0)
            posted(plant.receiver).assert_kept(plant.publisher.acked)
        assert len(plant.daemon.logged("default cannot be written")) >= turns
        assert len(plant.daemon.logged("default can be written again")) >= turns
    return f"{turns} turns: {len(plant.publisher.acked)} readings, none lost"


def _all_stored(plant: Plant) -> Callable[[BridgeReport], bool]:
    """Whether everything that the broker took has been stored."""
    return lambda report: report.sources[0].stored >= len(plant.publisher.acked)


def _all_delivered(plant: Plant) -> Callable[[BridgeReport], bool]:
    """Whether it has been stored and nothing of it waits."""
    return lambda report: _all_stored(plant)(report) and report.sinks[0].waiting == 0
