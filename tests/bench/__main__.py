"""How fast, beside the loop that one would write first: ``python -m tests.bench [--quick] [--json FILE]``.

Everything is real and runs in one session: mosquitto → contestant → RabbitMQ or an HTTP receiver. The
contestant has one CPU for itself, brokers and publisher have another. Readings are QoS 1, about 200 bytes.
``stream``: they are published as fast as the brokers take them while the contestant runs; ``preload``: they
wait in its persistent session before it starts. The time runs from its readiness to the last event at the far
side. mosquitto's limits are raised for both alike (max_inflight_messages 1000, max_queued_messages 0). Rates
depend on the brokers, and everything on what else the machine does; the CPU time per event, in one session, is
the figure to compare. The naive loop fills its HTTP batches before it sends them, so at a low rate they wait.
"""

import argparse
import asyncio
import json
import os
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.bench import measures
from tests.bench.contestants import CHAINS, Bridge, Contestant, NaiveLoop
from tests.bench.measures import METHODS, Backlog, Idle, Latency, Method, Throughput
from tests.bench.stage import Stage

RATE = 200.0


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    events: int = 50_000
    rounds: int = 3
    latency_seconds: float = 10.0
    idle_seconds: float = 20.0
    backlog: int = 1_000_000


QUICK = Plan(events=20_000, rounds=1, latency_seconds=4.0, idle_seconds=6.0, backlog=100_000)


@dataclass
class Results:
    """Every figure; throughput is the median of the rounds by CPU time."""

    throughput: dict[str, dict[str, Throughput]] = field(default_factory=dict)
    latency: dict[str, dict[str, Latency]] = field(default_factory=dict)
    idle: Idle | None = None
    backlog: Backlog | None = None


class Bench:
    """One session."""

    def __init__(self, stage: Stage, plan: Plan, folder: Path, cpus: set[int] | None) -> None:
        self._stage = stage
        self._plan = plan
        self._folder = folder
        self._cpus = cpus
        self._homes = self._topics = 0

    async def run(self, chains: Sequence[str]) -> Results:
        """Measures everything, one thing after the other."""
        results = Results()
        for chain in chains:
            for method in METHODS:
                results.throughput[f"{chain}, {method}"] = await self._throughputs(chain, method)
        for chain in chains:
            results.latency[chain] = await self._latencies(chain)
        async with self._bridge("amqp") as bridge:
            results.idle = await measures.idle(bridge, self._plan.idle_seconds)
        print(f"backlog of {self._plan.backlog:,} events …", flush=True)
        results.backlog = await measures.backlog(self._stage, self._home(), self._cpus, self._plan.backlog)
        return results

    async def _throughputs(self, chain: str, method: Method) -> dict[str, Throughput]:
        rounds: dict[str, list[Throughput]] = {}
        for number in range(self._plan.rounds):
            print(f"{method} → {chain}, round {number + 1} of {self._plan.rounds} …", flush=True)
            async with self._contestants(chain) as contestants:
                for contestant in contestants:
                    figure = await measures.throughput(self._stage, chain, contestant, self._plan.events, method)
                    rounds.setdefault(contestant.name, []).append(figure)
        return {name: _middle(figures) for name, figures in rounds.items()}

    async def _latencies(self, chain: str) -> dict[str, Latency]:
        print(f"latency → {chain} …", flush=True)
        seconds = self._plan.latency_seconds
        async with self._contestants(chain) as contestants:
            return {
                contestant.name: await measures.latency(self._stage, chain, contestant, seconds, RATE)
                for contestant in contestants
            }

    @asynccontextmanager
    async def _contestants(self, chain: str) -> AsyncIterator[tuple[Contestant, ...]]:
        async with self._bridge(chain) as bridge:
            yield bridge, NaiveLoop(self._stage, chain, self._topic(), self._cpus)

    @asynccontextmanager
    async def _bridge(self, chain: str) -> AsyncIterator[Bridge]:
        bridge = Bridge(self._stage, chain, self._topic(), self._home(), self._cpus)
        async with bridge.daemon:
            yield bridge

    def _home(self) -> Path:
        self._homes += 1
        return self._folder / f"home{self._homes}"

    def _topic(self) -> str:
        """One for each contestant and round: what the session of another still subscribes to costs nobody."""
        self._topics += 1
        return f"bench/{self._topics}"


