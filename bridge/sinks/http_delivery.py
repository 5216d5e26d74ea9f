"""How a batch becomes requests, and what their answers say about each event; nothing here knows a library."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from bridge.clock import Clock
from bridge.errors import Paused, PeerError, Rejected, Unavailable
from bridge.event import Event
from bridge.sinks.http_answers import Answer, trouble
from bridge.wire import http, json_format


class Post(Protocol):
    """One request."""

    async def __call__(self, message: http.Message) -> Answer:
        """The answer, whatever its status.

        Raises:
            Unavailable: there is no whole answer.
            Paused: the same, for a reason that somebody has to mend.
        """
        ...


@dataclass(slots=True)
class Ledger:
    """What is known of each event of one batch.

    Attributes:
        errors: what stopped the sending, in the order it happened.
    """

    count: int
    peer: str
    confirmed: set[int] = field(default_factory=set)
    rejected: dict[int, str] = field(default_factory=dict)
    errors: list[PeerError] = field(default_factory=list)

    def verdict(self) -> None:
        """Returns if everything is confirmed.

        Raises:
            Rejected: everything else is.
            Unavailable: something is neither confirmed nor rejected.
            Paused: the same, and at least one answer said that somebody has to act.
        """
        if self.count > len(self.confirmed) + len(self.rejected):
            # Nothing may be lost between the cracks, whatever ended a request.
            errors = self.errors or [Unavailable("a request ended without an answer")]
            worst = next((error for error in errors if isinstance(error, Paused)), errors[0])
            raise type(worst)(
                f"{self.peer}: {worst.why}",
                retry_after=max((error.retry_after or 0.0 for error in errors), default=0.0) or None,
                confirmed=self.confirmed,
                rejected=self.rejected,
            ) from worst
        if self.rejected:
            raise Rejected(self.rejected)


class SingleDelivery:
    """A :class:`bridge.ports.Delivery` with one event per request, several requests under way at once.

    With ``concurrency`` 1 events arrive strictly in order; with more, neighbours may overtake each other.
    """

    def __init__(
        self,
        post: Post,
        encode: Callable[[Event], http.Message],
        *,
        peer: str,
        clock: Clock,
        concurrency: int,
        same_type: bool,
    ) -> None:
        self._post = post
        self._encode = encode
        self._peer = peer
        self._clock = clock
        self._concurrency = concurrency
        self._same_type = same_type

    async def idle(self) -> None:
        """Waits for ever: between requests there is nothing to lose."""
        await asyncio.get_running_loop().create_future()

    async def send(self, batch: Sequence[Event]) -> None:
        """Returns when every event was answered with 2xx; after a failure no further request is begun."""
        ledger = Ledger(len(batch), self._peer)
        work = iter(enumerate(batch))
        # What is under way when one fails is waited for (its timeout bounds it): the less is sent twice.
        async with asyncio.TaskGroup() as group:
            for _ in range(min(self._concurrency, len(batch))):
                group.create_task(self._drain(work, ledger))
        ledger.verdict()

    async def _drain(self, work: Iterator[tuple[int, Event]], ledger: Ledger) -> None:
        for index, event in work:
            try:
                await self._send_one(index, event, ledger)
            except PeerError as error:
                ledger.errors.append(error)
            if ledger.errors:
                return

    async def _send_one(self, index: int, event: Event, ledger: Ledger) -> None:
        try:
            message = self._encode(event)
        except http.Unsendable as error:
            ledger.rejected[index] = str(error)
            return
        answer = await self._post(message)
        failure = trouble(answer, same_type=self._same_type, wall_ns=self._clock.now().wall_ns)
        if failure is not None:
            raise failure
        if answer.confirms:
            ledger.confirmed.add(index)
        else:
            ledger.rejected[index] = _reason(answer, message)


class Room:
    """How many bytes the next batch may have: less after a refusal or a break, then more again.

    A receiver that closes the connection instead of answering 413, and a link too slow to carry a batch
    within the timeout, would otherwise see the same request for ever. It outlives the connection.

    Attributes:
        size: bytes of a body before compression.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self.size = most

    def shrink(self, tried: int, *, for_good: bool = False) -> None:
        """A body of ``tried`` bytes did not get through; ``for_good`` if the receiver says that it never will."""
        self.size = max(1, min(self.size, tried) // 2)
        if for_good:
            self._most = self.size

    def grow(self) -> None:
        """A body got through."""
        self.size = min(self._most, self.size * 2)


class BatchDelivery:
    """A :class:`bridge.ports.Delivery` with many events per request, one request at a time, in order."""

    def __init__(self, post: Post, *, peer: str, clock: Clock, most_events: int, room: Room) -> None:
        self._post = post
        self._peer = peer
        self._clock = clock
        self._most_events = most_events
        self._room = room

    async def idle(self) -> None:
        """Waits for ever: between requests there is nothing to lose."""
        await asyncio.get_running_loop().create_future()

    async def send(self, batch: Sequence[Event]) -> None:
        """Returns when every event was part of a request that was answered with 2xx.

        A request that is refused for its size or its content is cut in halves until the events to blame are
        alone; only these are rejected.
        """
        ledger = Ledger(len(batch), self._peer)
        waiting = deque((index, json_format.encode(event)) for index, event in enumerate(batch))
        suspects: deque[list[tuple[int, bytes]]] = deque()
        try:
            while suspects or waiting:
                pieces = suspects.popleft() if suspects else self._take(waiting)
                if not await self._send_some(pieces, ledger):
                    half = len(pieces) // 2
                    suspects.extendleft((pieces[half:], pieces[:half]))
        except PeerError as error:
            ledger.errors.append(error)
        ledger.verdict()

    def _take(self, waiting: deque[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
        """The next events of one request; at least one, however large."""
        pieces: list[tuple[int, bytes]] = []
        size = 2  # the brackets; each piece adds a comma
        while waiting and len(pieces) < self._most_events:
            size += len(waiting[0][1]) + 1
            if pieces and size > self._room.size:
                break
            pieces.append(waiting.popleft())
        return pieces

    async def _send_some(self, pieces: Sequence[tuple[int, bytes]], ledger: Ledger) -> bool:
        """False when the request was refused and is to be cut in halves."""
        message = http.batched([piece for _, piece in pieces])
        several = len(pieces) > 1
        try:
            answer = await self._post(message)
        except Unavailable:
            if several:
                self._room.shrink(len(message.body))
            raise
        failure = trouble(answer, same_type=True, wall_ns=self._clock.now().wall_ns)
        if failure is not None:
            raise failure
        if answer.confirms:
            self._room.grow()
            ledger.confirmed.update(index for index, _ in pieces)
            return True
        if answer.too_large and several:
            self._room.shrink(len(message.body), for_good=True)
        if not several:
            ledger.rejected[pieces[0][0]] = _reason(answer, message)
        return not several


def _reason(answer: Answer, message: http.Message) -> str:
    size = f" (the request has {len(message.body):,} bytes)" if answer.too_large else ""
    return f"the receiver answered {answer}{size}"
