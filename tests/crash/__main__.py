"""Very many crash states of the running bridge and of the spool alone: ``python -m tests.crash --states 100000``.

Round after round everything is recorded anew, and a share of the states of each record is judged, under every
model. A state in which a promise is broken is reduced to the fewest lost calls, and those with the same cause
are told once.
"""

import argparse
import logging
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from tests.crash.recipes import Damage
from tests.crash.states import CrashStates
from tests.crash.trial import Court, Outcome, try_states
from tests.crash.units import Rules
from tests.crash.workloads import HISTORIES, LARGE, WORKLOADS, Recorded, record_bridge, record_history

MODELS: tuple[tuple[Rules, Damage], ...] = (
    ("posix", "killed"),
    ("posix", "dropped"),
    ("posix", "torn"),
    ("ext4", "dropped"),
    ("ext4", "torn"),
    ("posix", "rot"),
)
PER_MODEL = 300
"""States of one record under one model; a round has some 25,000 of them."""


@dataclass(frozen=True)
class Task:
    """A share of the states of one record."""

    record: int
    rules: Rules
    damage: Damage
    count: int
    seed: int
    ruin: int


_records: list[Recorded] = []
"""What a round has recorded; its workers have it by being forked."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--states", type=int, default=100_000, help="how many states to judge at least")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the workloads and of the states")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="how many processes judge")
    parser.add_argument("--only", action="append", metavar="NAME", help="only workloads whose name begins so")
    parser.add_argument("--no-psow", type=int, default=0, metavar="BYTES", help="a torn block ruins so many")
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)
    total: dict[str, dict[str, Outcome]] = {}
    judged = broken = 0
    begun = time.monotonic()
    seed = arguments.seed
    while judged < arguments.states and broken < 10:
        broken += _record_all(seed, arguments.only or [""])
        for task, outcome in _judge_all(seed, arguments.workers, arguments.no_psow):
            judged += outcome.judged
            broken += outcome.broken
            row = total.setdefault(_records[task.record].name, {})
            model = f"{task.rules} {task.damage}"
            row.setdefault(model, Outcome()).add(outcome)
            for cause in outcome.causes.values():
                print(f"{_records[task.record].name}, {model}, seed {seed}: {cause}", flush=True)
        took = time.monotonic() - begun
        print(f"seed {seed}: {judged} states judged in {took:.0f} s, {broken} broken promises", flush=True)
        seed += 1
        if not _records:
            break
    _print(total)
    return 1 if broken else 0


def _record_all(seed: int, beginnings: Sequence[str]) -> int:
    """Records everything; returns how often that was itself a broken promise."""
    broken = 0
    _records.clear()
    recorders: list[tuple[str, Callable[[str, int], Recorded]]] = [
        *((name, record_bridge) for name in WORKLOADS),
        *((name, record_history) for name in HISTORIES),
    ]
    for name, recorder in recorders:
        if not name.startswith(tuple(beginnings)):
            continue
        try:
            _records.append(recorder(name, seed))
        except AssertionError as error:
            broken += 1
            print(f"{name}, seed {seed}: broken while it was recorded: {error}", flush=True)
    return broken


def _judge_all(seed: int, workers: int, ruin: int) -> Iterator[tuple[Task, Outcome]]:
    tasks = []
    for number, recorded in enumerate(_records):
        for rules, damage in MODELS:
            if damage == "rot" and recorded.name in HISTORIES:
                continue
            count = PER_MODEL // 3 if recorded.name in LARGE else PER_MODEL
            tasks.append(Task(number, rules, damage, count, seed, ruin))
    # Those that take longest first.
    tasks.sort(key=lambda task: _records[task.record].name not in LARGE)
    with multiprocessing.get_context("fork").Pool(workers) as pool:
        yield from pool.imap_unordered(_judge, tasks)


def _judge(task: Task) -> tuple[Task, Outcome]:
    recorded = _records[task.record]
    # The judge of broken media counts what the spool says about them.
    logging.disable(logging.NOTSET)
    court = Court(recorded.judge)
    with court.session():
        court.learn(recorded.trace)
        model = CrashStates(recorded.trace, task.damage, task.rules, ruin=task.ruin)
        nested = 0 if task.damage == "rot" else max(1, task.count // 60)
        return task, try_states(model, court, task.count, task.seed, nested=nested)


def _print(total: dict[str, dict[str, Outcome]]) -> None:
    columns = [f"{rules} {damage}" for rules, damage in MODELS]
    print(f"{'states judged':26}", *(f"{column:>14}" for column in columns), f"{'in recoveries':>14}")
    everything = Outcome()
    for name, row in total.items():
        print(f"{name:26}", *(f"{row.get(column, Outcome()).judged:>14}" for column in columns), end="")
        print(f"{sum(outcome.nested for outcome in row.values()):>15}")
        for outcome in row.values():
            everything.add(outcome)
    print(f"{everything.judged} in all, {everything.nested} of them in recoveries, {everything.broken} broken")


if __name__ == "__main__":
    sys.exit(main())
