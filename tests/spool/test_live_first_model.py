"""The live-first reader against a plain model: limits, slow reads, cancelled reads, restarts and power cuts."""

import asyncio
import errno
import itertools
import random
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from bridge.clock import SystemClock
from bridge.ports import Batch
from bridge.spool import committer, cursor, shelf
from bridge.spool.cursor import LogCursor
from bridge.spool.log import Log
from bridge.spool.settings import SpoolSettings
from bridge.spool.spool import Spool
from tests.kit.faulty_files import FaultyFiles
from tests.kit.thorough import examples
from tests.spool.places import PATH

T = TypeVar("T")
SETTINGS = SpoolSettings(segment_bytes=64 * 1024, max_bytes=1024 * 1024, max_record=64 * 1024, cursor_interval=0)
SHARE = 0.4
MOST = 6000
STRETCHES = 3


@pytest.fixture(autouse=True)
def _little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelf, "CHUNK", 8 * 1024)
    monkeypatch.setattr(cursor, "MAX_STRETCHES", STRETCHES)
    monkeypatch.setattr(shelf, "delays", lambda *_: itertools.repeat(0.001))
    monkeypatch.setattr(committer, "delays", lambda *_: itertools.repeat(0.001))


class LiveFirstMachine(RuleBasedStateMachine):
    """Every payload has a number of its own; one cursor reads with a share for what is fresh."""

    def __init__(self) -> None:
        super().__init__()
        self.files = FaultyFiles()
        self.files.make(PATH)
        self.runner = asyncio.Runner()
        self.number = 0
        self.stored: dict[int, bytes] = {}
        self.settled: set[int] = set()
        self.open()

    def teardown(self) -> None:
        self.drain()
        self.close()
        self.runner.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        async def bounded() -> T:
            async with asyncio.timeout(20):
                return await work

        return self.runner.run(bounded())

    def open(self) -> None:
        async def enter() -> Spool:
            spool = await Spool(PATH, SETTINGS, SystemClock(), self.files).__aenter__()
            while spool.lane._shelf.durable < spool.lane._writer.queue.next:
                await asyncio.sleep(0.001)
            return spool

        self.spool = self.run(enter())
        assert isinstance(self.spool.lane, Log)
        self.log = self.spool.lane
        self.cursor: LogCursor = self.log.cursor("cloud", SHARE)
        ledger = self.cursor._ledger
        # A crash brings back what was settled within the lag, and nothing was settled by itself.
        kept = {offset for offset in self.stored if ledger.is_settled(offset)}
        assert all(offset < self.log._book.start for offset in kept - self.settled)
        self.settled = kept
        self.served: set[int] = set()
        self.run_of_both: list[tuple[bool, int]] = []

    def close(self) -> None:
        self.run(self.spool.__aexit__(None, None, None))

    def wanted(self) -> list[int]:
        """What is still to be served, in order."""
        low = self.cursor.position().settled
        return [each for each in self.stored if each >= low and each not in self.settled | self.served]

    # --- rules ----------------------------------------------------------------------------------------

    @rule(count=st.integers(20, 60), size=st.sampled_from((10, 1000, 3000)))
    def outage(self, count: int, size: int) -> None:
        """Nobody reads for long."""
        self.run(self.append([size] * 5, count // 5))

    @rule(turns=st.lists(st.tuples(st.integers(0, 3), st.integers(1, 8)), min_size=1, max_size=12))
    def flow(self, turns: list[tuple[int, int]]) -> None:
        """Fresh records and reads take turns."""
        for count, most in turns:
            if count:
                self.run(self.append([700] * count, 1))
            if self.wanted():
                self.run(self.read(most))

    async def append(self, sizes: list[int], times: int) -> None:
        for _ in range(times):
            payloads = []
            for size in sizes:
                self.number += 1
                payloads.append(b"<%d>" % self.number + bytes(size))
            first = await self.log.append(payloads)
            self.stored.update(enumerate(payloads, first))

    @rule(count=st.integers(1, 8), times=st.integers(1, 6))
    def take(self, count: int, times: int) -> None:
        for _ in range(times):
            if self.wanted():
                self.run(self.read(count))

    @rule(steps=st.lists(st.integers(0, 6), min_size=1, max_size=6))
    def cancelled_reads(self, steps: list[int]) -> None:
        async def impatient() -> None:
            for count in steps:
                before = self.wanted()
                reading = asyncio.create_task(self.cursor.read(3, MOST))
                for _ in range(count):
                    await asyncio.sleep(0)
                reading.cancel()
                await asyncio.wait([reading])
                if not reading.cancelled():
                    self.check(reading.result(), before)
                    self.run_of_both = []

        self.run(impatient())

    @rule(grain=st.sampled_from((1, 2, 5)))
    def settle(self, grain: int) -> None:
        open_ = sorted(self.served - self.settled)
        if not open_:
            return
        # What is drawn must not depend on how fast the disk was.
        some = open_[::grain]

        async def settle() -> None:
            # Of what was never served nothing is settled, whoever asks.
            unserved = self.wanted()
            self.cursor.settle([*some, *unserved])
            assert not [offset for offset in unserved if self.cursor._ledger.is_settled(offset)]
            await asyncio.sleep(0)

        self.run(settle())
        self.settled.update(some)

    @rule(count=st.integers(1, 3))
    def few_descriptors(self, count: int) -> None:
        self.files.faults["open"] = [errno.EMFILE] * count

    @rule()
    def restart(self) -> None:
        self.files.faults.clear()
        self.close()
        self.open()

    @rule(seed=st.integers(0, 2**32))
    def power_cut(self, seed: int) -> None:
        # The process stops at once: its files go dead first, so that its last words are not written.
        dead, self.files = self.files, FaultyFiles()
        with dead._guard:
            self.files._root = dead._root
            dead._root = type(dead._root)()
            dead._open = {}
            dead.broken = dict.fromkeys(("open", "create", "listdir", "mkdir", "rename", "unlink"), errno.EIO)
        self.close()
        self.files.cut_power(random.Random(seed))
        self.open()

    def drain(self) -> None:
        """Everything that is wanted comes, and nothing is left of the split."""
        self.files.faults.clear()
        while self.wanted():
            self.run(self.read(100))
        self.settled.update(self.served)

        async def settle() -> None:
            self.cursor.settle(sorted(self.served))
            await asyncio.sleep(0)

        self.run(settle())
        position = self.cursor.position()
        assert (position.waiting, position.settled) == (0, self.log._shelf.durable)
        assert self.cursor._ledger.spread == 0

    # --- what a batch must be -------------------------------------------------------------------------

    async def read(self, count: int) -> None:
        # Whose turn it is must not depend on how fast the disk is.
        fetches = [
            each.fetching for each in (self.cursor._live, *self.cursor._backlog) if each.fetching is not None
        ]
        if fetches:
            await asyncio.wait(fetches)
        before = self.wanted()
        batch = await self.cursor.read(count, MOST)
        self.check(batch, before)
        # The backlog of before a split is no longer fresh: so what is live is asked after it.
        self.account(batch, before)

    def check(self, batch: Batch, wanted: Sequence[int]) -> None:
        offsets = list(batch.offsets)
        assert list(batch.payloads) == [self.stored[offset] for offset in offsets], "other bytes than were stored"
        assert not self.served & set(offsets), "served twice"
        at = wanted.index(offsets[0])
        assert list(wanted[at : at + len(offsets)]) == offsets, "out of order within a stretch"
        assert at == 0 or offsets[0] > max(self.served, default=-1), "neither the oldest nor the freshest"
        self.served.update(offsets)

    def account(self, batch: Batch, wanted: Sequence[int]) -> None:
        live = self.cursor._live
        fresh = [offset for offset in wanted if offset >= live.start]
        if not self.cursor._backlog or not fresh or len(fresh) == len(wanted) or live.fetching is not None:
            self.run_of_both = []
            return
        self.run_of_both.append((batch.offsets[0] >= live.start, sum(map(len, batch.payloads))))
        total = sum(size for _, size in self.run_of_both)
        taken = sum(size for is_fresh, size in self.run_of_both if is_fresh)
        assert taken >= SHARE * total - MOST, "less than its share"

    @invariant()
    def counts_are_right(self) -> None:
        assert self.spool.report().damaged == 0, "false alarm"
        position, durable = self.cursor.position(), self.log._shelf.durable
        ranges = self.cursor._ledger.ranges
        assert position.waiting == durable - position.settled - sum(stop - first for first, stop in ranges)
        assert len(self.cursor._backlog) < STRETCHES


TestLiveFirst = LiveFirstMachine.TestCase
TestLiveFirst.settings = settings(
    max_examples=examples(25),
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)
