"""The commands on the queue and the dead letters, with the real daemon running and stopped."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bridge.host.control import NAME
from tests.kit.command import Done, command, edge
from tests.kit.daemon import Daemon
from tests.kit.endtoend import http_table, serial_table, stored
from tests.kit.ports import free_port
from tests.kit.pty_device import PtyDevice
from tests.kit.receiver import TAKEN, Answer, Receiver

pytestmark = [pytest.mark.live, pytest.mark.timeout(120)]

BOTH = pytest.mark.parametrize("running", [True, False], ids=["running", "stopped"])


@asynccontextmanager
async def bridge(tmp_path: Path, *sinks: str, device: PtyDevice, more: str = "") -> AsyncIterator[Daemon]:
    async with Daemon(tmp_path / "daemon", more + serial_table(device.path) + "".join(sinks)) as daemon:
        await daemon.start()
        yield daemon


@pytest.fixture
def device(tmp_path: Path) -> PtyDevice:
    return PtyDevice(tmp_path / "scale")


def away(name: str = "cloud") -> tuple[str, int]:
    port = free_port()
    return http_table(f"http://127.0.0.1:{port}/events", name), port


async def say(device: PtyDevice, daemon: Daemon, *lines: str) -> None:
    source = await daemon.source("scale")
    await device.say("\n".join(["", *lines, ""]).encode())
    wanted = source.received + len(lines)
    await daemon.until(lambda report: report.sources[0].received >= wanted, "the lines are in")
    await daemon.until(
        lambda report: report.sources[0].stored + report.sources[0].dead >= wanted, "the lines are durable"
    )


async def up(daemon: Daemon) -> None:
    await daemon.until(lambda report: report.sources[0].state == "up", "the device is there")


async def settle(daemon: Daemon, *, running: bool) -> None:
    if not running:
        await daemon.terminate()


async def queue(daemon: Daemon, *arguments: str, given: bytes = b"") -> Done:
    return await edge(daemon.config, "queue", *arguments, given=given)


async def waiting(daemon: Daemon, lane: str = "default") -> dict[str, int]:
    done = await queue(daemon, "stat", "--json")
    assert done.code == 0, done.err
    (found,) = [one for one in json.loads(done.out)["lanes"] if one["name"] == lane]
    return {sink["name"]: sink["waiting"] for sink in found["sinks"]}


@BOTH
async def test_export_purge_and_import_give_the_same_events(
    tmp_path: Path, device: PtyDevice, *, running: bool
) -> None:
    table, port = away()
    with device:
        async with bridge(tmp_path, table, device=device) as daemon:
            await up(daemon)
            await say(device, daemon, *[f'{{"n": {number}, "v": 21.50}}' for number in range(300)])
            await settle(daemon, running=running)
            before = await queue(daemon, "export", "--sink", "cloud")
            lines = before.out.splitlines()
            assert (before.code, len(lines)) == (0, 300)
            assert b'"data":{"n": 7, "v": 21.50}}' in lines[7]
            file = tmp_path / "events.jsonl"
            assert (await queue(daemon, "export", "--output", str(file))).code == 0
            assert file.read_bytes() == before.out

            unasked = await queue(daemon, "purge", "--lane", "default")
            assert unasked.code == 1
            assert "add --yes" in unasked.err
            assert await waiting(daemon) == {"cloud": 300}
            assert (await queue(daemon, "purge", "--yes")).code == 0
            assert await waiting(daemon) == {"cloud": 0}
            assert (await queue(daemon, "export")).out == b""

            done = await queue(daemon, "import", str(file))
            assert (done.code, done.out) == (0, b"300 events stored in lane default\n")
            assert (await queue(daemon, "export")).out == before.out
            assert (await queue(daemon, "verify")).code == 0

            async with Receiver() as receiver:
                receiver.port = port
                await receiver.stop()
                await receiver.start()
                if not running:
                    await daemon.start()
                await daemon.until(lambda report: report.sinks[0].waiting == 0, "all is delivered", within=90)
                assert [arrival.raw for arrival in receiver.arrivals] == lines


@BOTH
async def test_a_refused_event_that_is_retried_arrives_at_its_sink_only(
    tmp_path: Path, device: PtyDevice, *, running: bool
) -> None:
    async with Receiver() as cloud, Receiver() as archive:
        cloud.judge = lambda _: Answer(422, body=b"no such device")
        with device:
            sinks = http_table(cloud.url, "cloud"), http_table(archive.url, "archive")
            async with bridge(tmp_path, *sinks, device=device) as daemon:
                await up(daemon)
                await say(device, daemon, '{"n": 1, "v": 21.50}')
                await daemon.until(lambda report: report.spool.dead_letters == 1, "the event is a dead letter")
                await daemon.until(lambda report: report.sinks[1].waiting == 0, "the other sink has it")
                await settle(daemon, running=running)

                listed = await edge(daemon.config, "dead-letters", "list", "--json")
                (letter,) = map(json.loads, listed.out.splitlines())
                assert (letter["offset"], letter["component"], letter["tries"]) == (0, "sink cloud", 1)
                shown = await edge(daemon.config, "dead-letters", "show", "0")
                assert b'"data":{"n": 1, "v": 21.50}}' in shown.out
                exported = await edge(daemon.config, "dead-letters", "export", "--sink", "cloud")
                assert json.loads(exported.out)["event"]["id"] == letter["id"]

                cloud.judge = lambda _: TAKEN
                retried = await edge(daemon.config, "dead-letters", "retry", "--sink", "cloud")
                assert (retried.code, retried.out) == (0, b"1 dead letter back in the queue\n")
                assert (await edge(daemon.config, "dead-letters", "list")).out == b""
                again = await edge(daemon.config, "dead-letters", "retry", "0")
                assert again.code == 1
                assert "no open dead letter 0" in again.err
                if not running:
                    await daemon.start()
                await daemon.until(lambda report: report.sinks[0].waiting == 0, "it is delivered")
                await daemon.until(lambda report: report.sinks[1].waiting == 0, "and passed over")
        (key,) = archive.seen
        assert (cloud.accepted, cloud.changed) == ({key: 1}, [])
        assert archive.seen[key] == 1


@BOTH
async def test_dropped_letters_are_gone(tmp_path: Path, device: PtyDevice, *, running: bool) -> None:
    table, _ = away()
    with device:
        async with bridge(tmp_path, table, device=device) as daemon:
            await up(daemon)
            await say(device, daemon, "one", "two", "three")
            await settle(daemon, running=running)
            listed = await edge(daemon.config, "dead-letters", "list", "--source", "scale", "--count", "2")
            assert len(listed.out.splitlines()) == 2
            assert "2 of 3 dead letters" in listed.err
            assert (await edge(daemon.config, "dead-letters", "drop", "1")).code == 1
            done = await edge(daemon.config, "dead-letters", "drop", "1", "--yes")
            assert done.out == b"1 dead letter dropped\n"
            stays = await edge(daemon.config, "dead-letters", "retry", "--all")
            assert stays.code == 1
            assert stays.err.count("stays: not JSON") == 2
            left = await edge(daemon.config, "dead-letters", "list", "--json")
            assert [json.loads(line)["offset"] for line in left.out.splitlines()] == [0, 2]
            assert (await edge(daemon.config, "dead-letters", "drop", "--all", "--yes")).code == 0
            assert (await edge(daemon.config, "dead-letters", "list")).out == b""


async def test_a_frame_is_decoded_again_with_the_configuration_of_now(tmp_path: Path, device: PtyDevice) -> None:
    table, _ = away()
    with device:
        strict = serial_table(device.path).replace('measured" }', 'measured", subject = "{device}" }')
        async with Daemon(tmp_path / "daemon", strict + table) as daemon:
            await daemon.start()
            await up(daemon)
            await say(device, daemon, '{"n": 1, "v": 21.50}')
            stays = await edge(daemon.config, "dead-letters", "retry", "--all", "--json")
            assert stays.code == 1
            (staying,) = json.loads(stays.out)["stay"]
            assert "device" in staying["reason"]
            await daemon.terminate()
            daemon.configure(serial_table(device.path) + table)
            assert (await edge(daemon.config, "dead-letters", "retry", "--all")).code == 0
            exported = await queue(daemon, "export")
            assert exported.out.endswith(b'"data":{"n": 1, "v": 21.50}}\n')
            assert (await edge(daemon.config, "dead-letters", "list")).out == b""


@BOTH
async def test_verify_finds_a_flipped_byte_and_names_it(
    tmp_path: Path, device: PtyDevice, *, running: bool
) -> None:
    table, _ = away()
    with device:
        async with bridge(tmp_path, table, device=device) as daemon:
            await up(daemon)
            await say(device, daemon, *[f'{{"n": {number}}}' for number in range(100)])
            await settle(daemon, running=running)
            good = await queue(daemon, "verify", "--json")
            assert (good.code, json.loads(good.out)["ok"]) == (0, True)

            (segment,) = (daemon.state_dir / "spool" / "lanes" / "default").glob("*.seg")
            content = bytearray(segment.read_bytes())
            position = content.index(b'{"n": 42}')
            content[position + 6] ^= 1
            segment.write_bytes(content)
            bad = await queue(daemon, "verify")
            assert bad.code == 1
            assert f"{segment}" in bad.out.decode()
            assert "record 42 of default" in bad.out.decode()
            (finding,) = json.loads((await queue(daemon, "verify", "--json")).out)["findings"]
            assert finding["position"] <= position + 6 < finding["end"]
            exported = await queue(daemon, "export")
            assert (exported.code, len(exported.out.splitlines())) == (1, 99)


async def test_a_client_that_stops_reading_holds_nobody_up(tmp_path: Path, device: PtyDevice) -> None:
    table, _ = away()
    with device:
        async with bridge(tmp_path, table, device=device) as daemon:
            await up(daemon)
            line = json.dumps({"specversion": "1.0", "source": "s", "type": "t", "id": "x", "data": "d" * 1000})
            assert (await queue(daemon, "import", given=(line + "\n").encode() * 20_000)).code == 0
            reader, writer = await asyncio.open_unix_connection(daemon.control_socket)
            writer.write(b'{"verb": "queue export"}\n')
            assert await reader.read(1)
            await say(device, daemon, *[f'{{"n": {number}}}' for number in range(200)])
            assert (await daemon.source("scale")).stored == 200
            peeked = await queue(daemon, "peek", "--from", "20199", "--lane", "default", "--json")
            assert json.loads(peeked.out)["event"]["data"] == {"n": 199}
            assert await daemon.terminate() == 0
            writer.close()


async def test_a_kill_during_an_import_keeps_what_was_said_to_be_stored_under_its_id(
    tmp_path: Path, device: PtyDevice
) -> None:
    table, _ = away()
    count = 60_000
    event = (
        '{"specversion":"1.0","id":"%d","source":"s","type":"t","datacontenttype":"text/plain","data":"%0200d"}\n'
    )
    file = tmp_path / "events.jsonl"
    file.write_text("".join(event % (number, number) for number in range(count)))
    with device:
        async with bridge(tmp_path, table, device=device) as daemon:
            async with command(daemon.config, "queue", "import", str(file)) as process:
                await daemon.until(lambda report: report.spool.events > 2000, "the import has begun")
                await daemon.kill9()
                _, err = await process.communicate()
            assert process.returncode == 69
            told = re.search(r"go on with: --from-line (\d+)", err.decode())
            assert told is not None
            durable = int(told[1]) - 1
            assert 1000 < durable < count

            await daemon.start()
            kept = [json.loads(line)["id"] for line in (await queue(daemon, "export")).out.splitlines()]
            assert kept == [str(number) for number in range(len(kept))]
            assert len(kept) >= durable
            done = await queue(daemon, "import", str(file), "--from-line", told[1])
            assert done.code == 0
            exported = (await queue(daemon, "export")).out.splitlines()
            lines = file.read_bytes().splitlines()
            assert set(exported) == set(lines)
            assert exported[:durable] == lines[:durable]
            assert exported[-(count - durable) :] == lines[durable:]


@BOTH
async def test_what_was_kept_for_a_removed_sink_is_forgotten_and_a_configured_one_is_not(
    tmp_path: Path, device: PtyDevice, *, running: bool
) -> None:
    with device:
        async with bridge(tmp_path, away("cloud")[0], away("old")[0], device=device) as daemon:
            await up(daemon)
            await say(device, daemon, '{"n": 1}')
            await daemon.terminate()
            daemon.configure(serial_table(device.path) + away("cloud")[0])
            if running:
                await daemon.start()
            assert await waiting(daemon) == {"cloud": 1, "old": 1}
            refused = await queue(daemon, "forget", "--sink", "cloud", "--yes")
            assert refused.code == 1
            assert "is configured" in refused.err
            assert (await queue(daemon, "forget", "--sink", "old", "--yes")).code == 0
            assert await waiting(daemon) == {"cloud": 1}
            gone = await queue(daemon, "forget", "--sink", "old", "--yes")
            assert "nothing is kept for a sink 'old'" in gone.err


@BOTH
async def test_a_removed_lane_is_forgotten_when_nobody_waits_for_it(
    tmp_path: Path, device: PtyDevice, *, running: bool
) -> None:
    lanes = "[lanes.alarms]\npriority = 5\n\n"
    table, _ = away("cloud")
    line = b'{"specversion":"1.0","source":"s","type":"t","id":"x"}\n'
    with device:
        async with bridge(tmp_path, table, device=device, more=lanes) as daemon:
            assert (await queue(daemon, "import", "--lane", "alarms", given=line)).code == 0
            assert "is configured" in (await queue(daemon, "forget", "--lane", "alarms", "--yes")).err
            await daemon.terminate()
            daemon.configure(serial_table(device.path) + table)
            if running:
                await daemon.start()
            waits = await queue(daemon, "forget", "--lane", "alarms", "--yes")
            assert (waits.code, "still has to get 1 events" in waits.err) == (1, True)
            assert (await queue(daemon, "purge", "--lane", "alarms", "--yes")).code == 0
            assert (await queue(daemon, "forget", "--lane", "alarms", "--yes")).code == 0
            assert not (daemon.state_dir / "spool" / "lanes" / "alarms").exists()
            listed = json.loads((await queue(daemon, "list", "--json")).out)
            assert [lane["name"] for lane in listed["lanes"]] == ["default", "dead-letters"]
            if running:
                await say(device, daemon, '{"n": 1}')
                assert await daemon.terminate() == 0


async def test_a_bridge_that_holds_the_spool_and_does_not_answer_is_named(
    tmp_path: Path, device: PtyDevice
) -> None:
    table, _ = away()
    with device:
        async with bridge(tmp_path, table, device=device) as daemon:
            await daemon.until(stored(0), "it answers")
            daemon.control_socket.unlink()
            done = await queue(daemon, "purge", "--yes")
            assert done.code == 75
            assert f"pid {daemon.pid}" in done.err
            assert NAME in done.err
            assert (await queue(daemon, "list")).code == 0


async def test_looking_at_a_stopped_queue_changes_nothing(tmp_path: Path, device: PtyDevice) -> None:
    table, _ = away()
    with device:
        async with bridge(tmp_path, table, device=device) as daemon:
            await up(daemon)
            await say(device, daemon, '{"n": 1}', "garbage")
            await daemon.terminate()
            before = touched(daemon)
            for verb in ("list", "stat", "peek", "verify", "export"):
                assert (await queue(daemon, verb)).code == 0
            for looking in (["list"], ["show", "0"], ["export"]):
                assert (await edge(daemon.config, "dead-letters", *looking)).code == 0
            assert touched(daemon) == before


def touched(daemon: Daemon) -> dict[Path, int]:
    """When everything in the state directory was changed last."""
    return {path: path.stat().st_mtime_ns for path in (daemon.state_dir, *daemon.state_dir.rglob("*"))}
