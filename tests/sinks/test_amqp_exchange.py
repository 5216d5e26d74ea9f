"""The AMQP sink against a scripted broker: what it believes, what it reports, and what it leaves behind."""

import asyncio
import gc
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from bridge.clock import SystemClock
from bridge.errors import Paused, PeerError, Rejected, Unavailable
from bridge.event import Event
from bridge.ports import Site
from bridge.sinks.amqp_exchange import AmqpSettings, AmqpSink
from tests.kit.fake_amqp import FakeBroker, Published
from tests.kit.ports import free_port

PASSWORD = "c0rrect:h@rse/%"


def reading(number: int, **changes: Any) -> Event:
    fixed: dict[str, Any] = {
        "id": f"event-{number}",
        "source": "/boiler",
        "type": "com.example.reading.measured",
        "datacontenttype": "application/json",
        "data": b'{"n":%d}' % number,
    }
    return Event.create(**{**fixed, **changes})


def readings(count: int) -> list[Event]:
    return [reading(number) for number in range(count)]


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text(PASSWORD + "\n")
    return path


@pytest.fixture
async def broker() -> AsyncIterator[FakeBroker]:
    async with FakeBroker() as broker:
        yield broker


@pytest.fixture(autouse=True)
async def _nothing_is_left_running(caplog: pytest.LogCaptureFixture) -> AsyncIterator[None]:
    before = asyncio.all_tasks()
    yield
    async with asyncio.timeout(5):
        while left := asyncio.all_tasks() - before - {asyncio.current_task()}:
            await asyncio.wait(left)
    gc.collect()
    # Neither the library nor asyncio has anything to add.
    told = caplog.get_records("setup") + caplog.get_records("call") + caplog.records
    assert not [record for record in told if not record.name.startswith("bridge.")]


Make = Callable[..., AmqpSink]


@pytest.fixture
def sink(broker: FakeBroker, secret: Path) -> Make:
    def make(**changes: Any) -> AmqpSink:
        table: dict[str, Any] = {
            "url": f"amqp://127.0.0.1:{broker.port}/plants",
            "username": "edge",
            "password_file": secret,
            "exchange": "telemetry",
            "confirm_timeout": 10,
        }
        return AmqpSettings(**{**table, **changes}).build("cloud", Site("gw", SystemClock()))

    return make


# --- the configuration ------------------------------------------------------------------------------------


PLAIN: dict[str, Any] = {
    "url": "amqp://h",
    "exchange": "x",
    "username": "edge",
    "password_file": Path("/etc/edge-bridge/password"),
}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"url": "amqp://edge:hunter2@h:5672"}, "use username and password_file"),
        ({"url": "http://h"}, "must look like"),
        ({"url": "amqp://"}, "must look like"),
        ({"url": "amqp://h:port"}, "[Pp]ort"),
        ({"url": "amqp://h/a/b"}, "written %2F"),
        ({"url": "amqp://h?heartbeat=5"}, "ends with the virtual host"),
        ({"routing_key": "{tpye.x}"}, "there are id, source, type"),
        ({"routing_key": "{Data}"}, "no attribute of an event"),
        ({"routing_key": "{data}"}, "no attribute of an event"),
        ({"routing_key": "{type"}, "without '}'"),
        ({"password_file": None}, "needs username and password_file"),
        ({"username": None}, "needs username and password_file"),
        ({"auth": "external"}, "takes no username"),
        (
            {"auth": "external", "username": None, "password_file": None},
            "needs an amqps url and tls.cert",
        ),
        ({"tls": {}}, 'use "amqps:"'),
        ({"window": 0}, "greater than or equal to 1"),
    ],
)
def test_a_mistake_in_the_table_is_named_with_what_to_do(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says) as caught:
        AmqpSettings(**{**PLAIN, **changes})
    assert "hunter2" not in str(caught.value)


def test_the_peer_is_named_without_credentials() -> None:
    sink = AmqpSettings(**PLAIN).build("cloud", Site("gw", SystemClock()))
    assert sink.peer == "amqp://h exchange 'x'"


# --- connecting -------------------------------------------------------------------------------------------


