"""What the intake promises: it returns when all is durable, bad input is kept and named, numbers have no gap."""

import asyncio

import pytest

from bridge.clock import Moment, SystemClock
from bridge.codec.json_decoder import JsonDecoder
from bridge.codec.minting import Minter
from bridge.codec.routing import Route
from bridge.codec.settings import EventSettings, LaneRule
from bridge.errors import LaneFull
from bridge.event import violations
from bridge.ports import Frame, Receipt
from bridge.run.health import Health
from bridge.run.intake import Sequences, SourceIntake
from bridge.spool.envelope import Stored, unpack_dead_letter, unpack_event
from tests.kit.lanes import MemoryLane


class World:
    """An intake between frames and two lanes in memory."""

    def __init__(self, lane: MemoryLane | None = None, *, max_payload: int = 4096) -> None:
        self.lane, self.dead = lane or MemoryLane(), MemoryLane()
        settings = EventSettings(type="com.example.reading", subject="{device}")
        self.health = Health("source boiler", "test", consequence="")
        self.intake = SourceIntake(
            "boiler",
            decoder=JsonDecoder(),
            minter=Minter(settings, prefix="urn:gw", name="boiler", gateway_id="gw", instance="run1"),
            route=Route("default"),
            lanes={"default": self.lane},
            dead_letters=self.dead,
            sequences=Sequences(self.lane),
            health=self.health,
            clock=SystemClock(),
            max_payload=max_payload,
        )

    def stored(self) -> list[Stored]:
        return [unpack_event(payload) for payload in self.lane.payloads]

    def sequences(self) -> list[object]:
        return [dict(stored.event.extensions)["sequence"] for stored in self.stored()]


def frame(payload: bytes, *, fault: str | None = None, receipt: Receipt | None = None) -> Frame:
    return Frame(payload, Moment(1_700_000_000_000_000_000, 5, True), "/dev/ttyUSB0", fault=fault, receipt=receipt)


