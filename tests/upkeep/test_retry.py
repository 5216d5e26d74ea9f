"""A retried letter: the same event for its sink only, or a frame decoded anew; it goes when that is durable."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from bridge.errors import CommandFailed, LaneFull
from bridge.ports import Frame
from bridge.spool.envelope import Stored, unpack_event
from bridge.spool.settings import LaneSettings
from bridge.spool.spool import OPERATOR
from bridge.upkeep.desk import Desk
from tests.kit.desk import SETTINGS, TAKERS, desk_at, event, record, refused, said, undecoded


class Intake:
    """Takes every frame but those that say "bad"."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []

    async def redeem(self, frame: Frame) -> str | None:
        self.frames.append(frame)
        return "still bad" if frame.payload == b"bad" else None


async def stays(desk: Desk, **args: Any) -> dict[int, str | None]:
    items, _ = await said(desk, "dead-letters retry", **args)
    return {item["offset"]: item["stays"] for item in items}


async def bury(desk: Desk, *letters: bytes) -> None:
    await desk.open_spool.dead_letters.append(letters)


async def stored(desk: Desk, lane: str = "default") -> Sequence[Stored]:
    return [unpack_event(payload) for payload in await desk.open_spool.lanes[lane].recent(100)]


async def fill(desk: Desk, payload: bytes) -> None:
    for _ in range(20):
        await desk.open_spool.lane.append([payload])


def left(desk: Desk) -> int:
    return desk.open_spool.dead_letters.cursor(OPERATOR).position().waiting


async def test_an_event_goes_to_the_sink_that_refused_it_only(tmp_path: Path) -> None:
    async with desk_at(tmp_path) as desk:
        await bury(desk, refused(1), refused(2, lane="alarms"), refused(3, component="sink archive"))
        assert await stays(desk, all=True) == {0: None, 1: None, 2: None}
        assert [(one.event, one.only) for one in await stored(desk)] == [
            (event(1), "cloud"),
            (event(3), "archive"),
        ]
        assert [(one.event, one.only) for one in await stored(desk, "alarms")] == [(event(2), "cloud")]
        assert left(desk) == 0


async def test_a_frame_is_given_to_the_intake_of_its_source(tmp_path: Path) -> None:
    intake = Intake()
    async with desk_at(tmp_path, intakes={"scale": intake}) as desk:
        await bury(desk, undecoded(b"good", captures={"port": "x"}, contenttype="a/b"), undecoded(b"bad"))
        assert await stays(desk, source="scale") == {0: None, 1: "still bad"}
        assert left(desk) == 1
    first = intake.frames[0]
    assert (first.payload, first.captures, first.contenttype, first.origin) == (
        b"good",
        {"port": "x"},
        "a/b",
        "url",
    )
    assert first.received.wall_ns == 1_700_000_000_000_000_000


@pytest.mark.parametrize(
    ("letter", "why"),
    [
        (refused(1, component="sink gone"), "no sink 'gone' in the configuration"),
        (undecoded(b"x", component="source gone"), "no source 'gone' in the configuration"),
        (undecoded(b"x", component="sink cloud"), "did not come from a source"),
        (undecoded(b"x", reason="no (only the first 1 of 5,000 bytes are kept)"), "only a part"),
        (undecoded(b"x", reason="9 bytes without an end, more than …; the beginning is kept"), "only a part"),
        (b"no letter", "cannot be read"),
    ],
)
async def test_what_cannot_be_tried_again_stays_and_why_is_said(tmp_path: Path, letter: bytes, why: str) -> None:
    async with desk_at(tmp_path, intakes={"scale": Intake()}) as desk:
        await bury(desk, letter)
        said_why = (await stays(desk, all=True))[0]
        assert said_why is not None
        assert why in said_why
        assert left(desk) == 1


async def test_an_event_too_large_to_be_directed_stays(tmp_path: Path) -> None:
    async with desk_at(tmp_path) as desk:
        large = event(1, b'"' + b"x" * (SETTINGS.max_record - 300) + b'"')
        object.__setattr__(desk, "max_record", SETTINGS.max_record - 300)
        await bury(desk, refused(1, event=large))
        assert "max_record" in str((await stays(desk, all=True))[0])


async def test_an_event_of_a_removed_lane_goes_by_another_that_its_sink_gets(tmp_path: Path) -> None:
    async with desk_at(tmp_path) as desk:
        await bury(desk, refused(1, lane="gone"), refused(2, lane="alarms", component="sink archive"))
        assert await stays(desk, all=True) == {0: None, 1: None}
        assert len(await stored(desk)) == 2


async def test_a_letter_whose_lane_is_full_stays(tmp_path: Path) -> None:
    lanes = {"default": LaneSettings(max_bytes=256 * 1024, on_full="reject-newest")}
    async with desk_at(tmp_path, {"default": TAKERS["default"]}, lanes=lanes) as desk:
        desk.open_spool.lane.cursor("cloud")
        big = record(0, data=b'"' + b"x" * 20_000 + b'"')
        with pytest.raises(LaneFull):
            await fill(desk, big)
        await bury(desk, refused(1, event=event(1, b'"' + b"x" * 20_000 + b'"')))
        assert "full" in str((await stays(desk, all=True))[0])
        assert left(desk) == 1


async def test_only_the_letters_that_are_named_are_tried_and_missing_ones_are_told(tmp_path: Path) -> None:
    async with desk_at(tmp_path) as desk:
        await bury(desk, refused(1), refused(2))
        with pytest.raises(CommandFailed, match="say which"):
            await stays(desk)
        _, answer = await said(desk, "dead-letters retry", offsets=[1, 9])
        assert answer == {"retried": 1, "stay": 0, "missing": [9]}
        _, again = await said(desk, "dead-letters retry", offsets=[1])
        assert again == {"retried": 0, "stay": 0, "missing": [1]}
        assert left(desk) == 1


async def test_a_letter_is_given_up_only_when_what_it_stands_for_is_durable(tmp_path: Path) -> None:
    order: list[str] = []
    async with desk_at(tmp_path) as desk:
        await bury(desk, refused(1))
        lane, dead = desk.open_spool.lane, desk.open_spool.dead_letters
        append, discard = lane.append, dead.discard

        async def slow_append(*args: object) -> int:
            offset = await append(*args)  # type: ignore[arg-type]
            order.append("durable")
            return offset

        async def noted_discard(*args: object) -> int:
            order.append("given up")
            return await discard(*args)  # type: ignore[arg-type]

        lane.append, dead.discard = slow_append, noted_discard  # type: ignore[method-assign,assignment]
        await stays(desk, all=True)
    assert order == ["durable", "given up"]
