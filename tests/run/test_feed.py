"""What a sink is given of a lane: events for it, none too old, and what is no event as a dead letter."""

import asyncio

from bridge.event import Event
from bridge.run.feed import Feed
from bridge.spool.envelope import pack_event, unpack_dead_letter
from tests.kit.hand_clock import HandClock
from tests.kit.lanes import MemoryLane


class World:
    def __init__(self, max_age: float | None = None) -> None:
        self.lane, self.dead, self.clock = MemoryLane(), MemoryLane(), HandClock()
        self.cursor = self.lane.cursor("cloud")
        self.feed = Feed(
            "cloud",
            lane="default",
            priority=0,
            cursor=self.cursor,
            dead_letters=self.dead,
            clock=self.clock,
            max_age=max_age,
        )

    async def put(self, name: str, *, only: str | None = None) -> None:
        event = Event(id=name, source="/a", type="t")
        await self.lane.append([pack_event(event, "s", self.clock.now(), self.clock.boot_id, None, only)])

    async def taken(self) -> list[str]:
        await asyncio.wait([self.feed.read_ahead(100, 1 << 20)], timeout=5)
        return [stored.event.id for _, stored in self.feed.take()]


async def test_what_is_for_another_sink_only_is_passed_over_and_settled() -> None:
    world = World()
    await world.put("a", only="local")
    await world.put("b", only="cloud")
    await world.put("c")
    assert await world.taken() == ["b", "c"]
    assert world.cursor.settled == [0]


async def test_what_is_no_event_becomes_a_dead_letter_before_it_is_settled() -> None:
    world = World()
    await world.lane.append([b"no event"])
    world.dead.gate.clear()
    await world.put("a")
    world.feed.read_ahead(100, 1 << 20)
    async with asyncio.timeout(5):
        while not world.dead.payloads:
            await asyncio.sleep(0)
    assert world.cursor.settled == []
    world.dead.gate.set()
    assert await world.taken() == ["a"]
    assert world.cursor.settled == [0]
    assert unpack_dead_letter(world.dead.payloads[0]).frame == b"no event"
    assert world.feed.rejected == 1


async def test_what_is_too_old_is_not_delivered_but_settled_and_counted() -> None:
    world = World(max_age=60)
    await world.put("old")
    world.clock.boot += 50
    await world.put("new")
    world.clock.boot += 20
    assert await world.taken() == ["new"]
    assert world.cursor.settled == [0]
    assert world.feed.expired == 1


async def test_a_batch_that_waited_too_long_is_cleared_of_what_is_old() -> None:
    world = World(max_age=60)
    await world.put("a")
    await asyncio.wait([world.feed.read_ahead(100, 1 << 20)], timeout=5)
    pending = world.feed.take()
    assert world.feed.fresh(pending) == pending
    world.clock.boot += 61
    assert world.feed.fresh(pending) == []
    assert world.cursor.settled == [0]


async def test_a_wall_clock_that_jumps_makes_nothing_old() -> None:
    world = World(max_age=60)
    await world.put("a")
    world.clock.wall += 10 * 365 * 86400
    assert await world.taken() == ["a"]


async def test_over_a_restart_of_the_machine_only_synchronised_clocks_tell_the_age() -> None:
    world = World(max_age=60)
    world.clock.synchronised = False
    await world.put("unknown")
    world.clock.synchronised = True
    await world.put("known")
    world.clock.boot_id, world.clock.boot = b"next one", 5.0
    world.clock.wall += 3600
    world.clock.synchronised = False
    await world.put("third")
    assert await world.taken() == ["unknown", "known", "third"]
    assert world.feed.expired == 0
    await world.put("fourth")
    world.clock.synchronised = True
    world.clock.boot += 1
    assert await world.taken() == ["fourth"]
    later = World(max_age=60)
    await later.put("known")
    later.clock.boot_id, later.clock.boot = b"next one", 5.0
    later.clock.wall += 3600
    assert await later.taken() == []
    assert later.feed.expired == 1


async def test_what_came_before_the_clock_was_synchronised_is_of_no_certain_age_after_a_restart() -> None:
    world = World(max_age=60)
    world.clock.synchronised = False
    await world.put("before")
    world.clock.boot_id, world.clock.boot = b"next one", 5.0
    world.clock.wall, world.clock.synchronised = world.clock.wall + 3600, True
    assert await world.taken() == ["before"]
    assert world.feed.expired == 0
