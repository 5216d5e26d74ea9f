"""``dead-letters retry``: an event goes once more to the sink that refused it, a frame once more to its decoder.

An event keeps its id and its bytes, and only that sink gets it. What is tried again is durable in the queue before
its letter is given up, so a crash in between costs a duplicate and never the reading. What cannot be tried again
stays a letter, and why is said.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, Mapping, Sequence

from bridge.clock import Moment
from bridge.errors import LaneFull
from bridge.ports import Frame, Offset
from bridge.spool.envelope import DeadLetter, pack_event
from bridge.spool.log import Log
from bridge.spool.spool import OPERATOR
from bridge.upkeep.desk import Desk
from bridge.upkeep.letters import SINK, SOURCE, Choice, Letters, chosen
from bridge.upkeep.lines import Args, Upload, answer, items, progress

Lines = AsyncGenerator[bytes, None]

_CUT = re.compile(r"only the first [\d,]+ of [\d,]+ bytes are kept|the beginning is kept")
"""In the reason of a letter that does not hold all that was received."""


async def retry(desk: Desk, args: Args, _: Upload) -> Lines:
    """Tries the letters again that are meant: by ``offsets``, ``source``, ``sink``, or ``all``."""
    choice = Choice.of(args, explicit=True)
    gone = stay = 0
    seen: set[Offset] = set()
    async with desk.alone:
        letters = await desk.letters()
        async for found in desk.each(chosen(desk, letters, choice)):
            outcome = await _Turn(desk).take(found)
            seen.update(offset for offset, _ in found if offset in choice.offsets)
            done = [offset for offset, why in outcome.items() if why is None]
            if done:
                await desk.open_spool.dead_letters.discard(OPERATOR, done)
            gone, stay = gone + len(done), stay + len(outcome) - len(done)
            told = [items({"offset": offset, "stays": outcome[offset]}) for offset in sorted(outcome)]
            yield b"".join(told) + progress("letters", gone + stay)
    yield answer(retried=gone, stay=stay, missing=sorted(choice.offsets - seen))


class _Turn:
    """Some letters, tried again together."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._spool = desk.open_spool
        self._outcome: dict[Offset, str | None] = {}
        self._events: dict[str, list[tuple[Offset, bytes]]] = {}
        self._frames: list[tuple[Offset, str, Frame]] = []

    async def take(self, letters: Letters) -> Mapping[Offset, str | None]:
        """Of each letter why it stays, or None: what it stands for is durable now."""
        for offset, letter in letters:
            self._outcome[offset] = self._plan(offset, letter)
        for lane, pairs in self._events.items():
            await self._append(self._spool.lanes[lane], pairs)
        # Together, so that they share writes; each is queued before the next begins.
        redeem = [self._desk.intakes[source].redeem(frame) for _, source, frame in self._frames]
        for (offset, _, _), why in zip(self._frames, await asyncio.gather(*redeem), strict=True):
            self._outcome[offset] = why
        return self._outcome

    def _plan(self, offset: Offset, letter: DeadLetter | str) -> str | None:
        if isinstance(letter, str):
            return f"it cannot be read: {letter}"
        if letter.event is not None:
            return self._plan_event(offset, letter)
        source = letter.component.removeprefix(SOURCE)
        if not letter.component.startswith(SOURCE):
            return "it holds no event and did not come from a source: nothing can be made of it"
        if source not in self._desk.intakes:
            return f"there is no source {source!r} in the configuration"
        if _CUT.search(letter.reason):
            return "only a part of what was received was kept"
        received = Moment(letter.first_ns, 0, synchronised=False)
        frame = Frame(letter.frame or b"", received, letter.origin, dict(letter.captures), letter.contenttype)
        self._frames.append((offset, source, frame))
        return None

    def _plan_event(self, offset: Offset, letter: DeadLetter) -> str | None:
        assert letter.event is not None  # noqa: S101 - the caller looked
        sink = letter.component.removeprefix(SINK)
        lane = self._lane_for(sink, letter.lane)
        if not letter.component.startswith(SINK) or lane is None:
            return f"there is no sink {sink!r} in the configuration"
        # Of no boot: how old it is nobody knows, so no limit takes it.
        received = Moment(letter.first_ns, 0, synchronised=False)
        payload = pack_event(letter.event, "", received, b"", None, only=sink)
        if len(payload) > self._desk.max_record:
            return f"the event has {len(payload):,} bytes, more than max_record allows"
        self._events.setdefault(lane, []).append((offset, payload))
        return None

    def _lane_for(self, sink: str, lane: str) -> str | None:
        """The lane that an event came from, or another one that the sink gets now."""
        taken = [
            name for name, plan in self._desk.plans.items() if sink in plan.takers and name in self._spool.lanes
        ]
        return lane if lane in taken else next(iter(taken), None)

    async def _append(self, lane: Log, pairs: Sequence[tuple[Offset, bytes]]) -> None:
        try:
            await lane.append([payload for _, payload in pairs])
        except LaneFull as error:
            self._outcome.update((offset, str(error)) for offset, _ in pairs)
