"""The MQTT source against a real mosquitto: restarts, broken links, floods, refusals, TLS."""

import asyncio
import json
import re
import ssl
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import aiomqtt
import pytest

from bridge.clock import SystemClock
from bridge.errors import Paused, PeerError, Unavailable
from bridge.ports import Site
from bridge.sources.mqtt_topics import MqttSource, MqttSourceSettings
from tests.kit.certificates import CertificateKit, Identity
from tests.kit.intake import FakeIntake
from tests.kit.mosquitto import Mosquitto, mosquitto
from tests.kit.proxy import ChaosProxy
from tests.kit.publisher import Publisher

pytestmark = pytest.mark.live

PROTOCOLS = pytest.mark.parametrize("protocol", ["5", "3.1.1"])


def source(port: int, **more: object) -> MqttSource:
    table: dict[str, object] = {
        "kind": "mqtt",
        "event": {"type": "com.example.read"},
        "topics": ["plant/#"],
        "host": "127.0.0.1",
        "port": port,
    }
    return MqttSourceSettings.model_validate({**table, **more}).build("boiler", Site("gw7", SystemClock()))


@asynccontextmanager
async def kept_running(one: MqttSource, intake: FakeIntake) -> AsyncIterator[list[PeerError]]:
    """Runs it again whenever its connection is lost, as the supervisor does; why it was lost."""
    losses: list[PeerError] = []

    async def keep() -> None:
        while True:
            try:
                await one.run(intake)
            except PeerError as error:
                losses.append(error)
                await asyncio.sleep(0.05)

    task = asyncio.create_task(keep())
    try:
        yield losses
    finally:
        task.cancel()
        await asyncio.wait({task})
        if not task.cancelled():
            task.result()


async def session_of(one: MqttSource) -> None:
    """Makes the broker keep a session for the source."""
    intake = FakeIntake()
    async with kept_running(one, intake):
        await intake.until(connected=1)


def numbers(intake: FakeIntake) -> list[int]:
    return [int(json.loads(payload)["n"]) for payload in intake.payloads]


async def until(intake: FakeIntake, wanted: set[int], within: float = 40.0) -> None:
    async with asyncio.timeout(within):
        while not wanted <= set(numbers(intake)):
            await intake.until(durable=len(intake.durable) + 1, within=within)


@PROTOCOLS
async def test_what_was_published_while_we_were_away_arrives_in_order(tmp_path: Path, protocol: str) -> None:
    async with mosquitto(tmp_path, persistence=False) as broker:
        one = source(broker.port, protocol=protocol)
        await session_of(one)
        async with Publisher(broker.port) as device:
            await device.publish(3000)
        intake = FakeIntake()
        async with kept_running(one, intake):
            await intake.until(durable=3000)
        assert numbers(intake) == list(range(3000))


@PROTOCOLS
async def test_all_that_the_broker_confirmed_arrives_although_it_restarts(tmp_path: Path, protocol: str) -> None:
    async with mosquitto(tmp_path) as broker:
        intake = FakeIntake()
        async with kept_running(source(broker.port, protocol=protocol), intake) as losses:
            await intake.until(connected=1)
            async with Publisher(broker.port, window=50) as device:
                publishing = asyncio.create_task(device.publish(1500, rate=1000))
                await intake.until(durable=300)
                await broker.stop()
                await broker.start()
                await publishing
                await until(intake, device.acked)
        assert losses
        assert len(numbers(intake)) - len(set(numbers(intake))) <= 50


@PROTOCOLS
async def test_a_link_that_breaks_before_the_disk_was_done_stores_once(tmp_path: Path, protocol: str) -> None:
    async with mosquitto(tmp_path, persistence=False) as broker, ChaosProxy(broker.port) as proxy:
        intake = FakeIntake()
        intake.gate.clear()
        one = source(proxy.port, protocol=protocol)
        async with kept_running(one, intake) as losses, Publisher(broker.port) as device:
            await intake.until(connected=1)
            await device.publish(10)
            await intake.until(offered=10)
            proxy.reset()
            intake.gate.set()
            await intake.until(connected=2)
            await device.publish(10)
            await intake.until(durable=20)
        assert isinstance(losses[0], Unavailable)
        assert numbers(intake) == list(range(20))
        assert one.redelivered == 10


