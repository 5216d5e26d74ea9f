"""One connection to a broker: what is read, acknowledged, refused, and that nothing stays behind."""

import asyncio
import gc
import inspect
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from itertools import pairwise

import aiomqtt
import paho.mqtt.client as paho
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.clock import Moment, SystemClock
from bridge.errors import Paused, Rejected, Unavailable
from bridge.mqtt_session import Bounds, Burst, MqttOptions, MqttSession
from bridge.mqtt_session.inbox import Inbox
from bridge.mqtt_session.packets import Inbound, Malformed, Message
from tests.kit import fake_mqtt as mqtt
from tests.kit.fake_mqtt import FakeBroker, fake_broker, publish
from tests.kit.proxy import ChaosProxy

NOW = Moment(1, 2, True)


@pytest.fixture(params=["5", "3.1.1"])
async def broker(request: pytest.FixtureRequest) -> AsyncIterator[FakeBroker]:
    async with fake_broker(version5=request.param == "5") as broker:
        yield broker


def options(broker: FakeBroker, port: int = 0, **more: object) -> MqttOptions:
    settings = {"keepalive": 20, "timeout": 5.0, **more}
    return MqttOptions(
        "127.0.0.1",
        port or broker.port,
        "gateway",
        "5" if broker.version5 else "3.1.1",
        **settings,  # type: ignore[arg-type]
    )


def session(broker: FakeBroker, port: int = 0, bounds: Bounds = Bounds(), **more: object) -> MqttSession:  # noqa: B008
    return MqttSession(options(broker, port, **more), SystemClock(), bounds)


def reading(broker: FakeBroker, number: int, payload: bytes = b"21.5", **more: bool) -> bytes:
    return publish("plant/boiler", payload, number, properties=b"" if broker.version5 else None, **more)


async def take(bursts: AsyncIterator[Burst], count: int) -> list[Burst]:
    taken: list[Burst] = []
    async with asyncio.timeout(10):
        while sum(len(burst.messages) for burst in taken) < count:
            taken.append(await anext(bursts))
    return taken


# --- packets ----------------------------------------------------------------------------------------------

packets = st.one_of(
    st.builds(
        lambda topic, payload, number, dup, props: publish(topic, payload, number, dup=dup, properties=props),
        st.text(max_size=20),
        st.binary(max_size=300),
        st.integers(0, 65535),
        st.booleans(),
        st.sampled_from([b"", b"\x03\x00\x04text", b"\x01\x01\x26\x00\x01a\x00\x01b\x0b\x80\x01\x03\x00\x01x"]),
    ),
    st.builds(mqtt.packet, st.sampled_from([2, 4, 9, 13]), st.binary(max_size=200)),
)


@given(st.lists(packets, max_size=8), st.lists(st.integers(0, 4000), max_size=10))
def test_any_split_of_a_stream_gives_the_same_messages_and_packets(stream: list[bytes], cuts: list[int]) -> None:
    whole = b"".join(stream)
    expected = Inbound(version5=True).feed(whole, NOW)
    inbound = Inbound(version5=True)
    messages: list[Message] = []
    others = b""
    edges = [0, *sorted(cut for cut in cuts if cut < len(whole)), len(whole)]
    for start, end in pairwise(edges):
        got, rest = inbound.feed(whole[start:end], NOW)
        messages += got
        others += rest
    assert (messages, others) == expected
    assert others == b"".join(packet for packet in stream if packet[0] >> 4 != mqtt.PUBLISH)
    assert len(messages) == sum(packet[0] >> 4 == mqtt.PUBLISH for packet in stream)


@given(st.binary(max_size=200), st.booleans())
def test_no_bytes_do_more_than_break_the_connection(noise: bytes, version5: bool) -> None:
    inbound = Inbound(version5=version5)
    try:
        messages, others = inbound.feed(noise, NOW)
    except Malformed:
        return
    assert sum(len(message.payload) for message in messages) + len(others) <= len(noise)


