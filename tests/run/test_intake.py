"""What the intake promises: it returns when all is durable, bad input is kept and named, numbers have no gap."""

import asyncio

import pytest

from bridge.clock import Moment, SystemClock
from bridge.codec.json_decoder import JsonDecoder
from bridge.codec.minting import Minter
from bridge.codec.settings import EventSettings
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
            lane=self.lane,
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
