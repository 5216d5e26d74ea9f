"""Whether the spool that a power cut left of a running bridge keeps what was promised on the sockets."""

import asyncio
import logging
from bisect import bisect_right
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from bridge.ports import Cursor
from bridge.spool.envelope import unpack_dead_letter, unpack_event
from bridge.spool.files import Files
from bridge.spool.settings import SpoolSettings
from bridge.wire import json_format
from tests.crash import inside
from tests.crash.damage import Ledger
from tests.crash.stage import MAX_RECORD, SINK
from tests.crash.states import State
from tests.crash.verdict import AFTER, rises
from tests.crash.wire import Said, Wire, number_of

SETTINGS = SpoolSettings(segment_bytes=64 * 1024, max_record=MAX_RECORD)
"""Roomy: what is looked at must not be dropped for being looked at."""

SEGMENT = 64 * 1024
OVERHEAD = 1024
"""More bytes than an event takes on the disk besides its data."""


@dataclass
class Found:
    """What a start finds.

    Attributes:
        stored: every record of the lane that can be read, in order.
        waiting: those that the sink is still to have.
        settled: every offset below it is done.
    """

    stored: list[bytes]
    waiting: list[bytes]
    letters: list[bytes]
    settled: int
    damaged: int
    dropped: int


class BridgeJudge:
    """Judges the states of a recorded bridge.

    Args:
        wire: what was heard on the sockets.
        max_bytes: of the spool, if the workload reaches them.
    """

    def __init__(self, wire: Wire, max_bytes: int | None = None) -> None:
        self._wire = wire
        self._max_bytes = max_bytes
        self._said = lru_cache(maxsize=4)(lambda told: Said.parse(wire.promises[:told]))
        self._garbage = {number for number, frame in wire.frames.items() if frame.startswith(b"GARBAGE")}
        self._numbers: dict[bytes, int] = {}
        self._floors: list[tuple[int, int]] = []

    async def learn(self, path: Path, files: Files, instant: int) -> None:
        """As :meth:`tests.crash.verdict.Judge.learn`: no cursor may be behind that from then on."""
        settled = (await self._look(path, files)).settled
        self._floors.append((instant, max(settled, self._floor(instant))))
        self._floors.sort()

    async def recover(self, path: Path, files: Files | None) -> None:
        """As :meth:`tests.crash.verdict.Judge.recover`."""
        async with inside.new_spool(path, SETTINGS, files) as spool:
            inside.lane_of(spool).cursor(SINK)
            await inside.lane_of(spool).recent(1)

    async def judge(self, path: Path, files: Files | None, state: State) -> None:
        """As :meth:`tests.crash.verdict.Judge.judge`."""
        said = self._said(state.told)
        alarms = _Alarms()
        with alarms:
            found = await self._look(path, files)
        self._compare(found, said, state, alarms.count)
        async with asyncio.timeout(20), inside.new_spool(path, SETTINGS, files) as spool:
            again = list(await inside.lane_of(spool).recent(10**9))
        # The first start may have let go of what the sink has had.
        expected = [*found.stored, AFTER]
        gone = expected[: len(expected) - len(again)]
        assert expected[len(gone) :] == again, "the second start found something else"
        assert not set(gone) & set(found.waiting), "the first start let go of what the sink is still to have"

    async def _look(self, path: Path, files: Files | None) -> Found:
        async with asyncio.timeout(20), inside.new_spool(path, SETTINGS, files) as spool:
            lane, letters = inside.lane_of(spool), spool.dead_letters
            stored = list(await lane.recent(10**9))
            dead = list(await letters.recent(10**9))
            settled = inside.low_of(lane, SINK)
            cursor = lane.cursor(SINK)
            await lane.append([AFTER])
            await letters.append([AFTER])
            waiting = await _all_of(cursor)
            assert list(await lane.recent(1)) == [AFTER], "what is appended is not there"
            assert list(await letters.recent(1)) == [AFTER], "what is appended is not there"
            report = spool.report()
            return Found(stored, waiting, dead, settled, report.damaged, report.dropped)

    # --- the promises ---------------------------------------------------------------------------------

    def _compare(self, found: Found, said: Said, state: State, alarms: int) -> None:
        rot = None if state.rot is None else Ledger(state.rot, self._wire.frames, state.tree())
        stored = [self._number(payload) for payload in found.stored]
        waiting = [self._number(payload) for payload in found.waiting]
        assert rises(stored), "out of order, or twice"
        assert rises(waiting), "out of order for the sink, or twice"
        assert set(stored) <= said.got, "a reading was invented"
        assert set(waiting) <= set(stored), "the sink gets what is not there"
        dead = self._dead(found.letters, said)
        safe = said.taken | set(waiting) | dead
        must = said.acked | said.sent
        lost = must - safe
        if self._max_bytes is not None:
            lost -= self._dropped(lost - self._garbage, waiting, said, self._max_bytes)
        unexplained = lost if rot is None else {number for number in lost if not rot.explains(number)}
        assert not unexplained, f"acknowledged or sent, and lost: {sorted(unexplained)[:20]} of {len(must)}"
        if rot is not None:
            told = found.damaged + found.dropped + alarms
            left = dead if rot.dead_letters else set(stored)
            assert told or not rot.must_be_told(lost, left), f"lost without a word: {sorted(lost)[:10]}"
            return
        assert not found.damaged, "false alarm of damage"
        assert not found.dropped, "deleted before that was durable"
        assert not said.written_down & set(waiting), "a stop did not write down what the sink had"
        floor = self._floor(state.recipe.instant)
        assert found.settled >= floor, f"the cursor went back from {floor} to {found.settled}"

    def _dead(self, letters: Sequence[bytes], said: Said) -> set[int]:
        dead = set()
        for payload in letters:
            letter = unpack_dead_letter(payload)
            if letter.frame is not None:
                number = number_of(letter.frame)
                assert letter.frame == self._wire.frames[number], "a dead letter with other bytes"
                assert number in self._garbage & said.got, "a dead letter of what can be decoded"
            else:
                assert letter.event is not None
                assert letter.event.data is not None
                number = number_of(letter.event.data)
                assert number in said.refused, "a dead letter of what the sink has not refused"
                assert json_format.encode(letter.event) == self._wire.sent[number], "a dead letter changed"
            dead.add(number)
        return dead

    def _dropped(self, lost: Collection[int], waiting: Sequence[int], said: Said, max_bytes: int) -> set[int]:
        """Those that ``max_bytes`` may have taken: the oldest, when so many bytes came after them."""
        size, dropped = 0, set()
        oldest_kept = min(waiting, default=max(said.got, default=0) + 1)
        for number in sorted(said.got - self._garbage, reverse=True):
            # The segment to be published, the one that is prepared, and one that is dropped as a whole.
            if size >= max_bytes - 4 * SEGMENT and number in lost and number < oldest_kept:
                dropped.add(number)
            size += len(self._wire.frames[number]) + OVERHEAD
        return dropped

    def _number(self, payload: bytes) -> int:
        """The reading that a record holds, which must be what came and what was sent."""
        number = self._numbers.get(payload)
        if number is None:
            event = unpack_event(payload).event
            assert event.data is not None
            number = number_of(event.data)
            assert event.data == self._wire.frames[number], "other bytes than came"
            sent = self._wire.sent.get(number)
            assert sent is None or json_format.encode(event) == sent, "other bytes or another id than was sent"
            self._numbers[payload] = number
        return number

    def _floor(self, instant: int) -> int:
        at = bisect_right(self._floors, (instant, 1 << 62))
        return self._floors[at - 1][1] if at else 0


async def _all_of(cursor: Cursor) -> list[bytes]:
    """Everything that the sink is still to have, up to what was appended last."""
    payloads: list[bytes] = []
    while not payloads or payloads[-1] != AFTER:
        payloads += (await cursor.read(10_000, 1 << 30)).payloads
    return payloads[:-1]


class _Alarms(logging.Handler):
    """Counts the warnings of the spool."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.count += 1

    def __enter__(self) -> None:
        logging.getLogger("bridge.spool").addHandler(self)

    def __exit__(self, *_: object) -> None:
        with suppress(ValueError):
            logging.getLogger("bridge.spool").removeHandler(self)