def test_a_message_keeps_every_byte_and_flag() -> None:
    props = b"\x0b\x03\x03\x00\x10application/json\x26\x00\x01a\x00\x01b\x0b\xc8\x01"
    data = publish("a/ü", b"\x00\xff", 7, dup=True, retain=True, properties=props)
    (message,), others = Inbound(version5=True).feed(data, NOW)
    assert message == Message("a/ü", b"\x00\xff", 1, 7, True, True, "application/json", (3, 200), 2, NOW)
    assert others == b""


def test_of_a_message_that_is_too_large_the_beginning_is_kept_and_the_next_one_is_found() -> None:
    inbound = Inbound(version5=False, max_packet=100)
    data = publish("t", b"x" * 5000, 3) + publish("t", b"next", 4)
    messages = [message for at in range(0, len(data), 7) for message in inbound.feed(data[at : at + 7], NOW)[0]]
    assert [(len(message.payload), message.size, message.packet) for message in messages] == [
        (95, 5000, 3),
        (4, 4, 4),
    ]


@pytest.mark.parametrize(
    "data",
    [
        b"\x32\x03\x00\x09a",  # the topic is longer than the packet
        b"\x36\x05\x00\x01a\x00\x01",  # QoS 3
        b"\x34\x05\x00\x01a\x00\x01",  # QoS 2
        b"\x32\x05\x00\x01a\x00\x00",  # packet identifier 0
        b"\x20\xff\xff\xff\xff\x01",  # five bytes of length
    ],
)
def test_what_is_no_mqtt_is_refused(data: bytes) -> None:
    with pytest.raises(Malformed):
        Inbound(version5=False).feed(data, NOW)


# --- bounds -----------------------------------------------------------------------------------------------


def message(packet: int, size: int = 4) -> Message:
    return Message("t", b"x" * size, 1 if packet else 0, packet, False, False, None, (), size, NOW)


async def test_messages_with_qos_0_beyond_the_bound_are_dropped_and_counted() -> None:
    inbox = Inbox(Bounds(unconfirmed=3, unconfirmed_bytes=1000))
    inbox.put([message(0) for _ in range(5)] + [message(1)])
    async with aclosing(inbox.bursts(10, 1000)) as bursts:
        burst = await anext(bursts)
        assert [got.qos for got in burst.messages] == [0, 0, 0, 1]
        assert (inbox.take_dropped(), inbox.take_dropped()) == (2, 0)
        inbox.put([message(0, 1000), message(0)])
        assert len((await anext(bursts)).messages) == 1
        assert inbox.take_dropped() == 1


async def test_a_burst_has_its_bounds_but_always_a_message() -> None:
    inbox = Inbox(Bounds())
    inbox.put([message(1, 500), message(2, 10), message(3, 10), message(4, 10)])
    async with aclosing(inbox.bursts(2, 100)) as bursts:
        assert [[got.packet for got in (await anext(bursts)).messages] for _ in range(2)] == [[1], [2, 3]]


async def test_what_arrived_before_the_loss_comes_before_the_error() -> None:
    inbox = Inbox(Bounds())
    inbox.put([message(1)])
    inbox.fail(Unavailable("gone"))
    async with aclosing(inbox.bursts(10, 1000)) as bursts:
        assert len((await anext(bursts)).messages) == 1
        with pytest.raises(Unavailable, match="gone"):
            await anext(bursts)


# --- a connection -----------------------------------------------------------------------------------------


async def test_nothing_is_acknowledged_before_it_is_asked_for_and_then_in_order(broker: FakeBroker) -> None:
    async with session(broker) as one, aclosing(one.bursts(2, 1 << 20)) as bursts:
        link = await broker.link()
        link.send(*(reading(broker, number) for number in (3, 1, 2)))
        taken = await take(bursts, 3)
        await one.subscribe({"x": 1}, 1)  # a full turn of the link after the messages
        assert link.acknowledged == []
        assert one._inbox.unacknowledged == 3
        assert all(one.acknowledge(burst) for burst in taken)
        await link.until(lambda link: len(link.acknowledged) == 3)
        assert link.acknowledged == [3, 1, 2]
        assert one._inbox.unacknowledged == 0


