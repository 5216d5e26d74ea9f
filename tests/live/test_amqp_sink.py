"""The AMQP sink and a real RabbitMQ: what is read back, what is refused, and what every outage leaves."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bridge.clock import SystemClock
from bridge.errors import Paused, PeerError, Unavailable
from bridge.event import Event
from bridge.ports import Site
from bridge.sinks.amqp_exchange import AmqpSettings, AmqpSink
from bridge.wire import json_format
from tests.kit.certificates import CLIENT_NAME, WRONG_HOST, CertificateKit
from tests.kit.proxy import ChaosProxy
from tests.kit.rabbitmq import PASSWORD, USER, BrokerTls, RabbitBroker, User

pytestmark = [pytest.mark.live, pytest.mark.timeout(120)]

EXCHANGE = "amqp-sink"
QUEUE = "amqp-sink"
FULL = "amqp-sink-full"
LIMIT = 20_000


def reading(number: int, **changes: Any) -> Event:
    fixed: dict[str, Any] = {
        "id": f"event-{number}",
        "source": "/boiler",
        "type": "com.example.reading.measured",
        "time": "2026-11-23T21:29:31.123456Z",
        "subject": "Kühlraum 3",
        "datacontenttype": "application/json",
        "extensions": (("sequence", f"{number:020d}"), ("alarm", True), ("line", 4)),
        "data": b'{"t": 21.50}',
    }
    return Event.create(**{**fixed, **changes})


def readings(count: int) -> list[Event]:
    return [reading(number) for number in range(count)]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> CertificateKit:
    return CertificateKit(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def rabbit(tmp_path_factory: pytest.TempPathFactory, certificates: CertificateKit) -> Iterator[RabbitBroker]:
    """A broker with TLS that demands client certificates, a small limit of message sizes, and a poor user."""
    tls = BrokerTls(certificates.ca, certificates.server.cert, certificates.server.key)
    users = (User(CLIENT_NAME), User("poor", PASSWORD, write="nothing"))
    with RabbitBroker(
        tmp_path_factory.mktemp("rabbit"), tls=tls, users=users, config=f"max_message_size = {LIMIT}"
    ) as broker:
        yield broker


@pytest.fixture(autouse=True)
async def _empty_queue(rabbit: RabbitBroker) -> None:
    await rabbit.delete(queue=QUEUE, exchange=EXCHANGE)
    await rabbit.declare(QUEUE, exchange=EXCHANGE, binding="com.example.#")


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text(PASSWORD)
    return path


Make = Callable[..., AmqpSink]


@pytest.fixture
def sink(rabbit: RabbitBroker, secret: Path) -> Make:
    def make(**changes: Any) -> AmqpSink:
        table: dict[str, Any] = {
            "url": rabbit.url,
            "username": USER,
            "password_file": secret,
            "exchange": EXCHANGE,
            "confirm_timeout": 5,
        }
        return AmqpSettings(**{**table, **changes}).build("cloud", Site("gw", SystemClock()))

    return make


@pytest.fixture
async def proxy(rabbit: RabbitBroker) -> AsyncIterator[ChaosProxy]:
    async with ChaosProxy(rabbit.port) as proxy:
        yield proxy


async def ids(rabbit: RabbitBroker) -> list[str]:
    return [message.message_id or "" for message in await rabbit.take(QUEUE)]


async def failure(sink: AmqpSink) -> PeerError:
    with pytest.raises(PeerError) as caught:
        async with sink.open():
            pytest.fail("it opened")
    assert PASSWORD not in str(caught.value)
    return caught.value


# --- what arrives -----------------------------------------------------------------------------------------


async def test_a_structured_event_is_read_back_with_every_attribute(rabbit: RabbitBroker, sink: Make) -> None:
    async with sink().open() as delivery:
        await delivery.send([reading(1)])
    [message] = await rabbit.take(QUEUE)
    assert message.body == json_format.encode(reading(1))
    assert {**json.loads(message.body), "data": None} == {**dict(reading(1).attributes()), "data": None}
    assert message.content_type == json_format.CONTENT_TYPE
    assert (message.message_id, message.type) == ("event-1", "com.example.reading.measured")
    assert message.timestamp is not None
    assert message.timestamp.isoformat() == "2026-11-23T21:29:31+00:00"
    assert message.delivery_mode == 2
    assert message.routing_key == "com.example.reading.measured"


async def test_a_binary_event_is_read_back_with_every_attribute(rabbit: RabbitBroker, sink: Make) -> None:
    async with sink(mode="binary").open() as delivery:
        await delivery.send([reading(1)])
    [message] = await rabbit.take(QUEUE)
    assert message.body == b'{"t": 21.50}'
    assert message.content_type == "application/json"
    assert message.headers == {
        "cloudEvents_specversion": "1.0",
        "cloudEvents_id": "event-1",
        "cloudEvents_source": "/boiler",
        "cloudEvents_type": "com.example.reading.measured",
        "cloudEvents_subject": "Kühlraum 3",
        "cloudEvents_time": "2026-11-23T21:29:31.123456Z",
        "cloudEvents_sequence": "00000000000000000001",
        "cloudEvents_alarm": "true",
        "cloudEvents_line": "4",
    }


async def test_thousands_arrive_once_and_in_order(rabbit: RabbitBroker, sink: Make) -> None:
    events = readings(3000)
    async with sink().open() as delivery:
        for start in range(0, 3000, 1000):
            await delivery.send(events[start : start + 1000])
    assert await ids(rabbit) == [event.id for event in events]


# --- what the broker refuses ------------------------------------------------------------------------------


async def test_a_missing_exchange_pauses_at_connecting(sink: Make) -> None:
    error = await failure(sink(exchange="nowhere"))
    assert isinstance(error, Paused)
    assert "no exchange 'nowhere'" in str(error)


async def test_an_exchange_deleted_in_mid_flight_pauses(rabbit: RabbitBroker, sink: Make) -> None:
    async with sink().open() as delivery:
        await delivery.send(readings(3))
        await rabbit.delete(exchange=EXCHANGE)
        with pytest.raises(Paused, match=f"no exchange '{EXCHANGE}'") as caught:
            await delivery.send(readings(10))
    assert not caught.value.confirmed


async def test_what_has_no_queue_pauses_and_the_rest_is_confirmed(rabbit: RabbitBroker, sink: Make) -> None:
    batch = [
        reading(number, type="org.stranger" if number % 4 == 0 else "com.example.known") for number in range(1000)
    ]
    async with sink(window=1000).open() as delivery:
        with pytest.raises(Paused, match=r"250 messages reached no queue.*'org.stranger'") as caught:
            await delivery.send(batch)
    assert caught.value.confirmed == {number for number in range(1000) if number % 4}
    assert await ids(rabbit) == [f"event-{number}" for number in range(1000) if number % 4]


async def test_a_full_queue_refuses_and_exactly_the_confirmed_are_in_it(rabbit: RabbitBroker, sink: Make) -> None:
    await rabbit.delete(queue=QUEUE)
    await rabbit.declare(QUEUE, exchange=EXCHANGE, arguments={"x-max-length": 5, "x-overflow": "reject-publish"})
    async with sink().open() as delivery:
        with pytest.raises(Unavailable, match="queue is full") as caught:
            await delivery.send(readings(40))
    assert await ids(rabbit) == [f"event-{number}" for number in sorted(caught.value.confirmed)]
    assert 0 < len(caught.value.confirmed) < 40


async def test_a_message_beyond_the_limit_of_the_broker_is_rejected(rabbit: RabbitBroker, sink: Make) -> None:
    batch = [reading(number, data=b'"%b"' % (b"x" * (LIMIT if number == 7 else 9))) for number in range(10)]
    async with sink().open() as delivery:
        with pytest.raises(Unavailable) as caught:
            await delivery.send(batch)
    assert list(caught.value.rejected) == [7]
    assert f"at most {LIMIT}" in caught.value.rejected[7]
    assert 7 not in caught.value.confirmed


async def test_a_user_who_may_not_write_pauses(sink: Make) -> None:
    async with sink(username="poor").open() as delivery:
        with pytest.raises(Paused, match="ACCESS_REFUSED"):
            await delivery.send(readings(3))


async def test_a_wrong_password_pauses_and_names_the_user(sink: Make, tmp_path: Path) -> None:
    (tmp_path / "wrong").write_text("wrong")
    error = await failure(sink(password_file=tmp_path / "wrong"))
    assert isinstance(error, Paused)
    assert f"user '{USER}'" in str(error)


async def test_an_unknown_virtual_host_pauses(rabbit: RabbitBroker, sink: Make) -> None:
    error = await failure(sink(url=f"{rabbit.url}/elsewhere"))
    assert isinstance(error, Paused)
    assert "virtual host" in str(error)


# --- outages ----------------------------------------------------------------------------------------------


async def test_after_a_reset_nothing_confirmed_is_missing_and_only_the_rest_is_sent_again(
    rabbit: RabbitBroker, sink: Make, proxy: ChaosProxy
) -> None:
    through = sink(url=f"amqp://127.0.0.1:{proxy.port}")
    events = readings(1000)
    async with through.open() as delivery:
        await delivery.send(events[:1])
        proxy.cut_after(100_000, "up")
        with pytest.raises(Unavailable) as caught:
            await delivery.send(events)
    rest = [event for index, event in enumerate(events) if index not in caught.value.confirmed]
    assert len(rest) < 1000
    async with through.open() as delivery:
        await delivery.send(rest)
    arrived = await ids(rabbit)
    assert set(arrived) == {event.id for event in events}
    for index in caught.value.confirmed - {0}:
        assert arrived.count(f"event-{index}") == 1


async def test_a_black_hole_is_unavailable_and_left_quickly(sink: Make, proxy: ChaosProxy) -> None:
    tasks = asyncio.all_tasks()
    async with asyncio.timeout(15):
        async with sink(url=f"amqp://127.0.0.1:{proxy.port}", confirm_timeout=1).open() as delivery:
            await delivery.send(readings(10))
            proxy.black_hole()
            with pytest.raises(Unavailable, match="no confirm within 1 s") as caught:
                await delivery.send(readings(10))
        assert not caught.value.confirmed
    assert not {task for task in asyncio.all_tasks() - tasks if "ChaosProxy" not in repr(task)}


async def test_a_black_hole_that_the_heartbeat_finds_is_no_cancellation(sink: Make, proxy: ChaosProxy) -> None:
    async with sink(url=f"amqp://127.0.0.1:{proxy.port}", heartbeat=1, confirm_timeout=60).open() as delivery:
        await delivery.send(readings(1))
        proxy.black_hole()
        with pytest.raises(Unavailable):
            await delivery.send(readings(10))


async def test_a_broker_with_an_alarm_is_named_and_gets_one_message_per_attempt(
    rabbit: RabbitBroker, sink: Make
) -> None:
    await asyncio.to_thread(rabbit.ctl, "set_vm_memory_high_watermark", "0.000001")
    try:
        for _ in range(3):
            async with sink(confirm_timeout=1).open() as delivery:
                with pytest.raises(Unavailable, match="memory or disk alarm"):
                    await delivery.send(readings(100))
    finally:
        await asyncio.to_thread(rabbit.ctl, "set_vm_memory_high_watermark", "0.9")
    async with sink().open() as delivery:
        await delivery.send(readings(100))
    arrived = await ids(rabbit)
    assert set(arrived) == {event.id for event in readings(100)}
    assert len(arrived) <= 103


async def test_a_broker_that_restarts_keeps_what_it_confirmed(rabbit: RabbitBroker, sink: Make) -> None:
    async with sink().open() as delivery:
        await delivery.send(readings(500))
        await asyncio.to_thread(rabbit.kill)
        with pytest.raises(Unavailable):
            await delivery.send(readings(500))
    assert isinstance(await failure(sink()), Unavailable)
    await asyncio.to_thread(rabbit.start)
    assert set(await ids(rabbit)) == {event.id for event in readings(500)}


# --- TLS --------------------------------------------------------------------------------------------------


def external(rabbit: RabbitBroker, certificates: CertificateKit, **tls: Path | str | None) -> dict[str, Any]:
    files = {"ca": certificates.ca, "cert": certificates.client.cert, "key": certificates.client.key, **tls}
    return {
        "url": rabbit.tls_url,
        "auth": "external",
        "username": None,
        "password_file": None,
        "tls": {name: value for name, value in files.items() if value is not None},
    }


async def test_a_client_certificate_logs_in_without_a_password(
    rabbit: RabbitBroker, sink: Make, certificates: CertificateKit
) -> None:
    async with sink(**external(rabbit, certificates)).open() as delivery:
        await delivery.send(readings(10))
    assert await rabbit.depth(QUEUE) == 10


async def test_a_password_over_tls_logs_in(rabbit: RabbitBroker, sink: Make, certificates: CertificateKit) -> None:
    tls = external(rabbit, certificates)["tls"]
    async with sink(url=rabbit.tls_url, tls=tls).open() as delivery:
        await delivery.send(readings(10))
    assert await rabbit.depth(QUEUE) == 10


async def test_a_ca_that_did_not_sign_the_broker_pauses(
    rabbit: RabbitBroker, sink: Make, certificates: CertificateKit
) -> None:
    error = await failure(sink(**external(rabbit, certificates, ca=certificates.rogue_ca)))
    assert isinstance(error, Paused)
    assert "not signed by" in str(error)


async def test_a_certificate_for_another_host_pauses(
    rabbit: RabbitBroker, sink: Make, certificates: CertificateKit
) -> None:
    error = await failure(sink(**external(rabbit, certificates, server_hostname=WRONG_HOST)))
    assert isinstance(error, Paused)
    assert "is not for" in str(error)


async def test_a_client_certificate_that_has_expired_pauses(
    rabbit: RabbitBroker, sink: Make, certificates: CertificateKit
) -> None:
    old = certificates.expired_client
    error = await failure(sink(**external(rabbit, certificates, cert=old.cert, key=old.key)))
    assert isinstance(error, Paused)
    assert "expired" in str(error)


async def test_a_client_certificate_of_an_unknown_ca_pauses_and_is_named(
    rabbit: RabbitBroker, sink: Make, certificates: CertificateKit
) -> None:
    rogue = certificates.rogue_client
    error = await failure(sink(**external(rabbit, certificates, cert=rogue.cert, key=rogue.key)))
    assert isinstance(error, Paused)
    assert "refuses our client certificate" in str(error)


async def test_a_missing_client_certificate_pauses_and_is_named(
    rabbit: RabbitBroker, sink: Make, certificates: CertificateKit
) -> None:
    error = await failure(sink(url=rabbit.tls_url, tls={"ca": certificates.ca}))
    assert isinstance(error, Paused)
    assert "demands a client certificate" in str(error)


async def test_plain_amqp_at_the_port_of_tls_is_unavailable(rabbit: RabbitBroker, sink: Make) -> None:
    error = await failure(sink(url=f"amqp://127.0.0.1:{rabbit.tls_port}"))
    assert isinstance(error, Unavailable)


async def test_tls_at_the_port_of_plain_amqp_is_told(
    rabbit: RabbitBroker, sink: Make, certificates: CertificateKit
) -> None:
    error = await failure(sink(**{**external(rabbit, certificates), "url": f"amqps://localhost:{rabbit.port}"}))
    assert isinstance(error, Paused)
    assert "does not speak TLS" in str(error)
