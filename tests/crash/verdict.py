"""Whether a spool found after a power cut keeps what a history had promised before it."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Protocol

from bridge.ports import Lane
from bridge.spool.files import Files
from tests.crash import inside
from tests.crash.history import CURSORS, SETTINGS, payload_of
from tests.crash.states import State
from tests.crash.trace import Promise, Trace

ROOMY = SETTINGS.model_copy(update={"max_bytes": 64 * 1024 * 1024})
"""What is looked at must not be dropped for being looked at."""

AFTER = b"after the cut"
"""What a judge appends, to see that the spool goes on."""


class Judge(Protocol):
    """Knows what was promised in one trace."""

    async def learn(self, path: Path, files: Files, instant: int) -> None:
        """Is shown the state at ``instant`` in which nothing is left but what is certain."""
        ...

    async def recover(self, path: Path, files: Files | None) -> None:
        """Opens the spool at ``path`` and closes it again, as the next start would."""
        ...

    async def judge(self, path: Path, files: Files | None, state: State) -> None:
        """Opens the spool, compares, goes on, opens it again; AssertionError for a broken promise."""
        ...


@dataclass
class Promises:
    """What a history had said."""

    acked: dict[int, int] = field(default_factory=dict)
    low: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CURSORS, 0))
    high: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CURSORS, 0))
    dropped: int = 0

    @classmethod
    def parse(cls, lines: Iterable[Promise]) -> "Promises":
        said = cls()
        for line in lines:
            match line.text.split():
                case ["ACK", offset, number]:
                    said.acked[int(offset)] = int(number)
                case ["LOW", name, offset]:
                    said.low[name] = max(said.low[name], int(offset))
                case ["WILL", name, offset]:
                    said.high[name] = max(said.high[name], int(offset))
                case ["DROP", offset]:
                    said.dropped = max(said.dropped, int(offset))
        return said


class HistoryJudge:
    """Judges the states of a recorded history."""

    def __init__(self, trace: Trace) -> None:
        self._said = lru_cache(maxsize=4)(lambda told: Promises.parse(trace.promises[:told]))

    async def learn(self, path: Path, files: Files, instant: int) -> None:
        """As :meth:`Judge.learn`; a history itself says how far its cursors are."""

    async def recover(self, path: Path, files: Files | None) -> None:
        """As :meth:`Judge.recover`."""
        async with inside.new_spool(path, ROOMY, files) as spool:
            await inside.lane_of(spool).recent(1)

    async def judge(self, path: Path, files: Files | None, state: State) -> None:
        """As :meth:`Judge.judge`."""
        said = self._said(state.told)
        before = await self._inspect(path, files, said, more=AFTER)
        after = await self._inspect(path, files, said, more=None)
        assert after == [*before, AFTER], "the second start found something else"

    async def _inspect(
        self, path: Path, files: Files | None, said: Promises, *, more: bytes | None
    ) -> list[bytes]:
        async with asyncio.timeout(20), inside.new_spool(path, ROOMY, files) as spool:
            lane = inside.lane_of(spool)
            payloads = list(await lane.recent(10**9))
            _compare(payloads if more is not None else payloads[:-1], lane, said)
            report = spool.report()
            assert report.damaged == 0, "false alarm"
            assert report.dropped == 0, "deleted before that was durable"
            if more is not None:
                await lane.append([more])
                assert list(await lane.recent(1)) == [more]
            return payloads


def _compare(payloads: Sequence[bytes], lane: Lane, said: Promises) -> None:
    start = inside.start_of(lane)
    numbers = [int(payload.split(b":")[0]) for payload in payloads]
    assert payloads == [payload_of(number) for number in numbers], "other bytes than were stored"
    assert rises(numbers), "out of order, or twice"
    stored = set(numbers)
    lost = [number for offset, number in said.acked.items() if offset >= start and number not in stored]
    assert not lost, f"acknowledged and lost: {lost}"
    allowed = max(said.dropped, min(max(said.high[name], said.dropped) for name in CURSORS))
    assert start <= allowed, f"the log begins at {start}, though nothing above {allowed} was to be deleted"
    for name in CURSORS:
        low = inside.low_of(lane, name)
        assert low >= said.low[name], f"{name} went back from {said.low[name]} to {low}"
        assert low <= max(said.high[name], said.dropped, start), f"{name} is ahead of what it confirmed"
    mark = lane.marks().get("n", 0)
    assert mark >= max(said.acked.values(), default=0), "an acknowledged mark went back"
    assert not numbers or mark >= numbers[-1], "a number would be given twice"


def rises(numbers: Iterable[int]) -> bool:
    """Whether every number is larger than the one before."""
    return all(a < b for a, b in pairwise(numbers))