@PROTOCOLS
async def test_a_lost_acknowledgement_brings_no_second_copy(tmp_path: Path, protocol: str) -> None:
    async with mosquitto(tmp_path, persistence=False) as broker, ChaosProxy(broker.port) as proxy:
        intake = FakeIntake()
        one = source(proxy.port, protocol=protocol)
        async with kept_running(one, intake), Publisher(broker.port) as device:
            await intake.until(connected=1)
            proxy.hold("up")
            await device.publish(10)
            await intake.until(durable=10)
            await proxy.holding("up")
            proxy.reset()
            proxy.forward()
            await intake.until(connected=2)
            await device.publish(1)
            await intake.until(durable=11)
        assert numbers(intake) == list(range(11))
        assert one.redelivered == 10


@PROTOCOLS
async def test_a_link_cut_again_and_again_loses_and_doubles_nothing(tmp_path: Path, protocol: str) -> None:
    async with mosquitto(tmp_path, persistence=False) as broker, ChaosProxy(broker.port) as proxy:
        intake = FakeIntake()
        one = source(proxy.port, protocol=protocol)
        await session_of(one)
        async with Publisher(broker.port) as device:
            await device.publish(1000)
            async with kept_running(one, intake) as losses:
                for cut in (777, 5000, 12_345, 40_001):
                    proxy.cut_after(cut)
                    seen = len(losses)
                    async with asyncio.timeout(20):
                        while len(losses) == seen:
                            await asyncio.sleep(0.01)
                await until(intake, set(range(1000)))
        assert numbers(intake) == list(range(1000))


async def test_a_black_hole_is_noticed_and_left(tmp_path: Path) -> None:
    async with mosquitto(tmp_path, persistence=False) as broker, ChaosProxy(broker.port) as proxy:
        intake = FakeIntake()
        async with kept_running(source(proxy.port, keepalive=1), intake) as losses:
            await intake.until(connected=1)
            proxy.black_hole()
            async with asyncio.timeout(20):
                while not losses:
                    await asyncio.sleep(0.02)
            proxy.forward()
            async with Publisher(broker.port) as device:
                await device.publish(3)
            await intake.until(durable=3, connected=2)
        assert "silent" in str(losses[0])
        assert str(proxy.port) in str(losses[0])


@PROTOCOLS
async def test_a_broker_that_sends_without_limit_fills_no_memory(tmp_path: Path, protocol: str) -> None:
    total = 12_000
    async with mosquitto(tmp_path, ["max_inflight_messages 0"], persistence=False) as broker:
        one = source(broker.port, protocol=protocol, receive_maximum=100)
        await session_of(one)
        async with Publisher(broker.port) as device:
            await device.publish(total)
        intake = FakeIntake()
        intake.gate.clear()
        async with kept_running(one, intake) as losses:
            await intake.until(offered=1)
            held = -1
            while held != len(intake.offered):
                held = len(intake.offered)
                await asyncio.sleep(0.2)
            assert held <= 2000 + 65536 // 200
            intake.gate.set()
            await intake.until(durable=total)
        assert losses == []
        assert numbers(intake) == list(range(total))


@PROTOCOLS
async def test_a_topic_that_left_the_configuration_stays_away_and_takes_nothing_with_it(
    tmp_path: Path, protocol: str
) -> None:
    async with mosquitto(tmp_path, persistence=False) as broker:
        # With MQTT 5 mosquitto delivers once for each subscription that matches, with 3.1.1 once in all.
        await session_of(source(broker.port, protocol=protocol, topics=["plant/#"]))
        await session_of(source(broker.port, protocol=protocol, topics=["shed/#"]))
        await _publish(broker, "shed/b/c", "plant/x")
        intake = FakeIntake()
        async with kept_running(source(broker.port, protocol=protocol, topics=["plant/{device}"]), intake):
            await intake.until(durable=60)
            assert {frame.origin for frame in intake.durable if frame.fault} == {"shed/b/c"}
            await _until_unsubscribed(broker, "shed/#", "plant/#" if protocol == "5" else "shed/#")
            seen = len(intake.durable)
            await _publish(broker, "shed/b/c", "plant/x")
            await intake.until(durable=seen + 30)
        assert [(frame.origin, frame.fault) for frame in intake.durable[seen:]] == [("plant/x", None)] * 30


