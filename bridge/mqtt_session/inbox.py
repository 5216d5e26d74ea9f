"""What has arrived and what still waits for its acknowledgement: in order, counted, bounded."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass

from bridge.errors import PeerError
from bridge.mqtt_session.packets import Message


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much may wait in memory.

    Attributes:
        unacknowledged: messages with QoS 1 that wait for their acknowledgement; with more, reading stops.
        unacknowledged_bytes: the same in bytes of payload.
        unconfirmed: messages with QoS 0 that wait to be taken; with more, further ones are dropped.
        unconfirmed_bytes: the same in bytes of payload.
    """

    unacknowledged: int = 2000
    unacknowledged_bytes: int = 16 << 20
    unconfirmed: int = 10_000
    unconfirmed_bytes: int = 16 << 20


@dataclass(frozen=True, slots=True, eq=False)
class Burst:
    """Messages that arrived together, in order.

    Attributes:
        inbox: of the connection that delivered them, the only one that may acknowledge them.
        number: counts the bursts of that connection from 1.
        messages: at least one.
    """

    inbox: "Inbox"
    number: int
    messages: Sequence[Message]


class Inbox:
    """The messages of one connection, between the socket and whoever stores them."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._queue: deque[Message] = deque()
        self._arrived = asyncio.Event()
        self._unacknowledged = self._unacknowledged_bytes = 0
        self._unconfirmed = self._unconfirmed_bytes = 0
        self._dropped = 0
        self._taken = self._acknowledged = 0
        self._failure: PeerError | None = None

    @property
    def unacknowledged(self) -> int:
        """Messages with QoS 1 that arrived and were not acknowledged."""
        return self._unacknowledged

    @property
    def full(self) -> bool:
        """Whether so much waits for its acknowledgement that no more should be read."""
        return (
            self._unacknowledged >= self._bounds.unacknowledged
            or self._unacknowledged_bytes >= self._bounds.unacknowledged_bytes
        )

    def put(self, messages: Sequence[Message]) -> None:
        """They have arrived. Those with QoS 0 that find no room are counted and dropped."""
        for message in messages:
            size = len(message.payload)
            if message.qos:
                self._unacknowledged += 1
                self._unacknowledged_bytes += size
            elif (
                self._unconfirmed >= self._bounds.unconfirmed
                or self._unconfirmed_bytes >= self._bounds.unconfirmed_bytes
            ):
                self._dropped += 1
                continue
            else:
                self._unconfirmed += 1
                self._unconfirmed_bytes += size
            self._queue.append(message)
        self._arrived.set()

    def fail(self, failure: PeerError) -> None:
        """Nothing more will arrive, for this reason."""
        self._failure = failure
        self._arrived.set()

    async def bursts(self, max_messages: int, max_bytes: int) -> AsyncGenerator[Burst, None]:
        """See :meth:`bridge.mqtt_session.MqttSession.bursts`."""
        while True:
            while not self._queue:
                if self._failure is not None:
                    raise self._failure
                self._arrived.clear()
                await self._arrived.wait()
            yield self._next(max_messages, max_bytes)

    def acknowledged(self, burst: Burst) -> list[int]:
        """Counts the burst as done; the packet identifiers to be acknowledged, in order.

        Raises:
            ValueError: the burst came over another connection, or one before it was left out.
        """
        if burst.inbox is not self:
            raise ValueError("a burst can be acknowledged only on the connection that delivered it")
        if burst.number != self._acknowledged + 1:
            raise ValueError("bursts are acknowledged in the order of their arrival")
        self._acknowledged += 1
        packets = []
        for message in burst.messages:
            if message.qos:
                packets.append(message.packet)
                self._unacknowledged_bytes -= len(message.payload)
        self._unacknowledged -= len(packets)
        return packets

    def take_dropped(self) -> int:
        """How many messages with QoS 0 were dropped since the last call."""
        dropped, self._dropped = self._dropped, 0
        return dropped

    def _next(self, max_messages: int, max_bytes: int) -> Burst:
        messages: list[Message] = []
        size = 0
        while self._queue and len(messages) < max_messages and (not messages or size < max_bytes):
            message = self._queue.popleft()
            messages.append(message)
            size += len(message.payload)
            if not message.qos:
                self._unconfirmed -= 1
                self._unconfirmed_bytes -= len(message.payload)
        self._taken += 1
        return Burst(self, self._taken, messages)
