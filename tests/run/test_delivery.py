"""What delivery promises: settle what was confirmed, bury what was rejected, send the rest again unchanged."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest

from bridge.clock import Moment, SystemClock
from bridge.errors import PeerError, Rejected, Unavailable
from bridge.event import Event
from bridge.run.delivery import Courier
from bridge.run.feed import Feed
from bridge.run.health import Health
from bridge.spool.envelope import pack_event, unpack_dead_letter
from tests.kit.lanes import MemoryCursor, MemoryLane

Answer = Callable[[Sequence[Event]], BaseException | None]


class ScriptedSink:
    """A sink whose sends answer as scripted, then confirm; keeps every batch it was given."""

    max_events = 4
    max_bytes = 1 << 20
    peer = "test://peer"

    def __init__(self, *answers: BaseException | None) -> None:
        self.answers = list(answers)
        self.sent: list[list[Event]] = []
        self.opened = 0
        self.hold: asyncio.Event | None = None
        self.lost = asyncio.Event()

    @asynccontextmanager
    async def open(self) -> AsyncIterator["ScriptedSink"]:
        self.opened += 1
        yield self

    async def idle(self) -> None:
        await self.lost.wait()
        self.lost.clear()
        raise Unavailable("the connection is lost")

    async def send(self, batch: Sequence[Event]) -> None:
        self.sent.append(list(batch))
        if self.hold is not None:
            await self.hold.wait()
        answer = self.answers.pop(0) if self.answers else None
        if answer is not None:
            raise answer


class World:
    """A courier between a lane in memory and a scripted sink."""

    def __init__(self, sink: ScriptedSink) -> None:
        self.lane, self.dead, self.sink = MemoryLane(), MemoryLane(), sink
        self.cursor: MemoryCursor = self.lane.cursor("cloud")
        self.health = Health("sink cloud", sink.peer, consequence="kept")
        self.courier = Courier(
            "cloud",
            sink=sink,
            feeds=[self.feed("default", self.cursor)],
            health=self.health,
            clock=SystemClock(),
        )

    def feed(self, lane: str, cursor: MemoryCursor, priority: int = 0) -> Feed:
        return Feed(
            "cloud", lane=lane, priority=priority, cursor=cursor, dead_letters=self.dead, clock=SystemClock()
        )

    async def put(self, count: int) -> None:
        await self.lane.append([payload(len(self.lane.payloads) + index) for index in range(count)])

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not condition():
                await asyncio.sleep(0)

    async def attempt_until(self, condition: Callable[[], bool]) -> None:
        """Runs attempts, again after each outage, until the condition holds."""
        task = asyncio.create_task(self._attempts())
        try:
            await self.until(lambda: condition() or task.done())
            if task.done():
                task.result()
        finally:
            task.cancel()
            await asyncio.wait([task])
            await self.courier.close()

    async def _attempts(self) -> None:
        while True:
            try:
                await self.courier.attempt()
            except PeerError as error:
                self.health.failed(error)


def payload(number: int) -> bytes:
    event = Event(id=f"id-{number}", source="gw/boiler", type="t", data=b"%d" % number)
    return pack_event(event, "boiler", Moment(1, 1, True), b"bootboot", None)


def ids(batches: Sequence[Sequence[Event]]) -> list[list[str]]:
    return [[event.id for event in batch] for batch in batches]


async def test_everything_is_delivered_in_order_and_settled_once() -> None:
    world = World(ScriptedSink())
    await world.put(10)
    await world.attempt_until(lambda: len(world.cursor.settled) == 10)
    assert world.cursor.settled == list(range(10))
    assert [event.id for batch in world.sink.sent for event in batch] == [f"id-{n}" for n in range(10)]


async def test_what_waits_in_a_lane_of_higher_priority_goes_first() -> None:
    world = World(ScriptedSink())
    alarms = MemoryLane()
    feeds = [world.feed("default", world.cursor), world.feed("alarms", alarms.cursor("cloud"), priority=9)]
    world.courier = Courier("cloud", sink=world.sink, feeds=feeds, health=world.health, clock=SystemClock())
    world.sink.hold = asyncio.Event()
    await world.put(12)
    task = asyncio.create_task(world.courier.attempt())
    await world.until(lambda: len(world.sink.sent) == 1)
    # Twelve wait in the other lane, four are under way: the alarms come next.
    await alarms.append([payload(100), payload(101)])
    await asyncio.sleep(0.01)
    world.sink.hold.set()
    await world.until(lambda: len(world.cursor.settled) == 12)
    task.cancel()
    await asyncio.wait([task])
    await world.courier.close()
    assert ids(world.sink.sent)[0] == ["id-0", "id-1", "id-2", "id-3"]
    assert ids(world.sink.sent)[1] == ["id-100", "id-101"]
    assert [name for batch in ids(world.sink.sent)[2:] for name in batch] == [f"id-{n}" for n in range(4, 12)]
    assert world.courier.position().waiting == 0


async def test_lanes_of_one_priority_take_turns() -> None:
    world = World(ScriptedSink())
    other = MemoryLane()
    feeds = [world.feed("default", world.cursor), world.feed("other", other.cursor("cloud"))]
    world.courier = Courier("cloud", sink=world.sink, feeds=feeds, health=world.health, clock=SystemClock())
    await world.put(16)
    await other.append([payload(100 + number) for number in range(16)])
    await world.attempt_until(lambda: len(world.sink.sent) >= 6)
    lanes = [
        "other" if batch[0] >= "id-100" and len(batch[0]) == 6 else "default" for batch in ids(world.sink.sent)
    ]
    assert lanes[1:5] in (["other", "default"] * 2, ["default", "other"] * 2)


async def test_nothing_is_settled_before_it_is_confirmed() -> None:
    world = World(ScriptedSink())
    world.sink.hold = asyncio.Event()
    await world.put(3)
    await world.attempt_until(lambda: bool(world.sink.sent))
    assert world.cursor.settled == []


async def test_after_an_outage_only_what_was_not_confirmed_is_sent_again_unchanged() -> None:
    world = World(ScriptedSink(Unavailable("reset", confirmed=[0, 2])))
    await world.put(4)
    await world.attempt_until(lambda: len(world.cursor.settled) == 4)
    assert ids(world.sink.sent) == [["id-0", "id-1", "id-2", "id-3"], ["id-1", "id-3"]]
    assert world.sink.sent[1] == [world.sink.sent[0][1], world.sink.sent[0][3]]
    assert world.cursor.settled == [0, 2, 1, 3]
    assert world.sink.opened == 2
    assert world.courier.delivered == 4


async def test_what_is_rejected_is_durable_as_a_dead_letter_before_it_is_settled() -> None:
    world = World(ScriptedSink(Rejected({1: "422 no such unit"})))
    world.dead.gate.clear()
    await world.put(3)
    await world.attempt_until(lambda: bool(world.dead.payloads))
    assert world.cursor.settled == []
    letter = unpack_dead_letter(world.dead.payloads[0])
    assert letter.reason == "422 no such unit"
    assert letter.component == "sink cloud"
    assert letter.event is not None
    assert letter.event.id == "id-1"


async def test_one_rejected_event_does_not_take_its_neighbours_along() -> None:
    world = World(ScriptedSink(Rejected({1: "no"})))
    await world.put(3)
    await world.attempt_until(lambda: len(world.cursor.settled) == 3)
    assert (world.courier.delivered, world.courier.rejected) == (2, 1)
    assert len(world.dead.payloads) == 1


async def test_an_outage_may_carry_rejections_of_what_was_answered_before() -> None:
    world = World(ScriptedSink(Unavailable("reset", confirmed=[0], rejected={2: "no"})))
    await world.put(4)
    await world.attempt_until(lambda: len(world.cursor.settled) == 4)
    assert ids(world.sink.sent)[1] == ["id-1", "id-3"]
    assert unpack_dead_letter(world.dead.payloads[0]).event == world.sink.sent[0][2]


async def test_a_record_that_is_no_event_becomes_a_dead_letter_and_the_stream_goes_on() -> None:
    world = World(ScriptedSink())
    await world.lane.append([payload(0), b"\xc1 not an event", payload(2)])
    await world.attempt_until(lambda: len(world.cursor.settled) == 3)
    assert ids(world.sink.sent) == [["id-0", "id-2"]]
    assert unpack_dead_letter(world.dead.payloads[0]).frame == b"\xc1 not an event"


async def test_a_record_that_is_no_event_is_durable_as_a_dead_letter_before_it_is_settled() -> None:
    world = World(ScriptedSink())
    world.dead.gate.clear()
    await world.lane.append([b"\xc1 not an event"])
    await world.attempt_until(lambda: bool(world.dead.payloads))
    assert world.cursor.settled == []


async def test_a_peer_that_takes_connections_but_no_work_is_not_called_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    world = World(ScriptedSink(*[Unavailable("503")] * 20))
    await world.put(1)
    await world.attempt_until(lambda: len(world.cursor.settled) == 1)
    assert [record.levelname for record in caplog.records] == ["INFO", "WARNING", "INFO"]
    assert world.health.state == "up"


async def test_a_cancelled_send_leaves_its_batch_for_the_next_attempt() -> None:
    world = World(ScriptedSink())
    world.sink.hold = asyncio.Event()
    await world.put(2)
    await world.attempt_until(lambda: bool(world.sink.sent))
    world.sink.hold.set()
    await world.attempt_until(lambda: len(world.cursor.settled) == 2)
    assert ids(world.sink.sent) == [["id-0", "id-1"], ["id-0", "id-1"]]


async def test_events_that_come_while_a_batch_is_under_way_are_next() -> None:
    world = World(ScriptedSink())
    world.sink.hold = asyncio.Event()
    await world.put(1)
    task = asyncio.create_task(world.attempt_until(lambda: len(world.cursor.settled) == 3))
    await world.until(lambda: bool(world.sink.sent))
    await world.put(2)
    world.sink.hold.set()
    await task
    assert [event.id for batch in world.sink.sent for event in batch] == ["id-0", "id-1", "id-2"]


async def test_a_connection_lost_while_there_is_nothing_to_send_shows_at_once() -> None:
    world = World(ScriptedSink())

    def lose_it_once() -> bool:
        if world.sink.opened == 1:
            world.sink.lost.set()
        return world.sink.opened == 2

    await world.attempt_until(lose_it_once)
    assert world.health.failures == 1
    assert world.health.last_error == "the connection is lost"


async def test_nothing_that_was_read_is_lost_with_an_idle_connection() -> None:
    world = World(ScriptedSink())
    task = asyncio.create_task(world.attempt_until(lambda: len(world.cursor.settled) == 2))
    await world.until(lambda: world.sink.opened == 1)
    world.sink.lost.set()
    await world.put(2)
    await task
    assert [event.id for batch in world.sink.sent for event in batch] == ["id-0", "id-1"]
