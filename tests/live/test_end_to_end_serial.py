"""A serial device that is unplugged beside a source that must not notice."""

import asyncio
from pathlib import Path

import pytest

from tests.kit.daemon import Daemon, all_up
from tests.kit.endtoend import FarQueue, mqtt_table, serial_table
from tests.kit.mosquitto import Mosquitto
from tests.kit.pty_device import PtyDevice
from tests.kit.publisher import Publisher, reading
from tests.kit.tally import Tally

pytestmark = [pytest.mark.live, pytest.mark.timeout(60)]

FIRST = 1_000_000
"""Where the serial device begins to count."""


def lines(first: int, count: int) -> bytes:
    """Readings as lines; a line break before the first ends whatever began before the port was opened."""
    return b"\n" + b"".join(reading(number) + b"\n" for number in range(first, first + count))


async def test_a_serial_device_comes_back_and_the_other_source_never_notices(
    tmp_path: Path, local_broker: Mosquitto, queue: FarQueue
) -> None:
    with PtyDevice(tmp_path / "scale") as device:
        tables = mqtt_table(local_broker.port) + serial_table(device.path) + queue.table()
        async with Daemon(tmp_path / "daemon", tables) as daemon, Publisher(local_broker.port) as publisher:
            await daemon.start()
            await daemon.until(all_up, "everything is up")
            flow = asyncio.create_task(publisher.publish(2500, rate=500))
            await device.say(lines(FIRST, 300))
            await daemon.until(lambda report: report.sources[1].stored == 300, "the device's lines are stored")
            begun = await daemon.source("boiler")

            device.unplug()
            await daemon.wait_for_log("source scale: down: .*scale is gone")
            device.plug()
            back = await daemon.wait_for_log("source scale: back after", within=15)
            await device.say(lines(FIRST + 300, 300))

            await flow
            await daemon.until(lambda report: report.sources[1].stored == 600, "the new lines are stored")
            ended = await daemon.source("boiler")
            expected = publisher.acked | set(range(FIRST, FIRST + 600))
            tally = Tally()
            await queue.collect(tally, lambda: not tally.missing(expected))
            tally.assert_kept(expected)
            assert tally.duplicates == 0
            assert len(publisher.acked) == 2500
            assert ended.state == "up", back
            assert ended.since > begun.since
            assert (ended.dead, ended.lost, ended.last_error) == (0, {}, None)
            await daemon.terminate()
            assert len(daemon.logged("source boiler: (down|back|stopped)")) == 0
            assert len(daemon.logged("source scale: down")) == len(daemon.logged("source scale: back")) == 1
