"""``edge-bridge queue forget``."""

import argparse
import json
from typing import Any

from bridge.cli.progress import confirmed
from bridge.cli.reach import ask
from bridge.run.health import events


def command(args: argparse.Namespace) -> int:
    """Removes an orphan, after a question; 1 when the answer was no."""
    wanted = {"sink": args.sink, "lane": args.lane}
    told: dict[str, Any] = ask(args.config, "queue forget", {**wanted, "only_tell": True}, lambda _: None)
    if not confirmed(question(told), yes=args.yes):
        return 1
    answer: dict[str, Any] = ask(args.config, "queue forget", wanted, lambda _: None)
    if args.json:
        print(json.dumps(answer, indent=2))
    elif "sink" in answer:
        print(f"the sink {answer['sink']} is forgotten")
    else:
        print(f"the lane {answer['lane']} is forgotten")
    return 0


def question(told: dict[str, Any]) -> str:
    """What somebody is asked."""
    if "sink" not in told:
        return f"Remove the lane {told['lane']} with {events(told['records'])} for good?"
    lanes = ", ".join(f"{events(lane['waiting'])} in lane {lane['name']}" for lane in told["lanes"])
    return f"Forget the sink {told['sink']}, for which are kept: {lanes}?"
