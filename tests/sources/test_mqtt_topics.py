"""The MQTT source: nothing is acknowledged before it is durable, nothing durable is stored twice."""

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from pydantic import ValidationError

from bridge.clock import SystemClock
from bridge.errors import Paused, PeerError, Unavailable
from bridge.mqtt_session import Bounds
from bridge.mqtt_session.packets import MAX_PACKET
from bridge.ports import Frame, Site
from bridge.sources.mqtt_topics import BURSTS, OVERFLOW, MqttSource, MqttSourceSettings
from bridge.sources.topic_filters import TopicFilter
from tests.kit import fake_mqtt as mqtt
from tests.kit.fake_mqtt import FakeBroker, Link, fake_broker, publish
from tests.kit.intake import FakeIntake


def settings(broker: FakeBroker | None = None, **more: object) -> MqttSourceSettings:
    table: dict[str, object] = {
        "kind": "mqtt",
        "event": {"type": "com.example.read"},
        "topics": ["plant/{device}"],
        "host": "127.0.0.1",
    }
    if broker is not None:
        table |= {"port": broker.port, "protocol": "5" if broker.version5 else "3.1.1"}
    return MqttSourceSettings.model_validate({**table, **more})


def source(broker: FakeBroker, **more: object) -> MqttSource:
    return settings(broker, **more).build("boiler", Site("gw7", SystemClock()))


@pytest.fixture(params=["5", "3.1.1"])
async def broker(request: pytest.FixtureRequest) -> AsyncIterator[FakeBroker]:
    async with fake_broker(version5=request.param == "5", connack=(1, 0)) as broker:
        yield broker


def reading(
    broker: FakeBroker, number: int, payload: bytes = b"1", topic: str = "plant/p1", **more: bool
) -> bytes:
    return publish(topic, payload, number, properties=b"" if broker.version5 else None, **more)


@asynccontextmanager
async def running(one: MqttSource, intake: FakeIntake) -> AsyncIterator["asyncio.Task[None]"]:
    task = asyncio.create_task(one.run(intake))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.wait({task}, timeout=5)
        assert task.done()


async def failure(task: "asyncio.Task[None]") -> BaseException:
    async with asyncio.timeout(10):
        await asyncio.wait({task})
    error = task.exception()
    assert error is not None
    return error


async def turn(link: Link) -> None:
    """Returns when the client has had time to answer all that was sent: it answers to nothing else."""
    seen = -1
    while seen != len(link.received):
        seen = len(link.received)
        await asyncio.sleep(0.05)