async def failure(sink: AmqpSink) -> PeerError:
    with pytest.raises(PeerError) as caught:
        async with sink.open():
            pytest.fail("it opened")
    assert PASSWORD not in str(caught.value)
    assert sink.peer in str(caught.value)
    return caught.value


async def test_it_logs_in_with_the_password_as_the_file_has_it(broker: FakeBroker, sink: Make) -> None:
    async with sink().open():
        pass
    assert broker.login == ("PLAIN", f"\x00edge\x00{PASSWORD}")


async def test_a_missing_exchange_pauses_and_is_named(sink: Make) -> None:
    error = await failure(sink(exchange="nowhere"))
    assert isinstance(error, Paused)
    assert "no exchange 'nowhere'" in str(error)


async def test_the_default_exchange_is_not_asked_for(sink: Make) -> None:
    async with sink(exchange="", routing_key="queue").open() as delivery:
        await delivery.send(readings(3))


async def test_a_refused_login_pauses_and_names_the_user(broker: FakeBroker, sink: Make) -> None:
    broker.on_login = lambda: broker.close_connection(403, "ACCESS_REFUSED - Login was refused")
    error = await failure(sink())
    assert isinstance(error, Paused)
    assert "login of user 'edge'" in str(error)


async def test_a_virtual_host_that_is_refused_pauses(broker: FakeBroker, sink: Make) -> None:
    broker.on_vhost = lambda: broker.close_connection(530, "NOT_ALLOWED - vhost plants not found")
    error = await failure(sink())
    assert isinstance(error, Paused)
    assert "virtual host" in str(error)


async def test_a_missing_password_file_pauses_and_is_named(sink: Make, tmp_path: Path) -> None:
    error = await failure(sink(password_file=tmp_path / "none"))
    assert isinstance(error, Paused)
    assert "password_file" in str(error)


async def test_a_closed_port_is_unavailable(sink: Make) -> None:
    error = await failure(sink(url=f"amqp://127.0.0.1:{free_port()}"))
    assert isinstance(error, Unavailable)
    assert "Connection refused" in str(error)


async def test_a_name_that_does_not_resolve_is_unavailable(sink: Make) -> None:
    assert isinstance(await failure(sink(url="amqp://broker.invalid")), Unavailable)


async def test_a_password_in_plain_text_is_warned_of_once(sink: Make, caplog: pytest.LogCaptureFixture) -> None:
    far = sink(url="amqp://broker.invalid")
    for _ in range(2):
        await failure(far)
    [warning] = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warning.startswith("sink cloud: password and events cross the network to broker.invalid in plain text")


async def test_a_broker_that_says_nothing_is_unavailable(broker: FakeBroker, sink: Make) -> None:
    broker.on_login = lambda: None
    error = await failure(sink(connect_timeout=0.2))
    assert isinstance(error, Unavailable)
    assert "no answer within 0.2 s" in str(error)


async def test_a_broker_that_hangs_up_while_logging_in_is_unavailable(broker: FakeBroker, sink: Make) -> None:
    broker.on_login = broker.drop
    assert isinstance(await failure(sink()), Unavailable)


