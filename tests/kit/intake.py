"""An intake that remembers what it was given, and a gate that decides when it is durable."""

import asyncio
from collections.abc import Collection, Sequence

from bridge.ports import Frame, Receipt


class FakeIntake:
    """Keeps the promises of :class:`bridge.ports.Intake` in memory.

    Frames are *offered* when the call begins and *durable* when the gate is open; a call that was cancelled
    while it waited leaves its frames to become durable all the same, as the spool does.

    Attributes:
        offered: every frame of every call, in the order of calls.
        durable: those that are stored, in the same order.
        calls: the frames of each call.
        gate: while it is clear, nothing becomes durable.
        peers: what ``connected`` was told.
        losses: what ``lost`` was told, summed by reason.
        known: what ``receipts`` answers before anything was stored here.
        refuse: payloads that a full lane refuses.
    """

    def __init__(self, known: Sequence[Receipt] = ()) -> None:
        self.offered: list[Frame] = []
        self.durable: list[Frame] = []
        self.calls: list[tuple[Frame, ...]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.peers: list[str] = []
        self.losses: dict[str, int] = {}
        self.known = list(known)
        self.refuse: set[bytes] = set()
        self._changed = asyncio.Event()

    async def __call__(self, frames: Sequence[Frame]) -> Collection[int]:
        """Returns when the gate is open; refuses the frames whose payload is in ``refuse``."""
        self.offered.extend(frames)
        self.calls.append(tuple(frames))
        self._changed.set()
        try:
            await self.gate.wait()
        finally:
            self.durable.extend(frame for frame in frames if frame.payload not in self.refuse)
            self._changed.set()
        return [index for index, frame in enumerate(frames) if frame.payload in self.refuse]

    def connected(self, peer: str) -> None:
        """Remembers the peer."""
        self.peers.append(peer)
        self._changed.set()

    def lost(self, count: int, reason: str) -> None:
        """Adds the loss up."""
        self.losses[reason] = self.losses.get(reason, 0) + count
        self._changed.set()

    async def receipts(self) -> Sequence[Receipt]:
        """Those known at the start, and those of every durable frame."""
        return [*self.known, *(frame.receipt for frame in self.durable if frame.receipt is not None)]

    async def until(
        self, *, offered: int = 0, durable: int = 0, connected: int = 0, lost: int = 0, within: float = 20.0
    ) -> None:
        """Returns when at least so many frames were offered, are durable, and so on; TimeoutError if not."""
        async with asyncio.timeout(within):
            while (
                len(self.offered) < offered
                or len(self.durable) < durable
                or len(self.peers) < connected
                or sum(self.losses.values()) < lost
            ):
                self._changed.clear()
                await self._changed.wait()

    @property
    def payloads(self) -> list[bytes]:
        """Payloads of the durable frames, in order."""
        return [frame.payload for frame in self.durable]