async def test_a_refused_message_is_told_so_where_the_protocol_can(broker: FakeBroker) -> None:
    async with session(broker) as one, aclosing(one.bursts(9, 1 << 20)) as bursts:
        link = await broker.link()
        link.send(*(reading(broker, number) for number in (1, 2, 3)))
        (burst,) = await take(bursts, 3)
        one.acknowledge(burst, refused={2})
        await link.until(lambda link: len(link.acknowledged) == 3)
        # MQTT 5.0 section 3.4.2.1: 0x97 is "quota exceeded"; 3.1.1 has no word for it.
        quota = b"\x97" if broker.version5 else b""
        assert link.bodies(mqtt.PUBACK) == [b"\x00\x01", b"\x00\x02" + quota, b"\x00\x03"]


async def test_bursts_cannot_be_acknowledged_out_of_order(broker: FakeBroker) -> None:
    async with session(broker) as one, aclosing(one.bursts(1, 1 << 20)) as bursts:
        (await broker.link()).send(reading(broker, 1), reading(broker, 2))
        taken = await take(bursts, 2)
        with pytest.raises(ValueError, match="order"):
            one.acknowledge(taken[1])


async def test_only_the_connection_that_delivered_can_acknowledge(broker: FakeBroker) -> None:
    async with session(broker) as one, aclosing(one.bursts(9, 1 << 20)) as bursts:
        (await broker.link()).send(reading(broker, 1))
        (burst,) = await take(bursts, 1)
    assert one.acknowledge(burst) is False
    async with session(broker) as other:
        with pytest.raises(ValueError, match="connection"):
            other.acknowledge(burst)
        await other.subscribe({"x": 1}, 1)
        assert (await broker.link(1)).acknowledged == []


@pytest.mark.parametrize("present", [False, True])
async def test_the_session_present_flag_is_known(broker: FakeBroker, present: bool) -> None:
    broker.connack = (int(present), 0)
    async with session(broker) as one:
        assert one.session_present is present


async def test_connect_asks_for_a_session_that_lasts() -> None:
    async with fake_broker() as broker, session(broker, session_expiry=1000, receive_maximum=77):
        (body,) = (await broker.link()).bodies(mqtt.CONNECT)
    assert body[7] & 2 == 0  # clean start
    assert b"\x11" + struct.pack("!I", 1000) in body
    assert b"\x21" + struct.pack("!H", 77) in body


async def test_connect_asks_for_a_session_that_lasts_in_3_1_1() -> None:
    async with fake_broker(version5=False) as broker, session(broker):
        (body,) = (await broker.link()).bodies(mqtt.CONNECT)
    assert body[7] & 2 == 0  # clean session


@pytest.mark.parametrize(
    ("code5", "code3", "kind", "words"),
    [(134, 4, Paused, "username"), (135, 5, Paused, "not authorised"), (136, 3, Unavailable, "not ready")],
)
async def test_a_refused_connection_says_why(
    broker: FakeBroker, code5: int, code3: int, kind: type[Exception], words: str
) -> None:
    broker.connack = (0, code5 if broker.version5 else code3)
    with pytest.raises(kind, match=words) as caught:
        async with session(broker, username="me", password="s3cret"):
            pass
    assert f"mqtt://127.0.0.1:{broker.port}" in str(caught.value)
    assert "s3cret" not in str(caught.value)


async def test_a_broker_that_does_not_answer_is_given_up(broker: FakeBroker) -> None:
    broker.connack = None
    with pytest.raises(Unavailable, match=r"did not answer within 0\.2 s"):
        async with session(broker, timeout=0.2):
            pass


async def test_nobody_listening_is_unavailable() -> None:
    async with fake_broker() as broker, ChaosProxy(broker.port) as proxy:
        proxy.refuse()
        with pytest.raises(Unavailable, match=r"cannot reach .*: Connection refused"):
            async with session(broker, proxy.port):
                pass