class TwoLanes(World):
    """As World, and readings with an "alarm" go to a lane of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.alarms = MemoryLane()
        settings = EventSettings(type="com.example.reading", subject="{device}")
        self.intake = SourceIntake(
            "boiler",
            decoder=JsonDecoder(),
            minter=Minter(settings, prefix="urn:gw", name="boiler", gateway_id="gw", instance="run1"),
            route=Route("default", [LaneRule(lane="alarms", field="alarm", equals=True)]),
            lanes={"default": self.lane, "alarms": self.alarms},
            dead_letters=self.dead,
            sequences=Sequences(self.lane, self.alarms),
            health=self.health,
            clock=SystemClock(),
            max_payload=4096,
        )


GOOD = b'{"device": "b1", "t": 21.50}'


async def test_it_returns_only_when_the_events_are_durable() -> None:
    world = World()
    world.lane.gate.clear()
    call = asyncio.create_task(world.intake([frame(GOOD)]))
    await asyncio.sleep(0)
    assert world.lane.payloads
    assert not call.done()
    world.lane.gate.set()
    await call


async def test_it_returns_only_when_the_dead_letter_is_durable() -> None:
    world = World()
    world.dead.gate.clear()
    call = asyncio.create_task(world.intake([frame(b"garbage")]))
    async with asyncio.timeout(5):
        while not world.dead.payloads:
            await asyncio.sleep(0)
    assert not call.done()
    world.dead.gate.set()
    await call
    assert world.intake.dead == 1


async def test_the_payload_goes_through_byte_for_byte_as_a_legal_event() -> None:
    world = World()
    await world.intake([frame(GOOD)])
    [stored] = world.stored()
    assert stored.event.data == GOOD
    assert stored.event.subject == "b1"
    assert list(violations(stored.event)) == []


async def test_bad_frames_are_kept_with_their_reason_and_their_neighbours_go_on() -> None:
    world = World()
    await world.intake([frame(GOOD), frame(b"{"), frame(b"x", fault="longer than 4096 bytes"), frame(GOOD)])
    assert len(world.lane.payloads) == 2
    letters = [unpack_dead_letter(payload) for payload in world.dead.payloads]
    assert [letter.frame for letter in letters] == [b"{", b"x"]
    assert letters[1].reason == "longer than 4096 bytes"
    assert {letter.component for letter in letters} == {"source boiler"}


async def test_a_reading_without_the_field_of_a_template_is_a_dead_letter_that_names_it() -> None:
    world = World()
    await world.intake([frame(b'{"t": 1}')])
    assert "device" in unpack_dead_letter(world.dead.payloads[0]).reason


async def test_sequence_numbers_are_contiguous_whatever_is_rejected_between() -> None:
    world = World()
    await world.intake([frame(GOOD), frame(b"{"), frame(b'{"t": 1}'), frame(GOOD)])
    await world.intake([frame(GOOD)])
    assert world.sequences() == [f"{number:020d}" for number in (1, 2, 3)]


async def test_sequence_numbers_go_on_after_a_restart() -> None:
    lane = MemoryLane()
    await World(lane).intake([frame(GOOD), frame(GOOD)])
    again = World(lane)
    await again.intake([frame(GOOD)])
    assert again.sequences()[-1] == f"{3:020d}"


async def test_every_event_has_an_id_of_its_own_even_for_equal_readings() -> None:
    world = World()
    await world.intake([frame(GOOD)] * 50)
    assert len({stored.event.id for stored in world.stored()}) == 50


async def test_a_reading_too_large_for_the_spool_is_a_dead_letter_cut_to_fit() -> None:
    world = World(max_payload=1024)
    await world.intake([frame(b'{"device": "b1", "x": "' + b"y" * 5000 + b'"}')])
    assert not world.lane.payloads
    [letter] = world.dead.payloads
    assert len(letter) <= 1024
    assert "only the first" in unpack_dead_letter(letter).reason


async def test_receipts_of_what_is_durable_outlive_the_process() -> None:
    lane = MemoryLane()
    await World(lane).intake([frame(GOOD, receipt=Receipt(7, 99)), frame(GOOD, receipt=Receipt(8, 98))])
    assert await World(lane).intake.receipts() == [Receipt(7, 99), Receipt(8, 98)]


async def test_garbage_does_not_write_a_line_per_frame(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    for _ in range(50):
        await world.intake([frame(b"garbage")])
    assert len(caplog.records) == 1
    assert world.intake.dead == 50


async def test_garbage_that_differs_does_not_write_a_line_per_frame_either(
    caplog: pytest.LogCaptureFixture,
) -> None:
    world = World()
    await world.intake([frame(b"1" * n + bytes([0x80 + n])) for n in range(50)])
    await world.intake([frame(b"", fault=f"{n:,} bytes without an end") for n in range(900, 1100)])
    assert len(caplog.records) == 2
    assert world.intake.dead == 250


async def test_a_cancelled_call_takes_nothing_back() -> None:
    world = World()
    world.lane.gate.clear()
    call = asyncio.create_task(world.intake([frame(GOOD), frame(b"garbage")]))
    await asyncio.sleep(0)
    call.cancel()
    await asyncio.wait([call])
    await asyncio.sleep(0)
    assert len(world.lane.payloads) == 1
    assert len(world.dead.payloads) == 1


ALARM = b'{"device": "b1", "alarm": true}'


async def test_a_rule_sends_a_reading_to_its_lane() -> None:
    world = TwoLanes()
    await world.intake([frame(GOOD), frame(ALARM), frame(GOOD)])
    assert world.sequences() == [f"{n:020}" for n in (1, 3)]
    [alarm] = [unpack_event(payload) for payload in world.alarms.payloads]
    assert dict(alarm.event.extensions)["sequence"] == f"{2:020}"


async def test_the_number_goes_on_from_the_highest_of_all_lanes() -> None:
    world = TwoLanes()
    await world.intake([frame(GOOD), frame(ALARM)])
    assert Sequences(world.lane, world.alarms).next("urn:gw/boiler") == 3


async def test_it_returns_only_when_every_lane_has_its_part() -> None:
    world = TwoLanes()
    world.alarms.gate.clear()
    call = asyncio.create_task(world.intake([frame(GOOD), frame(ALARM)]))
    await asyncio.sleep(0.01)
    assert world.lane.durable == 1
    assert not call.done()
    world.alarms.gate.set()
    assert await call == set()


async def test_calls_keep_their_order_in_every_lane() -> None:
    world = TwoLanes()
    await asyncio.gather(*(world.intake([frame(GOOD), frame(ALARM)]) for _ in range(20)))
    for lane in (world.lane, world.alarms):
        numbers = [dict(unpack_event(payload).event.extensions)["sequence"] for payload in lane.payloads]
        assert numbers == sorted(numbers, key=str)


async def test_what_a_full_lane_refuses_is_named_counted_and_told(caplog: pytest.LogCaptureFixture) -> None:
    world = TwoLanes()
    world.alarms.full = LaneFull("alarms", "max_bytes")
    assert await world.intake([frame(GOOD), frame(ALARM), frame(GOOD)]) == {1}
    assert world.intake.stored == 2
    assert world.intake.losses == {"lane alarms is full (max_bytes) and refuses what is new": 1}
    assert "lane alarms is full" in caplog.text
    alone = World()
    alone.lane.full = LaneFull("default", "disk full")
    assert set(await alone.intake([frame(GOOD)])) == {0}
    assert alone.intake.stored == 0


async def test_receipts_of_all_lanes_are_found() -> None:
    world = TwoLanes()
    await world.intake([frame(GOOD, receipt=Receipt(1, 1)), frame(ALARM, receipt=Receipt(2, 2))])
    assert set(await world.intake.receipts()) == {Receipt(1, 1), Receipt(2, 2)}


async def test_a_dead_letter_becomes_an_event_when_it_can_be_decoded_now() -> None:
    world = World()
    assert await world.intake.redeem(frame(GOOD)) is None
    assert [stored.event.data for stored in world.stored()] == [GOOD]
    why = await world.intake.redeem(frame(b"garbage"))
    assert why is not None
    assert "not JSON" in why
    assert not world.dead.payloads


async def test_a_dead_letter_stays_when_its_lane_is_full() -> None:
    world = World()
    world.lane.full = LaneFull("default", "max_bytes")
    assert await world.intake.redeem(frame(GOOD)) is not None
    assert world.intake.stored == 0
