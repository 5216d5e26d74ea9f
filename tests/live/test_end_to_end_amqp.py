"""From mosquitto through the daemon into RabbitMQ, across outages and kill -9."""

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.kit.daemon import Daemon, all_up
from tests.kit.endtoend import FarQueue, down, mqtt_table, stored
from tests.kit.mosquitto import Mosquitto, mosquitto
from tests.kit.ports import free_port
from tests.kit.proxy import ChaosProxy
from tests.kit.publisher import Publisher
from tests.kit.tally import Tally

pytestmark = [pytest.mark.live, pytest.mark.timeout(150)]

READINGS = 20_000
QUICK_TIMEOUTS = 'heartbeat = "2s"\nconfirm_timeout = "3s"\nconnect_timeout = "3s"'


@pytest.fixture
async def proxy(queue: FarQueue) -> AsyncIterator[ChaosProxy]:
    async with ChaosProxy(queue.rabbit.port) as proxy:
        yield proxy


async def everything(queue: FarQueue, publisher: Publisher, *, within: float = 60.0) -> Tally:
    """What is at the far side once nothing acknowledged is missing, or time is up."""
    tally = Tally()
    await queue.collect(tally, lambda: not tally.missing(publisher.acked), within=within)
    return tally


async def test_an_outage_with_a_kill_in_the_middle_loses_nothing(
    tmp_path: Path, local_broker: Mosquitto, queue: FarQueue, proxy: ChaosProxy
) -> None:
    tables = mqtt_table(local_broker.port) + queue.table(port=proxy.port)
    async with Daemon(tmp_path / "daemon", tables) as daemon, Publisher(local_broker.port) as publisher:
        await daemon.start()
        await daemon.until(all_up, "everything is up")
        flow = asyncio.create_task(publisher.publish(READINGS, rate=8000))
        # Into the flow: what is on the wire at that moment was sent, but never confirmed.
        await daemon.until(stored(READINGS // 10), "a tenth is stored")
        proxy.refuse()
        proxy.reset()
        await daemon.until(stored(READINGS // 2), "half is stored")
        await daemon.kill9()
        await daemon.start()
        await flow
        await daemon.until(down("cloud"), "the sink is down")
        await proxy.accept()
        tally = await everything(queue, publisher)
        assert len(publisher.acked) == READINGS
        tally.assert_kept(publisher.acked)


async def test_a_stopped_broker_that_comes_back_gets_everything(
    tmp_path: Path, local_broker: Mosquitto, queue: FarQueue
) -> None:
    tables = mqtt_table(local_broker.port) + queue.table()
    async with Daemon(tmp_path / "daemon", tables) as daemon, Publisher(local_broker.port) as publisher:
        await daemon.start()
        await daemon.until(all_up, "everything is up")
        await publisher.publish(500)
        await asyncio.to_thread(queue.rabbit.stop)
        try:
            await publisher.publish(READINGS)
            await daemon.kill9()
            await daemon.start()
        finally:
            await asyncio.to_thread(queue.rabbit.start)
        (await everything(queue, publisher)).assert_kept(publisher.acked)


async def test_a_link_that_falls_silent_loses_nothing_and_is_noticed(
    tmp_path: Path, local_broker: Mosquitto, queue: FarQueue, proxy: ChaosProxy
) -> None:
    tables = mqtt_table(local_broker.port) + queue.table(port=proxy.port, more=QUICK_TIMEOUTS)
    async with Daemon(tmp_path / "daemon", tables) as daemon, Publisher(local_broker.port) as publisher:
        await daemon.start()
        await daemon.until(all_up, "everything is up")
        flow = asyncio.create_task(publisher.publish(READINGS, rate=8000))
        await daemon.until(stored(READINGS // 10), "a tenth is stored")
        proxy.black_hole()
        await daemon.until(down("cloud"), "the silence is noticed", within=30)
        await flow
        proxy.forward()
        (await everything(queue, publisher)).assert_kept(publisher.acked)


async def test_an_outage_is_written_about_once_when_it_begins_and_once_when_it_ends(
    tmp_path: Path, local_broker: Mosquitto, queue: FarQueue, proxy: ChaosProxy
) -> None:
    tables = mqtt_table(local_broker.port) + queue.table(port=proxy.port, more=QUICK_TIMEOUTS)
    async with Daemon(tmp_path / "daemon", tables) as daemon, Publisher(local_broker.port) as publisher:
        await daemon.start()
        await daemon.until(all_up, "everything is up")
        before, tries = len(daemon.lines), proxy.accepted
        proxy.black_hole()
        proxy.reset()
        flow = asyncio.create_task(publisher.publish(2000, rate=200))
        await _tried(proxy, tries + 3)
        await flow
        proxy.forward()
        (await everything(queue, publisher)).assert_kept(publisher.acked)
        await daemon.until(all_up, "everything is up again")
        await daemon.terminate()
        lines = [line for line in daemon.lines[before:] if "stop" not in line]
        assert len([line for line in lines if "sink cloud: down" in line]) == 1, lines
        assert len([line for line in lines if "sink cloud: back" in line]) == 1, lines
        assert len(lines) == 2, lines


async def _tried(proxy: ChaosProxy, times: int) -> None:
    async with asyncio.timeout(40):
        while proxy.accepted < times:
            await asyncio.sleep(0.05)


async def test_kills_at_any_moment_lose_nothing(tmp_path: Path, local_broker: Mosquitto, queue: FarQueue) -> None:
    seed = random.SystemRandom().getrandbits(32)
    print(f"seed {seed}")
    draw = random.Random(seed)
    tables = mqtt_table(local_broker.port) + queue.table()
    async with Daemon(tmp_path / "daemon", tables) as daemon, Publisher(local_broker.port) as publisher:
        await daemon.start()
        await daemon.until(all_up, "everything is up")
        flow = asyncio.create_task(publisher.publish(25_000, rate=2000))
        for _ in range(8):
            await daemon.until(stored(1 + draw.randrange(600)), "readings flow")
            await asyncio.sleep(draw.uniform(0, 0.05))
            await daemon.kill9()
            await daemon.start()
        await flow
        tally = await everything(queue, publisher)
        tally.assert_kept(publisher.acked)
        print(f"{len(publisher.acked):,} acknowledged, {tally.duplicates:,} duplicates")


async def test_a_local_broker_that_restarts_in_mid_flow_loses_nothing(tmp_path: Path, queue: FarQueue) -> None:
    async with mosquitto(tmp_path / "mosquitto", ("max_inflight_messages 500",)) as broker:
        tables = mqtt_table(broker.port) + queue.table()
        async with Daemon(tmp_path / "daemon", tables) as daemon, Publisher(broker.port) as publisher:
            await daemon.start()
            await daemon.until(all_up, "everything is up")
            flow = asyncio.create_task(publisher.publish(4000, rate=1000))
            await daemon.until(stored(500), "readings flow")
            await broker.stop()
            await broker.start()
            await flow
            (await everything(queue, publisher)).assert_kept(publisher.acked)
            assert (await daemon.source("boiler")).state == "up"


async def test_a_dead_sink_never_stops_another(tmp_path: Path, local_broker: Mosquitto, queue: FarQueue) -> None:
    tables = mqtt_table(local_broker.port) + queue.table("alive") + queue.table("dead", port=free_port())
    async with Daemon(tmp_path / "daemon", tables) as daemon, Publisher(local_broker.port) as publisher:
        await daemon.start()
        await daemon.until(down("dead"), "the dead sink is down")
        await publisher.publish(5000)
        tally = await everything(queue, publisher)
        tally.assert_kept(publisher.acked)
        assert tally.duplicates == 0
        assert (await daemon.sink("dead")).waiting == 5000
        assert (await daemon.sink("alive")).state == "up"
        await daemon.until(lambda report: report.sinks[0].waiting == 0, "all is settled")
        assert len(daemon.logged("sink dead: down")) == 1
        await daemon.terminate()
        assert await queue.rabbit.depth(queue.name) == 0


async def test_more_than_fits_into_memory_on_the_way_is_taken_all_the_same(
    tmp_path: Path, queue: FarQueue
) -> None:
    # Everything that waits is sent at once, before the broker answers anything that we ask; 3.1.1 has no limit.
    async with mosquitto(tmp_path / "mosquitto", ("max_inflight_messages 0",), persistence=False) as broker:
        tables = mqtt_table(broker.port, more='protocol = "3.1.1"') + queue.table()
        async with Daemon(tmp_path / "daemon", tables) as daemon, Publisher(broker.port) as publisher:
            await daemon.start()
            await daemon.until(all_up, "everything is up")
            await daemon.terminate()
            await publisher.publish(10_000)
            await daemon.start()
            (await everything(queue, publisher)).assert_kept(publisher.acked)
            await daemon.terminate()
            assert not daemon.logged("source boiler: down")