async def test_another_protocol_at_the_port_is_unavailable(sink: Make) -> None:
    async def babble(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(babble, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        error = await failure(sink(url=f"amqp://127.0.0.1:{port}"))
    assert isinstance(error, Unavailable)


async def test_cancelling_while_it_connects_ends_at_once(broker: FakeBroker, sink: Make) -> None:
    asked = asyncio.Event()
    broker.on_login = asked.set

    async def connect() -> None:
        async with sink().open():
            pytest.fail("it opened")

    task = asyncio.create_task(connect())
    await asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


# --- what it sends ----------------------------------------------------------------------------------------


async def test_messages_are_persistent_mandatory_and_carry_the_event(broker: FakeBroker, sink: Make) -> None:
    async with sink(routing_key="plant.{type}").open() as delivery:
        await delivery.send([reading(7)])
    [message] = broker.published
    assert (message.exchange, message.routing_key) == ("telemetry", "plant.com.example.reading.measured")
    assert message.mandatory
    assert message.header.properties.delivery_mode == 2
    assert message.message_id == "event-7"
    assert json.loads(message.body)["data"] == {"n": 7}


async def test_binary_mode_sends_the_data_alone(broker: FakeBroker, sink: Make) -> None:
    async with sink(mode="binary", header_prefix="ce-").open() as delivery:
        await delivery.send([reading(7)])
    [message] = broker.published
    assert message.body == b'{"n":7}'
    assert message.header.properties.content_type == "application/json"
    assert (message.header.properties.headers or {})["ce-id"] == "event-7"


async def test_large_bodies_arrive_whole_through_small_frames(secret: Path) -> None:
    async with FakeBroker(frame_max=4096) as broker:
        settings = AmqpSettings(
            **{
                **PLAIN,
                "url": f"amqp://127.0.0.1:{broker.port}",
                "exchange": "telemetry",
                "password_file": secret,
            },
            mode="binary",
        )
        events = [reading(number, datacontenttype="a/b", data=bytes(range(256)) * 64) for number in range(5)]
        async with AmqpSink(settings, "cloud", "gw").open() as delivery:
            await delivery.send(events)
        assert [message.body for message in broker.published] == [event.data for event in events]


async def test_the_order_of_the_batch_is_the_order_on_the_wire(broker: FakeBroker, sink: Make) -> None:
    async with sink().open() as delivery:
        for start in (0, 500):
            await delivery.send(readings(1000)[start : start + 500])
    assert [message.message_id for message in broker.published] == [f"event-{number}" for number in range(1000)]


# --- confirms ---------------------------------------------------------------------------------------------


async def test_send_returns_only_after_the_last_confirm(broker: FakeBroker, sink: Make) -> None:
    broker.on_publish = lambda message: broker.ack(message.tag) if message.tag != 5 else None
    async with sink().open() as delivery:
        sending = asyncio.create_task(delivery.send(readings(10)))
        await broker.received(10)
        for _ in range(20):
            await asyncio.sleep(0)
        assert not sending.done()
        broker.ack(5)
        await sending


async def test_the_first_message_of_a_connection_goes_alone(broker: FakeBroker, sink: Make) -> None:
    broker.on_publish = lambda message: None
    async with sink().open() as delivery:
        sending = asyncio.create_task(delivery.send(readings(100)))
        await broker.received(1)
        for _ in range(50):
            await asyncio.sleep(0)
        assert len(broker.published) == 1
        broker.on_publish = lambda message: broker.ack(message.tag)
        broker.ack(1)
        await sending
    assert len(broker.published) == 100


async def test_no_more_than_the_window_is_outstanding(broker: FakeBroker, sink: Make) -> None:
    waiting: list[int] = []

    def answer_in_heaps(message: Published) -> None:
        waiting.append(message.tag)
        if message.tag == 1 or len(waiting) >= 30 or message.tag == 400:
            broker.ack(waiting[-1], multiple=True)
            waiting.clear()

    broker.on_publish = answer_in_heaps
    async with sink(window=30).open() as delivery:
        await delivery.send(readings(400))
    assert len(broker.published) == 400
    assert broker.most_open <= 30


async def test_a_thousand_confirms_in_reverse_and_in_heaps(broker: FakeBroker, sink: Make) -> None:
    def last_first(message: Published) -> None:
        if message.tag == 1:
            broker.ack(1)
        if message.tag == 1000:
            for tag in range(1000, 501, -1):
                broker.ack(tag)
            broker.ack(501, multiple=True)

    broker.on_publish = last_first
    async with sink(window=1000).open() as delivery:
        await delivery.send(readings(1000))
    assert broker.most_open == 999


async def test_nacked_messages_are_to_be_sent_again_and_the_others_are_done(
    broker: FakeBroker, sink: Make
) -> None:
    broker.on_publish = lambda message: (
        broker.nack(message.tag) if message.tag % 3 == 0 else broker.ack(message.tag)
    )
    async with sink().open() as delivery:
        with pytest.raises(Unavailable, match=r"refused 33 messages \(basic.nack\)") as caught:
            await delivery.send(readings(100))
    assert caught.value.confirmed == {index for index in range(100) if (index + 1) % 3}
    assert not caught.value.rejected


async def test_returned_messages_pause_and_are_kept_with_a_thousand_outstanding(
    broker: FakeBroker, sink: Make
) -> None:
    def every_third_finds_no_queue(message: Published) -> None:
        if message.tag % 3 == 0:
            broker.give_back(message)
        if message.tag in {1, 1000}:
            broker.ack(message.tag, multiple=True)

    broker.on_publish = every_third_finds_no_queue
    async with sink(window=1000).open() as delivery:
        with pytest.raises(Paused) as caught:
            await delivery.send(readings(1000))
    assert "routing key 'com.example.reading.measured'" in str(caught.value)
    assert "exchange 'telemetry'" in str(caught.value)
    assert caught.value.confirmed == {index for index in range(1000) if (index + 1) % 3}


async def test_equal_ids_never_lend_each_other_a_confirm(broker: FakeBroker, sink: Make) -> None:
    twins = [reading(0, id="same", source=f"/{number}") for number in range(4)]
    strangers = [reading(0, id="same", type="other"), reading(0, id="ö" * 200)]

    def second_and_last_come_back(message: Published) -> None:
        if message.tag in {2, 6}:
            broker.give_back(message)
        broker.ack(message.tag)

    broker.on_publish = second_and_last_come_back
    async with sink().open() as delivery:
        with pytest.raises(Paused) as caught:
            await delivery.send(twins + strangers)
    assert caught.value.confirmed == {4}


# --- broken connections -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("breaks", "kind", "says"),
    [
        (lambda broker: broker.drop(), Unavailable, None),
        (lambda broker: broker.close_channel(404, "NOT_FOUND - no exchange 'telemetry'"), Paused, "no exchange"),
        (lambda broker: broker.close_channel(403, "ACCESS_REFUSED - access to exchange"), Paused, "access to"),
        (lambda broker: broker.close_channel(541, "INTERNAL_ERROR"), Unavailable, "INTERNAL_ERROR"),
        (lambda broker: broker.close_connection(320, "CONNECTION_FORCED"), Unavailable, "CONNECTION_FORCED"),
        (lambda broker: broker.close_connection(530, "NOT_ALLOWED"), Paused, "NOT_ALLOWED"),
    ],
)
async def test_what_was_confirmed_before_the_break_is_not_sent_again(
    broker: FakeBroker, sink: Make, breaks: Callable[[FakeBroker], None], kind: type[PeerError], says: str | None
) -> None:
    def ack_some_then_break(message: Published) -> None:
        if message.tag <= 20 and message.tag % 2:
            broker.ack(message.tag)
        if message.tag == 50:
            breaks(broker)

    broker.on_publish = ack_some_then_break
    tried = sink()
    async with tried.open() as delivery:
        with pytest.raises(PeerError, match=says) as caught:
            await delivery.send(readings(100))
    assert type(caught.value) is kind
    assert tried.peer in str(caught.value)
    if says is None:  # without a word, acks may be lost on the way
        assert caught.value.confirmed <= set(range(0, 20, 2))
    else:
        assert caught.value.confirmed == set(range(0, 20, 2))


async def test_a_connection_that_died_while_idle_fails_the_next_send(broker: FakeBroker, sink: Make) -> None:
    async with sink().open() as delivery:
        await delivery.send(readings(1))
        broker.drop()
        with pytest.raises(Unavailable):
            await delivery.send(readings(5))


async def test_a_connection_that_dies_while_idle_is_told_at_once(broker: FakeBroker, sink: Make) -> None:
    async with sink().open() as delivery:
        idle = asyncio.create_task(delivery.idle())
        await delivery.send(readings(1))
        assert not idle.done()
        broker.drop()
        with pytest.raises(Unavailable, match=r"amqp://127\.0\.0\.1"):
            await asyncio.wait_for(idle, 5)


async def test_a_broker_that_stays_silent_is_unavailable_after_the_timeout(broker: FakeBroker, sink: Make) -> None:
    broker.on_publish = lambda message: broker.ack(1) if message.tag == 1 else None
    async with sink(confirm_timeout=0.2).open() as delivery:
        with pytest.raises(Unavailable, match=r"no confirm within 0.2 s") as caught:
            await delivery.send(readings(10))
    assert caught.value.confirmed == {0}


async def test_a_slow_link_is_not_silence(broker: FakeBroker, sink: Make) -> None:
    broker.on_publish = lambda message: None
    async with sink(confirm_timeout=2).open() as delivery:
        sending = asyncio.create_task(delivery.send(readings(6)))
        for tag in range(1, 7):
            await broker.received(tag)
            await asyncio.sleep(0.5)
            broker.ack(tag)
        await sending


async def test_silence_that_the_heartbeat_ends_is_no_cancellation(broker: FakeBroker, sink: Make) -> None:
    broker.on_publish = lambda message: None
    async with sink(heartbeat=1, confirm_timeout=60).open() as delivery:
        with pytest.raises(Unavailable, match="nothing was heard"):
            await delivery.send(readings(3))


async def test_a_blocked_broker_is_named_as_such(broker: FakeBroker, sink: Make) -> None:
    broker.on_publish = lambda message: broker.block()
    async with sink(confirm_timeout=0.3).open() as delivery:
        with pytest.raises(Unavailable, match="memory or disk alarm"):
            await delivery.send(readings(10))
    assert len(broker.published) == 1


async def test_leaving_a_deaf_broker_leaves_no_bytes_behind(broker: FakeBroker, sink: Make) -> None:
    async with sink(confirm_timeout=0.3).open() as delivery:
        await delivery.send(readings(1))
        broker.deafen()
        with pytest.raises(Unavailable):
            await delivery.send([reading(2, data=b'"%b"' % (b"x" * 24_000_000))])
    broker.listen_again()
    await broker.hung_up()
    assert len(broker.published) == 1


async def test_a_message_the_broker_finds_too_large_is_rejected_and_no_other(
    broker: FakeBroker, sink: Make
) -> None:
    def refuse_the_large(message: Published) -> None:
        if message.tag == 4:
            broker.close_channel(
                406,
                f"PRECONDITION_FAILED - message size {len(message.body)} is larger than configured max size 500",
            )
        elif message.tag < 4:
            broker.ack(message.tag)

    broker.on_publish = refuse_the_large
    batch = [reading(number, data=b'"%b"' % (b"x" * (600 if number == 3 else 10))) for number in range(6)]
    async with sink().open() as delivery:
        with pytest.raises(Unavailable) as caught:
            await delivery.send(batch)
    assert caught.value.confirmed == {0, 1, 2}
    assert list(caught.value.rejected) == [3]
    assert "at most 500" in caught.value.rejected[3]


async def test_cancelling_a_send_leaves_at_once_and_leaves_nothing(broker: FakeBroker, sink: Make) -> None:
    broker.on_publish = lambda message: None

    async def deliver() -> None:
        async with sink().open() as delivery:
            await delivery.send(readings(10))

    task = asyncio.create_task(deliver())
    await broker.received(1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


# --- events that cannot be sent ---------------------------------------------------------------------------


async def test_an_event_that_amqp_cannot_hold_is_rejected_and_the_others_are_done(
    broker: FakeBroker, sink: Make
) -> None:
    batch = [*readings(3), reading(3, type="t" * 300), *readings(2)]
    async with sink().open() as delivery:
        with pytest.raises(Rejected) as caught:
            await delivery.send(batch)
    assert list(caught.value.rejected) == [3]
    assert "routing key has 300 bytes" in caught.value.rejected[3]
    assert len(broker.published) == 5


async def test_an_event_without_the_attribute_of_the_routing_key_pauses_and_the_others_are_done(
    sink: Make,
) -> None:
    batch = [reading(0, extensions=(("line", 4),)), reading(1), reading(2, extensions=(("line", True),))]
    async with sink(routing_key="{line}.{id}").open() as delivery:
        with pytest.raises(Paused, match=r"no value for \{line\}") as caught:
            await delivery.send(batch)
    assert caught.value.confirmed == {0, 2}
