"""A desk for the commands, over a spool of its own: with its owner, or only looking at the files."""

from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from bridge.clock import SystemClock
from bridge.event import Event
from bridge.spool.envelope import DeadLetter, pack_dead_letter, pack_event
from bridge.spool.limits import Limits, dead_letter_limits, lane_limits
from bridge.spool.settings import DeadLetterSettings, LaneSettings, SpoolSettings
from bridge.spool.spool import Spool
from bridge.upkeep.desk import Desk, LanePlan, Redeemer
from bridge.upkeep.lines import Answer, Args, Item, Progress, parse, value
from bridge.upkeep.table import VERBS

SETTINGS = SpoolSettings(segment_bytes=64 * 1024, max_bytes=4 * 1024 * 1024, max_record=64 * 1024)
CLOCK = SystemClock()
TAKERS = {"default": ("cloud", "archive"), "alarms": ("cloud",)}


@asynccontextmanager
async def desk_at(
    path: Path,
    takers: Mapping[str, Sequence[str]] = TAKERS,
    *,
    lanes: Mapping[str, LaneSettings] | None = None,
    intakes: Mapping[str, Redeemer] | None = None,
    paced: bool = False,
) -> AsyncIterator[Desk]:
    """A desk with the open spool in ``path``; its configured lanes are those of ``takers``."""
    settings = {name: (lanes or {}).get(name, LaneSettings()) for name in takers}
    async with Spool(
        path, SETTINGS, CLOCK, lanes=settings, owners=lambda name: list(takers.get(name, ()))
    ) as spool:
        with ThreadPoolExecutor(1) as threads:
            yield Desk(
                path=path,
                clock=CLOCK,
                plans=plans(takers, settings),
                letter_limits=dead_letter_limits(SETTINGS, DeadLetterSettings()),
                max_record=SETTINGS.max_record,
                threads=threads,
                spool=spool,
                intakes=intakes or {},
                paced=paced,
            )


@asynccontextmanager
async def looking(path: Path, takers: Mapping[str, Sequence[str]] = TAKERS) -> AsyncIterator[Desk]:
    """A desk without the lock."""
    with ThreadPoolExecutor(1) as threads:
        yield Desk(
            path=path,
            clock=CLOCK,
            plans=plans(takers, {name: LaneSettings() for name in takers}),
            letter_limits=dead_letter_limits(SETTINGS, DeadLetterSettings()),
            max_record=SETTINGS.max_record,
            threads=threads,
        )


def plans(takers: Mapping[str, Sequence[str]], lanes: Mapping[str, LaneSettings]) -> dict[str, LanePlan]:
    limits: dict[str, Limits] = {name: lane_limits(SETTINGS, lane) for name, lane in lanes.items()}
    return {name: LanePlan(lanes[name].priority, limits[name], sinks) for name, sinks in takers.items()}


async def said(
    desk: Desk, verb: str, upload: Sequence[bytes] = (), **args: Any
) -> tuple[list[Any], dict[str, Any]]:
    """The items of a verb, and its answer."""
    items, answer, _ = await everything(desk, verb, upload, **args)
    return [value(item.raw) for item in items], answer


async def everything(
    desk: Desk, verb: str, upload: Sequence[bytes] = (), **args: Any
) -> tuple[list[Item], dict[str, Any], list[Progress]]:
    """All that a verb says."""
    items: list[Item] = []
    progress: list[Progress] = []
    answer: Answer | None = None
    args = {name.rstrip("_"): given for name, given in args.items()}
    async for blob in VERBS[verb](desk, Args(args), pieces(upload)):
        for line in filter(None, blob.split(b"\n")):
            match parse(line):
                case Item() as item:
                    items.append(item)
                case Progress() as one:
                    progress.append(one)
                case Answer() as last:
                    answer = last
    assert answer is not None
    return items, answer.value, progress


async def pieces(upload: Sequence[bytes]) -> AsyncIterator[bytes]:
    for piece in upload:
        yield piece


def event(number: int, data: bytes = b'{"v":21.50}') -> Event:
    return Event(str(number), "urn:s", "t", datacontenttype="application/json", data=data)


def record(number: int, *, only: str | None = None, data: bytes = b'{"v":21.50}') -> bytes:
    """An event as it is stored."""
    return pack_event(event(number, data), "scale", CLOCK.now(), CLOCK.boot_id, None, only)


LETTER = DeadLetter(
    "refused", "sink cloud", 3, 1_700_000_000_000_000_000, 1_700_000_001_000_000_000, "url", None, None
)


def refused(number: int, **changes: Any) -> bytes:
    """A dead letter with an event."""
    return pack_dead_letter(replace(LETTER, **{"event": event(number), **changes}))


def undecoded(frame: bytes, **changes: Any) -> bytes:
    """A dead letter with a frame."""
    return pack_dead_letter(
        replace(LETTER, **{"frame": frame, "component": "source scale", "reason": "no", **changes})
    )


async def confirm(desk: Desk, lane: str, sink: str, count: int) -> None:
    """A sink reads and settles the next records of a lane."""
    assert desk.spool is not None
    cursor = desk.spool.lanes[lane].cursor(sink)
    batch = await cursor.read(count, 1 << 20)
    assert len(batch.offsets) == count
    cursor.settle(batch.offsets)
