"""What is measured, one function each; nothing here judges a figure."""

import asyncio
import json
import re
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from aio_pika.abc import AbstractIncomingMessage

from bridge.config.load import load
from tests.bench.contestants import Bridge, Contestant, far_side, password_file, sink_table, source_table
from tests.bench.stage import QUEUE, Stage, pid_of
from tests.kit.daemon import ROOT, Daemon, all_up, cpu_seconds
from tests.kit.ports import free_port
from tests.kit.publisher import Publisher

Method = Literal["stream", "preload"]
METHODS: tuple[Method, ...] = get_args(Method)
PATIENCE = 600.0
MIB = 1024 * 1024
_SENT = re.compile(rb'"t": ?(\d+)')


@dataclass(frozen=True)
class Throughput:
    """As fast as it goes.

    Attributes:
        rate: events per second from the contestant's readiness to the last event at the far side.
        cpu_us: its own CPU time per event.
        mosquitto_us: the local broker's CPU time per event, for it is part of the price.
        peak_mib: its largest resident memory.
    """

    rate: float
    cpu_us: float
    mosquitto_us: float
    peak_mib: float


@dataclass(frozen=True)
class Latency:
    """From the publisher's clock to the receiver's, in milliseconds, and the CPU of the contestant."""

    p50_ms: float
    p99_ms: float
    cpu_percent: float


@dataclass(frozen=True)
class Idle:
    """A connected daemon without traffic.

    Attributes:
        ready_s: from exec to READY=1.
    """

    ready_s: float
    cpu_percent: float
    rss_mib: float


@dataclass(frozen=True)
class Backlog:
    """A daemon started upon a full spool.

    Attributes:
        ready_s: from exec to READY=1.
        rss_mib: resident memory with a dead sink, some seconds later.
        peak_mib: the most resident memory while all of it was delivered.
        rate: events per second while it was delivered.
        cpu_us: CPU time per delivered event.
    """

    events: int
    ready_s: float
    rss_mib: float
    peak_mib: float
    rate: float
    cpu_us: float


async def throughput(stage: Stage, chain: str, contestant: Contestant, events: int, method: Method) -> Throughput:
    """``preload``: the readings wait in its session before it starts; ``stream``: they are published meanwhile."""
    far = far_side(stage, chain)
    await far.reset()
    await contestant.enrol()
    async with Publisher(stage.mosquitto.port, contestant.topic) as publisher:
        if method == "preload":
            await publisher.publish(events)
        await contestant.start()
        try:
            begun, own, broker = time.monotonic(), cpu_seconds(contestant.pid), _broker_cpu(stage)
            if method == "stream":
                await publisher.publish(events)
            await _arrived(far.count, events)
            seconds = time.monotonic() - begun
            return Throughput(
                rate=events / seconds,
                cpu_us=(cpu_seconds(contestant.pid) - own) / events * 1e6,
                mosquitto_us=(_broker_cpu(stage) - broker) / events * 1e6,
                peak_mib=_memory(contestant.pid, "VmHWM"),
            )
        finally:
            await contestant.stop()


async def latency(stage: Stage, chain: str, contestant: Contestant, seconds: float, rate: float) -> Latency:
    """A steady ``rate`` for ``seconds``, after a second to warm up."""
    await far_side(stage, chain).reset()
    await contestant.enrol()
    await contestant.start()
    try:
        async with Publisher(stage.mosquitto.port, contestant.topic, payload=_timed) as publisher:
            arrivals = _Arrivals(stage, chain)
            async with arrivals.watched():
                await publisher.publish(int(rate), rate=rate)
                await _arrived(arrivals.count, int(rate))
                begun, own = time.monotonic(), cpu_seconds(contestant.pid)
                await publisher.publish(int(seconds * rate), rate=rate)
                share = (cpu_seconds(contestant.pid) - own) / (time.monotonic() - begun)
                await _arrived(arrivals.count, int((seconds + 1) * rate))
                measured = [value / 1000 for value in (await arrivals.latencies())[int(rate) :]]
    finally:
        await contestant.stop()
    return Latency(statistics.median(measured), statistics.quantiles(measured, n=100)[98], share * 100)