async def _publish(broker: Mosquitto, *topics: str) -> None:
    for topic in topics:
        async with Publisher(broker.port, topic) as device:
            await device.publish(30)


async def _until_unsubscribed(broker: Mosquitto, *filters: str) -> None:
    async with asyncio.timeout(10):
        while not all(
            re.search(rf"edge-bridge-gw7-boiler {name}$", broker.log(), re.MULTILINE) for name in filters
        ):
            await asyncio.sleep(0.02)


@PROTOCOLS
async def test_retained_messages_come_once(tmp_path: Path, protocol: str) -> None:
    async with mosquitto(tmp_path, persistence=False) as broker, ChaosProxy(broker.port) as proxy:
        await _publish_retained(broker.port)
        intake = FakeIntake()
        async with kept_running(source(proxy.port, protocol=protocol), intake):
            await intake.until(durable=1, connected=1)
            proxy.reset()
            await intake.until(connected=2)
            async with Publisher(broker.port) as device:
                await device.publish(1)
            await intake.until(durable=2)
        assert [frame.origin for frame in intake.durable] == ["plant/retained", "plant/boiler"]


async def _publish_retained(port: int) -> None:
    async with asyncio.timeout(10), aiomqtt.Client("127.0.0.1", port) as device:
        await device.publish("plant/retained", b'{"n":0}', qos=1, retain=True)


# --- refusals ---------------------------------------------------------------------------------------------


async def refusal(one: MqttSource) -> PeerError:
    with pytest.raises(PeerError) as caught:
        async with asyncio.timeout(20):
            await one.run(FakeIntake())
    return caught.value


@PROTOCOLS
async def test_a_wrong_password_waits_for_people(tmp_path: Path, protocol: str) -> None:
    passwords, right, wrong = (tmp_path / name for name in ("passwords", "right", "wrong"))
    right.write_text("good\n")
    wrong.write_text("bad\n")
    await asyncio.to_thread(
        subprocess.run, ["mosquitto_passwd", "-b", "-c", str(passwords), "gw", "good"], check=True, timeout=10
    )
    extra = [f"password_file {passwords}", "allow_anonymous false"]
    async with mosquitto(tmp_path / "broker", extra, persistence=False) as broker:
        known = {"protocol": protocol, "username": "gw"}
        await session_of(source(broker.port, password_file=str(right), **known))
        for one in (source(broker.port, password_file=str(wrong), **known), source(broker.port)):
            error = await refusal(one)
            assert isinstance(error, Paused)
            assert f"mqtt://127.0.0.1:{broker.port} refuses the connection: " in str(error)


DYNAMIC_SECURITY = Path("/usr/lib/x86_64-linux-gnu/mosquitto_dynamic_security.so")
ACCESS = {
    "defaultACLAccess": {
        "publishClientSend": True,
        "publishClientReceive": True,
        "subscribe": False,
        "unsubscribe": True,
    },
    "clients": [],
    "groups": [{"groupname": "anybody", "roles": [{"rolename": "reader"}]}],
    "roles": [
        {
            "rolename": "reader",
            "acls": [{"acltype": "subscribePattern", "topic": "plant/open/#", "allow": True}],
        }
    ],
    "anonymousGroup": "anybody",
}


