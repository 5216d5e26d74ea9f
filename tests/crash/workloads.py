"""What a bridge lives through while it is recorded."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.crash.bridge_verdict import BridgeJudge
from tests.crash.recording import record
from tests.crash.stage import Stage, stage
from tests.crash.trace import Trace
from tests.crash.trial import scratch
from tests.crash.verdict import HistoryJudge, Judge
from tests.kit.receiver import Answer, Arrival

MAX_BYTES = 384 * 1024


@dataclass(frozen=True)
class Recorded:
    """What was recorded, and who judges its states."""

    name: str
    trace: Trace
    judge: Judge


async def steady(on: Stage) -> None:
    """Readings come and go; the log gets segment after segment."""
    await on.start()
    await on.broker.deliver(on.frames(260))
    await on.until_taken(260)
    await on.stop()


async def outage(on: Stage) -> None:
    """The receiver is away, then overloaded, then takes everything, many at a time."""
    on.sink = 'mode = "batch"\nbatch_events = 40'
    await on.receiver.stop()
    await on.start()
    await on.broker.deliver(on.frames(150))
    on.receiver.next(Answer(503), Answer(503))
    await on.receiver.start()
    await on.broker.deliver(on.frames(60))
    await on.until_taken(210)
    await on.stop()


async def dead_letters(on: Stage) -> None:
    """Some readings can never be decoded, and some events the receiver will never take."""
    refuse_some(on)
    await on.start()
    await on.broker.deliver(on.frames(200, garbage=0.15))
    await asyncio.sleep(0.3)
    await on.broker.deliver(on.frames(20, garbage=0.5))
    await on.stop()


async def dead_letters_in_batches(on: Stage) -> None:
    """The same, when the receiver refuses a batch for one event in it."""
    on.sink = 'mode = "batch"\nbatch_events = 16'
    await dead_letters(on)


async def slow_dead_letters(on: Stage) -> None:
    """The same on a disk that is slow now and then, so that either log may be ahead of the other."""
    refuse_some(on)
    on.cursor_interval = 0.01
    await on.start(["fdatasync:delay_exit=100000:when=2+2"])
    for _ in range(6):
        await on.broker.deliver(on.frames(25, garbage=0.3))
    await asyncio.sleep(0.3)
    await on.stop()


async def drop_oldest(on: Stage) -> None:
    """The receiver is away for so long that the oldest readings have to go, and then comes back."""
    on.spool = f"max_bytes = {MAX_BYTES}"
    await on.receiver.stop()
    await on.start()
    await on.broker.deliver(on.frames(420))
    await on.receiver.start()
    await on.broker.deliver(on.frames(60))
    async with asyncio.timeout(60):
        while (report := await on.status()).sinks[0].waiting:
            await asyncio.sleep(0.02)
    missing = on.readings - len(on.receiver.accepted)
    assert 0 < missing <= report.spool.dropped, f"{missing} are missing, {report.spool.dropped} were announced"
    await on.stop()


async def worn_out(on: Stage) -> None:
    """So many readings that what the receiver has had is deleted, segment by segment."""
    on.sink = 'mode = "batch"\nbatch_events = 400'
    on.cursor_interval = 5.0
    await on.start()
    await on.broker.deliver(on.frames(5000, small=True), window=400)
    await on.until_taken(5000)
    await on.broker.deliver(on.frames(20))
    await on.stop()


async def restarts(on: Stage) -> None:
    """Stops in order and kills by turns, in the middle of what is coming in and going out."""
    for number in range(5):
        await on.start()
        await on.broker.deliver(on.frames(40))
        for frame in on.frames(15):
            on.broker.send(frame)
        if number % 2:
            await asyncio.sleep(on.rng.random() * 0.02)
            await on.kill()
        else:
            await on.stop()
    await on.start()
    await on.broker.deliver(on.frames(5))
    await on.until_taken(on.readings)
    await on.stop()


async def killed_at_a_call(on: Stage) -> None:
    """Killed at one call or the other that makes something durable."""
    for _ in range(4):
        call = on.rng.choice(("fdatasync", "pwrite64", "fsync", "rename", "ftruncate"))
        which = on.rng.randint(3, 12) if call in {"fdatasync", "pwrite64"} else on.rng.randint(2, 4)
        await on.start([f"{call}:signal=SIGKILL:when={which}"])
        for frame in on.frames(60):
            if on.running:
                on.broker.send(frame)
                await asyncio.sleep(0.002)
        await asyncio.sleep(0.2)
        await on.kill()
    await on.start()
    await on.broker.deliver(on.frames(5))
    await on.stop()


def with_faults(*faults: str) -> Callable[[Stage], Awaitable[None]]:
    """The disk refuses some calls."""

    async def workload(on: Stage) -> None:
        await on.start(faults)
        for _ in range(6):
            await on.broker.deliver(on.frames(30))
        await on.until_taken(60)
        await on.stop(tidy=False)
        await on.start()
        await on.broker.deliver(on.frames(20))
        await on.stop()

    return workload


def refuse_some(on: Stage) -> None:
    """The receiver refuses every seventh reading, and whatever comes with it."""

    def judge(arrivals: Sequence[Arrival]) -> Answer:
        for arrival in arrivals:
            data = arrival.attributes["data"]
            assert isinstance(data, dict)
            if int(data["n"]) % 7 == 3:
                return Answer(400)
        return Answer(204)

    on.receiver.judge = judge


WORKLOADS: dict[str, Callable[[Stage], Awaitable[None]]] = {
    "steady": steady,
    "outage": outage,
    "dead letters": dead_letters,
    "dead letters in batches": dead_letters_in_batches,
    "dead letters, slow disk": slow_dead_letters,
    "drop oldest": drop_oldest,
    "worn out": worn_out,
    "restarts": restarts,
    "killed at a call": killed_at_a_call,
    "failed syncs": with_faults("fdatasync:error=EIO:when=4+5"),
    "failed names": with_faults("fsync:error=EIO:when=5+3"),
    "full disk": with_faults("pwrite64:error=ENOSPC:when=5+6"),
    "slow syncs": with_faults("fdatasync:delay_exit=30000:when=3+2"),
}


LARGE = frozenset({"worn out"})
"""Workloads whose states take long to judge."""

HISTORIES: dict[str, Sequence[str]] = {
    "history": (),
    "history, failed syncs": ("fdatasync:error=EIO:when=5+7",),
    "history, failed names": ("fsync:error=EIO:when=9+5",),
    "history, full disk": ("pwrite64:error=ENOSPC:when=8+9",),
}


def record_bridge(name: str, seed: int) -> Recorded:
    """Records a bridge that lives through one of :data:`WORKLOADS`.

    Raises:
        AssertionError: it broke a promise already then, or the record is not faithful.
    """

    async def recorded(work: Path) -> Recorded:
        async with stage(work, seed) as on:
            await WORKLOADS[name](on)
            trace = on.finish()
            return Recorded(name, trace, BridgeJudge(on.wire, MAX_BYTES if on.spool else None))

    with scratch() as work:
        return asyncio.run(recorded(work))


def record_history(name: str, seed: int, *, restarts: int = 3) -> Recorded:
    """Records a program that uses the spool by itself, with the faults of one of :data:`HISTORIES`.

    Raises:
        AssertionError: the record is not faithful.
    """
    with scratch() as work:
        top = work / "top"
        top.mkdir()
        program = [sys.executable, "-m", "tests.crash.history", str(top / "spool"), str(seed), str(restarts)]
        trace = record(program, top, work, HISTORIES[name])
    return Recorded(name, trace, HistoryJudge(trace))