async def test_a_name_without_an_address_is_unavailable() -> None:
    one = MqttSession(MqttOptions("nowhere.invalid", 1883, "me"), SystemClock())
    with pytest.raises(Unavailable, match=r"cannot find the address of mqtt://nowhere\.invalid:1883"):
        async with one:
            pass


async def test_a_refused_subscription_names_the_filter(broker: FakeBroker) -> None:
    broker.suback = 135 if broker.version5 else 128
    async with session(broker) as one:
        with pytest.raises(Paused, match='"secret/#"'):
            await one.subscribe({"secret/#": 1}, 1)


async def test_every_filter_is_subscribed_however_many(broker: FakeBroker) -> None:
    async with session(broker) as one:
        assert await one.subscribe({f"t/{number}": number + 1 for number in range(150)}, 1) == [1] * 150
        await one.unsubscribe([f"t/{number}" for number in range(150)])


async def test_losing_the_connection_ends_every_wait_with_the_reason(broker: FakeBroker) -> None:
    broker.puback = None
    async with session(broker) as one, aclosing(one.bursts(9, 1 << 20)) as bursts:
        waits = [
            asyncio.ensure_future(work) for work in (anext(bursts), one.publish("t", b"x"), one.publish("u", b"y"))
        ]
        link = await broker.link()
        await link.until(lambda link: len(link.bodies(mqtt.PUBLISH)) == 2)
        link.writer.close()
        for result in await asyncio.gather(*waits, return_exceptions=True):
            assert isinstance(result, Unavailable)
            assert "closed the connection; if it does so again" in str(result)
            assert "client_id" in str(result)
        with pytest.raises(Unavailable):
            await one.subscribe({"x": 1}, 1)
        with pytest.raises(Unavailable):
            await one.publish("t", b"x")


async def test_a_taken_over_session_waits_for_people() -> None:
    async with fake_broker() as broker, session(broker) as one, aclosing(one.bursts(9, 1 << 20)) as bursts:
        (await broker.link()).send(mqtt.packet(mqtt.DISCONNECT, b"\x8e\x00"))
        with pytest.raises(Paused, match="client_id"):
            await anext(bursts)


async def test_noise_from_the_broker_ends_the_connection(broker: FakeBroker) -> None:
    async with session(broker) as one, aclosing(one.bursts(9, 1 << 20)) as bursts:
        (await broker.link()).send(b"\x32\x03\x00\x09a")
        with pytest.raises(Unavailable, match="no MQTT"):
            await anext(bursts)


async def test_silence_is_noticed_by_keepalive(broker: FakeBroker) -> None:
    broker.pings = False
    async with session(broker, keepalive=1) as one, aclosing(one.bursts(9, 1 << 20)) as bursts:
        with pytest.raises(Unavailable, match="silent"):
            await anext(bursts)
        assert (await broker.link()).bodies(mqtt.PINGREQ)


async def test_a_link_that_brings_only_messages_stays_up_beyond_the_keepalive(broker: FakeBroker) -> None:
    async with session(broker, keepalive=1) as one, aclosing(one.bursts(9, 1 << 20)) as bursts:
        link = await broker.link()
        number = 0
        while len(link.bodies(mqtt.PINGREQ)) < 3:
            number += 1
            link.send(reading(broker, number))
            for burst in await take(bursts, 1):
                assert one.acknowledge(burst)
            await asyncio.sleep(0.02)


async def test_reading_stops_when_too_much_is_unacknowledged_and_goes_on_after(broker: FakeBroker) -> None:
    bound, chunk = 50, 1 << 16
    payload = b"x" * 4096
    total = 1000
    async with (
        session(broker, bounds=Bounds(unacknowledged=bound)) as one,
        aclosing(one.bursts(10, 1 << 20)) as bursts,
    ):
        link = await broker.link()
        link.send(*(reading(broker, number, payload) for number in range(1, total + 1)))
        async with asyncio.timeout(10):
            while not one._reader.paused:
                await asyncio.sleep(0.01)
        got = 0
        while got < total:
            for burst in await take(bursts, 1):
                got += len(burst.messages)
                assert one._inbox.unacknowledged <= bound + chunk // len(payload) + 1
                assert one.acknowledge(burst)
        await link.until(lambda link: len(link.acknowledged) == total)
        assert link.acknowledged == list(range(1, total + 1))


