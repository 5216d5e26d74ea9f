"""The spool against a plain model, over files that fail and lose power."""

import asyncio
import errno
import random
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from bridge.clock import SystemClock
from bridge.errors import SpoolUnusable
from bridge.spool import committer, shelf
from bridge.spool.log import Log
from bridge.spool.settings import OnFull, SpoolSettings
from bridge.spool.spool import Spool
from tests.kit.faulty_files import FaultyFiles
from tests.kit.hand_clock import HandClock
from tests.kit.slow_files import SlowFiles
from tests.kit.thorough import examples

T = TypeVar("T")
MAX_AGE = 1000.0
SETTINGS = SpoolSettings(
    segment_bytes=64 * 1024,
    max_bytes=320 * 1024,
    max_record=64 * 1024,
    cursor_interval=0,
    max_age=MAX_AGE,
    min_free_disk=256 * 1024,
)
PATH = Path("/var/spool")
SHARES = {"cloud": 0.0, "local": 0.5}
NAMES = tuple(SHARES)
POLICIES: tuple[OnFull, ...] = ("drop-oldest", "reject-newest", "block")
ROOMY, TIGHT = 1 << 40, 700 * 1024


def impatient() -> Iterator[float]:
    while True:
        yield 0.001


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committer, "delays", impatient)
    monkeypatch.setattr(committer, "POLL", 0.01)
    monkeypatch.setattr(committer, "_REST", 0.001)
    monkeypatch.setattr(shelf, "delays", lambda *_: impatient())


