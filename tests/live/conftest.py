"""Real brokers for the tests beside it, started when the first test asks for one."""

import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.kit.certificates import CLIENT_NAME, CertificateKit
from tests.kit.endtoend import FarQueue, far_queue
from tests.kit.mosquitto import Mosquitto, mosquitto
from tests.kit.rabbitmq import BrokerTls, RabbitBroker, User


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> CertificateKit:
    """Good and bad certificates."""
    return CertificateKit(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def shared_rabbit(
    tmp_path_factory: pytest.TempPathFactory, certificates: CertificateKit
) -> Iterator[RabbitBroker]:
    """One RabbitMQ for the whole session, plain and with mutual TLS; a test that stops it starts it again.

    The certificate ``certificates.client`` logs in without a password (EXTERNAL).
    """
    server = certificates.server
    tls = BrokerTls(certificates.ca, server.cert, server.key)
    with RabbitBroker(tmp_path_factory.mktemp("rabbit"), tls=tls, users=(User(CLIENT_NAME),)) as broker:
        yield broker


@pytest.fixture
async def queue(
    shared_rabbit: RabbitBroker, request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[FarQueue]:
    """A queue of its own for each test."""
    name = re.sub(r"\W+", "-", request.node.name)[:80]
    queue = await far_queue(shared_rabbit, name, tmp_path)
    yield queue
    await shared_rabbit.delete(queue=name, exchange=name)


@pytest.fixture
async def local_broker(tmp_path: Path) -> AsyncIterator[Mosquitto]:
    """A mosquitto that keeps any number of messages for a client that is away, in memory."""
    async with mosquitto(tmp_path / "mosquitto", ("max_inflight_messages 500",), persistence=False) as broker:
        yield broker