async def test_a_published_message_is_confirmed_or_refused_by_its_reason_code() -> None:
    async with fake_broker() as broker, session(broker) as one:
        await one.publish("t", b"x", contenttype="application/json", attributes=[("a", "1")])
        (body,) = (await broker.link()).bodies(mqtt.PUBLISH)
        assert b"\x03\x00\x10application/json" in body
        broker.puback = 16  # no matching subscribers
        await one.publish("t", b"x")
        broker.puback = 135
        with pytest.raises(Paused, match="not authorised"):
            await one.publish("t", b"x")
        broker.puback = 151
        with pytest.raises(Unavailable, match="quota"):
            await one.publish("t", b"x")
        broker.puback = 153
        with pytest.raises(Rejected, match="1 rejected"):
            await one.publish("t", b"x")
        with pytest.raises(Rejected):
            await one.publish("t/#", b"x")
        await one.publish("t", b"x", qos=0)


async def test_a_message_that_is_not_confirmed_in_time_is_not_delivered(broker: FakeBroker) -> None:
    broker.puback = None
    async with session(broker, timeout=2) as one:
        with pytest.raises(Unavailable, match="in time"):
            await one.publish("t", b"x")


# --- leaving ----------------------------------------------------------------------------------------------


def open_sockets() -> int:
    return sum(isinstance(thing, socket.socket) and thing.fileno() >= 0 for thing in gc.get_objects())


async def test_leaving_says_goodbye_and_leaves_nothing(broker: FakeBroker) -> None:
    tasks = asyncio.all_tasks()
    async with session(broker):
        link = await broker.link()
        mine = open_sockets()
    await link.until(lambda link: bool(link.bodies(mqtt.DISCONNECT)))
    assert open_sockets() == mine - 1
    assert {task for task in asyncio.all_tasks() - tasks if "MqttSession" in repr(task.get_coro())} == set()


def _hold_connect(proxy: ChaosProxy) -> None:
    proxy.hold("up")


def _hold_answer(proxy: ChaosProxy) -> None:
    proxy.hold("down")


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("hold", [_hold_connect, _hold_answer])
async def test_a_cancelled_connect_leaves_no_zombie(
    broker: FakeBroker, hold: Callable[[ChaosProxy], None], tls: bool
) -> None:
    before = open_sockets()
    async with ChaosProxy(broker.port) as proxy:
        hold(proxy)

        async def connect() -> None:
            context = ssl.create_default_context() if tls else None
            async with session(broker, proxy.port, tls=context):
                raise AssertionError("it cannot be connected")

        connecting = asyncio.create_task(connect())
        await proxy.holding("up" if hold is _hold_connect else "down")
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
        assert [task for task in asyncio.all_tasks() if "MqttSession" in repr(task.get_coro())] == []
    async with asyncio.timeout(10):
        while open_sockets() > before:
            await asyncio.sleep(0.01)


# --- the library ------------------------------------------------------------------------------------------


async def test_the_private_surface_of_the_libraries_is_as_we_know_it() -> None:
    client = aiomqtt.Client("localhost", identifier="x")
    inner = client._client
    assert isinstance(inner, paho.Client)
    assert list(inspect.signature(inner._create_socket).parameters) == []
    assert list(inspect.signature(inner._sock_recv).parameters) == ["bufsize"]
    assert list(inspect.signature(inner._packet_queue).parameters) == ["command", "packet", "mid", "qos", "info"]
    source = inspect.getsource(paho.Client.reconnect)
    assert "self._sock = self._create_socket()" in source
    assert "except BlockingIOError" in inspect.getsource(paho.Client._packet_read)