@PROTOCOLS
async def test_a_topic_that_the_access_list_denies_waits_for_people(tmp_path: Path, protocol: str) -> None:
    access = tmp_path / "access.json"
    access.write_text(json.dumps(ACCESS))
    access.chmod(0o666)
    extra = [f"plugin {DYNAMIC_SECURITY}", f"plugin_opt_config_file {access}", "allow_anonymous true"]
    async with mosquitto(tmp_path / "broker", extra, persistence=False) as broker:
        await session_of(source(broker.port, protocol=protocol, topics=["plant/open/#"]))
        topics = ["plant/open/#", "plant/secret/#"]
        error = await refusal(source(broker.port, protocol=protocol, topics=topics))
        assert isinstance(error, Paused)
        assert '"plant/secret/#"' in str(error)
        assert "plant/open" not in str(error)


def tls_lines(certificates: CertificateKit, server: Identity, *, demand: bool = False) -> Sequence[str]:
    lines = [f"certfile {server.cert}", f"keyfile {server.key}"]
    return [*lines, f"cafile {certificates.ca}", "require_certificate true"] if demand else lines


async def test_messages_come_over_mutual_tls(tmp_path: Path, certificates: CertificateKit) -> None:
    extra = [*tls_lines(certificates, certificates.server, demand=True), "max_inflight_messages 0"]
    async with mosquitto(tmp_path, extra, persistence=False) as broker:
        tls = {
            "ca": str(certificates.ca),
            "cert": str(certificates.client.cert),
            "key": str(certificates.client.key),
        }
        intake = FakeIntake()
        context = ssl.create_default_context(cafile=certificates.ca)
        context.load_cert_chain(certificates.client.cert, certificates.client.key)
        async with kept_running(source(broker.port, tls=tls), intake):
            await intake.until(connected=1)
            async with Publisher(broker.port, tls=context) as device:
                await device.publish(2000)
                await intake.until(durable=2000)
        assert intake.peers == [f"mqtts://127.0.0.1:{broker.port}"]


@pytest.mark.parametrize(
    ("server", "words"),
    [
        ("rogue_server", "not signed by a CA in"),
        ("expired_server", "has expired"),
        ("wrong_host_server", "is not for"),
    ],
)
async def test_a_server_that_cannot_be_trusted_waits_for_people(
    tmp_path: Path, certificates: CertificateKit, server: str, words: str
) -> None:
    async with mosquitto(
        tmp_path, tls_lines(certificates, getattr(certificates, server)), persistence=False
    ) as broker:
        error = await refusal(source(broker.port, tls={"ca": str(certificates.ca)}))
        assert isinstance(error, Paused)
        assert words in str(error)
        assert f"mqtts://127.0.0.1:{broker.port}" in str(error)


@pytest.mark.parametrize(("client", "words"), [(None, "demands a client certificate"), ("rogue_client", "CA")])
async def test_a_client_certificate_that_is_refused_is_the_cause_that_is_named(
    tmp_path: Path, certificates: CertificateKit, client: str | None, words: str
) -> None:
    async with mosquitto(
        tmp_path, tls_lines(certificates, certificates.server, demand=True), persistence=False
    ) as broker:
        tls = {"ca": str(certificates.ca)}
        if client is not None:
            tls |= {"cert": str(getattr(certificates, client).cert), "key": str(getattr(certificates, client).key)}
        for _ in range(5):
            error = await refusal(source(broker.port, tls=tls))
            assert isinstance(error, Paused), error
            assert words in str(error)


async def test_tls_and_no_tls_that_meet_are_told_apart(tmp_path: Path, certificates: CertificateKit) -> None:
    async with mosquitto(tmp_path / "plain", persistence=False) as broker:
        error = await refusal(source(broker.port, tls={"ca": str(certificates.ca)}))
        assert f"mqtts://127.0.0.1:{broker.port}" in str(error)
        assert "TLS" in str(error)
    async with mosquitto(
        tmp_path / "tls", tls_lines(certificates, certificates.server), persistence=False
    ) as broker:
        error = await refusal(source(broker.port))
        assert isinstance(error, Unavailable)
        assert "perhaps the port expects TLS" in str(error)
