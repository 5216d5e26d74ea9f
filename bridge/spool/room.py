"""Whether a log has room for more, by its limits and its policy; and which of its records have grown too old."""

from collections.abc import Callable
from typing import ParamSpec

from bridge.clock import Moment, trusted_age
from bridge.spool.files import Space
from bridge.spool.journal import Journal
from bridge.spool.layout import Segment
from bridge.spool.limits import MAX_AGE
from bridge.spool.parts import Parts
from bridge.spool.tail import read_header

P = ParamSpec("P")

AGE_STEPS = 8
"""A segment is closed when it is that part of ``max_age`` old, so that nothing stays much longer than it."""


class Room:
    """The limits of one log, applied. Lives on the event loop; asks the disk in the writer's thread.

    Attributes:
        untrimmed: the segment that a start found last, and how much of it is used; None when it is settled.
    """

    def __init__(self, parts: Parts, journal: Journal) -> None:
        self._directory = parts.directory
        self._files = parts.files
        self._clock = parts.clock
        self._limits = parts.limits
        self._shelf = parts.shelf
        self._retention = parts.retention
        self._fullness = parts.fullness
        self._trouble = parts.trouble
        self._in_thread = parts.in_thread
        self._journal = journal
        self._births: dict[int, tuple[Moment, bytes] | None] = {}
        self._prepared_for: Segment | None = None
        self.untrimmed: tuple[Segment, int] | None = None

    @property
    def drops(self) -> bool:
        """Whether the oldest records have to give way."""
        return self._limits.on_full == "drop-oldest"

    @property
    def refuses(self) -> bool:
        """Whether the newest records are refused."""
        return self._limits.on_full == "reject-newest"

    async def take_in(self, size: int) -> bool:
        """Whether a group of ``size`` bytes may be written; the oldest give way if the policy says so."""
        return self._journal.fits(size) or await self.another_segment(size)

    async def another_segment(self, size: int = 0) -> bool:
        """Whether another segment may be published; the oldest give way if the policy says so."""
        limit = self._retention.make_room(size, await self._space(), force=self.drops)
        if limit is None:
            self._fullness.end()
            return True
        self._fullness.begin(limit)
        return False

    async def prepare_next(self) -> None:
        """Reserves the segment after the active one, once, if the file system has room for it."""
        if self._prepared_for is self._journal.active:
            return
        self._prepared_for = self._journal.active
        space = await self._space()
        if space is not None and space.free - self._limits.segment_bytes < self._limits.floor(space):
            return
        await self._try(self._journal.prepare)

    async def delete_doomed(self) -> None:
        """Deletes what is no longer part of the log; what cannot be deleted now stays doomed."""
        doomed, self._retention.doomed = self._retention.doomed, []
        for index, segment in enumerate(doomed):
            if not await self._try(self._journal.remove, segment):
                self._retention.doomed = doomed[index:]
                return

    async def trim_old(self) -> None:
        """Gives back what the last segment of an earlier run reserved and never used."""
        untrimmed, self.untrimmed = self.untrimmed, None
        if untrimmed is not None and untrimmed[0] in self._shelf.segments:
            await self._try(self._journal.trim, *untrimmed)

    async def expire(self) -> bool:
        """Lets go of segments in which everything is too old; True when there were any."""
        dropped = False
        segments = self._shelf.segments
        # What a segment holds is older than the segment after it.
        while len(segments) > 1 and await self._is_older(segments[1], self._limits.max_age):
            if not self._retention.drop_oldest(MAX_AGE):
                break
            dropped = True
        return dropped

    async def must_close_newest(self) -> bool:
        """Whether the newest segment holds records and is so old that it should not take more."""
        if self._limits.max_age is None or not self._shelf.segments:
            return False
        newest = self._shelf.segments[-1]
        return newest.first < self._shelf.durable and await self._is_older(
            newest, self._limits.max_age / AGE_STEPS
        )

    async def _is_older(self, segment: Segment, age: float | None) -> bool:
        if age is None:
            return False
        generation = segment.generation
        if generation not in self._births:
            header = await self._in_thread(read_header, self._files, self._directory, segment)
            moment = None if header is None else Moment(header.wall_ns, header.boot_ns, header.synchronised)
            # Only the two oldest and the newest are ever asked about.
            self._births = dict(list(self._births.items())[-8:])
            self._births[generation] = None if moment is None or header is None else (moment, header.boot_id)
        born = self._births[generation]
        known = None if born is None else trusted_age(*born, self._clock)
        return known is not None and known > age

    async def _try(self, function: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> bool:
        """Does what nothing depends on; an error is only noted."""
        try:
            await self._in_thread(function, *args, **kwargs)
        except OSError as error:
            self._trouble.note(error)
            return False
        return True

    async def _space(self) -> Space | None:
        try:
            return await self._in_thread(self._files.space, self._directory)
        except OSError:
            return None