def _middle(figures: list[Throughput]) -> Throughput:
    return sorted(figures, key=lambda figure: figure.cpu_us)[(len(figures) - 1) // 2]


def table(results: Results) -> str:
    """The figures, aligned; ratios are naive loop over bridge in CPU time per event."""
    rows = [("mosquitto →", "", "events/s", "CPU µs/event", "+ mosquitto", "peak RSS MiB", "times less CPU")]
    for chain, by_name in results.throughput.items():
        naive = by_name["naive loop"].cpu_us
        for name, figure in by_name.items():
            cells = (f"{figure.rate:,.0f}", f"{figure.cpu_us:.0f}", f"{figure.cpu_us + figure.mosquitto_us:.0f}")
            rows.append((chain, name, *cells, f"{figure.peak_mib:.0f}", f"{naive / figure.cpu_us:.1f}"))
    rows.append(("", "", "", "", "", "", ""))
    rows.append((f"{RATE:.0f} events/s →", "", "p50 ms", "p99 ms", "CPU %", "", ""))
    for chain, by_contestant in results.latency.items():
        for name, delay in by_contestant.items():
            cells = (f"{delay.p50_ms:.1f}", f"{delay.p99_ms:.1f}", f"{delay.cpu_percent:.1f}")
            rows.append((chain, name, *cells, "", ""))
    lines = [_line(row, [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]) for row in rows]
    if results.idle is not None:
        idle = results.idle
        lines.append(
            f"\nidle: {idle.cpu_percent:.2f} % CPU, {idle.rss_mib:.0f} MiB; READY after {idle.ready_s:.2f} s"
        )
    if results.backlog is not None:
        full = results.backlog
        lines.append(
            f"backlog of {full.events:,}: READY after {full.ready_s:.2f} s, {full.rss_mib:.0f} MiB with a dead "
            f"sink; delivered at {full.rate:,.0f} events/s, {full.cpu_us:.0f} µs each, "
            f"at most {full.peak_mib:.0f} MiB"
        )
    return "\n".join(lines)


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    left = [cell.ljust(width) for cell, width in zip(row[:2], widths[:2], strict=True)]
    right = [cell.rjust(width) for cell, width in zip(row[2:], widths[2:], strict=True)]
    return "  ".join([*left, *right]).rstrip()


def _share_cpus() -> set[int] | None:
    """Takes all CPUs but one for ourselves and our brokers; returns the contestant's, None when there is one."""
    cpus = sorted(os.sched_getaffinity(0))
    if len(cpus) < 2:
        print("one CPU only: contestant, brokers and publisher share it")
        return None
    os.sched_setaffinity(0, {cpus[1]})
    return {cpus[0]}


async def _main(plan: Plan, chains: Sequence[str]) -> Results:
    cpus = _share_cpus()
    print(f"load before: {os.getloadavg()[0]:.1f}", flush=True)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        async with Stage.built(Path(folder)) as stage:
            return await Bench(stage, plan, Path(folder), cpus).run(chains)


def main() -> None:
    """Runs and prints."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer events, one round")
    parser.add_argument("--json", type=Path, metavar="FILE", help="writes every figure there as well")
    parser.add_argument("--chain", choices=CHAINS, action="append", help="only these")
    args = parser.parse_args()
    results = asyncio.run(_main(QUICK if args.quick else Plan(), args.chain or CHAINS))
    print(f"\n{table(results)}")
    if args.json is not None:
        args.json.write_text(json.dumps(asdict(results), indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
