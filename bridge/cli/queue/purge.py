"""``edge-bridge queue purge``."""

import argparse
import json
from typing import Any

from bridge.cli.progress import confirmed
from bridge.cli.reach import ask
from bridge.run.health import events


def command(args: argparse.Namespace) -> int:
    """Gives up events that wait, after a question; 1 when the answer was no."""
    wanted = {"lane": args.lane, "sink": args.sink, "before": args.before}
    if not args.yes:
        told: dict[str, Any] = ask(args.config, "queue purge", {**wanted, "only_tell": True}, lambda _: None)
        if not confirmed(question(told), yes=False):
            return 1
    answer: dict[str, Any] = ask(args.config, "queue purge", wanted, lambda _: None)
    if args.json:
        print(json.dumps(answer, indent=2))
        return 0
    for lane in answer["lanes"]:
        print(f"lane {lane['name']}: {events(lane['lost'])} given up")
    return 0


def question(told: dict[str, Any]) -> str:
    """What somebody is asked."""
    parts = []
    for lane in told["lanes"]:
        sinks = [f"{sink} {count:,}" for sink, count in lane["sinks"].items()]
        parts.append(
            f"lane {lane['name']}: not confirmed by {', '.join(sinks)}" if sinks else f"lane {lane['name']}"
        )
    return f"Give up what waits for good ({'; '.join(parts)})?"
