"""Whether the tests notice the faults they are there for: ``python -m tests.mutants [NAME ...]``."""

import argparse
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from tests.mutants.in_keeping import IN_KEEPING
from tests.mutants.in_limits import IN_LIMITS
from tests.mutants.in_run import IN_RUN
from tests.mutants.in_writing import IN_WRITING
from tests.mutants.mutant import Mutant, Outcome, sound, trial

MUTANTS: tuple[Mutant, ...] = (*IN_WRITING, *IN_KEEPING, *IN_LIMITS, *IN_RUN)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("words", nargs="*", help="only mutants whose name holds one of these words")
    parser.add_argument("--jobs", type=int, default=2, help="how many at once")
    arguments = parser.parse_args()
    chosen = [mutant for mutant in MUTANTS if any(word in mutant.name for word in arguments.words or [""])]
    if not chosen:
        print(f"no mutant has one of these words in its name: {' '.join(arguments.words)}", file=sys.stderr)
        return 2
    before = sound(sorted({test for mutant in chosen for test in mutant.tests}))
    if before.why != "every test passes":
        print(f"without any fault: {before.why}", file=sys.stderr)
        return 1
    survivors = _try_all(chosen, arguments.jobs)
    print(f"{len(chosen)} mutants, {len(survivors)} survived")
    return 1 if survivors else 0


def _try_all(mutants: Sequence[Mutant], jobs: int) -> list[Mutant]:
    width = max(len(mutant.name) for mutant in mutants)
    survivors = []

    def timed(mutant: Mutant) -> tuple[Outcome, float]:
        begun = time.monotonic()
        return trial(mutant), time.monotonic() - begun

    with ThreadPoolExecutor(jobs) as pool:
        for mutant, (outcome, seconds) in zip(mutants, pool.map(timed, mutants), strict=True):
            if not outcome.caught:
                survivors.append(mutant)
            verdict = "caught  " if outcome.caught else "SURVIVED"
            print(f"{verdict} {mutant.name:{width}} {seconds:5.1f} s  {outcome.why}", flush=True)
    return survivors


if __name__ == "__main__":
    sys.exit(main())
