"""How the daemon ends, what it refuses, and what it never says."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path

import pytest

from bridge.clock import SystemClock
from bridge.config.load import load
from bridge.spool.envelope import unpack_dead_letter
from bridge.spool.spool import Spool
from tests.kit.daemon import Daemon, all_up
from tests.kit.endtoend import FarQueue, http_table, mqtt_table, stored
from tests.kit.mosquitto import Mosquitto, mosquitto
from tests.kit.ports import free_port
from tests.kit.proxy import ChaosProxy
from tests.kit.publisher import Publisher, reading
from tests.kit.tally import Tally

pytestmark = [pytest.mark.live, pytest.mark.timeout(90)]


@pytest.fixture
async def proxy(queue: FarQueue) -> AsyncIterator[ChaosProxy]:
    async with ChaosProxy(queue.rabbit.port) as proxy:
        yield proxy


async def test_a_stop_delivers_what_waits_before_it_ends(
    tmp_path: Path, local_broker: Mosquitto, queue: FarQueue, proxy: ChaosProxy
) -> None:
    tables = mqtt_table(local_broker.port) + queue.table(port=proxy.port)
    async with Daemon(tmp_path / "daemon", tables) as daemon, Publisher(local_broker.port) as publisher:
        await daemon.start()
        await daemon.until(all_up, "everything is up")
        proxy.hold("up")
        await publisher.publish(5000)
        await daemon.until(stored(5000), "all is stored")
        ending = asyncio.create_task(daemon.terminate())
        await daemon.wait_for_log("stopping: delivering")
        proxy.forward()
        assert await ending == 0
        assert daemon.logged("stopped; nothing waits in the spool")
        tally = Tally()
        await queue.collect(tally, lambda: not tally.missing(publisher.acked), within=5)
        tally.assert_kept(publisher.acked)
        assert tally.duplicates == 0


async def test_a_stop_gives_up_at_its_deadline_and_the_next_start_goes_on(
    tmp_path: Path, local_broker: Mosquitto, queue: FarQueue, proxy: ChaosProxy
) -> None:
    tables = mqtt_table(local_broker.port) + queue.table(port=proxy.port)
    daemon = Daemon(tmp_path / "daemon", tables, bridge='drain_timeout = "1s"')
    async with daemon, Publisher(local_broker.port) as publisher:
        await daemon.start()
        await daemon.until(all_up, "everything is up")
        proxy.black_hole("up")
        await publisher.publish(3000)
        await daemon.until(stored(3000), "all is stored")
        assert await daemon.terminate(within=10) == 0
        assert daemon.logged("stopped; 3,000 events left in the spool for the next start")
        proxy.reset()
        proxy.forward()
        await daemon.start()
        tally = Tally()
        await queue.collect(tally, lambda: not tally.missing(publisher.acked))
        tally.assert_kept(publisher.acked)


async def test_a_second_daemon_on_the_same_spool_names_the_first_and_leaves(tmp_path: Path) -> None:
    tables = mqtt_table(free_port()) + http_table(f"http://127.0.0.1:{free_port()}/")
    async with Daemon(tmp_path / "first", tables) as first:
        await first.start()
        second = Daemon(tmp_path / "second", tables)
        second.state_dir = first.state_dir
        async with second:
            await second.start(wait=False)
            assert await second.ended(within=15) == 75
            assert second.logged(rf"\b{first.pid}\b"), second.lines
        assert first.running
        await first.status()


async def test_what_cannot_be_decoded_is_kept_with_its_reason_and_the_stream_goes_on(
    tmp_path: Path, local_broker: Mosquitto, queue: FarQueue
) -> None:
    def payload(number: int) -> bytes:
        return b'{"n": %d, \xff' % number if number % 10 == 3 else reading(number)

    tables = mqtt_table(local_broker.port) + queue.table()
    async with Daemon(tmp_path / "daemon", tables) as daemon:
        await daemon.start()
        await daemon.until(all_up, "everything is up")
        async with Publisher(local_broker.port, payload=payload) as publisher:
            await publisher.publish(1000)
            good = {number for number in publisher.acked if number % 10 != 3}
            assert len(publisher.acked) == 1000
        tally = Tally()
        await queue.collect(tally, lambda: not tally.missing(good))
        tally.assert_kept(good)
        source = await daemon.source("boiler")
        assert (source.received, source.stored, source.dead) == (1000, 900, 100)
        assert (await daemon.status()).spool.dead_letters == 100
        await daemon.terminate()
        assert 1 <= len(daemon.logged("could not be used and is kept as a dead letter")) <= 3
    config = load(daemon.config)
    async with Spool(config.spool_dir, config.spool, SystemClock()) as spool:
        letters = [unpack_dead_letter(payload) for payload in await spool.dead_letters.recent(1000)]
    assert [letter.frame for letter in letters] == [payload(number) for number in range(3, 1000, 10)]
    assert all("UTF-8" in letter.reason and letter.origin == "plant/boiler" for letter in letters)


SECRETS = ("mqtt-Secret-1", "amqp-Secret-2", "bearer-Secret-3", "header-Secret-4")


async def test_no_secret_is_ever_told(tmp_path: Path, queue: FarQueue) -> None:
    files = [tmp_path / f"secret{number}" for number in range(len(SECRETS))]
    for file, secret in zip(files, SECRETS, strict=True):
        file.write_text(f"{secret}\n", encoding="utf-8")
    nobody = tmp_path / "nobody"
    nobody.write_text("", encoding="utf-8")
    nobody.chmod(0o600)
    refusing = ("allow_anonymous false", f"password_file {nobody}")
    async with mosquitto(tmp_path / "mosquitto", refusing, persistence=False) as broker:
        tables = (
            mqtt_table(broker.port, more=f'username = "plant"\npassword_file = "{files[0]}"')
            + queue.table().replace(str(queue.secret), str(files[1]))
            + http_table(
                f"http://127.0.0.1:{free_port()}/",
                more=f'bearer_token_file = "{files[2]}"\nheader_files = {{ "X-Api-Key" = "{files[3]}" }}',
            )
        )
        async with Daemon(tmp_path / "daemon", tables, bridge='log_level = "debug"') as daemon:
            await daemon.start()
            await daemon.wait_for_log("source boiler: stopped")
            await daemon.wait_for_log("sink cloud: stopped")
            await daemon.wait_for_log("sink web: down")
            told = json.dumps(asdict(await daemon.status()))
            await daemon.terminate()
            journal = "\n".join(daemon.lines)
    for secret in SECRETS:
        assert secret not in told
        assert secret not in journal