# --- settings ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"qos": 2}, "power cut"),
        ({"qos": 3}, "0 or 1"),
        ({"topics": []}, "at least 1"),
        ({"topics": ["a/#/b"]}, "only at the end"),
        ({"topics": ["a/{x}", "a/+"]}, "come twice"),
        ({"password_file": "/x"}, "username is not"),
        ({"keepalive": "0s"}, "greater than or equal to 1"),
        ({"protocol": "3.1"}, "'5' or '3.1.1'"),
    ],
)
def test_what_cannot_work_is_refused_with_the_reason(more: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        settings(None, **more)


def test_the_peer_and_the_port_follow_tls() -> None:
    assert settings().peer == "mqtt://127.0.0.1:1883"
    assert settings(tls={}).peer == "mqtts://127.0.0.1:8883"
    assert settings(host="::1", port=7).peer == "mqtt://[::1]:7"


def test_templates_may_use_only_what_every_filter_gives() -> None:
    one = settings(topics=["a/{site}/{device}", "b/{device}"])
    assert set(one.sample_captures()) == {"device", "topic"}


# --- the flow ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("topic", ["plant/p1", "old/p1"])
async def test_a_broker_that_sends_all_it_has_before_it_answers_is_no_deadlock(
    broker: FakeBroker, topic: str
) -> None:
    total = 3 * Bounds().unacknowledged
    broker.greeting = b"".join(reading(broker, number, topic=topic) for number in range(1, total + 1))
    intake = FakeIntake()
    async with running(source(broker), intake):
        link = await broker.link()
        await link.until(lambda link: len(link.acknowledged) == total)
        await intake.until(connected=1)
    assert link.acknowledged == list(range(1, total + 1))


async def test_connect_names_the_session_by_gateway_and_source(broker: FakeBroker) -> None:
    async with running(source(broker), FakeIntake()):
        (body,) = (await broker.link()).bodies(mqtt.CONNECT)
        assert b"edge-bridge-gw7-boiler" in body


async def test_a_message_becomes_a_frame_with_captures_and_receipt(broker: FakeBroker) -> None:
    intake = FakeIntake()
    async with running(source(broker), intake):
        await intake.until(connected=1)
        (await broker.link()).send(reading(broker, 5, b'{"t":21.50}'))
        await intake.until(durable=1)
    (frame,) = intake.durable
    assert (frame.payload, frame.origin) == (b'{"t":21.50}', "plant/p1")
    assert frame.captures == {"device": "p1", "topic": "plant/p1"}
    assert frame.receipt is not None
    assert frame.receipt.packet == 5
    assert intake.peers == [f"mqtt://127.0.0.1:{broker.port}"]


async def test_nothing_is_acknowledged_before_it_is_durable(broker: FakeBroker) -> None:
    intake = FakeIntake()
    intake.gate.clear()
    async with running(source(broker), intake):
        link = await broker.link()
        link.send(*(reading(broker, number) for number in range(1, 40)))
        await intake.until(offered=39)
        await turn(link)
        assert link.acknowledged == []
        intake.gate.set()
        await link.until(lambda link: len(link.acknowledged) == 39)
        assert link.acknowledged == list(range(1, 40))


async def test_what_a_full_lane_refuses_is_not_taken_for_stored(broker: FakeBroker) -> None:
    intake = FakeIntake()
    intake.refuse = {b"2"}
    async with running(source(broker), intake):
        link = await broker.link()
        link.send(*(reading(broker, number, b"%d" % number) for number in (1, 2, 3)))
        await link.until(lambda link: len(link.acknowledged) == 3)
        assert intake.payloads == [b"1", b"3"]
        # The broker may send it again: it is a new reading then, not one that is stored already.
        intake.refuse = set()
        link.send(reading(broker, 2, b"2", dup=True))
        await intake.until(durable=3)


class OddIntake(FakeIntake):
    """Lets later calls become durable before the first."""

    async def __call__(self, frames: Sequence[Frame]) -> Collection[int]:
        if self.calls:
            self.offered.extend(frames)
            self.durable.extend(frames)
            self._changed.set()
            return ()
        return await super().__call__(frames)


async def test_bursts_are_stored_side_by_side_and_acknowledged_in_order(broker: FakeBroker) -> None:
    intake = OddIntake()
    intake.gate.clear()
    async with running(source(broker), intake):
        link = await broker.link()
        link.send(reading(broker, 1))
        await intake.until(offered=1)
        for number in (2, 3):
            link.send(reading(broker, number))
            await intake.until(durable=number - 1)
        await turn(link)
        assert link.acknowledged == []
        intake.gate.set()
        await link.until(lambda link: len(link.acknowledged) == 3)
        assert link.acknowledged == [1, 2, 3]


async def test_no_more_than_so_many_bursts_wait_for_the_disk(broker: FakeBroker) -> None:
    intake = FakeIntake()
    intake.gate.clear()
    async with running(source(broker), intake):
        link = await broker.link()
        for number in range(1, BURSTS + 4):
            link.send(reading(broker, number))
            await intake.until(offered=min(number, BURSTS))
        await turn(link)
        assert len(intake.calls) == BURSTS
        intake.gate.set()
        await link.until(lambda link: len(link.acknowledged) == BURSTS + 3)


async def test_a_connection_lost_before_the_disk_was_done_stores_once(broker: FakeBroker) -> None:
    intake = FakeIntake()
    intake.gate.clear()
    one = source(broker)
    first = asyncio.create_task(one.run(intake))
    link = await broker.link()
    link.send(reading(broker, 1, b"a"), reading(broker, 2, b"b"))
    await intake.until(offered=2)
    link.writer.close()
    await turn(link)
    assert not first.done()  # what is on its way to the disk is let through first
    intake.gate.set()
    assert isinstance(await failure(first), Unavailable)
    async with running(one, intake):
        link = await broker.link(1)
        link.send(reading(broker, 1, b"a", dup=True), reading(broker, 2, b"b", dup=True), reading(broker, 3, b"c"))
        await link.until(lambda link: link.acknowledged == [1, 2, 3])
    assert intake.payloads == [b"a", b"b", b"c"]
    assert one.redelivered == 2


async def test_what_the_spool_holds_from_before_a_kill_is_only_acknowledged(broker: FakeBroker) -> None:
    before = FakeIntake()
    async with running(source(broker), before):
        (await broker.link()).send(reading(broker, 1, b"a"), reading(broker, 2, b"b"))
        await before.until(durable=2)
    intake = FakeIntake(await before.receipts())
    async with running(source(broker), intake):
        link = await broker.link(1)
        link.send(*(reading(broker, 1 + at, text, dup=True) for at, text in enumerate([b"a", b"B", b"c"])))
        await link.until(lambda link: link.acknowledged == [1, 2, 3])
    assert intake.payloads == [b"B", b"c"]


async def test_without_the_session_nothing_counts_as_delivered_before(broker: FakeBroker) -> None:
    before = FakeIntake()
    async with running(source(broker), before):
        (await broker.link()).send(reading(broker, 1, b"a"))
        await before.until(durable=1)
    broker.connack = (0, 0)
    intake = FakeIntake(await before.receipts())
    async with running(source(broker), intake):
        await intake.until(connected=1)
        (await broker.link(1)).send(reading(broker, 1, b"a", dup=True))
        await intake.until(durable=1)


async def test_an_open_delivery_is_forgotten_once_it_is_acknowledged_on_the_next_connection(
    broker: FakeBroker,
) -> None:
    intake = FakeIntake()
    intake.gate.clear()
    one = source(broker)
    first = asyncio.create_task(one.run(intake))
    link = await broker.link()
    link.send(reading(broker, 1, b"same"))
    await intake.until(offered=1)
    link.writer.close()
    intake.gate.set()
    await failure(first)
    second = asyncio.create_task(one.run(intake))
    link = await broker.link(1)
    # This broker gives identifiers away again at once; the third message is lost on its way.
    link.send(reading(broker, 1, b"same", dup=True))
    await link.until(lambda link: link.acknowledged == [1])
    link.send(reading(broker, 1, b"same"))
    await link.until(lambda link: link.acknowledged == [1, 1])
    link.writer.close()
    await failure(second)
    async with running(one, intake):
        link = await broker.link(2)
        link.send(reading(broker, 1, b"same", dup=True))
        await link.until(lambda link: link.acknowledged == [1])
    assert intake.payloads == [b"same"] * 3


async def test_a_topic_that_left_the_configuration_is_unsubscribed_and_its_messages_kept(
    broker: FakeBroker,
) -> None:
    intake = FakeIntake()
    async with running(source(broker, topics=["plant/{device}", "x/#"]), intake):
        link = await broker.link()
        link.send(reading(broker, 1, topic="old/x"), reading(broker, 2))
        await link.until(lambda link: len(link.acknowledged) == 2)
        await link.until(lambda link: bool(link.bodies(mqtt.UNSUBSCRIBE)))
        wanted = b"".join(link.bodies(mqtt.UNSUBSCRIBE))
        for name in (b"#", b"old/#", b"old/x", b"+/x", b"+/+", b"old/+"):
            assert len(name).to_bytes(2, "big") + name in wanted
    assert [frame.fault is None for frame in intake.durable] == [False, True]
    assert "earlier configuration" in str(intake.durable[0].fault)


async def test_unsubscribing_spares_what_is_configured(broker: FakeBroker) -> None:
    intake = FakeIntake()
    async with running(source(broker, topics=["+/x/y", "a/b"]), intake):
        link = await broker.link()
        link.send(reading(broker, 1, topic="$dollar/x/y"))
        await link.until(lambda link: bool(link.bodies(mqtt.UNSUBSCRIBE)))
        wanted = b"".join(link.bodies(mqtt.UNSUBSCRIBE))
        assert b"\0\5+/x/y" not in wanted
        assert b"\0\5+/x/+" in wanted


async def test_a_subscription_of_old_that_still_matches_is_ended_too_and_its_message_is_a_reading() -> None:
    intake = FakeIntake()
    async with fake_broker() as broker, running(source(broker), intake):
        link = await broker.link()
        mine = TopicFilter.parse("plant/+").identifier
        for number, identifier in enumerate([mine, 77], 1):
            properties = b"\x0b" + mqtt.variable(identifier)
            link.send(publish("plant/p1", b"1", number, properties=properties))
            await intake.until(durable=number)
            await turn(link)
            assert len(link.bodies(mqtt.UNSUBSCRIBE)) == number - 1
        assert b"\0\7plant/#" in link.bodies(mqtt.UNSUBSCRIBE)[0]
        assert b"\0\7plant/+" not in link.bodies(mqtt.UNSUBSCRIBE)[0]
        assert mqtt.variable(mine) in link.bodies(mqtt.SUBSCRIBE)[0]
    assert [frame.fault for frame in intake.durable] == [None, None]


async def test_a_message_too_large_becomes_a_dead_letter_and_is_acknowledged(broker: FakeBroker) -> None:
    intake = FakeIntake()
    async with running(source(broker), intake):
        link = await broker.link()
        link.send(reading(broker, 1, bytes(MAX_PACKET + 1000)), reading(broker, 2))
        await link.until(lambda link: link.acknowledged == [1, 2])
    large, small = intake.durable
    assert f"{MAX_PACKET + 1000:,} bytes" in str(large.fault)
    assert small.fault is None


async def test_messages_with_qos_0_are_dropped_beyond_the_bound_and_counted(broker: FakeBroker) -> None:
    intake = FakeIntake()
    intake.gate.clear()
    total = 13_000
    async with running(source(broker, qos=0), intake):
        link = await broker.link()
        for number in range(BURSTS):
            link.send(reading(broker, 0))
            await intake.until(offered=number + 1)
        link.send(*(reading(broker, 0, b"%d" % number) for number in range(total)))
        await link.writer.drain()
        link.send(mqtt.packet(mqtt.PUBLISH, b"\0\1t\0\1" + (b"\0" if broker.version5 else b""), 2))
        await asyncio.sleep(0.3)
        intake.gate.set()
        await intake.until(lost=1, offered=BURSTS + 10_000)
        await link.until(lambda link: link.acknowledged == [1])
        assert intake.losses == {OVERFLOW: total + BURSTS + 1 - len(intake.offered)}


@pytest.mark.parametrize("when", range(6))
async def test_a_cancel_at_any_point_acknowledges_nothing_that_is_not_durable(
    broker: FakeBroker, when: int
) -> None:
    intake = FakeIntake()
    intake.gate.clear()
    task = asyncio.create_task(source(broker).run(intake))
    link: Link | None = None
    if when >= 2:
        link = await broker.link()
    elif when == 1:
        await asyncio.sleep(0)
    if link is not None and when >= 3:
        link.send(*(reading(broker, number) for number in range(1, 20)))
        if when >= 4:
            await intake.until(offered=1)
        if when == 5:
            link.writer.close()
            await turn(link)
    task.cancel()
    async with asyncio.timeout(2):
        await asyncio.wait({task})
    assert task.cancelled()
    if link is not None:
        await turn(link)
        assert link.acknowledged == []
    assert [other for other in asyncio.all_tasks() if "Mqtt" in repr(other.get_coro())] == []


async def test_subscribing_happens_on_every_connection_but_brings_no_old_messages_again(
    broker: FakeBroker,
) -> None:
    intake = FakeIntake()
    one = source(broker)
    for number in range(2):
        async with running(one, intake):
            await intake.until(connected=number + 1)
            link = await broker.link(number)
            subscriptions = link.bodies(mqtt.SUBSCRIBE)
            if broker.version5:
                (body,) = subscriptions
                assert body[-1] == 0x11  # retained only for a new subscription, QoS 1
            else:
                assert len(subscriptions) == 1 - number


# --- trouble ----------------------------------------------------------------------------------------------


async def run_error(one: MqttSource) -> PeerError:
    with pytest.raises(PeerError) as caught:
        await one.run(FakeIntake())
    return caught.value


async def test_a_refused_password_waits_for_people(broker: FakeBroker, tmp_path: Path) -> None:
    broker.connack = (0, 134 if broker.version5 else 4)
    secret = tmp_path / "password"
    secret.write_text("hunter2\n")
    error = await run_error(source(broker, username="me", password_file=str(secret)))
    assert isinstance(error, Paused)
    assert "password_file" in str(error)
    assert "hunter2" not in str(error)
    (body,) = broker.links[0].bodies(mqtt.CONNECT)
    assert body.endswith(b"\0\2me\0\7hunter2")


async def test_a_missing_password_file_waits_for_people(broker: FakeBroker, tmp_path: Path) -> None:
    error = await run_error(source(broker, username="me", password_file=str(tmp_path / "none")))
    assert isinstance(error, Paused)
    assert "password_file" in str(error)


async def test_a_refused_topic_waits_for_people(broker: FakeBroker) -> None:
    broker.suback = 135 if broker.version5 else 128
    error = await run_error(source(broker))
    assert isinstance(error, Paused)
    assert '"plant/+"' in str(error)


async def test_a_lower_quality_of_service_is_said(broker: FakeBroker, caplog: pytest.LogCaptureFixture) -> None:
    broker.suback = 0
    intake = FakeIntake()
    async with running(source(broker), intake):
        await intake.until(connected=1)
    assert "grants only QoS 0 for plant/+" in caplog.text
