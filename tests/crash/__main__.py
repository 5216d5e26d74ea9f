"""Many crash states of many histories: ``python -m tests.crash --states 20000``."""

import argparse
import logging
import sys
import time

from tests.crash.runs import record_history, violations
from tests.crash.states import Damage

DAMAGES: tuple[Damage, ...] = ("killed", "dropped", "torn")
FAULTS = (
    (),
    ("fdatasync:error=EIO:when=5+7",),
    ("fsync:error=EIO:when=9+5",),
    ("pwrite64:error=ENOSPC:when=8+9",),
)
PER_HISTORY = 1000


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("--states", type=int, default=20_000, help="how many states to judge")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="the same seed gives the same states")
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)
    judged = broken = 0
    seed = arguments.seed
    while judged < arguments.states and broken < 10:
        faults = FAULTS[seed % len(FAULTS)]
        trace = record_history(seed, inject=faults)
        for damage in DAMAGES:
            for violation in violations(trace, damage, min(PER_HISTORY, arguments.states - judged), seed):
                judged += 1
                if violation is not None:
                    broken += 1
                    print(f"seed {seed} {faults} {damage}: {violation.recipe}")
                    print(f"lost: {violation.lost}\n{violation.why}")
        print(f"seed {seed}: {judged} states judged, {broken} broken", flush=True)
        seed += 1
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
