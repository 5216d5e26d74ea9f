"""From mosquitto through the daemon to an HTTP endpoint that behaves as endpoints do on a bad day."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.kit.daemon import Daemon, all_up
from tests.kit.endtoend import http_table, mqtt_table, posted
from tests.kit.mosquitto import Mosquitto
from tests.kit.publisher import Publisher
from tests.kit.receiver import TAKEN, Answer, Arrival, Behaviour, Drop, Receiver

pytestmark = [pytest.mark.live, pytest.mark.timeout(90)]

RETRY_AFTER = 2


class BadDay:
    """Takes some requests, then fails in every way that is temporary, then takes all.

    Attributes:
        times: when each request was judged.
    """

    def __init__(self) -> None:
        self.times: list[float] = []
        self._script: list[Behaviour] = [
            *(TAKEN, TAKEN, TAKEN),
            Drop("in mid-response"),
            Answer(503),
            Drop("after reading"),
            Answer(500, body=b"out of order"),
            Answer(429, {"Retry-After": str(RETRY_AFTER)}),
        ]
        self.refused = len(self._script) - 1

    def __call__(self, arrivals: Sequence[Arrival]) -> Behaviour:
        self.times.append(asyncio.get_running_loop().time())
        return self._script.pop(0) if self._script else TAKEN


@pytest.mark.parametrize("mode", ["batch", "structured"])
async def test_a_bad_day_of_the_endpoint_loses_nothing(tmp_path: Path, local_broker: Mosquitto, mode: str) -> None:
    day = BadDay()
    async with Receiver(judge=day) as receiver:
        more = "batch_events = 50" if mode == "batch" else "concurrency = 1"
        tables = mqtt_table(local_broker.port) + http_table(receiver.url, mode=mode, more=more)
        async with Daemon(tmp_path / "daemon", tables) as daemon, Publisher(local_broker.port) as publisher:
            await daemon.start()
            await daemon.until(all_up, "everything is up")
            await publisher.publish(3000, rate=3000)
            await daemon.until(lambda report: report.sinks[0].delivered >= 3000, "all is delivered")
            posted(receiver).assert_kept(publisher.acked)
            # What was answered with 429 is not asked again before its time.
            assert day.times[day.refused + 1] - day.times[day.refused] >= RETRY_AFTER
            assert (await daemon.sink("web")).rejected == 0
            await daemon.terminate()
            assert len(daemon.logged("sink web: down")) <= 1
            assert len(daemon.logged("sink web: back")) <= 1


async def test_a_kill_while_the_endpoint_is_away_loses_nothing(tmp_path: Path, local_broker: Mosquitto) -> None:
    async with Receiver() as receiver:
        tables = mqtt_table(local_broker.port) + http_table(receiver.url, mode="batch")
        async with Daemon(tmp_path / "daemon", tables) as daemon, Publisher(local_broker.port) as publisher:
            await daemon.start()
            await daemon.until(all_up, "everything is up")
            flow = asyncio.create_task(publisher.publish(10_000, rate=5000))
            await daemon.until(lambda report: report.sinks[0].delivered >= 1000, "events are delivered")
            await receiver.stop()
            await daemon.until(lambda report: report.sources[0].stored >= 5000, "half is stored")
            await daemon.kill9()
            await daemon.start()
            await flow
            await receiver.start()
            await daemon.until(
                lambda report: report.sources[0].stored > 0 and report.sinks[0].waiting == 0, "all is delivered"
            )
            await _settled(receiver, publisher.acked)
            posted(receiver).assert_kept(publisher.acked)


async def _settled(receiver: Receiver, acked: set[int]) -> None:
    """Waits a while for what still comes out of mosquitto; the assertion says it better than a timeout."""
    for _ in range(200):
        if not posted(receiver).missing(acked):
            return
        await asyncio.sleep(0.1)


async def test_a_wrong_key_keeps_everything_until_it_is_mended(tmp_path: Path, local_broker: Mosquitto) -> None:
    def refuse(arrivals: Sequence[Arrival]) -> Behaviour:
        return Answer(401)

    async with Receiver(judge=refuse) as receiver:
        tables = mqtt_table(local_broker.port) + http_table(receiver.url, mode="batch")
        async with Daemon(tmp_path / "daemon", tables) as daemon, Publisher(local_broker.port) as publisher:
            await daemon.start()
            await daemon.until(all_up, "everything is up")
            await publisher.publish(500)
            await daemon.wait_for_log("sink web: stopped: .*401")
            receiver.judge = None
            await daemon.until(lambda report: report.sinks[0].delivered >= 500, "all is delivered")
            posted(receiver).assert_kept(publisher.acked)
            report = await daemon.status()
            assert (report.sinks[0].rejected, report.spool.dead_letters) == (0, 0)
            assert len(daemon.logged("sink web: stopped")) == 1
