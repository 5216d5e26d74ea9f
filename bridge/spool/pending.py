"""What waits for the disk: bounded, in the order of appends."""

import asyncio
import logging
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bridge.errors import LaneFull, SpoolUnusable
from bridge.ports import Offset
from bridge.spool.layout import Item, size_bound

log = logging.getLogger(__name__)

MAX_PENDING = 4 * 1024 * 1024
"""While more bytes than that wait for the disk, appends wait before they are queued."""


@dataclass(frozen=True, slots=True)
class Pending:
    """One append that waits for the disk.

    Attributes:
        item: what is to be written.
        marks: the marks that become durable with it.
        size: at least the bytes it takes on the disk.
        done: resolved when it is durable.
    """

    item: Item
    marks: Mapping[str, int]
    size: int
    done: "asyncio.Future[None] | None"


class Queue:
    """Appends on their way to the disk.

    Args:
        name: of the log, for people.
        offset: the next offset to be given.

    Attributes:
        filled: set when something was added.
        next: the next offset to be given.
        refusing: raised for every append of payloads, while it is set.
    """

    def __init__(self, name: str, offset: Offset) -> None:
        self._name = name
        self._pending: deque[Pending] = deque()
        self._bytes = 0
        self._room = asyncio.Event()
        self._entry = asyncio.Lock()
        self._entering = 0
        self._closed = False
        self._given_up = 0
        self.filled = asyncio.Event()
        self.next = offset
        self.refusing: LaneFull | None = None

    def __bool__(self) -> bool:
        """Whether something waits."""
        return bool(self._pending)

    async def append(
        self, payloads: Sequence[bytes], marks: Mapping[str, int], packed: bytes | None
    ) -> tuple[Offset, "asyncio.Future[None]"]:
        """Queues the payloads: their first offset, and what is resolved when they are durable.

        Suspends only while too much waits already; calls keep their order.

        Raises:
            SpoolUnusable: the spool is closed.
            LaneFull: payloads are refused.
        """
        if self._entering or self._bytes > MAX_PENDING:
            await self._wait_for_room()
        if self._closed:
            raise SpoolUnusable(f"{self._name}: the spool is closed")
        if self.refusing is not None and payloads:
            raise self.refusing
        first = self.next
        self.next = first + len(payloads)
        done = asyncio.get_running_loop().create_future()
        self._add(Pending(Item(first, payloads, packed), marks, size_bound(payloads, packed), done))
        return first, done

    def add_again(self, items: Sequence[Item]) -> None:
        """Queues what has its offsets already and nobody waits for."""
        for item in items:
            self._add(Pending(item, {}, size_bound(item.payloads, item.marks), None))

    def take(self, bound: int) -> list[Pending]:
        """The next group: about ``bound`` bytes, at least one append if there is any."""
        taken: list[Pending] = []
        size = 0
        while self._pending and (not taken or size + self._pending[0].size <= bound):
            pending = self._pending.popleft()
            taken.append(pending)
            size += pending.size
        return taken

    def put_back(self, taken: Sequence[Pending]) -> None:
        """What was taken last waits again, before everything else."""
        self._pending.extendleft(reversed(taken))

    def turn_away(self, error: LaneFull) -> None:
        """Refuses all payloads that somebody waits for, and those to come; their offsets are given again.

        What is written again after an unclean stop has been accepted before: it stays, and goes first.
        """
        self.refusing = error
        refused = [pending for pending in self._pending if pending.done is not None and pending.item.payloads]
        if not refused:
            return
        self.next = refused[0].item.first
        self._pending = deque(
            pending for pending in self._pending if pending.done is None or not pending.item.payloads
        )
        for pending in refused:
            self._bytes -= pending.size
            assert pending.done is not None  # noqa: S101 - looked at above
            if not pending.done.done():
                pending.done.set_exception(error)
                # Its caller may be gone; an exception that nobody fetches is no news.
                pending.done.exception()
        if self._bytes <= MAX_PENDING:
            self._room.set()

    def confirm(self, taken: Sequence[Pending]) -> None:
        """A group is durable."""
        for pending in taken:
            self._bytes -= pending.size
            if pending.done is not None and not pending.done.done():
                pending.done.set_result(None)
        if self._bytes <= MAX_PENDING:
            self._room.set()

    def refuse(self, taken: Sequence[Pending], why: str | None) -> None:
        """A group was given up."""
        for pending in taken:
            if pending.done is not None:
                self._given_up += len(pending.item.payloads)
            if pending.done is not None and not pending.done.done():
                pending.done.set_exception(
                    SpoolUnusable(f"{self._name}: closed while the disk could not be written ({why})")
                )
                # Its caller may be gone; an exception that nobody fetches is no news.
                pending.done.exception()

    def close(self, why: str | None) -> None:
        """Nothing will be written any more: nobody may go on waiting."""
        self._closed = True
        self._room.set()
        self.refuse(self._pending, why)
        self._pending.clear()
        if self._given_up:
            log.error(
                "%s: %d records were not written before the stop and are lost here: %s. A broker delivers "
                "again what was not acknowledged to it; a serial device cannot.",
                self._name,
                self._given_up,
                why or "no reason is known",
            )

    def _add(self, pending: Pending) -> None:
        self._pending.append(pending)
        self._bytes += pending.size
        self.filled.set()

    async def _wait_for_room(self) -> None:
        self._entering += 1
        try:
            async with self._entry:
                while self._bytes > MAX_PENDING and not self._closed:
                    self._room.clear()
                    await self._room.wait()
        finally:
            self._entering -= 1
