"""The on-disk queue of the bridge: lanes of events, one log of dead letters, one owner."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from bridge.clock import Clock
from bridge.errors import SpoolUnusable
from bridge.report import LaneReport, SpoolReport, WearReport
from bridge.spool.files import Files, OsFiles
from bridge.spool.layout import parse_name
from bridge.spool.limits import Limits, dead_letter_limits, lane_limits
from bridge.spool.log import Log
from bridge.spool.meter import Meter
from bridge.spool.ownership import Ownership
from bridge.spool.settings import DEFAULT_LANE, DeadLetterSettings, LaneSettings, SpoolSettings

log = logging.getLogger(__name__)

LANES, DEAD_LETTERS = "lanes", "dead-letters"
"""The folders of a spool."""

OPERATOR = "operator"
"""The cursor of the dead letters: what somebody has dropped or sent on is settled for it."""

STALL = 10.0
"""Seconds without an answer of the disk after which that is told."""

WATCH = 1.0
"""Seconds between two looks at what the disk has not answered."""

REMOVED_PRIORITY = -1000
"""What is left of a lane that is not configured any more comes after all others."""

_READERS = 2


class Spool:
    """The spool in one directory; to be entered with ``async with``.

    Entering takes the lock, finds what an earlier run left, and starts the writers. Leaving writes what
    waits, the cursors and a seal, and lets go of the lock. A lane that lies on the disk and is not configured is
    there, too, with the limits of [spool], until it is empty.

    Args:
        path: the directory; made, with its parents, when it is not there.
        files: the door to the disk, for tests.
        lanes: the configured lanes; "default" is always there.
        dead_letters: the limits of the dead letters.
        owners: gives the cursors that somebody wants in a lane; None when that is not known: all are wanted.
    """

    def __init__(
        self,
        path: Path,
        settings: SpoolSettings,
        clock: Clock,
        files: Files | None = None,
        *,
        lanes: Mapping[str, LaneSettings] | None = None,
        dead_letters: DeadLetterSettings | None = None,
        owners: Callable[[str], Collection[str]] | None = None,
    ) -> None:
        self.path = path
        self.meter = Meter(files or OsFiles())
        self._settings = settings
        self._clock = clock
        self._configured = {DEFAULT_LANE: LaneSettings(), **(lanes or {})}
        self._dead_letter_settings = dead_letters or DeadLetterSettings()
        self._owners = owners
        self._stack = AsyncExitStack()
        self._lanes: dict[str, Log] = {}
        self._dead_letters: Log | None = None

    async def __aenter__(self) -> Self:
        """Opens the spool.

        Raises:
            SpoolLocked: another process has it; the message names its pid.
            SpoolTooNew: a later major version wrote it; nothing was touched.
            SpoolUnusable: the directory can neither be made nor read.
        """
        async with AsyncExitStack() as stack:
            readers = ThreadPoolExecutor(_READERS, "spool-read")
            stack.callback(readers.shutdown)
            loop = asyncio.get_running_loop()
            ownership = Ownership(self.meter, self.path)
            stack.callback(ownership.release)
            trouble = await loop.run_in_executor(readers, ownership.take)
            names = await loop.run_in_executor(readers, self._lanes_found)
            lanes = {name: self._log(stack, f"{LANES}/{name}", name, readers) for name in names}
            dead = self._log(stack, DEAD_LETTERS, DEAD_LETTERS, readers)
            # All are looked at before any is written: a later version's files must be left alone as a whole.
            for part in (*lanes.values(), dead):
                await part.look()
                part.trouble = part.trouble or trouble
            for part in (*lanes.values(), dead):
                await stack.enter_async_context(part)
            dead.cursor(OPERATOR)
            watch = asyncio.create_task(self._watch(), name="watch over the disk")
            stack.push_async_callback(_cancel, watch)
            self._lanes, self._dead_letters = lanes, dead
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Closes the spool; what the disk refuses is given up after one try."""
        await self._stack.aclose()

    @property
    def lane(self) -> Log:
        """The lane ``default``."""
        return self.lanes[DEFAULT_LANE]

    @property
    def lanes(self) -> Mapping[str, Log]:
        """Every lane by its name, configured or found: first those of higher priority."""
        if not self._lanes:
            raise RuntimeError("the spool is not open")
        return self._lanes

    @property
    def dead_letters(self) -> Log:
        """The log of dead letters."""
        if self._dead_letters is None:
            raise RuntimeError("the spool is not open")
        return self._dead_letters

    def priority(self, lane: str) -> int:
        """The priority of a lane; what is left of a removed one comes after all others."""
        settings = self._configured.get(lane)
        return REMOVED_PRIORITY if settings is None else settings.priority

    @property
    def removed_lanes(self) -> tuple[str, ...]:
        """The lanes that lie on the disk and are not configured any more."""
        return tuple(name for name in self.lanes if name not in self._configured)

    async def guard(self) -> None:
        """Watches the writers as long as the spool is open; whoever waits cancels it.

        Raises:
            RuntimeError: one of them has ended without being asked, with the bug that did it.
        """
        watched = {asyncio.ensure_future(part.ended()): part for part in self._parts()}
        try:
            while True:
                done, _ = await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED)
                for one in done:
                    # The writer of a lane that was forgotten has ended as it was asked to.
                    if watched.pop(one) in self._parts():
                        raise RuntimeError("a writer of the spool has ended") from one.exception()
        finally:
            for one in watched:
                one.cancel()

    def _parts(self) -> "tuple[Log, ...]":
        return (*self.lanes.values(), self.dead_letters)

    async def forget_lane(self, name: str) -> None:
        """Removes a lane that is not configured any more, with all that is in it, when no sink wants it.

        Raises:
            ValueError: it is configured, or a sink still has to get something from it.
            SpoolUnusable: it could not be deleted.
        """
        part = self.lanes[name]
        if name in self._configured:
            raise ValueError(f"the lane {name} is configured")
        for cursor in part.open_cursors:
            waiting = part.cursor(cursor).position().waiting
            if waiting:
                raise ValueError(f"the sink {cursor} still has to get {waiting:,} events from the lane {name}")
        self._lanes = {other: log for other, log in self._lanes.items() if other != name}
        try:
            await part.destroy()
        except OSError as error:
            raise SpoolUnusable(f"the lane {name} could not be deleted: {error.strerror}") from error
        log.warning("the lane %s was forgotten, with all that was in it", name)

    def stalled(self) -> float:
        """For how many seconds the disk has not answered; 0 when it is asked nothing."""
        return self.meter.stalled()[0]

    def report(self) -> SpoolReport:
        """What the spool says about itself; asks the disk nothing."""
        parts = self._parts()
        lanes = tuple(self._lane_report(name, part) for name, part in self.lanes.items())
        letters = self._lane_report(DEAD_LETTERS, self.dead_letters)
        return SpoolReport(
            path=str(self.path),
            bytes_used=sum(part.bytes_used for part in parts),
            events=sum(lane.events for lane in lanes),
            dead_letters=letters.events,
            dropped=sum(sum(part.losses.values()) for part in parts),
            damaged=sum(part.damaged for part in parts),
            writable=all(part.writable for part in parts),
            stalled=self.stalled(),
            last_error=next((part.last_error for part in parts if part.last_error), None),
            lanes=lanes,
            letters=letters,
            wear=WearReport(
                written=self.meter.written,
                blocks=self.meter.blocks,
                syncs=self.meter.syncs,
                sync_seconds=self.meter.sync_seconds,
                slowest_sync=self.meter.slowest_sync,
                commits=sum(part.commits for part in parts),
                payload=sum(part.appended_bytes for part in parts),
            ),
        )

    def _lane_report(self, name: str, part: Log) -> LaneReport:
        first, stop = part.range
        return LaneReport(
            name=name,
            priority=self.priority(name),
            configured=name in self._configured or part is self._dead_letters,
            on_full=part.limits.on_full,
            first=first,
            stop=stop,
            events=part.cursor(OPERATOR).position().waiting if part is self._dead_letters else stop - first,
            bytes_used=part.bytes_used,
            max_bytes=part.limits.max_bytes,
            max_age=part.limits.max_age,
            commit_interval=part.limits.commit_interval,
            full=part.full,
            lost=dict(part.losses),
            damaged=part.damaged,
            orphans=dict(part.orphans),
        )

    def _log(self, stack: AsyncExitStack, folder: str, name: str, readers: ThreadPoolExecutor) -> Log:
        writers = ThreadPoolExecutor(1, f"spool-write-{name}")
        stack.callback(writers.shutdown)
        part = Log(
            self.path / folder,
            name,
            files=self.meter,
            clock=self._clock,
            limits=self._limits(folder, name),
            max_record=self._settings.max_record,
            writers=writers,
            readers=readers,
        )
        if folder == DEAD_LETTERS:
            part.own((OPERATOR,))
        elif self._owners is not None:
            part.own(self._owners(name))
        return part

    def _limits(self, folder: str, name: str) -> Limits:
        if folder == DEAD_LETTERS:
            return dead_letter_limits(self._settings, self._dead_letter_settings)
        return lane_limits(self._settings, self._configured.get(name, LaneSettings()))

    def _lanes_found(self) -> list[str]:
        """The lanes that are configured, and those that hold segments; by priority. Blocking."""
        folder = self.path / LANES
        names = dict.fromkeys(self._configured)
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            for name in sorted(self.meter.folders(folder)):
                if name in names:
                    continue
                entries = self.meter.listdir(folder / name)
                if any(parse_name(entry.name, entry.size) for entry in entries):
                    names[name] = None
                elif entries:
                    log.warning("%s: holds no segments, ignored and left alone", folder / name)
        return sorted(names, key=lambda name: -self.priority(name))

    async def _watch(self) -> None:
        """Tells when the disk does not answer, and when it does again."""
        worst = 0.0
        while True:
            await asyncio.sleep(WATCH)
            waited, call = self.meter.stalled()
            if waited > STALL and not worst:
                log.error(
                    "the disk of %s has not answered a %s for %.0f s: nothing is acknowledged until it does. "
                    "A slow or failing card does so.",
                    self.path,
                    call,
                    waited,
                )
            elif worst and waited < worst:
                log.warning("the disk of %s answers again after %.0f s", self.path, worst)
                worst = 0.0
            if waited > STALL:
                worst = waited


async def _cancel(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.wait([task])