class SpoolMachine(RuleBasedStateMachine):
    """Every append is numbered; its mark is the number of its last payload.

    ``truth`` is the time that passes for everybody; a synchronised wall clock shows it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.files = FaultyFiles()
        for parent in (PATH.parent, PATH):
            self.files.mkdir(parent)
        self.files.fsync(self.files.open(Path("/"), 0))
        self.files.fsync(self.files.open(PATH.parent, 0))
        self.runner = asyncio.Runner()
        self.number = 0
        self.acked: dict[int, bytes] = {}  # offset -> payload
        self.maybe: set[bytes] = set()  # appended, never confirmed
        self.marks_of: dict[bytes, int] = {}
        self.read: dict[str, dict[int, bytes]] = {name: {} for name in NAMES}
        self.settled: dict[str, set[int]] = {name: set() for name in NAMES}
        self.taken: dict[str, int] = dict.fromkeys(NAMES, 0)
        self.durable_low: dict[str, int] = dict.fromkeys(NAMES, 0)
        self.waiting: list[tuple[asyncio.Task[int], list[bytes]]] = []
        self.clock = HandClock()
        self.truth = self.clock.wall
        self.born: dict[bytes, float] = {}
        self.on_full: OnFull = "drop-oldest"
        self.purged = 0
        self.expired = 0
        self.spool: Spool | None = None
        self.open()

    def teardown(self) -> None:
        self.files.faults.clear()
        self.files.broken.clear()
        if self.spool is not None:
            self.close()
        self.runner.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        async def bounded() -> T:
            async with asyncio.timeout(20):
                return await work

        return self.runner.run(bounded())

    def open(self) -> None:
        async def enter() -> Spool:
            self.slow = SlowFiles(self.files)
            settings = SETTINGS.model_copy(update={"on_full": self.on_full})
            return await Spool(PATH, settings, self.clock, self.slow.port).__aenter__()

        self.spool = self.run(enter())
        self.before: dict[str, tuple[int, set[int], int]] = {}
        self.expired = 0
        for name in NAMES:
            self.read[name] = {}
            position = self.log.cursor(name, SHARES[name]).position()
            assert position.settled >= self.durable_low[name], "a durable cursor went back"
            ledger = self.log._book.ledgers[name]
            done = {offset for first, stop in ledger.ranges for offset in range(first, stop)}
            self.before[name] = position.settled, done, position.skipped
        assert self.log.range[0] >= self.purged, "what was purged came back"
        self.check_content()

    @property
    def log(self) -> Log:
        assert self.spool is not None
        lane = self.spool.lane
        assert isinstance(lane, Log)
        return lane

    def collect(self) -> None:
        """Sorts out which appends have returned."""
        still = []
        for task, payloads in self.waiting:
            if not task.done():
                still.append((task, payloads))
            elif task.cancelled() or task.exception() is not None:
                self.maybe.update(payloads)
            else:
                first = task.result()
                for index, payload in enumerate(payloads):
                    assert first + index not in self.acked, "an offset was given twice"
                    self.acked[first + index] = payload
        self.waiting = still

    # --- rules ----------------------------------------------------------------------------------------

    @rule(sizes=st.lists(st.sampled_from((10, 500, 5000, 20000)), min_size=1, max_size=5), together=st.booleans())
    def append(self, sizes: list[int], together: bool) -> None:
        groups = [sizes] if together else [[size] for size in sizes]
        if self.files.broken:
            groups = groups[:1]

        async def start() -> None:
            for group in groups:
                payloads = []
                for size in group:
                    self.number += 1
                    payloads.append(b"%d:" % self.number + bytes(size))
                mark = self.number
                self.marks_of.update(dict.fromkeys(payloads, mark))
                self.born.update(dict.fromkeys(payloads, self.truth))
                task = asyncio.create_task(self.log.append(payloads, {"n": mark}))
                self.waiting.append((task, payloads))
            if self.files.broken:
                await asyncio.sleep(0.005)
                return
            while not all(task.done() for task, _ in self.waiting):
                await asyncio.wait([task for task, _ in self.waiting if not task.done()], timeout=0.02)
                if self.on_full == "block" and self.log.full is not None:
                    return

        self.run(start())
        self.collect()

    @rule(name=st.sampled_from(NAMES), count=st.integers(1, 6))
    def take(self, name: str, count: int) -> None:
        cursor = self.log.cursor(name)

        async def read() -> None:
            try:
                async with asyncio.timeout(0.05):
                    batch = await cursor.read(count, 30_000)
            except TimeoutError:
                return
            for offset, payload in zip(batch.offsets, batch.payloads, strict=True):
                assert offset not in self.read[name], "read twice"
                assert offset not in self.settled[name] or offset >= self.durable_low[name]
                assert self.acked.get(offset, payload) == payload, "other bytes than were stored"
                assert payload in self.marks_of, "invented"
                self.read[name][offset] = payload
            assert list(batch.offsets) == sorted(batch.offsets)
            in_order = not self.read[name] or max(self.read[name]) == batch.offsets[-1]
            assert in_order or SHARES[name], "out of order"

        self.run(read())

    @rule(name=st.sampled_from(NAMES), seed=st.none() | st.integers(0, 2**32))
    def settle(self, name: str, seed: int | None) -> None:
        ledger = self.log._book.ledgers[name]
        open_ = [offset for offset in sorted(self.read[name]) if not ledger.is_settled(offset)]
        if not open_:
            return
        # Nothing is drawn from what has been read, which depends on the speed of this machine.
        rng = random.Random(seed)
        some = open_ if seed is None else rng.sample(open_, rng.randint(1, len(open_)))

        async def settle() -> None:
            self.log.cursor(name).settle(some)
            await asyncio.sleep(0)

        self.run(settle())
        self.settled[name].update(some)

    @rule(name=st.sampled_from(NAMES), first=st.floats(0, 1), part=st.floats(0, 0.5))
    def discard(self, name: str, first: float, part: float) -> None:
        if self.files.broken:
            return
        low, durable = self.log._book.ledgers[name].low, self.log._shelf.durable
        start = low + int(first * (durable - low))
        some = range(start, min(durable, start + 1 + int(part * (durable - low))))
        self.run(self.log.discard(name, some))
        self.settled[name].update(some)

    @rule(part=st.floats(0, 1))
    def purge(self, part: float) -> None:
        if self.files.broken:
            return
        start, stop = self.log.range
        upto = start + int(part * (stop - start))
        self.run(self.log.purge(upto))
        self.purged = max(self.purged, upto)
        for name in NAMES:
            self.durable_low[name] = max(self.durable_low[name], upto)

    @rule(tight=st.booleans())
    def others_need_the_disk(self, tight: bool) -> None:
        self.files.size = TIGHT if tight else ROOMY

    @rule(call=st.sampled_from(("pwrite", "fdatasync", "fsync", "rename", "unlink", "pread")), slow=st.booleans())
    def slow_disk(self, call: str, slow: bool) -> None:
        self.slow.delays = {call: 0.003} if slow else {}

    @rule(seconds=st.sampled_from((1.0, 400.0, 2000.0)))
    def time_passes(self, seconds: float) -> None:
        self.truth += seconds
        self.clock.boot += seconds
        self.clock.wall += seconds

    @rule(years=st.sampled_from((-30, -10, 10)))
    def clock_jumps(self, years: int) -> None:
        # Only a clock that nobody disciplines does.
        self.clock.synchronised = False
        self.clock.wall += years * 365 * 86400

    @rule()
    def clock_is_synchronised(self) -> None:
        self.clock.wall, self.clock.synchronised = self.truth, True

    @rule()
    def look_for_what_is_old(self) -> None:
        first = self.log.range[0]
        lost = self.log.losses.get("max_age", 0)

        async def look() -> None:
            self.log._writer._expire_soon()
            await asyncio.sleep(0.01)

        self.run(look())
        if self.log.losses.get("max_age", 0) == lost:
            return
        gone = [payload for offset, payload in self.acked.items() if first <= offset < self.log._shelf.first]
        assert all(self.truth - self.born[payload] > MAX_AGE for payload in gone), "expired too early"

    @rule()
    def rest(self) -> None:
        self.run(asyncio.sleep(0.01))
        self.collect()

    @rule()
    def cancel(self) -> None:
        for task, _ in self.waiting:
            task.cancel()
        self.run(asyncio.sleep(0))
        self.collect()

    @rule(
        call=st.sampled_from(
            ("pwrite", "fdatasync", "fsync", "rename", "fallocate", "open", "create", "unlink", "ftruncate")
        ),
        code=st.sampled_from((errno.EIO, errno.ENOSPC)),
        skip=st.integers(0, 2),
        count=st.integers(1, 3),
    )
    def fault(self, call: str, code: int, skip: int, count: int) -> None:
        self.files.faults[call] = [0] * skip + [code] * count

    @rule(call=st.sampled_from(("pwrite", "fdatasync", "fsync", "rename", "fallocate", "create")))
    def break_disk(self, call: str) -> None:
        self.files.broken[call] = errno.EIO

    @rule()
    def fill_disk(self) -> None:
        self.files.broken["fallocate"] = errno.ENOSPC

    @precondition(lambda self: self.files.broken)
    @rule()
    def mend_disk(self) -> None:
        self.files.broken.clear()

        async def all_done() -> None:
            while not all(task.done() for task, _ in self.waiting):
                await asyncio.wait([task for task, _ in self.waiting], timeout=0.05)
                if self.on_full == "block" and self.log.full is not None:
                    # Only what the sinks confirm makes room.
                    for name in NAMES:
                        some = range(self.log._shelf.durable)
                        await self.log.discard(name, some)
                        self.settled[name].update(some)

        self.run(all_done())
        self.collect()
        assert not self.waiting, "the spool did not recover by itself"

    @rule(short=st.booleans())
    def short_writes(self, short: bool) -> None:
        self.files.short_writes = short

    @rule(on_full=st.sampled_from(POLICIES))
    def restart(self, on_full: OnFull) -> None:
        self.on_full = on_full
        clean = not self.files.broken and not any(any(codes) for codes in self.files.faults.values())
        self.close()
        if clean:
            for name in NAMES:
                self.durable_low[name] = max(self.durable_low[name], self.lows[name])
        self.after()

    @rule(seed=st.integers(0, 2**32), power=st.booleans(), on_full=st.sampled_from(POLICIES))
    def crash(self, seed: int, power: bool, on_full: OnFull) -> None:
        self.on_full = on_full
        # The process stops at once: its files go dead first, so that its last words are not written.
        rng = random.Random(seed)
        dead, self.files = self.files, FaultyFiles()
        self.files.size = dead.size
        with dead._guard:
            self.files._root = dead._root
            dead._root = type(dead._root)()
            dead._open = {}
            dead.broken = dict.fromkeys(("open", "create", "listdir", "mkdir", "rename", "unlink"), errno.EIO)
        self.close()
        if power:
            self.files.cut_power(rng)
            self.clock.boot_id, self.clock.boot = rng.randbytes(8), 5.0
        self.after()

    # --- after the end of a process -------------------------------------------------------------------

    def close(self) -> None:
        assert self.spool is not None
        spool, self.spool = self.spool, None
        self.lows = {name: spool.lane.cursor(name).position().settled for name in NAMES}

        async def leave() -> None:
            await spool.__aexit__(None, None, None)
            await asyncio.sleep(0)

        self.run(leave())
        self.collect()
        for task, payloads in self.waiting:
            task.cancel()
            self.maybe.update(payloads)
        self.run(asyncio.sleep(0))
        self.waiting = []

    def after(self) -> None:
        self.files.faults.clear()
        self.files.broken.clear()
        self.open()
        # What was settled in memory only may come back.
        for name in NAMES:
            low = self.log.cursor(name).position().settled
            self.settled[name] = {offset for offset in self.settled[name] if offset < low}

    def check_content(self) -> None:
        log = self.log

        async def settled_down() -> list[bytes]:
            while log._shelf.durable < log._writer.queue.next:
                await asyncio.sleep(0.001)
            return list(await log.recent(10**9))

        payloads = self.run(settled_down())
        # What a limit takes while we look is not missing.
        first = log._shelf.first
        wanted = [payload for offset, payload in sorted(self.acked.items()) if offset >= first]
        aside = self.maybe | {payload for offset, payload in self.acked.items() if offset < first}
        assert [payload for payload in payloads if payload not in aside] == wanted, "acknowledged and lost"
        assert len(set(payloads)) == len(payloads), "stored twice"
        assert all(payload in self.marks_of for payload in payloads), "invented"
        numbers = [int(payload.split(b":")[0]) for payload in payloads]
        assert numbers == sorted(numbers), "out of order"
        mark = log.marks().get("n", 0)
        if payloads:
            assert mark >= numbers[-1], "a number would be given twice"
            assert mark == self.marks_of[payloads[-1]] or not self.maybe, "a mark without its payloads"
        # The numbers go on where the log says.
        self.number = max(self.number, mark)

    @invariant()
    def counts_are_right(self) -> None:
        if self.spool is None:
            return
        report = self.spool.report()
        assert report.damaged == 0, "false alarm"
        for name in NAMES:
            position = self.log.cursor(name).position()
            ledger = self.log._book.ledgers[name]
            low, done, skipped = self.before[name]
            passed = {o for first, stop in ((low, ledger.low), *ledger.ranges) for o in range(first, stop)}
            taken = len(passed - done - self.settled[name])
            assert position.skipped - skipped == taken, "lost without being counted"
            durable = self.log._shelf.durable
            assert position.waiting == durable - ledger.low - sum(b - a for a, b in ledger.ranges)
            for offset in self.read[name]:
                if offset >= position.settled:
                    assert ledger.is_settled(offset) == (offset in self.settled[name])


TestSpool = SpoolMachine.TestCase
TestSpool.settings = settings(
    max_examples=examples(60),
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)


async def test_the_machine_would_notice_a_refused_append(monkeypatch: pytest.MonkeyPatch) -> None:
    files = FaultyFiles()
    files.mkdir(PATH.parent)
    async with Spool(PATH, SETTINGS, SystemClock(), files) as spool:
        files.broken["pwrite"] = errno.EIO
        task = asyncio.create_task(spool.lane.append([b"a"]))
        await asyncio.sleep(0)
    with pytest.raises(SpoolUnusable):
        await task