async def idle(bridge: Bridge, seconds: float) -> Idle:
    """Nothing happens for ``seconds``, two seconds after everything was up."""
    begun = time.monotonic()
    await bridge.start()
    ready = time.monotonic() - begun
    try:
        await bridge.daemon.until(all_up, "all is up")
        await asyncio.sleep(2)
        before = _precise_cpu(bridge.pid)
        await asyncio.sleep(seconds)
        share = (_precise_cpu(bridge.pid) - before) / seconds
        return Idle(ready, share * 100, _memory(bridge.pid, "VmRSS"))
    finally:
        await bridge.stop()


async def backlog(stage: Stage, home: Path, cpus: set[int] | None, events: int) -> Backlog:
    """Fills the spool of a new daemon, starts it against a closed port, then against RabbitMQ."""
    await stage.queue.reset()
    secret = password_file(home)
    limits = '[spool]\nmax_bytes = "16GiB"\n' + source_table(stage.mosquitto.port, "bench/backlog")
    dead = limits + sink_table("amqp", free_port(), secret)
    async with Daemon(home / "daemon", dead, cpus=cpus) as daemon:
        spool = load(daemon.config).spool_dir
        await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "tests.bench.fill", str(spool), str(events)],
            cwd=ROOT,
            check=True,
            timeout=PATIENCE,
        )
        begun = time.monotonic()
        await daemon.start()
        ready = time.monotonic() - begun
        await daemon.until(lambda report: report.sinks[0].retries + report.sinks[0].waiting >= events, "it waits")
        await asyncio.sleep(3)
        resident = _memory(daemon.pid, "VmRSS")
        await daemon.terminate()
        daemon.configure(limits + sink_table("amqp", stage.rabbit.port, secret))
        await daemon.start()
        begun, own = time.monotonic(), cpu_seconds(daemon.pid)
        await _arrived(stage.queue.count, events)
        rate = events / (time.monotonic() - begun)
        spent = (cpu_seconds(daemon.pid) - own) / events * 1e6
        return Backlog(events, ready, resident, _memory(daemon.pid, "VmHWM"), rate, spent)


class _Arrivals:
    """Latencies at the end of a chain: the receiver keeps its own, RabbitMQ's queue is consumed here."""

    def __init__(self, stage: Stage, chain: str) -> None:
        self._stage = stage
        self._amqp = chain == "amqp"
        self._seen: list[int] = []

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        if not self._amqp:
            yield
            return

        async def arrived(message: AbstractIncomingMessage) -> None:
            sent = _SENT.search(message.body)
            assert sent is not None
            self._seen.append((time.monotonic_ns() - int(sent[1])) // 1000)

        async with await self._stage.rabbit.connect() as connection:
            channel = await connection.channel()
            await (await channel.get_queue(QUEUE)).consume(arrived, no_ack=True)
            yield

    async def latencies(self) -> list[int]:
        """Microseconds, in the order of arrival."""
        return self._seen if self._amqp else json.loads(await self._stage.endpoint.get("latencies"))

    async def count(self) -> int:
        return len(await self.latencies())


def _timed(number: int) -> bytes:
    return b'{"n":%d,"t":%d,"note":"%s"}' % (number, time.monotonic_ns(), b"abcdefghij" * 16)


async def _arrived(count: Callable[[], Awaitable[int]], expected: int) -> None:
    async with asyncio.timeout(PATIENCE):
        while await count() < expected:
            await asyncio.sleep(0.02)


def _broker_cpu(stage: Stage) -> float:
    return cpu_seconds(pid_of(stage.mosquitto))


def _memory(pid: int, key: str) -> float:
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return int(status.split(f"{key}:")[1].split()[0]) * 1024 / MIB


def _precise_cpu(pid: int) -> float:
    """CPU seconds of the threads that live, to the nanosecond."""
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text(encoding="ascii").split()[0]) for task in tasks) / 1e9
