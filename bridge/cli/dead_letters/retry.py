"""``edge-bridge dead-letters retry``."""

import argparse
import json
import sys
from typing import Any

from bridge.cli.dead_letters.show import told_missing
from bridge.cli.reach import ask
from bridge.cli.sizes import counted, safe
from bridge.errors import CommandFailed


def command(args: argparse.Namespace) -> int:
    """Tries letters again; says which stay and why, and is 1 then."""
    staying: list[dict[str, Any]] = []

    def show(raw: bytes) -> None:
        outcome = json.loads(raw)
        if outcome["stays"] is None:
            return
        if args.json:
            staying.append({"offset": outcome["offset"], "reason": outcome["stays"]})
        else:
            print(safe(f"dead letter {outcome['offset']} stays: {outcome['stays']}"), file=sys.stderr)

    wanted = {"offsets": args.offsets, "source": args.source, "sink": args.sink, "all": args.all}
    answer: dict[str, Any] = ask(args.config, "dead-letters retry", wanted, show)
    if args.json:
        print(json.dumps({**answer, "stay": staying}, indent=2))
    else:
        stay = f", {answer['stay']:,} stay" if answer["stay"] else ""
        print(f"{counted(answer['retried'], 'dead letter')} back in the queue{stay}")
    return told_missing(answer) or (CommandFailed.exit_code if answer["stay"] else 0)
