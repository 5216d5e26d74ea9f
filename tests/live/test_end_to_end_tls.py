"""Certificates from end to end: mutual TLS everywhere, and every failure told once, with its cause."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.kit.certificates import CertificateKit, Identity
from tests.kit.daemon import Daemon, all_up
from tests.kit.endtoend import FarQueue, http_table, mqtt_table, posted
from tests.kit.mosquitto import Mosquitto, mosquitto
from tests.kit.proxy import ChaosProxy
from tests.kit.publisher import Publisher
from tests.kit.rabbitmq import USER
from tests.kit.receiver import Receiver
from tests.kit.tally import Tally

pytestmark = [pytest.mark.live, pytest.mark.timeout(90)]

TRIES = 3


@dataclass(frozen=True)
class Peers:
    """Where each kind of component connects to."""

    mqtt: int
    amqp: int
    http: int


def tls_key(ca: Path, shown: Identity | None) -> str:
    """The key ``tls`` of a component."""
    client = f', cert = "{shown.cert}", key = "{shown.key}"' if shown else ""
    return f'tls = {{ ca = "{ca}"{client} }}'


def tables(name: str, peers: Peers, queue: FarQueue, ca: Path, shown: Identity | None) -> str:
    """A source and two sinks, all over TLS; without a certificate to show, AMQP logs in with a password."""
    tls = tls_key(ca, shown)
    login = 'auth = "external"' if shown else f'username = "{USER}"\npassword_file = "{queue.secret}"'
    return (
        mqtt_table(peers.mqtt, f"mqtt-{name}", more=tls)
        + f'[sinks.amqp-{name}]\nkind = "amqp"\nurl = "amqps://127.0.0.1:{peers.amqp}"\n'
        + f'exchange = "{queue.name}"\n{login}\n{tls}\n\n'
        + http_table(f"https://127.0.0.1:{peers.http}/", f"http-{name}", more=tls)
    )


@pytest.fixture
async def strict_mosquitto(tmp_path: Path, certificates: CertificateKit) -> AsyncIterator[Mosquitto]:
    lines = (
        f"cafile {certificates.ca}",
        f"certfile {certificates.server.cert}",
        f"keyfile {certificates.server.key}",
        "require_certificate true",
        "use_identity_as_username true",
        "max_inflight_messages 500",
    )
    async with mosquitto(tmp_path / "strict-mosquitto", lines, persistence=False) as broker:
        yield broker


@pytest.fixture
async def strict_receiver(certificates: CertificateKit) -> AsyncIterator[Receiver]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=certificates.ca)
    context.load_cert_chain(certificates.server.cert, certificates.server.key)
    context.verify_mode = ssl.CERT_REQUIRED
    async with Receiver(tls=context) as receiver:
        yield receiver


async def test_mutual_tls_works_from_end_to_end(
    tmp_path: Path,
    certificates: CertificateKit,
    strict_mosquitto: Mosquitto,
    strict_receiver: Receiver,
    queue: FarQueue,
) -> None:
    peers = Peers(strict_mosquitto.port, queue.rabbit.tls_port, strict_receiver.port)
    config = tables("good", peers, queue, certificates.ca, certificates.client)
    context = ssl.create_default_context(cafile=certificates.ca)
    context.load_cert_chain(certificates.client.cert, certificates.client.key)
    async with (
        Daemon(tmp_path / "daemon", config) as daemon,
        Publisher(strict_mosquitto.port, tls=context) as publisher,
    ):
        await daemon.start()
        await daemon.until(all_up, "everything is up")
        await publisher.publish(1000)
        await daemon.until(lambda report: all(sink.delivered >= 1000 for sink in report.sinks), "all is delivered")
        tally = Tally()
        await queue.collect(tally, lambda: not tally.missing(publisher.acked))
        tally.assert_kept(publisher.acked)
        posted(strict_receiver).assert_kept(publisher.acked)


@asynccontextmanager
async def server_with(pair: Identity) -> AsyncIterator[int]:
    """A TLS server with that certificate; what it speaks does not matter, nobody gets that far."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.cert, pair.key)
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


CAUSES = {
    "ca": "not signed by a CA in",
    "host": "certificate is not for 127.0.0.1",
    "expired": "has expired",
    "nocert": "client certificate",
}


async def test_each_tls_failure_is_told_once_and_names_its_cause(
    tmp_path: Path,
    certificates: CertificateKit,
    local_broker: Mosquitto,
    strict_mosquitto: Mosquitto,
    strict_receiver: Receiver,
    queue: FarQueue,
) -> None:
    strict = Peers(strict_mosquitto.port, queue.rabbit.tls_port, strict_receiver.port)
    async with AsyncExitStack() as stack:
        elsewhere = await stack.enter_async_context(server_with(certificates.wrong_host_server))
        expired = await stack.enter_async_context(server_with(certificates.expired_server))
        cases = {
            "ca": (strict, certificates.rogue_ca, certificates.client),
            "host": (Peers(elsewhere, elsewhere, elsewhere), certificates.ca, certificates.client),
            "expired": (Peers(expired, expired, expired), certificates.ca, certificates.client),
            "nocert": (strict, certificates.ca, None),
        }
        proxies: dict[str, ChaosProxy] = {}
        config = mqtt_table(local_broker.port)
        for case, (peers, ca, shown) in cases.items():
            for kind in ("mqtt", "amqp", "http"):
                proxy = ChaosProxy(getattr(peers, kind))
                proxies[f"{kind}-{case}"] = await stack.enter_async_context(proxy)
            ports = Peers(*(proxies[f"{kind}-{case}"].port for kind in ("mqtt", "amqp", "http")))
            config += tables(case, ports, queue, ca, shown)
        daemon = await stack.enter_async_context(Daemon(tmp_path / "daemon", config))
        await daemon.start()
        async with Publisher(local_broker.port) as publisher:
            await publisher.publish(10)
        async with asyncio.timeout(60):
            while any(proxy.accepted < TRIES for proxy in proxies.values()):
                await asyncio.sleep(0.1)
        await daemon.terminate()
    for name in proxies:
        kind, case = name.split("-")
        told = daemon.logged(rf"(source|sink) {name}: (down|stopped)")
        assert len(told) == 1, f"{name}: {told}"
        assert CAUSES[case] in told[0], told[0]
