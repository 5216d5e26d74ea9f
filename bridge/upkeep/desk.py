"""What the verbs work on: the open spool of a running daemon, one opened for them, or files that are only read."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeVar

from bridge.clock import Clock, trusted_age
from bridge.errors import CommandFailed, SpoolUnusable
from bridge.ports import Frame, Offset
from bridge.spool.browse import browse
from bridge.spool.envelope import Stored, unpack_event
from bridge.spool.files import Files, OsFiles
from bridge.spool.layout import Segment
from bridge.spool.limits import Limits
from bridge.spool.settings import DEFAULT_LANE
from bridge.spool.spool import DEAD_LETTERS, LANES, OPERATOR, Spool
from bridge.spool.survey import Survey, survey_log

T = TypeVar("T")

_OLDEST_TRIES = 64
"""After so many pieces of nothing but damage the age of the oldest record is not looked for any further."""


class Redeemer(Protocol):
    """What makes events of frames that came from one source."""

    async def redeem(self, frame: Frame) -> str | None:
        """Tries again to make events of a frame; None when they are durable, or why not."""
        ...


@dataclass(frozen=True, slots=True)
class LanePlan:
    """What the configuration says of a lane.

    Attributes:
        priority: those of higher priority first.
        takers: the sinks that get its events.
    """

    priority: int
    limits: Limits
    takers: Collection[str]


@dataclass(frozen=True, slots=True)
class Desk:
    """Everything a verb needs.

    Attributes:
        path: directory of the spool.
        plans: the configured lanes.
        letter_limits: the limits of the dead letters.
        max_record: the largest payload of a record in bytes.
        threads: where what blocks is done.
        spool: the open spool; None when its files may only be looked at.
        intakes: the configured sources.
        paced: whether others need the processor: then long work rests as long as it works.
        alone: held by whoever changes dead letters.
    """

    path: Path
    clock: Clock
    plans: Mapping[str, LanePlan]
    letter_limits: Limits
    max_record: int
    threads: Executor
    spool: Spool | None = None
    intakes: Mapping[str, Redeemer] = field(default_factory=dict)
    files: Files = field(default_factory=OsFiles)
    paced: bool = False
    alone: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def open_spool(self) -> Spool:
        """The spool, for verbs that change something."""
        if self.spool is None:
            raise RuntimeError("the spool is not open")
        return self.spool

    async def in_thread(self, function: Callable[[], T]) -> T:
        """What a blocking function returns."""
        return await asyncio.get_running_loop().run_in_executor(self.threads, function)

    async def each(self, steps: Iterator[T]) -> AsyncIterator[T]:
        """What a blocking iterator gives, each step made in a thread."""
        while True:
            begun = time.monotonic()
            step = await self.in_thread(lambda: next(steps, None))
            if step is None:
                return
            yield step
            if self.paced:
                await asyncio.sleep(min(1.0, time.monotonic() - begun))

    # --- what is there --------------------------------------------------------------------------------

    async def lanes(self, only: str | None = None) -> list[Survey]:
        """The lanes, those of higher priority first; with ``only``, that one.

        Raises:
            CommandFailed: there is no lane of that name.
            SpoolUnusable: there is no spool, or it cannot be read.
        """
        if self.spool is not None:
            found = [part.survey() for part in self.spool.lanes.values()]
        else:
            found = await self.in_thread(self._look)
        if only is None:
            return found
        named = [survey for survey in found if survey.name == only]
        if not named:
            names = ", ".join(survey.name for survey in found)
            raise CommandFailed(f"there is no lane {only!r}; the lanes are: {names}")
        return named

    async def letters(self) -> Survey:
        """The dead letters."""
        if self.spool is not None:
            return self.spool.dead_letters.survey()
        return await self.in_thread(lambda: self._look_at(self.path / DEAD_LETTERS, DEAD_LETTERS))

    def gone(self, survey: Survey) -> Callable[[Segment], bool]:
        """Tells of a segment whose file is not there whether it has left the log meanwhile."""
        if self.spool is None:
            return lambda _: True
        log = self.spool.dead_letters if survey.name == DEAD_LETTERS else self.spool.lanes.get(survey.name)
        return lambda segment: log is None or not log.holds(segment)

    def sink_of(self, name: str | None, surveys: Collection[Survey]) -> str | None:
        """A sink's name as it is, if there is one of it.

        Raises:
            CommandFailed: no such sink is configured, and no lane keeps anything for one.
        """
        known = sorted({sink for survey in surveys for sink in self.sinks_of(survey)})
        if name is not None and name not in known:
            raise CommandFailed(f"there is no sink {name!r}; the sinks are: {', '.join(known) or 'none'}")
        return name

    def sinks_of(self, survey: Survey) -> list[str]:
        """The sinks that have a part in a lane: configured, or with something left there."""
        plan = self.plans.get(survey.name)
        return list(dict.fromkeys([*(() if plan is None else plan.takers), *survey.cursors]))

    def is_configured(self, lane: str, sink: str) -> bool:
        """Whether a sink gets the events of a lane; what is left of a removed lane is for all that want it."""
        plan = self.plans.get(lane)
        plans = self.plans.values() if plan is None else [plan]
        return any(sink in one.takers for one in plans)

    async def oldest(self, survey: Survey, cursor: str | None) -> float | None:
        """Seconds since the oldest record (that a cursor has not settled) was received, if clocks can tell."""
        first = survey.start if cursor is None else survey.low(cursor)

        def look() -> Stored | None:
            chunks = browse(self.files, survey, first, gone=self.gone(survey), budget=1)
            for _, chunk in zip(range(_OLDEST_TRIES), chunks, strict=False):
                for payload in chunk.payloads:
                    try:
                        return unpack_event(payload)
                    except ValueError:
                        continue
            return None

        return self.age(await self.in_thread(look))

    def age(self, stored: Stored | None) -> float | None:
        """Seconds since a stored event was received, if a clock can tell for certain."""
        return None if stored is None else trusted_age(stored.received, stored.boot_id, self.clock)

    def _look(self) -> list[Survey]:
        try:
            names = set(self.files.folders(self.path / LANES))
        except FileNotFoundError as error:
            raise SpoolUnusable(f"there is no queue in {self.path}: nothing was stored so far") from error
        except OSError as error:
            raise SpoolUnusable(f"{self.path} cannot be read: {error.strerror}") from error
        # In the order in which the owner has them.
        planned = sorted(self.plans, key=lambda name: (-self.plans[name].priority, name != DEFAULT_LANE))
        ordered = dict.fromkeys([*planned, *sorted(names)])
        found = [self._look_at(self.path / LANES / name, name) for name in ordered]
        return [survey for survey in found if survey.segments or survey.name in self.plans]

    def _look_at(self, directory: Path, name: str) -> Survey:
        if not directory.is_dir():
            return Survey(name, directory, (), 0, 0, 0, 0)
        return survey_log(self.files, directory, name)


def is_open(letters: Survey, offset: Offset) -> bool:
    """Whether nobody has dropped a dead letter or sent it on."""
    return not letters.is_settled(OPERATOR, offset)
